"""Plugins that an agent has appended to the facade, beside cni-chain. Reads only.

One that the chain has as well would run twice, and is taken out again. One that it doesn't have is all that new pods
have of it: without it they would start outside a mesh, and nobody would see that.
"""

from __future__ import annotations

from cni_chain.change.draft import text_of
from cni_chain.node.facades import FacadeFile
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


def foreign(tree: Tree, file: FacadeFile, bin_dirs: list[str]) -> list[str]:
    """Return the plugins beside cni-chain that its chain doesn't have, and that no pod waits for."""
    parts = Survey(tree, file, bin_dirs).parts
    ran = {link.type for part in parts for link in part.delegates}
    awaited = {type_ for part in parts if part.owner.required for type_ in part.owner.types or ()}
    return [type_ for _, type_ in file.neighbours if type_ not in ran | awaited]


def without(file: FacadeFile) -> bytes:
    """Return the facade without the plugins that stand beside cni-chain."""
    return text_of(file.document | {"plugins": [file.conf]}).encode()
