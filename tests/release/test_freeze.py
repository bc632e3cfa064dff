"""The frozen program as it is built elsewhere: with the interpreter as a shared library, and twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.files.host import Host

pytestmark = pytest.mark.slow


def freeze(out: Path, **environ: str) -> Path:
    command: list[str | Path] = [CHECKOUT / "build/freeze", sys.executable, out]
    done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False)
    if "No module named PyInstaller" in done.stderr:
        pytest.skip("needs PyInstaller")
    assert done.returncode == 0, done.stderr
    return out / "bin/cni-chain"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of an interpreter that is no static library: its maker provides none."""
    return freeze(tmp_path_factory.mktemp("shared") / "out", PYTHON_LIBRARY="shared")


def content(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.rglob("*")) if file.is_file()}


def test_a_pod_comes_and_goes_with_a_shared_interpreter(shared: Path, double: Path, tmp_path: Path) -> None:
    assert list((shared.resolve().parent / "_internal").glob("libpython3*.so*"))
    host = Host(tmp_path, str(shared), double)
    host.owner("local", "portmap")
    host.plugin("portmap")
    host.fragment("local", "10-portmap.conf", {"cniVersion": "1.0.0", "name": "local", "type": "portmap"})
    try:
        assert host.add().ok
        assert host.delete().ok
        assert host.ran == ["ADD portmap", "DEL portmap"]
    finally:
        host.close()


def test_a_shared_interpreter_is_found_whatever_libraries_the_caller_asks_for(shared: Path, tmp_path: Path) -> None:
    (tmp_path / f"libpython3.{sys.version_info.minor}.so.1.0").write_text("not a library")
    environ = {"LD_LIBRARY_PATH": str(tmp_path)}

    help_page = subprocess.run([shared, "--help"], env=environ, capture_output=True, text=True, check=True).stdout

    assert "attachments" in help_page


def test_the_licences_of_what_the_interpreter_has_from_others_are_there(shared: Path) -> None:
    """Its LICENSE.txt alone says nothing of them; the package that it is from has all."""
    if not Path("/usr/bin/dpkg-query").exists() or not os.path.realpath(os.__file__).startswith("/usr/lib/"):
        pytest.skip("by design: no package brought this interpreter")

    texts = "".join(file.read_text() for file in (shared.resolve().parent / "licenses/python").iterdir())

    for whose in ("PYTHON SOFTWARE FOUNDATION LICENSE", "Makoto Matsumoto", "Lucent Technologies"):
        assert whose in texts, whose


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (content(freeze(tmp_path / name).parent.parent) for name in ("first", "second"))

    assert first == second
