"""The directories and files that a command's options mean together."""

from __future__ import annotations

import os
from typing import NamedTuple

from cni_chain.node import distros, facades
from cni_chain.node.errors import RefusedError, UnreadableError, UsageError
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.locate import Place
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Where(NamedTuple):
    """The directories and files that a command reads. Paths are as seen from inside the tree."""

    tree: Tree
    net_dir: str
    bin_dirs: list[str]
    conf: str | None
    state_dirs: list[str]  # those given; none: those that the facades name

    @classmethod
    def given(
        cls,
        root: str,
        distro: str | None,
        *,
        net_dir: str | None = None,
        bin_dir: list[str] | None = None,
        conf: str | None = None,
        state_dir: list[str] | None = None,
    ) -> Where:
        """Return what the options of these names mean together. Raises RefusedError."""
        tree = tree_at(root)
        known = distribution(distro)
        return cls(
            tree,
            tree.path(net_dir or known.net_dir),
            directories(tree, bin_dir or [known.bin_dir]),
            None if conf is None else tree.path(conf),
            directories(tree, state_dir or []),
        )

    def find(self) -> tuple[NetDir, list[FacadeFile]]:
        """Return the runtime's directory and the facades to look at: those in it, or the one that was given.

        Raises RefusedError.
        """
        directory = facades.look(self.tree, self.net_dir)
        if self.conf is None:
            return directory, directory.facades
        try:
            file = facades.read(self.tree, self.conf)
        except UnreadableError as error:
            raise RefusedError(f"{Place(self.conf, error.at)}: {error}") from None
        if file is None:
            raise RefusedError(f"{self.conf}: is not a facade: it has no plugin of type {facades.TYPE}")
        return directory, [file]

    def surveys(self) -> tuple[NetDir, list[Survey]]:
        """Return the runtime's directory, and what each facade's chain is now."""
        directory, files = self.find()
        return directory, [Survey(self.tree, file, self.bin_dirs, directory.facades) for file in files]


def tree_at(root: str) -> Tree:
    """Return the tree below a directory.

    Raises UsageError if it doesn't exist, because it would seem to have no problem; and for a link of /proc into
    another mount namespace, such as /proc/1/root in a container: as a path it leads to a directory of this one.
    """
    if not os.path.isdir(root):
        raise UsageError(f"--root {root}: no such directory")
    tree = Tree(root)
    if not os.path.isdir(tree.root) or not os.path.samefile(root, tree.root):
        enter = "run cni-chain in that namespace (nsenter --mount)"
        raise UsageError(f"--root {root}: is in another mount namespace, where a path can't lead: {enter}")
    return tree


def distribution(name: str | None) -> distros.Distro:
    """Return where a distribution has its files. Raises the usage error for an unknown name."""
    if name is not None and name not in distros.DISTROS:
        raise UsageError(f"--distro {name}: must be one of {', '.join(distros.DISTROS)}")
    return distros.DISTROS[name or "kubeadm"]


def directories(tree: Tree, given: list[str]) -> list[str]:
    """Return the directories that were given one by one or separated by colons."""
    return [tree.path(directory) for several in given for directory in several.split(":") if directory]


def age(text: str) -> float:
    """Return the seconds of a time span such as 90s, 30m, 12h or 7d. Raises UsageError otherwise."""
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal()) or unit not in _UNITS:
        raise UsageError(f"{text!r} is not a time span like 90s, 30m, 12h or 7d")
    return float(int(number) * _UNITS[unit])
