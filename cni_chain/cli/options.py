"""The options that several commands have, and their meaning."""

from __future__ import annotations

import os
import re
from typing import Annotated, NamedTuple

import typer

from cni_chain.cli import completion
from cni_chain.node import distros, facades, survey
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.locate import Place
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree

Root = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="Read the file system tree below DIR instead of this system's. Every path, given or printed, is as "
        "seen from inside it, and no program in it is run.",
    ),
]
DistroName = Annotated[
    str | None,
    typer.Option(
        "--distro",
        metavar="NAME",
        show_default=False,
        help=f"Use this distribution's --bin-dir and --net-dir: {', '.join(distros.DISTROS)}.",
        autocompletion=completion.of_distro,
    ),
]
NetDirectory = Annotated[
    str | None,
    typer.Option(
        "--net-dir",
        metavar="DIR",
        show_default=facades.NET_DIR,
        help="The runtime's configuration directory.",
    ),
]
Conf = Annotated[
    str | None,
    typer.Option(
        "--conf", metavar="FILE", show_default=False, help="Use only this facade, which may be in any directory."
    ),
]
BinDirs = Annotated[
    list[str] | None,
    typer.Option(
        "--bin-dir",
        metavar="DIR",
        show_default=survey.BIN_DIR,
        help="The runtime's plugin directories (CNI_PATH); repeat the option, or separate with ':'.",
    ),
]
StateDirs = Annotated[
    list[str] | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        show_default=False,
        help="Directory of the records (repeatable). By default those that the facades name, and /var/lib/cni/chain.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")]

# Of the commands that change a node.
ChangedRoot = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="Change the file system tree below DIR instead of this system's. Every path, given or printed, is as "
        "seen from inside it, and no program in it is run.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would change, with the text of files, and change nothing.")
]
Force = Annotated[bool, typer.Option("--force", help="Do what the command has refused; its message gives the reason.")]
BinDir = Annotated[
    str | None,
    typer.Option(
        "--bin-dir", metavar="DIR", show_default=survey.BIN_DIR, help="The runtime's directory of plugins (CNI_PATH)."
    ),
]
ProgramDir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        show_default="cni-chain beside --bin-dir",
        help="Holds one directory for each version of the program.",
    ),
]
OneConf = Annotated[
    str | None,
    typer.Option("--conf", metavar="FILE", show_default=False, help="The facade, if several exist."),
]

_AGE = re.compile(r"(\d+)([smhd])")
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
        return directory, [Survey(self.tree, file, self.bin_dirs) for file in files]


def tree_at(root: str) -> Tree:
    """Return the tree below a directory. Raises RefusedError if it doesn't exist: it would seem to have no problem."""
    if not os.path.isdir(root):
        raise RefusedError(f"--root {root}: no such directory")
    return Tree(root)


def distribution(name: str | None) -> distros.Distro:
    """Return where a distribution has its files. Raises the usage error for an unknown name."""
    if name is not None and name not in distros.DISTROS:
        raise typer.BadParameter(f"--distro {name}: must be one of {', '.join(distros.DISTROS)}")
    return distros.DISTROS[name or "kubeadm"]


def directories(tree: Tree, given: list[str]) -> list[str]:
    """Return the directories that were given one by one or separated by colons."""
    return [tree.path(directory) for several in given for directory in several.split(":") if directory]


def age(text: str) -> float:
    """Return the seconds of a time span such as 90s, 30m, 12h or 7d. Raises the usage error otherwise."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a time span like 90s, 30m, 12h or 7d")
    return float(int(match[1]) * _UNITS[match[2]])


def pod(text: str) -> tuple[str, str]:
    """Return the pod given as NAMESPACE/NAME. Raises the usage error otherwise."""
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name
