"""The verdict on service addresses, kept in /run with what it was made from, so that an ADD asks the kernel only that.

A file that can't be read, is not root's alone, or is not as it was written counts as absent: the verdict is then made
anew. It is replaced as a whole, so a call that is killed leaves the old one.
"""

from __future__ import annotations

import time

from cni_chain import __version__
from cni_chain.plugin import attached, jsontext, system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OK, BROKEN, UNKNOWN = "OK", "BROKEN", "UNKNOWN"
DIRECTORY = "/run/cni-chain"
FILE = f"{DIRECTORY}/service-address.json"

# For how many seconds a verdict counts while the programs are the same: their maps, and the services, may change.
_LASTS = {OK: 600.0, BROKEN: 30.0, UNKNOWN: 5.0}

_BOOT = "/proc/sys/kernel/random/boot_id"
_LARGEST = 1 << 16
_S_IFMT, _S_IFREG, _S_IFDIR, _WRITABLE_BY_OTHERS = 0o170000, 0o100000, 0o040000, 0o022


class Verdict:
    """What `cni-chain mesh check` said: OK, BROKEN or UNKNOWN, the sentence that gives its reason, and what to do."""

    __slots__ = ("do", "verdict", "why")

    def __init__(self, verdict: str, why: str, do: list[str] | None = None) -> None:
        self.verdict = verdict
        self.why = why
        self.do = do or []

    def __str__(self) -> str:
        return "; ".join((f"{self.verdict}: {self.why}", *self.do))


def kept() -> Verdict | None:
    """Return the verdict that was kept, None if there is none, or if what it was made from has changed."""
    document = _document()
    if document is None:
        return None
    age = _now() - document["made"]
    if not 0 <= age < _LASTS[document["verdict"]] or document["boot"] != (_boot() or None):
        return None
    if document["programs"] != programs(document["cgroup"]):
        return None
    return Verdict(document["verdict"], document["why"], document["do"])


def programs(cgroup: str) -> dict[str, list[int]] | None:
    """Return the programs that see where a cgroup's processes connect; none without a cgroup, None if unknown."""
    try:
        return attached.effective(cgroup) if cgroup else {}
    except OSError:
        return None


def keep(held: int, verdict: Verdict, cgroup: str, seen: dict[str, list[int]]) -> None:
    """Keep a verdict that was made from the programs `seen` on a cgroup, in the open directory. Raises OSError."""
    document = {
        "version": __version__,
        "boot": _boot(),
        "made": _now(),
        "cgroup": cgroup,
        "programs": seen,
        "verdict": verdict.verdict,
        "why": verdict.why,
        "do": verdict.do,
    }
    name = system.fsencode(FILE[len(DIRECTORY) + 1 :])
    new = name + b".new"
    flags = system.O_WRONLY | system.O_CREAT | system.O_TRUNC | system.O_NOFOLLOW
    file = system.open(new, flags, 0o600, dir_fd=held)
    try:
        system.write(file, jsontext.encode(document))
    finally:
        system.quiet_close(file)
    system.rename(new, name, src_dir_fd=held, dst_dir_fd=held)


def directory() -> int:
    """Return a descriptor of the directory, which is made if it is absent. Raises OSError, also if it isn't root's."""
    try:
        system.mkdir(DIRECTORY, 0o700)
    except FileExistsError:
        pass
    opened = system.open(DIRECTORY, system.O_RDONLY | system.O_DIRECTORY | system.O_NOFOLLOW)
    if not _is_roots(system.fstat(opened), _S_IFDIR):
        system.quiet_close(opened)
        raise PermissionError(1, "is not root's, or is writable by others (chown root, chmod 0700)", DIRECTORY)
    return opened


def _document() -> dict[str, Any] | None:
    """Return what the file holds, None unless it has every key of `keep` with a value of its kind."""
    try:
        above = system.lstat(DIRECTORY)
        file = system.open(FILE, system.O_RDONLY | system.O_NOFOLLOW | system.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not _is_roots(above, _S_IFDIR) or not _is_roots(system.fstat(file), _S_IFREG):
            return None
        document = jsontext.decode(system.read(file, _LARGEST))
    except (OSError, ValueError):
        return None
    finally:
        system.quiet_close(file)
    return document if isinstance(document, dict) and _is_whole(document) else None


def _is_whole(document: dict[str, Any]) -> bool:
    made, do = document.get("made"), document.get("do")
    return (
        document.get("version") == __version__
        and isinstance(made, float)
        and isinstance(document.get("programs"), dict)
        and isinstance(do, list)
        and all(isinstance(document.get(key), str) for key in ("boot", "cgroup", "verdict", "why"))
        and all(isinstance(one, str) for one in do)
        and document["verdict"] in _LASTS
        and "\0" not in document["cgroup"]
    )


def _is_roots(status: system.stat_result, kind: int) -> bool:
    mode = status.st_mode
    return mode & _S_IFMT == kind and status.st_uid == 0 and not mode & _WRITABLE_BY_OTHERS


def _boot() -> str:
    """Return what this boot is called: the IDs of programs begin anew with each."""
    try:
        file = system.open(_BOOT, system.O_RDONLY)
    except OSError:
        return ""
    try:
        return system.read(file, 64).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        system.quiet_close(file)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
