"""The chain as it is now, as one list for the runtime: how a node goes back that had the facade from the start.

There is no list from before to go back to. So each plugin's configuration is taken as it is in its fragment, and the
same proof as for the way there says whether every plugin gets what it gets through the facade. Reads only.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cni_chain.change.draft import text_of
from cni_chain.migrate import proof
from cni_chain.node.conflists import Live
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import FacadeFile
from cni_chain.node.negotiation import Spoken
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree
from cni_chain.plugin import chain, request, spec
from cni_chain.plugin.chain import Delegate
from cni_chain.plugin.errors import CNIError

# It sorts behind the facade, and behind what an agent writes that has moved back: then that is the active one.
NAME = "99-cni-chain-off.conflist"

# A list has one version for all its plugins, and its flags hold for all of them: these differ, and are chosen below.
_CHOSEN = frozenset(("cniVersions", "disableCheck", "disableGC"))


class OneList(NamedTuple):
    """The list: its path, its content, and the types of its plugins."""

    path: str
    content: bytes
    types: list[str]


def of_chain(tree: Tree, file: FacadeFile, bin_dirs: list[str]) -> OneList:
    """Return the chain of a facade as one list. Raises RefusedError if a plugin would be lost or get something else."""
    survey = Survey(tree, file, bin_dirs)
    path = f"{os.path.dirname(file.path)}/{NAME}"
    try:
        links = chain.required_delegates(survey.parts)
    except CNIError as error:
        raise RefusedError(
            f"{file.path}: its chain can't be written as one list: without a required owner's plugin new pods would "
            f"start without it: {error.msg}"
        ) from None
    faults = [
        *map(str, file.problems),
        *(["a plugin stands beside cni-chain"] if file.neighbours else []),
        *([] if links else ["it has no plugin"]),
    ]
    if faults:
        raise RefusedError(f"{file.path}: its chain can't be written as one list: {faults[0]}")
    document = _head(file, links, _version(survey, links)) | {"plugins": [_plugin(link) for link in links]}
    content = text_of(document).encode()
    found = proof.prove(Live(path, content), file, links)
    differences = [one for one in found.differences if one.key not in _CHOSEN]
    differences += [one for delegate in found.delegates for one in delegate.differences if one.key not in _CHOSEN]
    if differences:
        raise RefusedError(f"{path}: plugins would not get the same configuration as now: {differences[0].text()}")
    return OneList(path, content, [link.type for link in links])


def _head(file: FacadeFile, links: list[Delegate], version: str) -> dict[str, Any]:
    flags = {
        "disableCheck": any(link.disable_check for link in links),
        "disableGC": any(link.disable_gc for link in links),
    }
    declared = {key: True for key in flags if flags[key] or file.document.get(key) is True}
    # A drop-in directory of the network's name would add plugins that the facade has kept out.
    return {"cniVersion": version, "name": file.network, "loadOnlyInlinedPlugins": True, **declared}


def _plugin(link: Delegate) -> dict[str, Any]:
    declared = dict.fromkeys(request.capabilities(link.conf), True)
    return request.own_part(link.conf) | ({"capabilities": declared} if declared else {})


def _version(survey: Survey, links: list[Delegate]) -> str:
    """Return the newest version that every plugin speaks, not newer than the facade's. Raises RefusedError.

    cni-chain speaks to each plugin in its own version; a runtime has one for the whole list.
    """
    spoken = Spoken(survey, links)
    newest = survey.file.version if survey.file.version in spec.VERSIONS else spec.VERSIONS[0]
    common = set(spec.VERSIONS[: spec.VERSIONS.index(newest) + 1])
    for link in links:
        versions = spoken.versions(link)
        if versions is None:
            why = spoken.silence(link) or f"{link.owner.name}/{link.type}: its versions are not known"
            raise RefusedError(f"{survey.file.path}: its chain can't be written as one list: {why}")
        common &= set(versions)
        if not common:
            raise RefusedError(
                f"{survey.file.path}: its chain can't be written as one list: {link.owner.name}/{link.type} speaks no "
                "version that all the others speak, and without cni-chain a runtime has one for the whole list"
            )
    return max(common, key=spec.VERSIONS.index)
