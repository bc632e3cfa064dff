"""What sends each agent to its directory, as commands to copy, and the order of steps for a live node. Pure."""

from __future__ import annotations

import shlex
from typing import Any, NamedTuple

from cni_chain.agents.plugins import MESHES
from cni_chain.agents.registry import CILIUM, ISTIO, istio_has_own_chart, istio_leaves_others_first
from cni_chain.migrate.plan import Paths
from cni_chain.migrate.split import Share
from cni_chain.node.conflists import Live


class Setting(NamedTuple):
    """One agent's: commands that a shell takes as they are, and what to know first."""

    owner: str
    commands: list[str]
    remarks: list[str]


class _Chart(NamedTuple):
    release: str
    chart: str
    namespace: str
    daemonset: str = ""


_CHARTS = {
    CILIUM: _Chart("cilium", "cilium/cilium", "kube-system", "cilium"),
    ISTIO: _Chart("istio-cni", "istio/cni", "istio-system", "istio-cni-node"),
    "linkerd": _Chart("linkerd2-cni", "linkerd/linkerd2-cni", "linkerd-cni", "linkerd-cni"),
    "kuma": _Chart("kuma", "kuma/kuma", "kuma-system"),
    "consul": _Chart("consul", "hashicorp/consul", "consul", "consul-cni"),
    "flannel": _Chart("flannel", "flannel/flannel", "kube-flannel", "kube-flannel-ds"),
}

# Agents without a chart's value that is known to do it.
_BY_HAND = {
    "calico": "hostPath of the volume cni-net-dir and CNI_NET_DIR of the DaemonSet calico-node, or cni.confDir of the "
    "operator's Installation, must say {directory}",
    "aws": "hostPath of the volume cni-net-dir of the DaemonSet aws-node must say {directory}",
    "kube-ovn": "hostPath of the volume cni-conf and CNI_CONF_DIR of the DaemonSet kube-ovn-cni must say {directory}",
    "ovn-kubernetes": "--cni-conf-dir of ovnkube-node must say {directory}",
    "azure": "AKS puts its own settings back: no setting stays; its file stays where it is, behind the facade",
    "antrea": "the chart has no value for it: the hostPath must be patched to {directory}",
}
_UNMOVED = (
    "an agent that can't be moved goes on writing its file behind the facade, where nobody reads it; its fragment is "
    "then yours to keep up to date"
)

_CHAINED = (
    "Cilium is chained: with chainingMode aws-cni, or a chainingTarget, its agent would wait in its own directory for "
    "another network's file. Give it its own part alone: cni.configMap with the fragment's content, and "
    "cni.chainingMode=generic-veth"
)
_RETRY = (
    "ambient.enableAmbientDetectionRetry changes what istio-cni gets, on purpose: without it a pod starts outside the "
    "mesh if its namespace can't be looked up"
)


def settings(shares: list[Share], paths: Paths) -> list[Setting]:
    """Return the settings of all agents that have a share."""
    has_mesh = any(MESHES.intersection(share.types) for share in shares)
    found = []
    for share in shares:
        if share.agent is None:
            continue
        directory = paths.directory(share.owner)
        if share.owner in _CHARTS:
            values, remarks = _values(share, directory, has_mesh=has_mesh)
            found.append(Setting(share.owner, _upgrade(_CHARTS[share.owner], values), remarks))
        else:
            told = _BY_HAND.get(share.owner, "its configuration directory on the host must be {directory}")
            found.append(Setting(share.owner, [], [told.format(directory=directory), _UNMOVED]))
    return found


def _values(share: Share, directory: str, *, has_mesh: bool) -> tuple[dict[str, str], list[str]]:
    """Return the chart's values of one agent, the same as in conf/helm/, and remarks."""
    conf = share.plugins[0]
    if share.owner == CILIUM:
        values = {"cni.confPath": directory} | ({"socketLB.hostNamespaceOnly": "true"} if has_mesh else {})
        return values, _cilium_remarks(conf)
    if share.owner == ISTIO:
        return _istio_values(conf, directory), _istio_remarks(conf)
    if share.owner == "kuma":
        return {"cni.netDir": directory, "cni.chained": "false", "cni.confName": "kuma-cni.conf"}, []
    return {
        {
            "linkerd": "destCNINetDir",
            "consul": "connectInject.cni.cniNetDir",
            "flannel": "flannel.cniConfDir",
        }[share.owner]: directory
    }, []


def _cilium_remarks(conf: dict[str, Any]) -> list[str]:
    if conf.get("chaining-mode") not in (None, "", "none", "flannel", "portmap"):  # those come with a list of their own
        return [_CHAINED]
    return ["Cilium 1.12 and 1.13: first, in a roll-out of its own, cni.uninstall=false"]


def _istio_values(conf: dict[str, Any], directory: str) -> dict[str, str]:
    values = {"cniConfDir": directory, "chained": "false", "cniConfFileName": "10-istio.conf"}
    if conf.get("ambient_enabled") is True:
        values["ambient.enabled"] = "true"
        if "enable_ambient_detection_retry" in conf:
            values["ambient.enableAmbientDetectionRetry"] = "true"
    return values if istio_has_own_chart(conf) else {f"cni.{key}": value for key, value in values.items()}


def _istio_remarks(conf: dict[str, Any]) -> list[str]:
    if conf.get("enable_ambient_detection_retry") is False:
        return [_RETRY]
    return []


def _upgrade(chart: _Chart, values: dict[str, str]) -> list[str]:
    # Without --version Helm takes the newest chart there is, which is another change.
    version = f"helm get metadata {chart.release} --namespace {chart.namespace} -o json | jq -r .version"
    told = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items())
    upgrade = (
        f'helm upgrade {chart.release} {chart.chart} --namespace {chart.namespace} --version "$({version})" '
        f"--reuse-values {told}"
    )
    commands = [upgrade]
    if chart.daemonset:
        if chart.daemonset == "istio-cni-node":  # a change of the ConfigMap alone restarts nobody
            commands.append(f"kubectl --namespace {chart.namespace} rollout restart ds/{chart.daemonset}")
        commands.append(f"kubectl --namespace {chart.namespace} rollout status ds/{chart.daemonset}")
    return commands


def steps(shares: list[Share], live: Live, paths: Paths) -> list[str]:
    """Return the order of steps in which no pod is without a network or outside its mesh."""
    owners = {share.owner: share for share in shares}
    editors = [share.owner for share in shares if share.agent is not None and share.agent.edits]
    told = ["cni-chain migrate --write    (fragments, and the facade under a name that no runtime reads)"]
    if CILIUM in owners:
        told.append(
            f"Move Cilium (its settings above). Each node's agent writes {paths.directory(CILIUM)} as it restarts, and "
            "leaves the runtime's directory alone from then on; pods start and end meanwhile."
        )
    if ISTIO in owners and not istio_leaves_others_first(owners[ISTIO].plugins[0]):
        told.append(
            f"Istio before 1.27 edits whatever file is first: pin it, cniConfFileName={live.name}, still chained. "
            "Don't move it yet: when it stops it takes its plugin out of the list that is still in use."
        )
    elif ISTIO in owners:
        told.append("Don't restart or move Istio yet: the list that is still in use would lose it.")
    if editors:
        told.append(
            f"kubectl cordon NODE, then move {', '.join(editors)}: its old agent takes its plugin out of the list that "
            "is still in use, so no pod should start on this node until the next step is done."
        )
    told.append("cni-chain migrate --switch    (the facade is there from one moment to the next)")
    if editors:
        told.append("kubectl uncordon NODE")
    if ISTIO in owners:
        told.append("Move Istio (its settings above), at once: its agent replaces the copy of its fragment by its own.")
    told_already = (CILIUM, ISTIO, "azure", *editors)
    others = [share.owner for share in shares if share.agent and share.owner not in told_already]
    if others:
        told.append(f"Move {', '.join(others)}, whenever it suits.")
    told.append("cni-chain verify, crictl info (lastCNILoadStatus: OK), start a pod, and delete one from before.")
    told.append(
        f"Later, when every agent has moved and no pod of before is left: remove {live.path} and its copy. Until then "
        "cni-chain migrate --undo brings it back at once."
    )
    return told
