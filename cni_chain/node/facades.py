"""Finds the facades: the runtime's configuration files that have a plugin of type cni-chain. Reads only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from cni_chain.node import locate
from cni_chain.node.errors import UnreadableError, as_root, unreadable
from cni_chain.node.locate import Place, Position
from cni_chain.node.tree import Tree
from cni_chain.plugin import facade, spec
from cni_chain.plugin.errors import CNIError
from cni_chain.plugin.facade import Problem

NET_DIR = "/etc/cni/net.d"
TYPE = "cni-chain"
VERSION = "1.0.0"  # for plugins if no facade names a version: all of today's support it
# At the end of the name of a facade that waits, and of one that `migrate undo` has renamed: no runtime takes these.
PENDING, UNDONE = ".ready", ".undone"
COPY = ".before-cni-chain"  # at the end of the name of migrate's copy of a list: no runtime and no agent reads it

# The names that runtimes treat as configurations (libcni `ConfFiles`, as containerd and CRI-O call it). Dot files too.
_ENDINGS = (".conf", ".conflist", ".json")


class FacadeFile:
    """A facade's file: the list, cni-chain's own object in it, and the facade that it describes."""

    def __init__(self, path: str, document: dict[str, Any], locator: locate.Locator) -> None:
        """`document` must have a plugin of type cni-chain (see `is_facade`)."""
        self.path = path
        self.document = document
        self.locator = locator
        self.is_list = "plugins" in document
        self.plugins: list[Any] = document["plugins"] if self.is_list else [document]
        self.index = next(index for index, plugin in enumerate(self.plugins) if _is_cni_chain(plugin))
        self.conf: dict[str, Any] = self.plugins[self.index]
        # The key of cni-chain's own object, for the keys in it.
        self.where = f"plugins[{self.index}]." if self.is_list else ""
        self.facade, self.problems, unknown = facade.parse(self.conf)
        # The plugin accepts unknown keys, since Multus and runtimes add some; commands report misspelt ones.
        meant = {key: _meant(key) for key in unknown}
        self.unknown = [key for key in unknown if not meant[key]]
        self._spelt: dict[str, str] = {}
        self.misspelt: list[Problem] = []
        for key, known in meant.items():
            if known == "owners" and known not in self.conf:  # `problems` has it already
                self._spelt.setdefault(known, key)
            elif known:
                self.misspelt.append(Problem(key, f"unknown key; did you mean {known}?"))

    @property
    def faults(self) -> list[str]:
        """What is wrong with cni-chain's own keys: those that fail a call, and misspelt ones without effect."""
        return [str(problem) for problem in (*self.problems, *self.misspelt)]

    @property
    def neighbours(self) -> list[tuple[int, str]]:
        """The index and type of each plugin beside cni-chain."""
        types = [(index, one.get("type") if isinstance(one, dict) else None) for index, one in enumerate(self.plugins)]
        return [(index, str(type_)) for index, type_ in types if index != self.index]

    @property
    def network(self) -> str:
        """The network's name, "" if the list has none."""
        name = self.document.get("name")
        return name if isinstance(name, str) else ""

    @property
    def version(self) -> str:
        """The `cniVersion` that a runtime which doesn't know `cniVersions` sends, "" if the list has none."""
        version = self.document.get("cniVersion")
        return version if isinstance(version, str) else ""

    @property
    def versions(self) -> list[str]:
        """The `cniVersions` of the list."""
        versions = self.document.get("cniVersions")
        return [version for version in versions if isinstance(version, str)] if isinstance(versions, list) else []

    @property
    def sent(self) -> str:
        """The version that newer runtimes pick and send; older ones, which don't know cniVersions, send cniVersion."""
        known = [version for version in (self.version, *self.versions) if version in spec.VERSIONS]
        return max(known, key=spec.VERSIONS.index, default=VERSION)

    @property
    def capabilities(self) -> list[str]:
        """The capabilities that a runtime may send: those that are true."""
        declared = self.conf.get("capabilities")
        return [name for name, wanted in declared.items() if wanted is True] if isinstance(declared, dict) else []

    def place(self, problem: Problem) -> Position:
        """Return the place of a fault of cni-chain's own keys; for a missing key, the misspelt one if one exists."""
        return self.find(self.where + self._spelt.get(problem.key, problem.key))

    def find(self, key: str) -> Position:
        """Return the place of a key of the whole file."""
        return self.locator.find(key)


class NetDir:
    """A directory of the runtime's configuration files, with the facades in it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: list[str] = []  # in the order in which runtimes see them
        self.facades: list[FacadeFile] = []
        self.unreadable: dict[str, UnreadableError] = {}
        self.absent = False  # the directory doesn't exist
        self.broken: set[str] = set()  # the unreadable files that were meant as a facade
        self.misspelt: dict[str, tuple[str, Position]] = {}  # a plugin's type that is nearly cni-chain, and its place

    @property
    def first(self) -> str | None:
        """The path of the file that containerd takes, None if the directory has none."""
        return f"{self.path}/{self.names[0]}" if self.names else None

    def having(self, file: FacadeFile) -> NetDir:
        """Return the directory as it would be with a facade in it, which replaces a file of the same name."""
        other = NetDir(self.path)
        name = os.path.basename(file.path)
        other.names = sorted({*self.names, name}, key=os.fsencode)
        other.facades = [*(one for one in self.facades if one.path != file.path), file]
        other.unreadable = {key: error for key, error in self.unreadable.items() if key != name}
        other.broken = self.broken - {name}
        other.misspelt = {key: found for key, found in self.misspelt.items() if key != name}
        return other

    def nothing(self) -> str:
        """Return the message if no facade exists; it names the files of which one may be meant as the facade."""
        if self.absent:
            return f"{self.path}: no facade here: the directory doesn't exist"
        nearly = {name: (error.at, str(error)) for name, error in self.unreadable.items()}
        for name, (type_, at) in self.misspelt.items():
            nearly[name] = at, f"the plugin's type is {type_}; did you mean {TYPE}?"
        text = f"{self.path}: no facade here: no file has a plugin of type {TYPE}"
        return text + "".join(f"; {Place(f'{self.path}/{name}', at)}: {why}" for name, (at, why) in nearly.items())

    def holds(self, path: str) -> bool:
        """Return whether a runtime sees the file `path` in this directory."""
        return os.path.dirname(path) == self.path and os.path.basename(path) in self.names


def look(tree: Tree, path: str) -> NetDir:
    """Return the content of the directory `path`; one that doesn't exist is empty. Raises RefusedError."""
    directory = NetDir(path)
    try:
        entries = sorted(os.listdir(tree.real(path)), key=os.fsencode)
    except FileNotFoundError:
        directory.absent = True
        return directory
    except OSError as error:
        raise unreadable(path, error) from None
    for name in entries:
        file = f"{path}/{name}"
        if not name.endswith(_ENDINGS) or not os.path.isfile(tree.real(file)):
            continue
        directory.names.append(name)
        content = b""
        try:
            content = _content(tree, file)
            document, locator = locate.decode(content)
        except UnreadableError as error:
            directory.unreadable[name] = error
            if TYPE in name or f'"{TYPE}"'.encode() in content:
                directory.broken.add(name)
        else:
            if is_facade(document):
                directory.facades.append(FacadeFile(file, document, locator))
            elif nearly := nearly_facade(document):
                directory.misspelt[name] = nearly[1], locator.find(nearly[0])
    return directory


def read(tree: Tree, path: str) -> FacadeFile | None:
    """Return the facade in the file `path`, None if it has no plugin of type cni-chain. Raises UnreadableError."""
    document, locator = locate.decode(_content(tree, path))
    return FacadeFile(path, document, locator) if is_facade(document) else None


def _content(tree: Tree, path: str) -> bytes:
    try:
        return tree.read(path)
    except OSError as error:
        hint = as_root(error)
        raise UnreadableError(f"can't be read: {error.strerror}{hint and f'; {hint}'}", of_content=False) from None


def nearly_facade(document: dict[str, Any]) -> tuple[str, str] | None:
    """Return the key and the type of a plugin that was meant as cni-chain, None if there is none."""
    plugins = document.get("plugins")
    for index, plugin in enumerate(plugins if isinstance(plugins, list) else [document]):
        type_ = plugin.get("type") if isinstance(plugin, dict) else None
        if isinstance(type_, str) and facade.near(type_, (TYPE,)):
            return f"plugins[{index}].type" if isinstance(plugins, list) else "type", type_
    return None


def out_of_use(tree: Tree, path: str, *endings: str) -> Iterator[FacadeFile]:
    """Yield the facades of the directory `path` whose names end so that no runtime takes them."""
    for name in tree.names(path):
        file = f"{path}/{name}"
        if name.endswith(endings) and os.path.isfile(tree.real(file)):
            with contextlib.suppress(UnreadableError):
                found = read(tree, file)
                if found is not None:
                    yield found


def network_fault(document: dict[str, Any]) -> str:
    """Return what is wrong with the name of a configuration's network, "" if nothing is."""
    try:
        spec.network_name(document)
    except CNIError as error:
        return error.msg.removeprefix("network configuration: ")
    return ""


def is_facade(document: dict[str, Any]) -> bool:
    """Return whether a configuration has a plugin of type cni-chain."""
    plugins = document.get("plugins", [document])
    return isinstance(plugins, list) and any(map(_is_cni_chain, plugins))


def _meant(key: str) -> str:
    """Return the key of cni-chain's own object that is similar to an unknown one, "" if none is."""
    within, dot, verb = key.partition(".")
    if dot and within == "timeouts":
        found = facade.near(verb, facade.TIMEOUTS)
        return found and f"{within}.{found}"
    return facade.near(key)


def _is_cni_chain(plugin: object) -> bool:
    return isinstance(plugin, dict) and plugin.get("type") == TYPE
