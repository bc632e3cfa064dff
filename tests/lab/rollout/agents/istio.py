"""Istio's agent in the lab, and which pods it has in the mesh."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from cni_chain.agents.istio import ISTIO
from tests.lab.rollout.agents import images
from tests.lab.rollout.agents.inside.install_cni import CALLS
from tests.lab.rollout.agents.release import Cluster, Release
from tests.support.sandbox.namespaces import Sandbox
from tests.support.stand_ins.calls import Call, recorded
from tests.support.stand_ins.istio import enrolments, prefix

MODE = "istio.io/dataplane-mode"
RELEASE = Release(
    ISTIO,
    {images.ISTIO: images.istio},
    ("--set", "profile=ambient", "--set", "ambient.enabled=true", "--set", f"image={images.ISTIO}"),
)


class Node(Protocol):
    """What is asked of a node."""

    @property
    def sandbox(self) -> Sandbox: ...


class Nodes(Cluster, Protocol):
    """A cluster with its nodes, by their names."""

    @property
    def nodes(self) -> Mapping[str, Node]: ...


def mesh(cluster: Cluster, namespace: str = "mesh") -> None:
    """A namespace whose pods are in the mesh."""
    labels = {MODE: "ambient", "pod-security.kubernetes.io/enforce": "privileged"}
    metadata = {"name": namespace, "labels": labels}
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    )
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={namespace}", "--timeout=60s")


def inside(cluster: Nodes) -> list[str]:
    """The pods that run in the mesh: NAMESPACE/POD."""
    return sorted(_name(pod) for pod, enrolled in _meshed(cluster) if enrolled)


def outside(cluster: Nodes) -> list[str]:
    """The pods that should be in the mesh and run outside: nobody answered their ADD. NAMESPACE/POD on NODE."""
    found = [pod for pod, enrolled in _meshed(cluster) if not enrolled]
    return sorted(f"{_name(pod)} on {pod['spec']['nodeName']}" for pod in found)


def enrolled(cluster: Nodes) -> set[str]:
    """Every pod whose ADD was ever answered, on any node since its start: NAMESPACE/POD."""
    files = [node.sandbox.path(_seen(CALLS)) for node in cluster.nodes.values()]
    calls = [call for file in files for call in enrolments(recorded(file))]
    return {f"{call.body['PodNamespace']}/{call.body['PodName']}" for call in calls}


def _meshed(cluster: Nodes) -> list[tuple[Any, bool]]:
    """The pods that run in the mesh's namespaces, each with whether it is enrolled."""
    pods = []
    for namespace in cluster.get("namespaces", f"--selector={MODE}=ambient"):
        name = namespace["metadata"]["name"]
        pods += cluster.get("pods", f"--namespace={name}", "--field-selector=status.phase=Running")
    # What was recorded is read after that, so that it has all of them.
    calls = {name: recorded(node.sandbox.path(_seen(CALLS))) for name, node in cluster.nodes.items()}
    found = []
    for pod in pods:
        if "deletionTimestamp" in pod["metadata"] or pod["spec"].get("hostNetwork"):
            continue
        node = pod["spec"]["nodeName"]
        sandbox = cluster.nodes[node].sandbox

        def is_there(netns: str, sandbox: Sandbox = sandbox) -> bool:
            return sandbox.path(_seen(netns)).exists()

        found.append((pod, is_enrolled(pod, calls[node], is_there)))
    return found


def _seen(path: str) -> str:
    """A path below /var/run, whose link would lead out of the node."""
    return path.removeprefix("/var")


def is_enrolled(pod: Any, calls: Iterable[Call], is_there: Callable[[str], bool]) -> bool:
    """Whether a call that was answered names the pod, its address, and a network namespace that is there.

    A sandbox that the kubelet made anew has another namespace, and so the calls of one before it don't count.
    """
    address = pod["status"].get("podIP")
    for call in enrolments(calls):
        body = call.body
        given = [prefix(one["Address"]).partition("/")[0] for one in body["IPs"]]
        named = f"{body['PodNamespace']}/{body['PodName']}" == _name(pod)
        if named and address in given and is_there(body["Netns"]):
            return True
    return False


def _name(pod: Any) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
