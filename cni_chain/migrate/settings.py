"""The commands that move each agent to its directory, and the order of steps for a live node. Pure."""

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
    """One agent's commands, ready for a shell, and what to know before."""

    owner: str
    commands: list[str]
    remarks: list[str]


_UNMOVED = (
    "an agent that can't be moved still writes its file behind the facade, where no runtime reads it: keep its "
    "fragment up to date yourself"
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
    # Without --version Helm takes the newest chart, which is another change.
    version = f"helm get metadata {chart.release} --namespace {chart.namespace} -o json | jq -r .version"
    options = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items())
    upgrade = (
        f'helm upgrade {chart.release} {chart.name} --namespace {chart.namespace} --version "$({version})" '
        f"--reuse-values {options}"
    )
    commands = [upgrade]
    if chart.daemonset:
        if chart.restart:
            commands.append(f"kubectl --namespace {chart.namespace} rollout restart ds/{chart.daemonset}")
        commands.append(f"kubectl --namespace {chart.namespace} rollout status ds/{chart.daemonset}")
    return commands


def steps(shares: list[Share], live: Live, paths: Paths) -> list[str]:
    """Return the steps in the order in which no pod loses its network or its mesh."""
    owners = {share.owner: share for share in shares}
    editors = [
        share.owner for share in shares if share.agent is not None and share.agent.edits and share.agent is not ISTIO
    ]
    lines = ["cni-chain migrate --write    (fragments, and the facade under a name that no runtime reads)"]
    if CILIUM.owner in owners:
        lines.append(
            f"Move Cilium (its settings above). Each node's agent writes {paths.directory(CILIUM.owner)} when it "
            "restarts, and no longer writes to the runtime's directory; pods can start and end meanwhile."
        )
    if ISTIO.owner in owners and not istio.leaves_others_first(owners[ISTIO.owner].plugins[0]):
        lines.append(
            f"Istio before 1.27 edits the first file: pin it, cniConfFileName={live.name}, still chained. "
            "Don't move it yet: when it stops, it removes its plugin from the list that is still in use."
        )
    elif ISTIO.owner in owners:
        lines.append("Don't restart or move Istio yet: the list that is still in use would lose it.")
    if editors:
        lines.append(
            f"kubectl cordon NODE, then move {', '.join(editors)}: its old agent removes its plugin from the list that "
            "is still in use, so no pod should start on this node until the next step is done."
        )
    lines.append("cni-chain migrate --switch    (one rename puts the facade in place)")
    if editors:
        lines.append("kubectl uncordon NODE")
    if ISTIO.owner in owners:
        lines.append("Move Istio (its settings above), at once: its agent replaces the copy with its own fragment.")
    named = (CILIUM.owner, ISTIO.owner, *editors)
    others = [share.owner for share in shares if share.agent and share.agent.movable and share.owner not in named]
    if others:
        lines.append(f"Move {', '.join(others)}, whenever it suits.")
    lines.append("cni-chain verify, crictl info (lastCNILoadStatus: OK), start a pod, and delete one from before.")
    lines.append(
        f"Later, when every agent has moved and no pod from before is left: remove {live.path} and its copy. Until "
        "then cni-chain migrate --undo makes it active again at once."
    )
    return lines
