"""Owners' directories of fragments: which files count, what they hold, and why other files don't. Reads only.

This module decides nothing about a call: it returns fragments and faults, and each verb decides what it tolerates.
"""

from __future__ import annotations

import errno
import time

from cni_chain.plugin import jsontext, system
from cni_chain.plugin.facade import is_owner_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Seconds that an agent which writes without rename has to finish a file, and between two looks at it.
HALF_WRITTEN = 0.2
_INTERVAL = 0.01
_LOOKS = 3  # without a wait, too: a file that is being replaced exists again at once

# Kinds of fault, and what they mean for a call.
REFUSED = "refused"  # unsafe or malformed for good: never run anything of it
BROKEN = "broken"  # not a JSON object (yet): its writer may be about to finish
UNREADABLE = "unreadable"  # the system refused to read it

LARGEST = 4 << 20  # bytes of a configuration; agents write a few KiB, and each call and the agent hold it in memory

NO_ENDING = "doesn't end in .conf, .conflist or .json"  # why a file whose name is nearly a fragment's is ignored

_S_IFMT, _S_IFREG, _S_IFDIR = 0o170000, 0o100000, 0o040000
_WRITABLE_BY_OTHERS = 0o022


class Fault:
    """Why a file or a directory can't be used: its path, the kind (above), and a sentence.

    `key` is the key of the file that the sentence is about, "" if it is about the whole file.
    """

    __slots__ = ("key", "kind", "path", "text")

    def __init__(self, path: str, kind: str, text: str, key: str = "") -> None:
        self.path = path
        self.kind = kind
        self.text = f"key {key}: {text}" if key else text
        self.key = key

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class Fragment:
    """One file of one owner: its plugin objects in order, and what its list says of all of them."""

    __slots__ = ("disable_check", "disable_gc", "path", "plugins", "versions")

    def __init__(self, path: str, plugins: list[dict[str, Any]]) -> None:
        self.path = path
        self.plugins = plugins
        self.disable_check = False
        self.disable_gc = False
        self.versions: tuple[str, ...] = ()  # the file's own cniVersion and cniVersions


class Directory:
    """What one owner's directory holds, files bytewise by name."""

    __slots__ = ("dangling", "faults", "fragments", "ignored", "missing", "owner", "path")

    def __init__(self, owner: str, path: str) -> None:
        self.owner = owner
        self.path = path
        self.missing = False
        self.fragments: list[Fragment] = []
        self.faults: list[Fault] = []
        self.ignored: list[tuple[str, str]] = []  # file name, reason
        self.dangling = False  # a link led nowhere

    @property
    def unsettled(self) -> bool:
        """Return whether another look may find what this one didn't."""
        return self.dangling or any(fault.kind == BROKEN for fault in self.faults)


def owner_names(chain_dir: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the owners that have a directory in `chain_dir`, bytewise, and the other entries with a reason.

    A `chain_dir` that doesn't exist has none. Raises OSError if it can't be read.
    """
    try:
        entries = sorted(system.listdir(chain_dir), key=system.fsencode)
    except FileNotFoundError:
        return [], []
    names: list[str] = []
    ignored: list[tuple[str, str]] = []
    for entry in entries:
        if not entry.endswith(".d") or not is_owner_name(entry.removesuffix(".d")):
            ignored.append((entry, "not named <owner>.d"))
        elif not system.isdir(f"{chain_dir}/{entry}"):
            ignored.append((entry, "not a directory"))
        else:
            names.append(entry.removesuffix(".d"))
    return sorted(names), ignored


def read(owner: str, chain_dir: str, *, allow_unsafe: bool = False, wait: float = HALF_WRITTEN) -> Directory:
    """Return what `owner` has in `<chain_dir>/<owner>.d`.

    Looks again at what an agent may still be writing (not JSON yet, a file or a link's target gone since the directory
    was listed) for up to `wait` seconds, at least twice. Never raises for what the directory holds: that is in the
    faults.
    """
    until = time.monotonic() + wait
    looks = 1
    directory = _look(owner, f"{chain_dir}/{owner}.d", allow_unsafe)
    while directory.unsettled and (looks < _LOOKS or time.monotonic() < until):
        time.sleep(_INTERVAL)
        looks += 1
        directory = _look(owner, directory.path, allow_unsafe)
    return directory


def _look(owner: str, path: str, allow_unsafe: bool) -> Directory:
    directory = Directory(owner, path)
    try:
        opened = system.open(path, system.O_RDONLY | system.O_DIRECTORY)
    except FileNotFoundError:
        directory.missing = True
        return directory
    except OSError as error:
        directory.faults.append(_unreadable(path, error))
        return directory
    try:
        unsafe = "" if allow_unsafe else _unsafe(system.fstat(opened))
        if unsafe:
            directory.faults.append(Fault(path, REFUSED, unsafe))
            return directory
        for name in sorted(system.listdir(opened), key=system.fsencode):
            reason = ignored_because(name)
            if reason:
                directory.ignored.append((name, reason))
            else:
                _look_at(directory, opened, name, allow_unsafe)
    except OSError as error:
        directory.faults.append(_unreadable(path, error))
    finally:
        system.quiet_close(opened)
    return directory


def ignored_because(name: str) -> str:
    """Return why a file of this name is never a fragment, "" if it may be one.

    The names are those of the agents' temporary files, backups and credentials; they come before the endings.
    """
    if name.startswith("."):
        return "a dot file"
    if ".tmp" in name:
        return "a temporary file (*.tmp*)"
    if name.endswith(".install"):
        return "a temporary file (*.install)"
    if name.endswith(".cilium_bak"):
        return "set aside by Cilium (*.cilium_bak)"
    if "kubeconfig" in name:
        return "credentials (*kubeconfig*)"
    if not name.endswith((".conf", ".conflist", ".json")):
        return NO_ENDING
    return ""


def _look_at(directory: Directory, opened: int, name: str, allow_unsafe: bool) -> None:
    path = f"{directory.path}/{name}"
    try:
        text, problem = _content(directory, opened, name, allow_unsafe)
    except FileNotFoundError:
        # If it counted as absent, a chain that needs it would silently lack it.
        directory.faults.append(Fault(path, BROKEN, "was removed while cni-chain read it"))
        return
    except OSError as error:
        directory.faults.append(_unreadable(path, error))
        return
    if text is None:
        if problem:
            directory.faults.append(Fault(path, REFUSED, problem))
        else:
            directory.ignored.append((name, "not a regular file"))
        return
    document, problem = _decoded(text)
    if document is None:
        directory.faults.append(Fault(path, BROKEN, problem))
        return
    parsed = parse(path, document)
    if isinstance(parsed, Fragment):
        directory.fragments.append(parsed)
    else:
        directory.faults += parsed


def _decoded(text: bytes) -> tuple[dict[str, Any] | None, str]:
    try:
        document = jsontext.decode(text)
    except ValueError as error:
        return None, f"not JSON: {error}" if text.strip() else "empty"
    return (document, "") if isinstance(document, dict) else (None, "not a JSON object")


def _content(directory: Directory, opened: int, name: str, allow_unsafe: bool) -> tuple[bytes | None, str]:
    """Return a file's bytes, or None with why it is refused ("" if it isn't a file). Raises OSError."""
    # A FIFO must not block the call, and a link is followed only to an allowed target.
    flags = system.O_RDONLY | system.O_NONBLOCK | system.O_NOFOLLOW
    try:
        file = system.open(name, flags, dir_fd=opened)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None, ""  # a socket
        if error.errno != errno.ELOOP:
            raise
        target = system.realpath(f"{directory.path}/{name}")
        if not target.startswith(system.realpath(directory.path) + "/"):
            return None, f"a link out of the owner's directory, to {target}"
        if not system.isfile(target):
            # A link whose directory is being exchanged leads nowhere for a moment.
            directory.dangling = True
            return None, f"a link to {target}, which is not a regular file"
        file = system.open(target, flags)
    try:
        status = system.fstat(file)
        if status.st_mode & _S_IFMT != _S_IFREG:
            return None, ""
        refused = "" if allow_unsafe else _unsafe(status)
        if status.st_size > LARGEST:
            refused = refused or f"has {status.st_size >> 20} MiB, and a configuration has at most {LARGEST >> 20} MiB"
        return (None, refused) if refused else (_all(file), "")
    finally:
        system.quiet_close(file)


def _all(file: int) -> bytes:
    chunks = []
    while chunk := system.read(file, 1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


def _unsafe(status: system.stat_result) -> str:
    """Return why users other than root could change what root runs from here, "" if they can't."""
    if status.st_uid != 0:
        return f"owned by uid {status.st_uid}, must be owned by root (chown root)"
    if status.st_mode & _WRITABLE_BY_OTHERS:
        return f"mode {status.st_mode & 0o7777:04o}: writable by users other than root (chmod go-w)"
    return ""


def _unreadable(path: str, error: OSError) -> Fault:
    if error.errno == errno.ENOTDIR:
        return Fault(path, REFUSED, "not a directory")
    return Fault(path, UNREADABLE, f"can't be read: {error.strerror}")


def parse(path: str, document: dict[str, Any]) -> Fragment | list[Fault]:
    """Return the fragment in `document`, a list if it has `plugins`, else a plugin; or all that is wrong with it."""
    listed = "plugins" in document
    plugins = document["plugins"] if listed else [document]
    if not isinstance(plugins, list):
        return [Fault(path, REFUSED, "must be a list", "plugins")]
    if not listed and "type" not in document:
        return [Fault(path, REFUSED, "neither a plugin (key type) nor a list of them (key plugins)")]
    fragment = Fragment(path, plugins)
    faults: list[tuple[str, str]] = []  # key, text
    fragment.versions = _declared(document, faults)
    for index, plugin in enumerate(plugins):
        _check_plugin(plugin, f"plugins[{index}]." if listed else "", faults)
    if listed:
        fragment.disable_check = _flag(document, "disableCheck", faults)
        fragment.disable_gc = _flag(document, "disableGC", faults)
    return [Fault(path, REFUSED, text, key) for key, text in faults] or fragment


def _check_plugin(plugin: Any, where: str, faults: list[tuple[str, str]]) -> None:
    if not isinstance(plugin, dict):
        faults.append((where.removesuffix("."), "must be an object"))
        return
    name = plugin.get("type")
    if not isinstance(name, str) or not name:
        faults.append((f"{where}type", "must be the name of a plugin"))
    elif "/" in name or "\0" in name or name in (".", ".."):
        faults.append((f"{where}type", f"{name!r} must be a plain file name"))
    elif name == "cni-chain":
        faults.append((f"{where}type", "cni-chain can't run itself"))
    capabilities = plugin.get("capabilities")
    if capabilities is not None and not (
        isinstance(capabilities, dict) and all(isinstance(value, bool) for value in capabilities.values())
    ):
        faults.append((f"{where}capabilities", "must be an object of true and false"))


def _declared(document: dict[str, Any], faults: list[tuple[str, str]]) -> tuple[str, ...]:
    version = document.get("cniVersion", "")
    versions = document.get("cniVersions") or []
    if not isinstance(version, str):
        faults.append(("cniVersion", "must be a string"))
    elif not isinstance(versions, list) or not all(isinstance(entry, str) for entry in versions):
        faults.append(("cniVersions", "must be a list of strings"))
    else:
        return (version, *versions)
    return ()


def _flag(document: dict[str, Any], key: str, faults: list[tuple[str, str]]) -> bool:
    """Return a list's boolean as libcni reads it (`libcni/conf.go`, readBool): also "true" and "false" in any case."""
    value = document.get(key, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower() == "true"
    if not isinstance(value, bool):
        faults.append((key, "must be true or false"))
        return False
    return value
