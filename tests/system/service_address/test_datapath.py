"""`cni-chain mesh check --datapath`: what programs behind a pod's interface make of a service's address."""

import contextlib
import ipaddress
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bpf import balancer, classifier
from tests.support.bpf.balancer import Service
from tests.support.bpf.kernel import CLASSIFIER, at_interface, attached, listening, load, pinned_program
from tests.support.bpf.node import BalancedNode, Check
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import wait_for

FOUR = Service("10.96.0.10", 80, "10.244.0.21", 8080)
SIX = Service("fd00:96::10", 80, "fd00:244::21", 8080)
FAMILIES = pytest.mark.parametrize("service", [pytest.param(FOUR, id="IPv4"), pytest.param(SIX, id="IPv6")])
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])
POD, OUTSIDE = "/run/netns/pod", "lxc1"


@pytest.fixture(scope="module")
def pod(sandbox: Sandbox) -> Iterator[str]:
    """A pod with an interface, as Cilium lays it: addresses of its own, and the other end on the node."""
    for command in (
        "ip netns add pod",
        f"ip link add {OUTSIDE} type veth peer name eth0 netns pod",
        f"ip link set {OUTSIDE} up",
        "ip -n pod addr add 10.244.0.11/32 dev eth0",
        "ip -n pod addr add fd00:244::11/128 dev eth0 nodad",
        "ip -n pod link set eth0 up",
        "ip -n pod route add default dev eth0",
        "ip -n pod -6 route add default dev eth0",
    ):
        sandbox.run(*command.split())
    yield POD
    sandbox.run("ip", "netns", "delete", "pod")


def target(service: Service, protocol: str = "tcp") -> str:
    host = f"[{service.address}]" if ":" in service.address else service.address
    return f"{host}:{service.port}/{protocol}"


def became(service: Service, protocol: str = "tcp") -> str:
    return target(Service(service.backend, service.backend_port, "", 0), protocol)


def check(node: BalancedNode, service: Service, protocol: str = "tcp", pod: str = POD) -> Check:
    return node.check("--datapath", "--pod", pod, "--vip", target(service, protocol))


def runs(found: Check) -> list[tuple[str, str | None, str | None]]:
    return [(run["result"], run["became"], run["by"]) for run in found.document["datapath"]["runs"]]


def hooks(found: Check) -> list[tuple[str, str, str]]:
    return [(one["hook"], one["name"], one["owner"]) for one in found.document["datapath"]["programs"]]


@contextlib.contextmanager
def tcx(node: BalancedNode, code: bytes, name: str = "cil_from_container", hook: str = "tcx ingress") -> Iterator[None]:
    links = json.loads(node.sandbox.run("ip", "-json", "link", "show", OUTSIDE).stdout)
    program = load(code, name, CLASSIFIER, whole_name=True)
    with at_interface(node.sandbox.path("/proc/1/ns/net"), links[0]["ifindex"], program, hook):
        yield


@contextlib.contextmanager
def tc(
    node: BalancedNode, code: bytes, name: str = "cil_from_container", hook: str = "ingress", priority: int = 1
) -> Iterator[None]:
    """A filter with direct action, as Cilium before 1.16 has it."""
    pin = node.pins() / name
    filtered = ("dev", OUTSIDE, hook, "prio", str(priority))
    with pinned_program(pin, load(code, name, CLASSIFIER, whole_name=True)):
        node.sandbox.run("tc", "qdisc", "replace", "dev", OUTSIDE, "clsact")
        inside = f"/sys/fs/bpf/tc/globals/{name}"
        node.sandbox.run("tc", "filter", "add", *filtered, "bpf", "direct-action", "object-pinned", inside)
        try:
            yield
        finally:
            node.sandbox.run("tc", "filter", "delete", *filtered)


@contextlib.contextmanager
def other_filter(node: BalancedNode) -> Iterator[None]:
    """A filter of tc that is no program, before all others."""
    filtered = ("dev", OUTSIDE, "ingress", "prio", "1")
    node.sandbox.run("tc", "qdisc", "replace", "dev", OUTSIDE, "clsact")
    node.sandbox.run("tc", "filter", "add", *filtered, "u32", "match", "u32", "0", "0", "flowid", "1:1")
    try:
        yield
    finally:
        node.sandbox.run("tc", "filter", "delete", *filtered)


Load = Callable[[BalancedNode, bytes], contextlib.AbstractContextManager[None]]
WAYS = pytest.mark.parametrize(("way", "hook"), [(tcx, "tcx ingress"), (tc, "tc ingress")], ids=["tcx", "tc"])
CILIUM = "cil_from_container"


@FAMILIES
@PROTOCOLS
@WAYS
def test_an_address_that_is_replaced_behind_the_interface_is_shown_with_its_backend(
    node: BalancedNode, pod: str, way: Load, hook: str, service: Service, protocol: str
) -> None:
    with way(node, classifier.translator(service)):
        found = check(node, service, protocol, pod)

    assert (found.verdict, runs(found), hooks(found)) == (
        ("OK", 0),
        [("replaced", became(service, protocol), CILIUM)],
        [(hook, CILIUM, "Cilium")],
    )


@FAMILIES
@WAYS
@pytest.mark.parametrize(
    ("code", "result"),
    [(classifier.refuser, "refused"), (classifier.dropper, "dropped"), (lambda _: classifier.idler(), "left alone")],
    ids=["without-backends", "dropped", "idle"],
)
def test_what_else_may_become_of_an_address(
    node: BalancedNode, pod: str, way: Load, hook: str, code: Callable[[Service], bytes], result: str, service: Service
) -> None:
    with way(node, code(service)):
        found = check(node, service, pod=pod)

    assert (runs(found), hooks(found)[0][0]) == ([(result, None, CILIUM)], hook)


@FAMILIES
def test_only_the_address_that_was_given_is_replaced(node: BalancedNode, pod: str, service: Service) -> None:
    other = Service(service.address, 81, service.backend, 81)
    with tcx(node, classifier.translator(service)):
        assert runs(check(node, other, pod=pod)) == [("left alone", None, None)]


def test_programs_run_in_the_kernels_order_until_one_decides(node: BalancedNode, pod: str) -> None:
    """First tcx, then tc by preference; a program that passes a frame on lets the next one see it."""
    watcher, first = classifier.idler(classifier.NEXT), Service(FOUR.address, 80, "10.244.0.99", 99)
    names = ["watcher", "second", "cil_from_container"]
    with (
        tc(node, classifier.translator(FOUR), priority=7),
        tc(node, watcher, "second", priority=3),
        tcx(node, watcher, "watcher"),
    ):
        found = check(node, FOUR, pod=pod)
        assert ([name for _, name, _ in hooks(found)], runs(found)) == (names, [("replaced", became(FOUR), CILIUM)])
        with tcx(node, classifier.translator(first), "cil_other"):
            assert runs(check(node, FOUR, pod=pod)) == [("replaced", became(first), "cil_other")]


def test_a_program_that_sees_only_what_the_pod_gets_is_listed_and_not_run(node: BalancedNode, pod: str) -> None:
    with tcx(node, classifier.dropper(FOUR), "cil_to_container", "tcx egress"):
        found = check(node, FOUR, pod=pod)

    assert (hooks(found), runs(found)) == (
        [("tcx egress", "cil_to_container", "Cilium")],
        [("left alone", None, None)],
    )


def test_behind_a_filter_that_cannot_be_asked_nothing_is_known(node: BalancedNode, pod: str) -> None:
    with other_filter(node), tc(node, classifier.translator(FOUR), priority=2):
        found = check(node, FOUR, pod=pod)

    [run] = found.document["datapath"]["runs"]
    assert (run["result"], run["reason"]) == ("untried", "a filter of kind u32 comes first, and can't be asked")
    assert [hook for hook, _, _ in hooks(found)] == ["tc ingress", "tc ingress"]


def notes(found: Check) -> list[str]:
    return [note for note in found.document["notes"] if "no program replaces" in note]


def test_an_address_that_nothing_replaces_is_remarked_and_not_broken(node: BalancedNode, pod: str) -> None:
    found = check(node, FOUR, pod=pod)
    assert (found.verdict, len(notes(found))) == (("OK", 0), 1)

    with tcx(node, classifier.translator(FOUR)):
        assert notes(check(node, FOUR, pod=pod)) == []


def test_a_program_behind_the_interface_proves_that_an_idle_one_before_the_mesh_spares_the_address(
    node: BalancedNode, pod: str
) -> None:
    idle = load(balancer.idler(), "cil_sock4_connect", "connect4")
    with attached(node.top, idle, "connect4"):
        assert check(node, FOUR, pod=pod).verdict == ("UNKNOWN", 3)
        with tcx(node, classifier.translator(FOUR)):
            assert check(node, FOUR, pod=pod).verdict == ("OK", 0)


def test_what_happens_behind_the_interface_mends_nothing_that_is_broken_before(node: BalancedNode, pod: str) -> None:
    full = load(balancer.translator(FOUR), "cil_sock4_connect", "connect4")
    with attached(node.top, full, "connect4"), tcx(node, classifier.translator(FOUR)):
        assert check(node, FOUR, pod=pod).verdict == ("BROKEN", 1)


def frames(listener: socket.socket, address: bytes) -> list[bytes]:
    """What was heard of an address until now."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while content := listener.recv(2048):
            found += [content] * (address in content)
    return found


def test_no_frame_of_a_run_is_sent(node: BalancedNode, pod: str) -> None:
    """A listener at the node's interface gets what the pod really sends, and nothing of the run."""
    address = ipaddress.ip_address(FOUR.address).packed

    with listening(node.sandbox.path("/proc/1/ns/net"), OUTSIDE) as listener:
        with tcx(node, classifier.translator(FOUR)):
            assert runs(check(node, FOUR, pod=pod)) == [("replaced", became(FOUR), CILIUM)]
        assert frames(listener, address) == []

        send = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('{FOUR.address}', 80))"
        node.sandbox.run("ip", "netns", "exec", Path(pod).name, "python3", "-c", send)
        wait_for(lambda: frames(listener, address) != [], "the frame is heard")


def test_a_process_of_the_pod_names_it_as_well(node: BalancedNode, pod: str) -> None:
    process = ("ip", "netns", "exec", Path(pod).name, "sh", "-c", "echo ready; echo $$; exec sleep 600")
    with tcx(node, classifier.translator(FOUR)), node.sandbox.running(*process) as running:
        assert running.stdout
        pid = running.stdout.readline().strip()
        assert runs(check(node, FOUR, pod=pid)) == [("replaced", became(FOUR), CILIUM)]


@pytest.mark.parametrize(
    ("namespace", "missing"),
    [
        ("/proc/1/ns/net", "/proc/1/ns/net: is the node's own network, and has no interface of a pod"),
        ("/run/netns/none", "/run/netns/none: No such file or directory"),
        ("/run/netns/alone", "/run/netns/alone: has no interface whose other end is on the node"),
        ("/run/netns/far", "/run/netns/far: the other end of eth0 is not in the node's network"),
    ],
)
def test_a_pod_whose_interface_cannot_be_found_is_named_with_the_reason(
    node: BalancedNode, namespace: str, missing: str
) -> None:
    for command in (
        "ip netns add alone",
        "ip netns add far",
        "ip netns add other",
        "ip -n far link add eth0 type veth peer name eth0 netns other",
    ):
        node.sandbox.run(*command.split())
    try:
        found = check(node, FOUR, pod=namespace)
    finally:
        for name in ("alone", "far", "other"):
            node.sandbox.run("ip", "netns", "delete", name)

    assert (found.document["datapath"]["missing"], runs(found), hooks(found)) == (missing, [], [])


def test_without_a_pod_one_must_have_a_record(node: BalancedNode) -> None:
    done = node.run("mesh", "check", "--datapath")

    assert (done.returncode, done.stdout) == (2, "")
    assert "--datapath: no pod of this node has a record; name one with --pod" in done.stderr


def test_without_a_pod_the_newest_that_the_mesh_may_have_captured_is_taken(node: BalancedNode, pod: str) -> None:
    now = time.time()
    node.record("gone", "/run/netns/gone", now)
    node.record("older", "/run/netns/older", now - 60)
    node.record("pod", pod, now - 30)
    node.record("newer", "/proc/1/ns/net", now - 10, "portmap")
    try:
        with tcx(node, classifier.translator(FOUR)):
            found = node.check("--datapath", "--vip", target(FOUR))
    finally:
        node.forget_records()

    assert (found.document["datapath"]["netns"], runs(found)) == (pod, [("replaced", became(FOUR), CILIUM)])


def test_text_shows_the_programs_and_what_they_answer(node: BalancedNode, pod: str) -> None:
    with tcx(node, classifier.translator(FOUR)):
        done = node.run("mesh", "check", "--cgroup", str(node.pods), "--datapath", "--pod", pod, "--vip", target(FOUR))

    assert f"Behind eth0 of {pod}: {OUTSIDE}" in done.stdout
    assert "  tcx ingress  cil_from_container  Cilium" in done.stdout
    assert "  10.96.0.10:80/tcp  cil_from_container  replaced by 10.244.0.21:8080/tcp" in done.stdout
