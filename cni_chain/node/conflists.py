"""Which list the runtime uses now, by containerd's and CRI-O's rules; calls neither. Reads only.

containerd (go-cni, `loadFromConfDir`) takes the first file by name, or none if that file is invalid. CRI-O (ocicni,
`loadNetworks`) takes the first valid file, if its plugins' binaries exist, or the network that its own configuration
names.
"""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple

from cni_chain.node import crio, facades, locate, runtimes, usage
from cni_chain.node.errors import RefusedError, UnreadableError, unreadable
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.locate import Place
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree
from cni_chain.plugin import spec

CONTAINERD, CRIO = "containerd", "crio"
_SOCKETS = {CONTAINERD: crio.CONTAINERD_SOCKET, CRIO: crio.SOCKET}


class Live:
    """A list (or a single plugin) as a runtime loads it."""

    def __init__(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Raises RefusedError if no runtime would take it."""
        self.path = path
        self.content = content
        self.mode = mode & 0o644 | 0o600  # never more than the file's own; the plugin refuses fragments with more
        self.is_list = path.endswith(".conflist")  # the ending decides, for runtimes
        try:
            self.document: dict[str, Any] = locate.decode(content)[0]
        except UnreadableError as error:
            raise RefusedError(f"{Place(path, error.at)}: {error}") from None
        self.plugins: list[dict[str, Any]] = self._plugins()
        fault = facades.network_fault(self.document)
        if fault:
            raise RefusedError(f"{path}: {fault}")
        self.network = str(self.document["name"])
        self.version = self._version()

    @property
    def name(self) -> str:
        """The file's name."""
        return os.path.basename(self.path)

    @property
    def types(self) -> list[str]:
        """The plugins' types, in order."""
        return [plugin["type"] for plugin in self.plugins]

    def flag(self, key: str) -> bool:
        """Return a boolean of the list as libcni reads it."""
        value = self.document.get(key) if self.is_list else None
        return value is True or (isinstance(value, str) and value.lower() == "true")

    def _plugins(self) -> list[dict[str, Any]]:
        plugins = self.document.get("plugins") if self.is_list else [self.document]
        if not isinstance(plugins, list) or not plugins:
            raise RefusedError(f"{self.path}: key plugins: must be a list with a plugin, or no runtime takes it")
        for index, plugin in enumerate(plugins):
            kind = plugin.get("type") if isinstance(plugin, dict) else None
            if not isinstance(kind, str) or not kind:
                where = f"plugins[{index}].type" if self.is_list else "type"
                raise RefusedError(f"{self.path}: key {where}: must be the name of a plugin, or no runtime takes it")
            declared = plugin.get("capabilities") or {}
            if not isinstance(declared, dict) or not all(isinstance(wanted, bool) for wanted in declared.values()):
                where = f"plugins[{index}].capabilities" if self.is_list else "capabilities"
                raise RefusedError(f"{self.path}: key {where}: must be an object of true and false")
        return plugins

    def _version(self) -> str:
        version = self.document.get("cniVersion", "")
        if not isinstance(version, str) or (version and version not in spec.VERSIONS):
            raise RefusedError(f"{self.path}: key cniVersion: cni-chain doesn't support {version!r}")
        return version or spec.VERSIONS[0]  # plugins treat a missing one like this


class Choice(NamedTuple):
    """The list to migrate, and why a runtime takes it."""

    live: Live
    runtime: str
    reason: str


def load(tree: Tree, path: str, original: str | None = None) -> Live:
    """Return the file `path` (a copy of `original`, if given) as a runtime loads it. Raises RefusedError."""
    try:
        content = tree.read(path)
        mode = stat.S_IMODE(os.stat(tree.real(path)).st_mode)
    except OSError as error:
        raise unreadable(path, error) from None
    return Live(original or path, content, mode)


def of_first_owner(tree: Tree, directory: NetDir, file: FacadeFile) -> str:
    """Return the file of a facade's first owner that could take the facade's place in `directory`, "" if none could.

    A node that had a facade from the start has no previous list, and others have removed it.
    """
    part = next(iter(Survey(tree, file, []).parts), None)
    path = part.delegates[0].path if part and part.delegates else ""
    if not path or os.path.basename(path) in directory.names:
        return ""
    try:
        return path if load(tree, path).network == file.network else ""
    except RefusedError:
        return ""


def choose(tree: Tree, directory: NetDir, runtime: str | None, bin_dirs: list[str]) -> Choice:
    """Return the list that the runtime takes, or would take without cni-chain's facades. Raises RefusedError."""
    paths = usage.others(directory)
    if not paths:
        raise RefusedError(f"{directory.path}: no .conf, .conflist or .json of a runtime here: nothing to migrate")
    running = [name for name in (CONTAINERD, CRIO) if os.path.exists(tree.real(_SOCKETS[name]))]
    runtime = runtime or (running[0] if len(running) == 1 else None)
    if runtime:
        return _containerd(tree, paths) if runtime == CONTAINERD else _crio(tree, directory, paths, bin_dirs)
    return _both(tree, directory, paths, bin_dirs)


def _both(tree: Tree, directory: NetDir, paths: list[str], bin_dirs: list[str]) -> Choice:
    """Return the list that both runtimes take, or containerd's if CRI-O takes none: then CRI-O isn't in use here."""
    error = ""
    installed = list(runtimes.settings(tree))
    try:
        containerd: Choice | None = _containerd(tree, paths)
    except RefusedError as caught:
        containerd, error = None, str(caught)
    try:
        by_crio = _crio(tree, directory, paths, bin_dirs)
    except RefusedError:
        if containerd is None:
            raise RefusedError(error) from None
        return containerd if installed else containerd._replace(reason=_first(installed, directory))
    if containerd is not None and containerd.live.path == by_crio.live.path:
        return Choice(containerd.live, "", _first(installed, directory))
    first = containerd.live.path if containerd else f"nothing, {error}"
    raise RefusedError(
        f"{directory.path}: containerd takes {first}, CRI-O {by_crio.live.path}: pass --runtime with yours"
    )


def _first(installed: list[str], directory: NetDir) -> str:
    """Return why a list that sorts first is taken, by whichever of these runtimes runs."""
    if not installed:
        return f"sorts first in {directory.path}; neither containerd nor CRI-O is installed here"
    takes = "both take" if installed[1:] else "takes"
    return f"{' and '.join(installed)} {takes} it: it sorts first in {directory.path}"


def _containerd(tree: Tree, paths: list[str]) -> Choice:
    live = load(tree, paths[0])
    return Choice(live, CONTAINERD, f"containerd takes it: it sorts first in {os.path.dirname(live.path)}")


def _crio(tree: Tree, directory: NetDir, paths: list[str], bin_dirs: list[str]) -> Choice:
    pin = crio.setting(tree)
    pinned = pin.network if pin else ""
    why: list[str] = []
    for path in paths:
        try:
            live = load(tree, path)
        except RefusedError as error:
            why.append(str(error))
            continue
        missing = [kind for kind in live.types if not _installed(tree, kind, bin_dirs)]
        if missing:
            why.append(f"{path}: no {missing[0]} in {':'.join(bin_dirs)}")
        elif not pinned or live.network == pinned:
            reason = f"it is the network {pinned} of cni_default_network" if pinned else "it is the first valid one"
            return Choice(live, CRIO, f"CRI-O takes it: {reason}")
    network = f" network {pinned}, which CRI-O's cni_default_network names," if pinned else " list that CRI-O takes"
    raise RefusedError(f"{directory.path}: no{network}" + "".join(f"; {reason}" for reason in why))


def _installed(tree: Tree, kind: str, bin_dirs: list[str]) -> bool:
    return any(os.access(tree.real(f"{directory}/{kind}"), os.X_OK) for directory in bin_dirs)


def drop_ins(tree: Tree, live: Live) -> str:
    """Return a file that runtimes with libcni 1.3 append to the list, "" if there is none."""
    if live.flag("loadOnlyInlinedPlugins"):
        return ""
    path = f"{os.path.dirname(live.path)}/{live.network}"
    return next((f"{path}/{name}" for name in tree.names(path) if name.endswith(".conf")), "")
