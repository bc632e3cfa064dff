"""The image: what is in it, and that it is the same each time. tests/system/runtimes/test_image.py loads it."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cni_chain import __version__
from tests.support.published import for_arm64, made, refused, stand_in

# What every node of a cluster pulls.
LARGEST = 8_000_000


@pytest.fixture(scope="module")
def dist(frozen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image of the frozen program, for two architectures."""
    folder = tmp_path_factory.mktemp("image")
    made("image", folder / "dist", "--name", "example.org/cni-chain", frozen, for_arm64(frozen, folder / "arm64"))
    return folder / "dist"


@pytest.fixture(scope="module")
def archive(dist: Path) -> dict[str, bytes]:
    with tarfile.open(dist / f"cni-chain-{__version__}-image.tar") as tar:
        return {one.name: content.read() for one in tar if (content := tar.extractfile(one))}


def blob(archive: dict[str, bytes], descriptor: Any) -> bytes:
    content = archive[f"blobs/{descriptor['digest'].replace(':', '/')}"]
    assert descriptor["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert descriptor["size"] == len(content)
    return content


def images(archive: dict[str, bytes]) -> dict[str, Any]:
    """The manifest of each architecture."""
    [top] = json.loads(archive["index.json"])["manifests"]
    index = json.loads(blob(archive, top))
    return {one["platform"]["architecture"]: json.loads(blob(archive, one)) for one in index["manifests"]}


def test_it_holds_the_program_and_nothing_else(archive: dict[str, bytes], frozen: Path) -> None:
    image = images(archive)["amd64"]
    [layer] = image["layers"]
    with tarfile.open(fileobj=io.BytesIO(blob(archive, layer))) as tar:
        found = {one.name: one.linkname if one.issym() else one.isdir() for one in tar}

    files = (path for path in frozen.rglob("*"))
    expected = {str(path.relative_to(frozen)): path.is_dir() for path in files if not path.is_symlink()}
    assert found == expected | {"bin/cni-chain": f"../cni-chain/{__version__}/cni-chain"}


def test_a_container_starts_the_program_and_a_person_in_it_finds_it(archive: dict[str, bytes]) -> None:
    config = json.loads(blob(archive, images(archive)["arm64"]["config"]))

    assert (config["os"], config["architecture"]) == ("linux", "arm64")
    assert (config["config"]["Entrypoint"], config["config"]["Env"]) == (["/bin/cni-chain"], ["PATH=/bin"])
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["created"] == "2023-11-14T22:13:20Z"


def test_it_is_small_for_each_architecture(archive: dict[str, bytes]) -> None:
    sizes = {name: image["layers"][0]["size"] for name, image in images(archive).items()}

    assert sorted(sizes) == ["amd64", "arm64"]
    assert max(sizes.values()) <= LARGEST, sizes


def test_skopeo_reads_it_and_keeps_its_digest(dist: Path, archive: dict[str, bytes], tmp_path: Path) -> None:
    """As a registry will have it: with every architecture."""
    source = f"oci-archive:{dist}/cni-chain-{__version__}-image.tar:example.org/cni-chain:{__version__}"
    command: list[str | Path] = [
        "skopeo",
        "--insecure-policy",
        "--tmpdir",
        tmp_path,
        "copy",
        "--all",
        "--preserve-digests",
        source,
    ]

    subprocess.run([*command, f"dir:{tmp_path}/copied"], check=True, capture_output=True)

    [top] = json.loads(archive["index.json"])["manifests"]
    assert hashlib.sha256((tmp_path / "copied/manifest.json").read_bytes()).hexdigest() == top["digest"][7:]


def test_the_same_programs_give_the_same_image(tmp_path: Path) -> None:
    programs = [stand_in(tmp_path / architecture, architecture) for architecture in ("amd64", "arm64")]

    first = made("image", tmp_path / "first", *programs)
    second = made("image", tmp_path / "second", *reversed(programs))

    assert first[-1].startswith(f"localhost/cni-chain:{__version__}@sha256:")
    assert first[-1] == second[-1]
    contents = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("first", "second")]
    assert contents[0] == contents[1]


def test_programs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    one, same = stand_in(tmp_path / "one"), stand_in(tmp_path / "same")
    old = stand_in(tmp_path / "old", "arm64", version="0.0.1")

    assert (
        refused("image", tmp_path / "dist", one, same) == "image: two programs are for one architecture: amd64, amd64"
    )
    assert refused("image", tmp_path / "dist", one, old) == (
        f"image: the programs are of different versions: 0.0.1, {__version__}"
    )


def test_a_program_without_its_bill_of_materials_is_refused(tmp_path: Path) -> None:
    program = stand_in(tmp_path / "program")
    bill = program / "cni-chain" / __version__ / "sbom.cdx.json"
    bill.unlink()

    message = f"image: {bill}: No such file or directory; build/freeze writes this bill of materials"
    assert refused("image", tmp_path / "dist", program) == message
    assert not (tmp_path / "dist").exists()
