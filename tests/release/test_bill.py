"""The bill of materials: what a scanner, and whoever is asked whether a defect concerns cni-chain, go by."""

import hashlib
import json
import os
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from build.bill import bill as written
from cni_chain import __version__
from tests.support.published import made


@pytest.fixture(scope="module")
def text(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("bill")
    made("image", out, frozen)
    [file] = out.glob(f"cni-chain-{__version__}-linux-*.cdx.json")
    return file.read_text()


@pytest.fixture(scope="module")
def bill(text: str) -> Any:
    return json.loads(text)


def required(name: str) -> set[str]:
    """A Python package and all that it needs, in a bill's spelling."""
    found = {name}
    for requirement in map(Requirement, metadata.requires(name) or ()):
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            found |= required(requirement.name)
    return {one.lower().replace(".", "-") for one in found}


def test_it_is_valid_cyclonedx(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_it_is_of_this_program(bill: Any, frozen: Path) -> None:
    program = bill["metadata"]["component"]

    assert (program["name"], program["version"], bill["metadata"]["timestamp"][:4]) == (
        "cni-chain",
        __version__,
        "2023",
    )
    [checksum] = program["hashes"]
    assert checksum["content"] == hashlib.sha256((frozen / "bin/cni-chain").read_bytes()).hexdigest()


def test_every_python_package_in_it_is_one_that_the_project_asks_for(bill: Any) -> None:
    """What else lies in the environment of the build, such as attrs, must not come in by chance."""
    found = {part["name"] for part in bill["components"] if part["purl"].startswith("pkg:pypi/")}

    asked = required("cni-chain") - {"cni-chain"}
    assert found <= asked
    assert found >= {"pyroute2-minimal", "rich", "typer"}


def test_the_interpreter_and_every_library_are_in_it_as_the_distributions_scanners_name_them(bill: Any) -> None:
    packages = [part["purl"] for part in bill["components"] if part["purl"].startswith("pkg:deb/")]
    sources = {re.sub(r".*&upstream=([a-z]+)[\d.-]*(%40.*)?$", r"\1", purl) for purl in packages}

    assert sources == {"gcc", "glibc", "python", "zlib"}
    assert all(re.search(r"@[^?]+\?arch=(amd64|arm64)&distro=[a-z]+-[\d.]+&upstream=", purl) for purl in packages)


def test_every_part_has_a_version_a_licence_and_a_place_in_the_program(bill: Any) -> None:
    assert [part["name"] for part in bill["components"] if not (part.get("version") and part.get("licenses"))] == []
    [parts] = [one["dependsOn"] for one in bill["dependencies"] if one["ref"] == "cni-chain"]
    assert sorted(parts) == sorted(part["bom-ref"] for part in bill["components"])


def test_the_c_library_has_no_exception_that_it_does_not_have() -> None:
    """Its text says: the LGPL, version 2.1 or later. With an exception nobody would have to be able to relink it."""
    library = subprocess.run(["/usr/bin/gcc", "-print-file-name=libc.a"], capture_output=True, text=True, check=True)

    [part] = json.loads(written("cni-chain", "1.0.0", b"", [library.stdout.strip()]))["components"]

    assert part["licenses"] == [{"license": {"id": "LGPL-2.1-or-later"}}]


def test_what_is_of_no_package_stops_the_freeze(tmp_path: Path) -> None:
    library = tmp_path / "libforgotten.a"
    library.write_bytes(b"!<arch>\n")

    with pytest.raises(SystemExit, match=rf"the bill of materials would lack it: {library}$"):
        written("cni-chain", "1.0.0", b"", [os.__file__, str(library)])
