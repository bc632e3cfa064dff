"""The environment as the caller gave it: what an interpreter or a frozen program changed for itself is undone.

A delegate gets exactly the caller's variables. Ours left in would make every delegate that is linked dynamically, and
what it runs (iptables, ip), load this program's libraries.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def parse(block: bytes) -> dict[str, str]:
    """Return the variables in what /proc/self/environ holds: as the process was started, whatever Python did since.

    (It sets LC_CTYPE where it finds no locale, PEP 538; PyInstaller's bootstrap takes VIRTUAL_ENV out.)
    """
    variables: dict[str, str] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and name:
            # Of a name that is there twice the first counts, as it does for getenv(3).
            variables.setdefault(name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
    return variables


def before_boot_loader(environ: Mapping[str, str], home: str) -> dict[str, str]:
    """Return `environ` without what PyInstaller's boot loader adds; `home` is where its libraries are (sys._MEIPASS).

    It starts the program a second time with `home` in front of LD_LIBRARY_PATH, what was there before in
    LD_LIBRARY_PATH_ORIG, and notes in _PYI_* (bootloader/src/pyi_main.c, pyi_utils_posix.c). An LD_LIBRARY_PATH that
    was set but empty, which means the same to the loader as none, can't be told from none afterwards.
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
