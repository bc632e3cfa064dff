"""Reads a frozen program's directory, and packs it: the archive for /opt/cni, and the image's only layer."""

from __future__ import annotations

import io
import os
import re
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "cni-chain"
_LINK = re.compile(rf"\.\./{PROGRAM}/(?P<version>[^/]+)/{PROGRAM}")

# e_machine of an ELF file's header, and Go's names for them, which runtimes and registries use.
_MACHINES = {62: "amd64", 183: "arm64"}


class NotFrozenError(Exception):
    """A directory is not what build/freeze makes; the message says where and why."""


@dataclass(frozen=True)
class Frozen:
    """One frozen program: its directory, which is laid out as /opt/cni, and what the program itself says."""

    directory: Path
    version: str
    architecture: str

    @property
    def home(self) -> Path:
        """The directory of this version, with all that the program needs."""
        return self.directory / PROGRAM / self.version

    @property
    def archive_name(self) -> str:
        return f"{PROGRAM}-{self.version}-linux-{self.architecture}.tar.gz"


def read(directory: Path) -> Frozen:
    """Return what is in a directory. Raises NotFrozenError."""
    link = directory / "bin" / PROGRAM
    try:
        target = _LINK.fullmatch(os.readlink(link))
        if not target:
            raise ValueError(f"is not a link to ../{PROGRAM}/<version>/{PROGRAM}")
        with link.open("rb") as file:
            return Frozen(directory, target["version"], _architecture(file.read(20)))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NotFrozenError(f"{link}: {reason}; `make frozen` makes such a directory") from error


def _architecture(head: bytes) -> str:
    """Return the architecture that a program is for, by its ELF header. Raises ValueError."""
    if len(head) < 20 or head[:5] != b"\x7fELF\x02":
        raise ValueError("the program is not a 64-bit ELF file")
    # Byte 5 is the order of the bytes, 1 for the little end first.
    (machine,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    if machine not in _MACHINES:
        names = " and ".join(_MACHINES.values())
        raise ValueError(f"the program is for ELF machine {machine}; only {names} are published")
    return _MACHINES[machine]


def packed(frozen: Frozen, date: int, *, parents: bool) -> bytes:
    """Return the directory as a tar file: the same files and the same date give the same bytes.

    With `parents` the directories above it are in it too, as an image needs. An archive that is unpacked in /opt/cni
    must not have them: it would change the owner or mode of the node's own.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        if parents:
            tar.addfile(_directory("bin", date))
            tar.addfile(_directory(PROGRAM, date))
        for path in sorted((frozen.home, *frozen.home.rglob("*"), frozen.directory / "bin" / PROGRAM)):
            _add(tar, path, path.relative_to(frozen.directory).as_posix(), date)
    return out.getvalue()


def _add(tar: tarfile.TarFile, path: Path, name: str, date: int) -> None:
    if path.is_symlink():
        entry = _entry(name, date, tarfile.SYMTYPE, 0o777)
        entry.linkname = os.readlink(path)
        tar.addfile(entry)
    elif path.is_dir():
        tar.addfile(_directory(name, date))
    else:
        content = path.read_bytes()
        entry = _entry(name, date, tarfile.REGTYPE, 0o755 if os.access(path, os.X_OK) else 0o644)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def _directory(name: str, date: int) -> tarfile.TarInfo:
    return _entry(name, date, tarfile.DIRTYPE, 0o755)


def _entry(name: str, date: int, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, date
    return entry
