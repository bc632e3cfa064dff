"""Rules about files of the runtime's directory that are nearly a facade, or one facade too many."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_node
from cni_chain.node.facades import TYPE, FacadeFile
from cni_chain.node.locate import Place

MISSPELT = Kind(
    "facade-type-misspelt",
    ERROR,
    "a file of the runtime's directory has a plugin whose type is nearly `cni-chain`",
    "The runtime looks for a plugin of that name and finds none: no new pod starts.",
    f'Write "type": "{TYPE}".',
    milder="a facade exists, and another file sorts first",
    stops=True,
)
SECOND = Kind(
    "facade-second",
    WARNING,
    "two facades of the runtime's directory have the same network name or the same `chainDir`",
    "The runtime takes one of them; who edits the other one changes nothing. `cni-chain owner` needs --conf.",
    "Remove the one that is not taken, or give it another name and another chainDir.",
)


@of_node(MISSPELT)
def misspelt(node: Node) -> Iterator[Finding]:
    """Yield the files that would be facades, but for a letter."""
    directory = node.directory
    for name, (type_, at) in directory.misspelt.items():
        taken = name == directory.names[0] or not node.surveys
        yield MISSPELT.at(
            Place(f"{directory.path}/{name}", at),
            misspelt_type(type_),
            severity=ERROR if taken else WARNING,
        )


def misspelt_type(type_: str) -> str:
    """Return what is wrong with a type that is nearly cni-chain."""
    return f"the plugin's type is {type_}; did you mean {TYPE}?"


@of_node(SECOND)
def second(node: Node) -> Iterator[Finding]:
    """Yield the facades that have a name or a directory of owners in common with an earlier one."""
    earlier: list[FacadeFile] = []
    for file in (survey.file for survey in node.surveys if node.directory.holds(survey.file.path)):
        for other in earlier:
            both = [f"the name {file.network}"] if file.network == other.network else []
            both += [f"chainDir {file.facade.chain_dir}"] if file.facade.chain_dir == other.facade.chain_dir else []
            if both:
                what = f"a second facade: {os.path.basename(other.path)} has {' and '.join(both)} too"
                yield SECOND.at(file.path, what)
                break
        earlier.append(file)
