"""The owners as the facade on disk has them, for DEL and GC. Reads only.

CRI-O calls DEL with the facade that the ADD was called with (ocicni, from libcni's cache): an owner that was removed
since, or whose failing DELs are to be ignored since, would keep a pod Terminating for ever.
"""

from __future__ import annotations

from cni_chain import facade, jsontext
from cni_chain import system as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.facade import Owner

# Where a runtime reads its networks by default, which no call tells: beside the chain's directory as laid out by
# default, and there whatever the chain's directory is.
_BESIDE = "net.d"
_DEFAULT = "/etc/cni/net.d"
_ENDINGS = (".conflist", ".conf", ".json")
_S_IFMT, _S_IFREG, _WRITABLE_BY_OTHERS = 0o170000, 0o100000, 0o022


def owners_on_disk(network: str, chain_dir: str, *, allow_unsafe: bool = False) -> list[Owner] | None:
    """Return the owners of the first facade on disk for that network and chain directory, None if there is none.

    A facade whose owners can't be understood counts as none; it never fails a call.
    """
    for directory in dict.fromkeys((f"{os.path.dirname(chain_dir.rstrip('/'))}/{_BESIDE}", _DEFAULT)):
        try:
            names = sorted(os.listdir(directory), key=os.fsencode)
        except OSError:
            continue
        for name in names:
            text = _content(f"{directory}/{name}", allow_unsafe) if name.endswith(_ENDINGS) else b""
            if b"cni-chain" in text:
                owners = _owners_in(text, network, chain_dir)
                if owners:
                    return owners
    return None


def _owners_in(text: bytes, network: str, chain_dir: str) -> list[Owner] | None:
    try:
        document = jsontext.decode(text)
    except ValueError:
        return None
    plugins = document.get("plugins") if isinstance(document, dict) and document.get("name") == network else None
    for plugin in plugins if isinstance(plugins, list) else ():
        if isinstance(plugin, dict) and plugin.get("type") == "cni-chain":
            found, _, _ = facade.parse(plugin)
            if found.chain_dir == chain_dir:
                return found.owners
    return None


def _content(path: str, allow_unsafe: bool) -> bytes:
    """Return a file's bytes, none if it can't be read or isn't root's alone."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        status = os.fstat(file)
        unsafe = status.st_uid != 0 or status.st_mode & _WRITABLE_BY_OTHERS
        if status.st_mode & _S_IFMT != _S_IFREG or (unsafe and not allow_unsafe):
            return b""
        pieces = []
        while piece := os.read(file, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        os.quiet_close(file)
