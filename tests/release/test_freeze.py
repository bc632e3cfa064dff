"""How the frozen program is made: twice the same, static, with the licences of all that is in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.sandbox.node import is_frozen

pytestmark = pytest.mark.slow


def freeze(out: Path, **environ: str) -> Path:
    command: list[str | Path] = [CHECKOUT / "build/freeze", sys.executable, out]
    done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False)
    if "No module named PyInstaller" in done.stderr:
        pytest.skip("needs PyInstaller")
    assert done.returncode == 0, done.stderr
    return out / "bin/cni-chain"


@pytest.fixture(scope="module")
def made(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frozen program under test; for the source, one that is made of it."""
    return Path(program) if is_frozen(program) else freeze(tmp_path_factory.mktemp("frozen") / "out")


def content(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def headers(program: Path) -> dict[str, str]:
    """The program's segments by name, with the flags of each."""
    command: list[str | Path] = ["/usr/bin/readelf", "--program-headers", "--wide", program]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {
        row[0]: "".join(word for word in row[6:] if word in ("R", "W", "E", "RW", "RE")) for row in rows if len(row) > 7
    }


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (content(freeze(tmp_path / name / "out").parent.parent) for name in ("first", "another-place"))

    assert first == second


def test_the_program_needs_no_library_and_no_loader(made: Path) -> None:
    found = headers(made.resolve())

    assert "LOAD" in found
    assert {"INTERP", "DYNAMIC"}.isdisjoint(found)
    assert [file.name for file in made.resolve().parent.rglob("*.so*")] == []


def test_the_program_and_the_files_beside_it_have_at_most_12_5_megabytes(made: Path) -> None:
    """Each node holds two versions. A library that comes in with another one shows here."""
    assert sum(map(len, content(made.resolve().parent).values())) <= 12_500_000


def test_no_licence_text_is_there_twice(made: Path) -> None:
    texts = [text for name, text in content(made.resolve().parent / "licenses").items() if "common/" not in name]

    assert len(set(texts)) == len(texts)


def test_the_programs_stack_is_not_executable_and_what_the_linker_set_is_read_only(made: Path) -> None:
    found = headers(made.resolve())

    assert found["GNU_STACK"] == "RW"
    assert "GNU_RELRO" in found


def test_no_path_of_the_machine_that_built_it_is_in_the_program(made: Path) -> None:
    content = made.resolve().read_bytes()

    assert str(CHECKOUT).encode() not in content
    assert b"/.cache/cni-chain" not in content


def test_the_licences_of_all_that_is_linked_in_are_there(made: Path) -> None:
    """LICENSE.txt of Python doesn't cover what the interpreter has from others; the package that it is from has all."""
    licenses = made.resolve().parent / "licenses"
    texts = {folder.name: "".join(file.read_text() for file in folder.iterdir()) for folder in licenses.iterdir()}

    for whose in ("PYTHON SOFTWARE FOUNDATION LICENSE", "Makoto Matsumoto", "Lucent Technologies"):
        assert whose in texts["python"], whose
    assert "GNU Lesser General Public" in texts["libc"]
    assert "Jean-loup Gailly" in texts["libz"]
    assert "GCC Runtime Library Exception" in texts["libgcc"]
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in texts["common"]
    assert "make frozen" in texts["relink"]
