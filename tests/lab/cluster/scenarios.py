"""What pods and operators see of Cilium's agent behind cni-chain, on one node of a real cluster, in this order.

Not called test_*.py: half an hour of building comes before the first run. `make cluster` runs it.
"""

import time
from collections.abc import Callable

from tests.lab.cluster.cilium import CONFLIST
from tests.lab.cluster.cluster import Cluster, Failure
from tests.lab.cluster.conftest import Facade
from tests.lab.cluster.daemon import wait_until
from tests.support.sandbox.node import CHAIN, FACADE, NET

Seen = Callable[[str], None]
Shown = Callable[[str, str], None]

# What the operator reads of an owner whose agent hasn't written.
NO_FRAGMENT = "waiting for {}'s CNI configuration in " + CHAIN + "/{}.d"
WAITING = NO_FRAGMENT.format("cilium", "cilium")
SOMAXCONN = "1024"


def since(start: float) -> float:
    return time.monotonic() - start


def counted(failures: list[Failure]) -> str:
    times = sum(failure.times for failure in failures)
    if not failures:
        return "no failed event"
    return f"{times} failed events" + (
        f" with {len(failures)} texts" if len(failures) > 1 else ", all with the same text"
    )


def test_the_owner_has_not_come_yet(cluster: Cluster, facade: Facade, seen: Seen, shown: Shown) -> None:
    """The facade is there, cilium.d is empty, no agent runs."""
    assert not cluster.cilium.agent.running
    cluster.becomes("False" if facade.status else "True", WAITING if facade.status else "")
    cluster.workload()
    wait_until(lambda: len(cluster.pods()) == 3, "three pods")
    if facade.status:
        seen("node NotReady, pods wait for it")
        shown(*cluster.describe_node())
        wait_until(lambda: "FailedScheduling" in cluster.describe_pod("client")[1], "a pod's event")
    else:
        wait_until(lambda: cluster.told(WAITING) != "", "a pod's event")
        seen("node Ready, each pod is refused")
    shown(*cluster.describe_pod("client"))
    assert not cluster.record_files(), "something was run although its owner isn't there"

    cluster.cilium.operator.start()
    agent = cluster.cilium.start_agent()
    start = time.monotonic()
    cluster.becomes("True")
    cluster.rolled_out()
    seen(f"agent ready {agent:.0f} s after its start, all pods {since(start):.0f} s later")
    cluster.settled(3)
    assert len(set(cluster.ask(8))) == 2


def test_rollouts(running: Cluster, seen: Seen) -> None:
    """Ten pods come, are replaced one after the other, and go."""
    start = time.monotonic()
    running.scale(10)
    running.rolled_out()
    seen(f"10 pods after {since(start):.0f} s")
    start = time.monotonic()
    running.kubernetes.kubectl("rollout", "restart", "deployment/web")
    running.rolled_out()
    seen(f"all replaced after {since(start):.0f} s")
    running.settled(11)
    start = time.monotonic()
    running.scale(2)
    running.rolled_out()
    seen(f"8 gone after {since(start):.0f} s")
    running.settled(3)
    assert running.failures() == []


def test_the_agent_is_restarted_during_a_rollout(running: Cluster, seen: Seen) -> None:
    """SIGTERM, and five seconds without it while eight more pods are made: cilium-cni waits for its socket."""
    condition = running.ready()
    running.cilium.agent.stop()
    running.scale(10)
    time.sleep(5)
    running.ask(4)
    agent = running.cilium.start_agent()
    start = time.monotonic()
    running.rolled_out()
    seen(f"agent back after {agent:.1f} s, 10 pods {since(start):.1f} s later, {counted(running.failures())}")
    running.settled(11)
    assert running.failures() == []
    assert running.ready()["lastTransitionTime"] == condition["lastTransitionTime"]


def test_the_agent_is_killed_during_a_rollout(running: Cluster, seen: Seen, shown: Shown) -> None:
    """kill -9 while the plugin is at work for ten pods, and eight seconds without it."""
    condition = running.ready()
    running.scale(0)
    running.kubernetes.kubectl("wait", "--for=delete", "pod", "--selector=app=web", "--timeout=120s")
    running.settled(1)
    start = time.monotonic()
    running.scale(10)
    wait_until(lambda: len(running.record_files()) > 5, "five ADDs and more")
    running.cilium.agent.kill()
    time.sleep(8)
    failures = running.failures()
    assert all("cilium/cilium-cni: " in failure.message for failure in failures), failures
    agent = running.cilium.start_agent()
    back = time.monotonic()
    running.rolled_out()
    seen(f"agent back after {agent:.1f} s, 10 pods {since(back):.0f} s later, {since(start):.0f} s after scaling up")
    seen(counted(running.failures()))
    if failures:
        shown(*running.describe_pod(running.told("cilium/cilium-cni: ")))
    running.settled(11)
    assert running.ready()["lastTransitionTime"] == condition["lastTransitionTime"]


def test_pods_are_deleted_while_the_agent_is_dead(running: Cluster, seen: Seen) -> None:
    """kill -9, and ten pods go without it: cilium-cni leaves a note for the next agent. The node stays Ready."""
    running.scale(10)
    running.rolled_out()
    running.settled(11)
    containers = [one["containerID"] for one in running.attachments() if one["pod"] != "default/client"]
    condition = running.ready()
    running.cilium.agent.kill()
    killed = time.monotonic()
    running.ask()
    running.scale(0)
    running.kubernetes.kubectl("wait", "--for=delete", "pod", "--selector=app=web", "--timeout=120s")
    seen(f"10 pods gone after {since(killed):.0f} s")
    running.settled(1)
    queue = running.cilium.queue()
    # A pod that failed at first may have had one more container, which is deleted again.
    assert all(any(container in note for note in queue) for container in containers), queue
    # Longer than the kubelet takes to say that a network is not ready.
    time.sleep(max(0.0, 25 - since(killed)))
    assert running.ready()["lastTransitionTime"] == condition["lastTransitionTime"]
    seen(f"{len(queue)} deletions queued, node Ready for {since(killed):.0f} s without its agent")
    running.cilium.start_agent()
    wait_until(lambda: running.cilium.endpoints() == 1, "the end of the endpoints")
    wait_until(lambda: running.cilium.queue() == [], "the end of the queue")
    assert running.failures() == []


def test_its_conflist_is_deleted(running: Cluster, seen: Seen) -> None:
    """The agent lives and writes it again (cni-exclusive, its default); pods that are made meanwhile come up."""
    running.remove_conflist()
    start = time.monotonic()
    running.scale(5)
    wait_until(running.sandbox.path(CONFLIST).is_file, "the conflist")
    seen(f"written again after {since(start):.1f} s")
    running.rolled_out()
    running.settled(6)
    seen(counted(running.failures()))


def test_its_conflist_is_deleted_while_the_agent_is_dead(
    running: Cluster, facade: Facade, seen: Seen, shown: Shown
) -> None:
    """Nobody writes it again: no pod starts, those that run go on, and all starts by itself once the agent is back."""
    running.cilium.agent.kill()
    running.remove_conflist()
    running.scale(4)
    if facade.status:
        took = running.becomes("False", WAITING)
        seen(f"node NotReady after {took:.0f} s")
        shown(*running.describe_node())
    wait_until(lambda: running.told(WAITING) != "", "a pod's event")
    shown(*running.describe_pod(running.told(WAITING)))
    running.ask(2)
    assert running.ready()["status"] == ("False" if facade.status else "True")
    # Nothing was run for the two that wait.
    assert len(running.record_files()) == 3
    agent = running.cilium.start_agent()
    start = time.monotonic()
    running.becomes("True")
    running.rolled_out()
    seen(f"agent back after {agent:.1f} s, all pods {since(start):.0f} s later")
    running.settled(5)


def test_another_owner_has_not_come_yet(running: Cluster, seen: Seen, shown: Shown) -> None:
    """A mesh is required and has written nothing: the node is Ready, pods wait, and are given both when it has."""
    facade = running.sandbox.path(f"{NET}/{FACADE}")
    before = facade.read_bytes()
    condition = running.ready()
    status, said = running.command("owner", "add", "mesh:tuning", check=False)
    assert status == 1, said
    shown("cni-chain owner add mesh:tuning", said)
    running.command("owner", "add", "mesh:tuning", "--force")
    running.scale(4)
    waiting = NO_FRAGMENT.format("mesh", "mesh")
    wait_until(lambda: running.told(waiting) != "", "a pod's event")
    shown(*running.describe_pod(running.told(waiting)))
    assert running.ready()["lastTransitionTime"] == condition["lastTransitionTime"]
    tuning = {"type": "tuning", "name": "mesh", "cniVersion": "1.0.0", "sysctl": {"net.core.somaxconn": SOMAXCONN}}
    running.write_fragment("mesh", "10-mesh.conf", tuning)
    start = time.monotonic()
    running.rolled_out()
    seen(f"node Ready, pods refused; they start {since(start):.0f} s after the fragment is there")
    meshed = [one for one in running.attachments() if any(step["owner"] == "mesh" for step in one["delegates"])]
    assert len(meshed) == 2
    for one in meshed:
        read = ["nsenter", f"--net={one['netns']}", "cat", "/proc/sys/net/core/somaxconn"]
        assert running.sandbox.run(*read).stdout.strip() == SOMAXCONN
    running.command("owner", "remove", "mesh")
    running.sandbox.path(f"{CHAIN}/mesh.d/10-mesh.conf").unlink()
    running.sandbox.path(f"{CHAIN}/mesh.d").rmdir()
    assert facade.read_bytes() == before


def test_nothing_is_left(cluster: Cluster, facade: Facade, seen: Seen, shown: Shown) -> None:
    """All pods are deleted: no record, namespace or interface stays; one file in each directory, and nobody's else."""
    for kind in ("deployment/web", "pod/client"):
        cluster.kubernetes.kubectl("delete", kind, "--timeout=120s")
    tally = cluster.settled(0)
    wait_until(lambda: cluster.cilium.endpoints() == 0, "the end of the endpoints")
    assert cluster.configurations() == [f"{CHAIN}/cilium.d/05-cilium.conflist", f"{NET}/{FACADE}"]
    seen(f"{sum(tally)} records, namespaces, interfaces")
    status, said = cluster.command("doctor", check=False)
    shown("cni-chain doctor", said)
    assert status == 0, said
    verbs = cluster.verbs()
    assert any(verb.startswith("STATUS") for verb in verbs) == facade.status
    seen("in the log " + ", ".join(f"{count} {verb}" for verb, count in sorted(verbs.items())))
