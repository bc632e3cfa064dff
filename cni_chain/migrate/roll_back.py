"""How the agents of a facade move back, for a node on which cni-chain is uninstalled. Reads only."""

from __future__ import annotations

from cni_chain.migrate import steps
from cni_chain.migrate.scene import in_use
from cni_chain.migrate.steps import Step
from cni_chain.node import facades
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


def moves(tree: Tree, net_dir: str, conf: str | None = None) -> list[Step]:
    """Return a step for each agent of the facade that is in place (`conf`, if there are several), in the order to move.

    Raises RefusedError.
    """
    directory = facades.look(tree, net_dir)
    files = [file for file in directory.facades if conf is None or file.path == tree.path(conf)]
    if len(files) != 1:
        return []
    previous = next((name for name in directory.names if f"{net_dir}/{name}" != files[0].path), "")
    members = [member for member in in_use(Survey(tree, files[0], [])) if member.writes]
    return steps.moves_back(members, net_dir, previous)
