"""The environment as the caller gave it: what an interpreter or a frozen program added for itself is taken out.

A delegate gets exactly the caller's variables. Left in, ours would make every delegate that is linked dynamically, and
what it runs (iptables, ip), load this program's libraries.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def before_boot_loader(environ: Mapping[str, str], home: str) -> dict[str, str]:
    """Return `environ` without what PyInstaller's boot loader adds; `home` is where it unpacked (sys._MEIPASS).

    It puts `home` in front of LD_LIBRARY_PATH, copies what was there to LD_LIBRARY_PATH_ORIG, and keeps notes in _PYI_*
    (bootloader/src/pyi_main.c, pyi_utils_posix.c). An LD_LIBRARY_PATH that was set but empty, which means the
    same to the loader as none, can't be told from none afterwards.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith("_PYI_")}
    first, colon, rest = kept.get("LD_LIBRARY_PATH", "").partition(":")
    if first != home:
        return kept
    if not colon:
        del kept["LD_LIBRARY_PATH"]
        return kept
    kept["LD_LIBRARY_PATH"] = rest
    if kept.get("LD_LIBRARY_PATH_ORIG") == rest:
        del kept["LD_LIBRARY_PATH_ORIG"]
    return kept


def before_interpreter(environ: Mapping[str, str], given: bytes) -> dict[str, str]:
    """Return `environ` without the LC_CTYPE that Python sets for itself where the caller's is C or none (PEP 538).

    `given` is the environment that the process was started with, as /proc/self/environ has it.
    """
    kept = {name: value for name, value in environ.items() if name != "LC_CTYPE"}
    for entry in given.split(b"\0"):
        if entry.startswith(b"LC_CTYPE="):
            kept["LC_CTYPE"] = entry.partition(b"=")[2].decode("utf-8", "surrogateescape")
    return kept
