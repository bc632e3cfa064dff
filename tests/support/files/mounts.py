"""File systems of a test's own, in a mount namespace that only this process and its children see."""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNS = 0x20000


@contextlib.contextmanager
def private() -> Iterator[None]:
    """Give this thread, and what it starts, a mount namespace; the one before is back at the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.getcwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY)
    try:
        _checked(libc.unshare(_CLONE_NEWNS))
        subprocess.run(["/usr/bin/mount", "--make-rprivate", "/"], check=True)
        yield
    finally:
        _checked(libc.setns(before, _CLONE_NEWNS))
        os.close(before)
        os.chdir(here)


def _checked(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(directory: Path, what: str) -> None:
    """Mount a file system there on which something is short; what the directory has is there too, if it fits.

    Call it in a `private` namespace.
    """
    options = {
        "full": "size=1m",
        "out of inodes": "size=10m,nr_inodes=64",
        "read-only": "size=10m",
        "nearly full": "size=100m",
        "few inodes": "size=10m,nr_inodes=1000",
        "enough": "size=10m",
    }[what]
    directory.mkdir(exist_ok=True)
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", directory], check=True)
    filler = directory / ".filler"
    if what == "full":
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    elif what == "nearly full":
        filler.write_bytes(bytes(97 << 20))
    elif what in ("out of inodes", "few inodes"):
        filler.mkdir()
        left = 0 if what == "out of inodes" else 20
        while os.statvfs(directory).f_ffree > left:
            (filler / str(os.statvfs(directory).f_ffree)).touch()
    elif what == "read-only":
        subprocess.run(["/usr/bin/mount", "-o", "remount,ro", directory], check=True)
