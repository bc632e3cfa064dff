"""What sends each agent to its directory, as commands to copy, and the order of steps for a live node. Pure."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from cni_chain.agents import istio
from cni_chain.agents.agent import Chart
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.registry import MESHES
from cni_chain.migrate.plan import Paths
from cni_chain.migrate.split import Share
from cni_chain.node.conflists import Live


class Setting(NamedTuple):
    """One agent's: commands that a shell takes as they are, and what to know first."""

    owner: str
    commands: list[str]
    remarks: list[str]


_UNMOVED = (
    "an agent that can't be moved goes on writing its file behind the facade, where nobody reads it; its fragment is "
    "then yours to keep up to date"
)


def settings(shares: list[Share], paths: Paths) -> list[Setting]:
    """Return the settings of all agents that have a share."""
    has_mesh = any(MESHES.intersection(share.types) for share in shares)
    found = []
    for share in shares:
        agent = share.agent
        if agent is None:
            continue
        directory = paths.directory(share.owner)
        if agent.chart is not None and agent.chart.release:
            conf = share.plugins[0]
            values = agent.values(conf, directory, beside_mesh=has_mesh)
            found.append(Setting(share.owner, _upgrade(agent.chart, values), agent.remarks(conf)))
        else:
            found.append(Setting(share.owner, [], [agent.by_hand.format(directory=directory), _UNMOVED]))
    return found


def _upgrade(chart: Chart, values: dict[str, str]) -> list[str]:
    # Without --version Helm takes the newest chart there is, which is another change.
    version = f"helm get metadata {chart.release} --namespace {chart.namespace} -o json | jq -r .version"
    told = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items())
    upgrade = (
        f'helm upgrade {chart.release} {chart.name} --namespace {chart.namespace} --version "$({version})" '
        f"--reuse-values {told}"
    )
    commands = [upgrade]
    if chart.daemonset:
        if chart.restart:
            commands.append(f"kubectl --namespace {chart.namespace} rollout restart ds/{chart.daemonset}")
        commands.append(f"kubectl --namespace {chart.namespace} rollout status ds/{chart.daemonset}")
    return commands


def steps(shares: list[Share], live: Live, paths: Paths) -> list[str]:
    """Return the order of steps in which no pod is without a network or outside its mesh."""
    owners = {share.owner: share for share in shares}
    editors = [
        share.owner for share in shares if share.agent is not None and share.agent.edits and share.agent is not ISTIO
    ]
    told = ["cni-chain migrate --write    (fragments, and the facade under a name that no runtime reads)"]
    if CILIUM.owner in owners:
        told.append(
            f"Move Cilium (its settings above). Each node's agent writes {paths.directory(CILIUM.owner)} as it "
            "restarts, and leaves the runtime's directory alone from then on; pods start and end meanwhile."
        )
    if ISTIO.owner in owners and not istio.leaves_others_first(owners[ISTIO.owner].plugins[0]):
        told.append(
            f"Istio before 1.27 edits whatever file is first: pin it, cniConfFileName={live.name}, still chained. "
            "Don't move it yet: when it stops it takes its plugin out of the list that is still in use."
        )
    elif ISTIO.owner in owners:
        told.append("Don't restart or move Istio yet: the list that is still in use would lose it.")
    if editors:
        told.append(
            f"kubectl cordon NODE, then move {', '.join(editors)}: its old agent takes its plugin out of the list that "
            "is still in use, so no pod should start on this node until the next step is done."
        )
    told.append("cni-chain migrate --switch    (the facade is there from one moment to the next)")
    if editors:
        told.append("kubectl uncordon NODE")
    if ISTIO.owner in owners:
        told.append("Move Istio (its settings above), at once: its agent replaces the copy of its fragment by its own.")
    told_already = (CILIUM.owner, ISTIO.owner, *editors)
    others = [
        share.owner for share in shares if share.agent and share.agent.movable and share.owner not in told_already
    ]
    if others:
        told.append(f"Move {', '.join(others)}, whenever it suits.")
    told.append("cni-chain verify, crictl info (lastCNILoadStatus: OK), start a pod, and delete one from before.")
    told.append(
        f"Later, when every agent has moved and no pod of before is left: remove {live.path} and its copy. Until then "
        "cni-chain migrate --undo brings it back at once."
    )
    return told
