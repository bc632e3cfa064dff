"""Finds the facades: the runtime's configuration files that have a plugin of type cni-chain. Reads only."""

from __future__ import annotations

import os
from typing import Any

from cni_chain.node import locate
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.locate import Position
from cni_chain.node.tree import Tree
from cni_chain.plugin import facade
from cni_chain.plugin.facade import Problem

NET_DIR = "/etc/cni/net.d"
TYPE = "cni-chain"
PENDING = ".ready"  # behind the name of a facade that waits: no runtime takes such a file

# What runtimes take for a configuration (libcni `ConfFiles`, as containerd and CRI-O call it). Dot files too.
_ENDINGS = (".conf", ".conflist", ".json")


class FacadeFile:
    """A facade as it is written: the list, cni-chain's own object in it, and what that means."""

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
        # The plugin accepts keys that it doesn't know, since Multus and runtimes add some; nobody may misspell one.
        meant = {key: _meant(key) for key in unknown}
        self.unknown = [key for key in unknown if not meant[key]]
        self._spelt: dict[str, str] = {}
        self.misspelt: list[Problem] = []
        for key, known in meant.items():
            if known == "owners" and known not in self.conf:  # then `problems` has told
                self._spelt.setdefault(known, key)
            elif known:
                self.misspelt.append(Problem(key, f"unknown key; did you mean {known}?"))

    @property
    def faults(self) -> list[str]:
        """What is wrong with cni-chain's own keys: those that fail a call, and those that can't do what was meant."""
        return [str(problem) for problem in (*self.problems, *self.misspelt)]

    @property
    def network(self) -> str:
        """The network's name, "" if there is none."""
        name = self.document.get("name")
        return name if isinstance(name, str) else ""

    @property
    def version(self) -> str:
        """The `cniVersion` that a runtime which knows no `cniVersions` sends, "" if there is none."""
        version = self.document.get("cniVersion")
        return version if isinstance(version, str) else ""

    @property
    def versions(self) -> list[str]:
        """The `cniVersions` of the list."""
        versions = self.document.get("cniVersions")
        return [version for version in versions if isinstance(version, str)] if isinstance(versions, list) else []

    @property
    def capabilities(self) -> list[str]:
        """What a runtime may send along: the capabilities that are true."""
        declared = self.conf.get("capabilities")
        return [name for name, wanted in declared.items() if wanted is True] if isinstance(declared, dict) else []

    def place(self, problem: Problem) -> Position:
        """Return the place of a fault of cni-chain's own keys: of one that is missing, where it is misspelt."""
        return self.find(self.where + self._spelt.get(problem.key, problem.key))

    def find(self, key: str) -> Position:
        """Return the place of a key of the whole file."""
        return self.locator.find(key)


class NetDir:
    """A directory of the runtime's configuration files, and what of it concerns cni-chain."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.names: list[str] = []  # in the order in which runtimes see them
        self.facades: list[FacadeFile] = []
        self.unreadable: dict[str, UnreadableError] = {}

    @property
    def first(self) -> str | None:
        """The path of the file that containerd takes, if there is any."""
        return f"{self.path}/{self.names[0]}" if self.names else None

    def having(self, file: FacadeFile) -> NetDir:
        """Return what the directory would be with a facade put into it, in the place of what has its name now."""
        other = NetDir(self.path)
        name = os.path.basename(file.path)
        other.names = sorted({*self.names, name}, key=os.fsencode)
        other.facades = [*(one for one in self.facades if one.path != file.path), file]
        other.unreadable = {key: error for key, error in self.unreadable.items() if key != name}
        return other

    def nothing(self) -> str:
        """Return what is to be said where no facade is: a file that can't be read may have been it."""
        told = f"{self.path}: no facade here: no file has a plugin of type {TYPE}"
        for name, error in self.unreadable.items():
            at = f":{error.at.line}:{error.at.column}" if error.at else ""
            told += f"; {self.path}/{name}{at}: {error}"
        return told

    def holds(self, path: str) -> bool:
        """Tell whether a runtime sees the file `path` in this directory."""
        return os.path.dirname(path) == self.path and os.path.basename(path) in self.names


def look(tree: Tree, path: str) -> NetDir:
    """Return what is in the directory `path`; one that doesn't exist is empty. Raises RefusedError."""
    directory = NetDir(path)
    try:
        entries = sorted(os.listdir(tree.real(path)), key=os.fsencode)
    except FileNotFoundError:
        return directory
    except OSError as error:
        raise RefusedError(f"{path}: can't be read: {error.strerror}") from None
    for name in entries:
        file = f"{path}/{name}"
        if not name.endswith(_ENDINGS) or not os.path.isfile(tree.real(file)):
            continue
        directory.names.append(name)
        try:
            found = read(tree, file)
        except UnreadableError as error:
            directory.unreadable[name] = error
        else:
            if found is not None:
                directory.facades.append(found)
    return directory


def read(tree: Tree, path: str) -> FacadeFile | None:
    """Return the facade in the file `path`, None if it has no plugin of type cni-chain. Raises UnreadableError."""
    try:
        content = tree.read(path)
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror}") from None
    document, locator = locate.decode(content)
    return FacadeFile(path, document, locator) if is_facade(document) else None


def is_facade(document: dict[str, Any]) -> bool:
    """Tell whether a configuration has a plugin of type cni-chain."""
    plugins = document.get("plugins", [document])
    return isinstance(plugins, list) and any(map(_is_cni_chain, plugins))


def _meant(key: str) -> str:
    """Return which key of cni-chain's own object may have been meant by an unknown one, "" if none."""
    within, dot, verb = key.partition(".")
    if dot and within == "timeouts":
        found = facade.near(verb, facade.TIMEOUTS)
        return found and f"{within}.{found}"
    return facade.near(key)


def _is_cni_chain(plugin: object) -> bool:
    return isinstance(plugin, dict) and plugin.get("type") == TYPE
