"""The options that several commands have, and what they stand for."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from cni_chain.cli import facades
from cni_chain.cli.facades import FacadeFile, NetDir
from cni_chain.cli.findings import Place
from cni_chain.cli.locate import UnreadableError
from cni_chain.cli.terminal import printable
from cni_chain.cli.tree import Tree

Root = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="Look at the file system tree below DIR instead of this system's. Every path given and printed is "
        "as seen from inside it, and nothing of it is run.",
    ),
]
NetDirectory = Annotated[
    str, typer.Option(metavar="DIR", help="The runtime's configuration directory: its facades are looked at.")
]
Conf = Annotated[
    str | None,
    typer.Option(metavar="FILE", show_default=False, help="Look at this facade alone, wherever it is."),
]
BinDir = Annotated[
    list[str],
    typer.Option(
        metavar="DIR", help="Where the runtime has its plugins (CNI_PATH); repeat the option or separate by ':'."
    ),
]
StateDirs = Annotated[
    list[str] | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        show_default=False,
        help="Where the records are (repeatable). By default where the facades say, and in /var/lib/cni/chain.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, with everything in it.")]

_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def find(tree: Tree, net_dir: str, conf: str | None = None) -> tuple[NetDir, list[FacadeFile]]:
    """Return the runtime's directory and the facades to look at: those in it, or the file `conf`."""
    net_dir = tree.path(net_dir)
    try:
        directory = facades.look(tree, net_dir)
    except OSError as error:
        raise failure(f"{net_dir}: can't be read: {error.strerror}") from None
    if conf is None:
        return directory, directory.facades
    path = tree.path(conf)
    try:
        file = facades.read(tree, path)
    except UnreadableError as error:
        raise failure(f"{Place(path, error.at)}: {error}") from None
    if file is None:
        raise failure(f"{path}: no facade: it has no plugin of type {facades.TYPE}")
    return directory, [file]


def directories(tree: Tree, given: list[str]) -> list[str]:
    """Return the directories that were given one by one or separated by colons."""
    return [tree.path(directory) for several in given for directory in several.split(":") if directory]


def age(text: str) -> float:
    """Return the seconds that a person wrote as 90s, 30m, 12h or 7d. Raises the usage error otherwise."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no time span like 90s, 30m, 12h or 7d")
    return float(int(match[1]) * _UNITS[match[2]])


def pod(text: str) -> tuple[str, str]:
    """Return the pod that a person wrote as NAMESPACE/NAME. Raises the usage error otherwise."""
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name


def failure(message: str) -> typer.Exit:
    """Tell a failure that leaves nothing to print; raise what is returned."""
    print(f"cni-chain: {printable(message)}", file=sys.stderr)
    return typer.Exit(1)
