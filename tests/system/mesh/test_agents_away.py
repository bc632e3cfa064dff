"""Agents that are restarted, killed and uninstalled while pods come and go."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.support.agents.node import MESH, PLAIN
from tests.support.mesh.kubelet import MeshKubelet, RunningPod
from tests.support.sandbox.node import CHAIN, wait_for

PODS = 20
FOUR = [("pod-0", MESH), ("pod-1", PLAIN), ("pod-2", MESH), ("pod-3", PLAIN)]
# What a kubelet is told of a pod of the mesh: it is in the pod's event, and `kubectl describe` shows it.
REFUSED = {
    "stopped": "istio/istio-cni: istio-cni cmdAdd failed to contact node Istio CNI agent: failed to send event request",
    "killed": "istio/istio-cni: istio-cni cmdAdd failed to contact node Istio CNI agent: failed to send event request",
    "unable": "istio/istio-cni: istio-cni cmdAdd failed to contact node Istio CNI agent: unable to push CNI event",
    "uninstalled": f"waiting for istio's CNI configuration in {CHAIN}/istio.d; is its agent (",
}
BLOWS = (
    *(("istio", "stopped"), ("cilium", "killed"), ("istio", "killed"), ("cilium", "stopped")),
    *(("istio", "uninstalled"), ("cilium", "killed")),
)


@pytest.mark.parametrize("how", REFUSED)
def test_no_pod_of_the_mesh_runs_without_istio(kubelet: MeshKubelet, how: str) -> None:
    """A kubelet is told why, nothing stays of the try, and its next one succeeds when the agent is back."""
    with kubelet.watched() as watch:
        with kubelet.agents.without("istio", how):
            told = kubelet.refused("web", MESH)
            endpoints, records = kubelet.agents.endpoints(), kubelet.records()
            own = kubelet.start("istio-cni-node-x7k2p", "istio-system")
            seen = watch.look()
            if how != "uninstalled":
                kubelet.end(kubelet.start("job", PLAIN).sandbox)
        web = kubelet.start("web", MESH)
        met = kubelet.answers(own, web) | kubelet.answers(web, own)
        kubelet.end(web.sandbox, own.sandbox)

    assert REFUSED[how] in told
    assert (endpoints, records) == ([], [])
    assert seen == {f"istio-system/{own.name}"}
    assert met == {"web", own.name}
    assert watch.outside == []


def test_only_the_operator_lets_pods_of_the_mesh_run_outside(kubelet: MeshKubelet) -> None:
    """`owner optional` on the live node, and back again; the watch of these tests sees whom it lets out."""
    with kubelet.watched() as watch, kubelet.agents.without("istio", "uninstalled"):
        kubelet.rewrite(lambda: kubelet.agents.operator("owner", "optional", "istio").succeeded())
        web = kubelet.start("web", MESH)
        watch.look()
        kubelet.rewrite(lambda: kubelet.agents.operator("owner", "require", "istio", "--force").succeeded())
        told = kubelet.refused("other", MESH)
        kubelet.end(web.sandbox)
    kubelet.rewrite(kubelet.agents.lay_shipped_facade)

    assert watch.outside == [f"{MESH}/web in {web.netns}"]
    assert "waiting for istio's CNI configuration" in told


def test_pods_wait_for_a_cilium_that_was_killed(kubelet: MeshKubelet) -> None:
    """All that is lost is time: the first try of each succeeds when the agent is back."""
    with kubelet.watched() as watch, ThreadPoolExecutor(len(FOUR)) as threads:
        with kubelet.agents.without("cilium", "killed"):
            started = [threads.submit(kubelet.start, *pod) for pod in FOUR]
            wait_for(lambda: len(kubelet.records()) == len(FOUR), "cni-chain has begun with all of them", 120)
            seen = watch.look()
        pods = [pod.result() for pod in started]
        met = [kubelet.answers(*pair) for pair in itertools.pairwise(pods)]
        list(threads.map(kubelet.end, [pod.sandbox for pod in pods]))

    assert seen == set()
    assert met == [{pod.name} for pod in pods[1:]]
    assert watch.outside == []


def test_pods_are_deleted_while_both_agents_are_dead(kubelet: MeshKubelet) -> None:
    """At once, and Cilium's next agent works off what its plugin has queued."""
    with ThreadPoolExecutor(len(FOUR)) as threads:
        pods = list(threads.map(kubelet.start, *zip(*FOUR, strict=True)))
        with kubelet.agents.without("cilium", "killed"), kubelet.agents.without("istio", "killed"):
            list(threads.map(kubelet.end, [pod.sandbox for pod in pods]))
            there, records = kubelet.client.sandboxes(), kubelet.records()
            endpoints = kubelet.agents.endpoints()

    assert (there, records) == ([], [])
    assert endpoints == sorted(pod.sandbox for pod in pods)
    assert kubelet.agents.replayed() >= set(endpoints)
    assert kubelet.agents.endpoints() == []


def test_agents_are_restarted_killed_and_uninstalled_while_pods_come_and_go(kubelet: MeshKubelet) -> None:
    """Twenty at a time: half are about to go, half to come. Pods reach each other throughout; no blow lets one out."""
    struck = Event()

    def live(name: str, namespace: str, pod: RunningPod | None) -> None:
        while pod or not struck.is_set():
            pod = pod or kubelet.start_at_last(name, namespace)
            assert pod.who in kubelet.enrolled() or namespace == PLAIN
            for neighbour in steady:
                assert kubelet.answers(pod, neighbour) == {neighbour.name}
                assert kubelet.answers(neighbour, pod) == {name}
            kubelet.end_at_last(pod)
            pod = None

    with kubelet.watched() as watch, ThreadPoolExecutor(PODS) as threads:
        steady = [kubelet.start("in", MESH), kubelet.start("out", PLAIN)]
        names, namespaces = [f"pod-{n}" for n in range(PODS)], [MESH, PLAIN] * (PODS // 2)
        there = list(threads.map(kubelet.start, names[: PODS // 2], namespaces))
        given = itertools.zip_longest(names, namespaces, there)
        lives = [threads.submit(live, name, namespace, pod) for name, namespace, pod in given]
        try:
            for agent, how in BLOWS:
                with kubelet.agents.without(agent, how):
                    assert kubelet.answers(*steady) == {"out"}
                    assert kubelet.answers(*steady[::-1]) == {"in"}
        finally:
            struck.set()
        for life in lives:
            life.result()
        kubelet.end_at_last(*steady)
    with kubelet.agents.without("cilium", "stopped"):
        pass  # the next agent has what the last blow has left
    unmade = {line["containerID"] for line in kubelet.log("DEL") if line.get("code")}
    forgotten = {record.split(":")[1] for record in kubelet.records()}
    kubelet.agents.operator("gc", "--yes").succeeded()

    assert forgotten <= unmade  # after an ADD that failed containerd calls DEL once, and that may fail
    assert watch.outside == []
