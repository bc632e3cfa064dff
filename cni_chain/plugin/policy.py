"""The owners as the facade on disk has them, for DEL and GC. Reads only.

CRI-O calls DEL with the facade of the ADD (ocicni, from libcni's cache): an owner that was removed later, or whose
`onDelError` was set to ignore later, would keep a pod Terminating for ever.
"""

from __future__ import annotations

from cni_chain.plugin import facade, jsontext, system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni_chain.plugin.facade import Owner

# Where a runtime reads its networks, which a call doesn't say: beside the chain's directory in the default layout, and
# the default directory in any layout.
_BESIDE = "net.d"
_DEFAULT = "/etc/cni/net.d"
_ENDINGS = (".conflist", ".conf", ".json")
_S_IFMT, _S_IFREG, _WRITABLE_BY_OTHERS = 0o170000, 0o100000, 0o022


def owners_on_disk(
    network: str, chain_dir: str, sent: object, note: Callable[[str], None], *, allow_unsafe: bool = False
) -> list[Owner] | None:
    """Return the owners of the first facade on disk for that network and chain directory.

    None if there is no such facade, or if its owners are those that the runtime has `sent`, as written. Never fails a
    call: a facade with a fault in its owners counts as absent. `note` gets every fault, and every file that users other
    than root could have written.
    """
    for directory in dict.fromkeys((f"{system.dirname(chain_dir.rstrip('/'))}/{_BESIDE}", _DEFAULT)):
        if not system.access(directory, system.R_OK):
            continue
        try:
            names = sorted(system.listdir(directory), key=system.fsencode)
        except OSError:
            continue
        for name in names:
            path = f"{directory}/{name}"
            text, unsafe = _content(path) if name.endswith(_ENDINGS) else (b"", False)
            found = _facade_in(text, network, chain_dir) if b"cni-chain" in text else None
            if found is None:
                continue
            if unsafe and not allow_unsafe:
                note(
                    f"{path}: its owners are ignored: not owned by root, or writable by others (chown root, chmod 0644)"
                )
            elif found.get("owners") == sent:
                return None
            else:
                parsed, problems, _ = facade.parse(found)
                for problem in problems:
                    note(f"{path}: {problem}")
                if not any(problem.key.startswith("owners") for problem in problems):
                    return parsed.owners
    return None


def _facade_in(text: bytes, network: str, chain_dir: str) -> dict[str, Any] | None:
    try:
        document = jsontext.decode(text)
    except ValueError:
        return None
    plugins = document.get("plugins") if isinstance(document, dict) and document.get("name") == network else None
    for plugin in plugins if isinstance(plugins, list) else ():
        ours = isinstance(plugin, dict) and plugin.get("type") == "cni-chain"
        if ours and plugin.get("chainDir", facade.CHAIN_DIR) == chain_dir:
            return dict(plugin)
    return None


def _content(path: str) -> tuple[bytes, bool]:
    """Return a file's bytes, none if it can't be read, and whether users other than root could have written them."""
    try:
        file = system.open(path, system.O_RDONLY | system.O_NONBLOCK)
    except OSError:
        return b"", False
    try:
        status = system.fstat(file)
        if status.st_mode & _S_IFMT != _S_IFREG:
            return b"", False
        pieces = []
        while piece := system.read(file, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces), status.st_uid != 0 or bool(status.st_mode & _WRITABLE_BY_OTHERS)
    except OSError:
        return b"", False
    finally:
        system.quiet_close(file)
