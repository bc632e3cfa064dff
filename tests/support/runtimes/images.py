"""Images made here, so that no registry is asked: OCI archives of one layer, by the writer that the release has."""

import io
import platform
import shutil
import tarfile
from pathlib import Path

from build.release import oci
from tests.support.compiler import compiled
from tests.support.runtimes.cri import BUSYBOX, PAUSE

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def make(directory: Path) -> dict[str, Path]:
    """Both images that the tests use: name → archive. Needs gcc and a static busybox."""
    busybox = shutil.which("busybox")
    assert busybox, "no busybox: tests/support/runtimes/packages"
    pause = compiled(Path(__file__).with_name("pause.c"), directory / "pause", "-Os", "-static")
    made = {PAUSE: directory / "pause.tar", BUSYBOX: directory / "busybox.tar"}
    archive(made[PAUSE], PAUSE, "/pause", {"pause": pause.read_bytes()})
    archive(made[BUSYBOX], BUSYBOX, "/bin/busybox", {"bin/busybox": Path(busybox).read_bytes(), "bin/sh": "busybox"})
    return made


def archive(file: Path, name: str, entry: str, files: dict[str, bytes | str]) -> None:
    """Write an image of these files; text is where a symbolic link points."""
    config = {"Entrypoint": [entry], "Env": ["PATH=/bin"], "WorkingDir": "/"}
    file.write_bytes(oci.image({ARCHITECTURES[platform.machine()]: tar(files)}, name, 0, config, {}).archive)


def tar(files: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archived:
        directories = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
        for directory in sorted(directories):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archived.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archived.addfile(entry)
            else:
                entry.size = len(content)
                archived.addfile(entry, io.BytesIO(content))
    return out.getvalue()
