"""`cni-chain mesh pods`: the pods with a record of a mesh's plugin, as they are now."""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import available
from tests.support.bpf import balancer
from tests.support.bpf.balancer import Service
from tests.support.bpf.kernel import attached, load
from tests.support.bpf.node import BalancedNode, NoCgroupsError
from tests.support.capture import proxy
from tests.support.capture.meshes import LEGACY, MESHES, Mesh
from tests.support.capture.pod import Pod
from tests.support.files import schemas
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.node import BIN, Node

AMBIENT, SIDECAR, LINKERD, CONSUL, KUMA = (mesh for mesh in MESHES if mesh.way == LEGACY)
NOT_ENROLLED = "nothing, if the pod is not enrolled; else restart the pod"


def run(node: Node, *options: str) -> tuple[int, str]:
    """The exit status of the command, and what it prints."""
    done = node.sandbox.run(f"{BIN}/cni-chain", "mesh", "pods", *options, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def listed(node: Node, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status, and the pods."""
    status, printed = run(node, "--json", *options)
    document = json.loads(printed)
    assert not schemas.problem(document), schemas.problem(document)
    return status, document["pods"]


def only(node: Node, *options: str) -> tuple[int, str, str | None, str | None]:
    """The exit status, and of the only pod its state, why, and what to do. Numbers of processes are N."""
    status, [found] = listed(node, *options)
    why = found["why"] and re.sub(r"process \d+", "process N", found["why"])
    return status, found["state"], why, found["do"]


def added(node: Node, made: sandbox_node.Pod) -> Pod:
    """A pod to which the chain has been added, with its loopback interface up, as runtimes make pods."""
    node.sandbox.run("ip", "-n", made.name, "link", "set", "lo", "up")
    node.cni("add", made).succeeded()
    return Pod(node.sandbox, made.name)


@contextlib.contextmanager
def listening(pod: Pod, mesh: Mesh, **changed: Any) -> Iterator[None]:
    """A stand-in for a mesh's proxy that a process in the sandbox sees, as the node sees its own."""
    what = mesh.proxy(pod, **changed)
    what = proxy.StandIn(**{**vars(what), "namespace": f"/run/netns/{pod.name}"})
    with pod.sandbox.running(*pod.sandbox.python(Path(proxy.__file__), what.text)):
        yield


def test_a_pod_is_listed_from_its_enrolment_to_its_end(node: Node) -> None:
    """Not enrolled, captured, its proxy gone or replaced, taken out of the mesh, after a reboot, ended."""
    assert listed(node) == (0, [])

    with available(), node.pod("web", namespace="shop") as made:
        pod = added(node, made)

        assert only(node) == (1, "not captured", "no rule redirects its connections", NOT_ENROLLED)

        AMBIENT.lay(pod)
        with listening(pod, AMBIENT):
            assert only(node) == (0, "captured", None, None)

        assert only(node) == (
            1,
            "partly",
            (
                "nobody listens on ports 15001, 15006, to which rules redirect; "
                "nobody listens on port 15008, to which other proxies connect"
            ),
            "look at ztunnel on this node: connections fail until it listens in the pod",
        )
        with listening(pod, AMBIENT, mark=0, user=4242):
            status, state, why, do = only(node)
        assert (status, state) == (1, "partly")
        assert why == (
            "process N (stand-in) of the pod listens on ports 15001, 15006, 15008, and is not the mesh's proxy: "
            "the rules redirect its own connections too"
        )
        assert do == "find out who runs that process in the pod, and why the proxy does not listen in its place"

        AMBIENT.take_away(pod)
        with listening(pod, AMBIENT):
            assert only(node)[:3] == (
                1,
                "not captured",
                "no rule redirects its connections, though somebody listens on ports 15001, 15006, 15008",
            )

        node.sandbox.run("ip", "netns", "delete", made.name)
        assert only(node) == (
            3,
            "unknown",
            "its network namespace is gone",
            "nothing if its DEL is still to come; else cni-chain gc",
        )
        node.sandbox.run("sleep", "1.5")  # what is made within the second of the ADD is taken for the ADD's own
        node.sandbox.run("ip", "netns", "add", made.name)
        assert only(node) == (
            1,
            "not captured",
            "no rule redirects its connections; its namespace was made anew after its record, as by a reboot",
            "restart the pod",
        )
        node.cni("del", made).succeeded()

    assert listed(node) == (0, [])


@pytest.mark.parametrize("mesh", [SIDECAR, LINKERD, CONSUL, KUMA], ids=str)
def test_a_sidecar_of_each_mesh_captures_its_pod(nodes: Callable[[str], Node], mesh: Mesh) -> None:
    node = nodes(mesh.owner)
    container = mesh.proxies[mesh.index].name
    with available(), node.pod("web") as made:
        pod = added(node, made)
        mesh.lay(pod)

        with listening(pod, mesh):
            status, [found] = listed(node)
        assert (status, found["state"], found["plugins"]) == (0, "captured", [f"{mesh.owner}-cni"])
        heard = [
            (one["direction"], one["family"], one["port"], [listener["inPod"] for listener in one["listeners"]])
            for one in found["connections"]
        ]
        out, into = mesh.proxy(pod).listen[0][1], mesh.proxy(pod).listen[1][1]
        assert heard == [(way, family, port, [True]) for family in (4, 6) for way, port in (("out", out), ("in", into))]

        assert only(node)[3] == f"look at the container {container} of the pod: connections fail until it listens"
        node.cni("del", made).succeeded()


def test_connections_that_were_redirected_are_counted_on_request(node: Node) -> None:
    with available(), node.pod("web", namespace="shop") as made:
        pod = added(node, made)
        AMBIENT.lay(pod)
        with listening(pod, AMBIENT):
            for _ in range(3):
                pod.run("python3", "-c", "import socket; socket.create_connection(('10.244.0.1', 80), 10)")

            status, printed = run(node, "--counters")
            _, [found] = listed(node)
        node.cni("del", made).succeeded()

    assert status == 0
    heading, row = (line.split() for line in printed.splitlines())
    assert (heading[-3:], row[-3:]) == (["BY", "OUT", "IN"], ["stand-in", "3", "0"])
    assert [one["redirected"] for one in found["connections"]] == [3, 0, None, 0, 0, None]


def test_a_pod_whose_service_addresses_are_lost_is_told_with_the_setting(node: Node) -> None:
    """A program of Cilium's name on the cgroup of that pod replaces the address; without it nothing does."""
    service = Service("10.96.0.10", 80, "10.244.0.21", 8080)
    try:
        cgroups = BalancedNode.make(node.sandbox, f"cni-chain-test-{os.getpid()}-{time.monotonic_ns()}")
    except NoCgroupsError as error:
        pytest.skip(str(error))
    asked = ("--services", "--vip", "10.96.0.10:80")
    try:
        with available(), node.pod("web", namespace="shop") as made:
            pod = added(node, made)
            AMBIENT.lay(pod)
            run_in = f"exec ip netns exec {made.name} sh -c 'echo runs; exec sleep 600'"
            join = f"echo 0 > {cgroups.pods}/pod/cgroup.procs && {run_in}"
            application = node.sandbox.running("sh", "-c", join)
            with listening(pod, AMBIENT), application:
                status, [found] = listed(node, *asked)
                assert (status, found["state"], found["services"]["verdict"]) == (0, "captured", "OK")
                program = load(balancer.translator(service), "cil_sock4_connect", "connect4")
                with attached(cgroups.pods / "pod", program, "connect4"):
                    status, [found] = listed(node, *asked)
                    _, printed = run(node, *asked)
            node.cni("del", made).succeeded()
    finally:
        cgroups.remove()

    assert (status, found["state"]) == (1, "captured")
    assert found["services"] == {
        "verdict": "BROKEN",
        "why": "10.96.0.10:80/tcp becomes 10.244.0.21:8080/tcp before a mesh in the pod sees it: the mesh's policies "
        "for the service don't apply",
        "do": [
            "set Cilium's Helm value socketLB.hostNamespaceOnly=true",
            "restart Cilium's agents: kubectl --namespace kube-system rollout restart ds/cilium",
        ],
    }
    assert [line.split()[-3:] for line in printed.splitlines()[:2]] == [
        ["STATE", "BY", "SERVICES"],
        ["captured", "stand-in", "BROKEN"],
    ]


def test_a_pod_without_a_meshs_plugin_is_not_listed(node: Node) -> None:
    node.facade(plugin={"owners": [{"name": "cilium", "types": ["bridge"]}]})
    with node.pod("plain") as pod:
        node.cni("add", pod).succeeded()
        assert listed(node) == (0, [])
        node.cni("del", pod).succeeded()
