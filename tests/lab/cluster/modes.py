"""What `cni-chain mesh` says of each way in which Cilium can replace services' addresses, beside real connections.

`python -m tests.lab.cluster PROGRAM --modes` runs it, on a node of a real cluster with the facade that `install` makes.
"""

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from tests.lab.cluster import meshed
from tests.lab.cluster.cluster import Cluster
from tests.lab.cluster.conftest import Facade
from tests.lab.cluster.daemon import wait_until
from tests.lab.cluster.machine import Cgroups
from tests.lab.cluster.meshed import CLIENT, CONFIGMAP, EMPTY, MESHED, NAMES, NODE, WEB, MeshedNode, Real

Shown = Callable[[str, str], None]
RUNS = 15
VIPS = ("--vip", WEB, "--vip", NAMES)


class Mode(NamedTuple):
    """Settings of Cilium's chart that the agent runs with, and those that its ConfigMap has by now."""

    name: str
    agent: tuple[str, ...]
    configmap: tuple[str, ...]
    # Whose connections the kernel points elsewhere in this mode, as the reference saw it: a mode that didn't come
    # about is no evidence.
    of_pods: bool
    of_node: bool


FULL = ("kubeProxyReplacement=true", "socketLB.hostNamespaceOnly=false")
NODE_ONLY = ("kubeProxyReplacement=true", "socketLB.hostNamespaceOnly=true")
OFF = ("kubeProxyReplacement=false", "socketLB.hostNamespaceOnly=false")
SOCKETS = (*OFF, "socketLB.enabled=true")

MODES = (
    Mode("kubeProxyReplacement=true", FULL, FULL, of_pods=True, of_node=True),
    Mode(
        "hostNamespaceOnly=true in the ConfigMap, the agent not restarted", FULL, NODE_ONLY, of_pods=True, of_node=True
    ),
    Mode("kubeProxyReplacement=true, hostNamespaceOnly=true", NODE_ONLY, NODE_ONLY, of_pods=False, of_node=True),
    Mode("kubeProxyReplacement=false", OFF, OFF, of_pods=False, of_node=False),
    Mode("kubeProxyReplacement=false, socketLB.enabled=true", SOCKETS, SOCKETS, of_pods=True, of_node=True),
)


class Switched:
    """The node, and the settings that its agent runs with."""

    def __init__(self, node: MeshedNode, running: tuple[str, ...]) -> None:
        self.node, self._running = node, running
        self.took: float | None = None  # seconds until a pod was answered, if the agent was restarted

    def into(self, mode: Mode) -> None:
        """Bring a mode about, by restarts of the agent where it needs one."""
        cilium = self.node.cluster.cilium
        restarted = self._running != mode.agent
        if restarted:
            cilium.configure(*mode.agent)
            cilium.agent.stop()
            cilium.deliver()
            cilium.start_agent()
            self._running = mode.agent
        if mode.configmap != mode.agent:
            before = cilium.agent.log().count(DRIFT)
            cilium.configure(*mode.configmap)
            # The agent has seen the change, and does nothing but say so.
            wait_until(lambda: cilium.agent.log().count(DRIFT) > before, "the agent's own warning")
        # It is ready before it has compiled the pods' programs anew.
        took = wait_until(lambda: self._works(mode), "a pod's connection to the service, as in this mode", 120)
        self.took = took if restarted else None
        self.node.settled()

    def _works(self, mode: Mode) -> bool:
        (asked,) = self.node.connect(CLIENT, WEB)
        return meshed.is_web(asked.answer) and asked.outcome == ("translated" if mode.of_pods else "preserved")


# What the agent's config-drift-checker logs, and what a pod's event says.
DRIFT, ENFORCED = "Mismatch found", 'mesh.serviceAddress is "enforce"'


@pytest.fixture(scope="module")
def facade() -> Facade:
    """One facade is enough: what is looked at here isn't the runtime's."""
    return Facade("modes", (), status=True)


@pytest.fixture(scope="module")
def switched(cluster: Cluster, cgroups: Cgroups) -> Iterator[Switched]:
    """The node with a pod in the mesh; the first mode's settings."""
    cluster.cilium.configure(*MODES[0].agent)
    cluster.cilium.deliver()
    cluster.cilium.operator.start()
    cluster.cilium.start_agent()
    cluster.becomes("True")
    with MeshedNode.made(cluster, cgroups.unified) as node:
        yield Switched(node, MODES[0].agent)


@pytest.fixture(scope="module", params=MODES, ids=[str(number) for number, _ in enumerate(MODES, 1)])
def mode(request: pytest.FixtureRequest) -> Mode:
    mode: Mode = request.param
    return mode


@pytest.fixture(scope="module")
def node(switched: Switched, mode: Mode) -> MeshedNode:
    """The node in one of the modes."""
    switched.into(mode)
    return switched.node


def outcomes(document: dict[str, object], who: str) -> dict[str, str]:
    """Address → what `mesh check` found of it, as a pod or as the node."""
    trials = document["trials"]
    assert isinstance(trials, list)
    return {trial["target"]: trial["outcome"] for trial in trials if trial["from"] == who}


def real(connections: list[Real]) -> dict[str, str]:
    return {connection.target: connection.outcome for connection in connections}


def test_each_verdict_is_what_connections_show(
    switched: Switched, node: MeshedNode, mode: Mode, shown: Shown, record_property: Callable[[str, object], None]
) -> None:
    """Of a pod, of the node, and of a pod whose connections a proxy takes: TCP and UDP."""
    configmap = node.keep_configmap()
    pod, host = node.connect(CLIENT, WEB, NAMES), node.connect(NODE, WEB, NAMES)
    captured = node.connect(MESHED, WEB)[0]
    translated = {True: {"translated"}, False: {"preserved"}}
    assert set(real(pod).values()) == translated[mode.of_pods], pod
    assert set(real(host).values()) == translated[mode.of_node], host
    for connection in (*pod, *host, captured):
        assert connection.outcome == "preserved" or connection.points in node.backends(), connection
    assert meshed.is_web(pod[0].answer), pod
    # What a proxy asks the kernel for is where the socket pointed.
    assert captured.answer == f"to {captured.points}"

    expected = ("BROKEN", 1) if mode.of_pods else ("OK", 0)
    options = ["mesh", "check", *VIPS, "--config", CONFIGMAP]
    for subject in ([], ["--pod", str(node.pid(CLIENT))], ["--pod", str(node.pid(MESHED))]):
        status, document = node.document(*options, *subject)
        assert (document["verdict"], status) == expected, document
        assert outcomes(document, "pod") == real(pod), document
        assert outcomes(document, "node") == real(host), document
        assert {program["owner"] for program in document["programs"]} <= {"Cilium"}

    said = node.says(*options, times=RUNS)
    shown(f"cni-chain {' '.join(options)}", said.out)
    row = {
        "mode": mode.name,
        "vip": WEB.partition("/")[0],
        "configmap": configmap,
        "pod": pod[0].points,
        "node": host[0].points,
        "proxy": captured.answer.removeprefix("to "),
        "verdict": expected[0],
        "status": said.status,
        "passed": statistics.median(said.passed),
        "cpu": statistics.median(said.cpu),
        "took": switched.took,
    }
    record_property("row", row)


def test_only_the_configmap_shows_what_a_restart_would_change(node: MeshedNode, mode: Mode) -> None:
    """node_config.h and the kernel agree in every mode; the ConfigMap disagrees where the agent was not restarted."""
    node.keep_configmap()
    _, without = node.document("mesh", "check", *VIPS)
    assert not drift(without), without["notes"]
    _, compared = node.document("mesh", "check", *VIPS, "--config", CONFIGMAP)
    assert bool(drift(compared)) == (mode.agent != mode.configmap), compared
    if drift(compared):
        assert CONFIGMAP in drift(compared)[0]
        assert any("restart Cilium's agents" in advice for advice in compared["do"])


def drift(document: dict[str, object]) -> list[str]:
    """The notes about configurations and kernel that differ."""
    notes = document["notes"]
    assert isinstance(notes, list)
    return [note for note in notes if "the kernel does it" in note]


def test_a_service_without_backends_is_refused_where_addresses_are_replaced(node: MeshedNode, mode: Mode) -> None:
    """By Cilium at connect(): the mesh never sees such a connection. Elsewhere nobody answers it."""
    pod = node.connect(CLIENT, EMPTY)[0]
    assert pod.outcome == ("rejected" if mode.of_pods else "preserved"), pod
    _, document = node.document("mesh", "check", "--vip", EMPTY)
    assert outcomes(document, "pod") == {EMPTY: pod.outcome}, document
    # Where programs that replace nothing for a pod are attached, this address can't prove that.
    assert document["verdict"] == ("BROKEN" if mode.of_pods else "UNKNOWN" if mode.of_node else "OK"), document


def test_the_services_that_cilium_knows_are_found(node: MeshedNode, mode: Mode) -> None:
    """Without --vip: the API server's, the web servers', of both protocols, and none without backends."""
    _, document = node.document("mesh", "check")
    found = outcomes(document, "pod")
    assert set(found) == {WEB, NAMES, "10.96.0.1:443/tcp"}, document
    assert document["verdict"] == ("BROKEN" if mode.of_pods else "OK"), document


def test_the_pod_in_the_mesh_is_captured_and_no_other(node: MeshedNode, mode: Mode, shown: Shown) -> None:
    """Whatever becomes of services' addresses, which --services says for each: captured is who the proxy answers."""
    options = ["mesh", "pods", "--services", "--vip", WEB]
    _, document = node.document(*options)
    states = {pod["pod"]: pod["state"] for pod in document["pods"]}
    assert len(states) == 4
    for pod in (CLIENT, MESHED):
        answer = node.connect(pod, WEB)[0].answer
        assert (states[f"default/{pod}"] == "captured") == answer.startswith("to "), (states, answer)
    assert states[f"default/{MESHED}"] == "captured", document
    verdicts = {pod["services"]["verdict"] for pod in document["pods"]}
    assert verdicts == {"BROKEN" if mode.of_pods else "OK"}, document
    shown(f"cni-chain {' '.join(options)}", node.says(*options).out)


def test_the_datapath_replaces_what_connections_behind_the_pod_show(
    node: MeshedNode, record_property: Callable[[str, object], None], shown: Shown
) -> None:
    """A connection that no socket program sees is answered only where a program behind the pod replaces the address."""
    (past,) = node.connect_past_sockets(CLIENT, WEB)
    assert past.outcome == "preserved", past
    options = ["mesh", "check", "--datapath", "--vip", WEB, "--pod", str(node.pid(CLIENT))]
    _, document = node.document(*options)
    (run,) = document["datapath"]["runs"]
    assert (run["result"] == "replaced") == meshed.is_web(past.answer), (run, past)
    if run["result"] == "replaced":
        assert run["became"].partition("/")[0] in node.backends(), run
    record_property("behind", run["result"])
    shown(f"cni-chain {' '.join(options)}", node.says(*options).out)


def test_the_service_behind_a_live_connection_is_found(node: MeshedNode, shown: Shown) -> None:
    """With the web server that really has it. With the other one, and for a server's own address, none is certain."""
    addresses = node.addresses()
    direct = f"{min(addresses.values())}:8080/tcp"
    with node.connected(CLIENT, WEB, direct) as held:
        to_service, to_pod = held.real
        told = {
            name: node.document("mesh", "origdst", to_service.source, f"{address}:8080")
            for name, address in addresses.items()
        }
        _, of_pod = node.document("mesh", "origdst", to_pod.source, direct)
        texts = {
            name: node.says("mesh", "origdst", to_service.source, f"{address}:8080")
            for name, address in addresses.items()
        }
        answered, _ = held.finish()
    assert of_pod["answer"] != "service", of_pod
    (other,) = addresses.keys() - {answered.answer}
    status, found = told[answered.answer]
    assert (status, found["answer"], found["service"]) == (0, "service", WEB), told
    assert told[other][1]["answer"] != "service", told
    address = addresses[answered.answer]
    shown(f"cni-chain mesh origdst {to_service.source} {address}:8080", texts[answered.answer].out)


def test_a_pod_of_a_mesh_is_refused_where_its_mesh_would_not_see_addresses(
    node: MeshedNode, mode: Mode, shown: Shown
) -> None:
    """With the facade's key. The verdict is made anew in each mode: other programs are attached, or none."""
    kubectl = node.cluster.kubernetes.kubectl
    with node.enforcing():
        kubectl("run", "late", "--image=test.local/busybox:1", "--command", "--", "/bin/busybox", "sleep", "1000")
        try:
            if mode.of_pods:
                wait_until(lambda: node.cluster.told(ENFORCED) == "late", "the pod's event")
                shown(*node.cluster.describe_pod("late"))
            else:
                kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=60s")
        finally:
            kubectl("delete", "pod", "late", "--now")
    node.cluster.forget_events()
