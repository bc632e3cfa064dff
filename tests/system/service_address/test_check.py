"""`cni-chain mesh check`: its verdict, whatever is attached to whichever cgroup."""

import contextlib
import ipaddress
import json
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.bpf import balancer
from tests.support.bpf.balancer import Service
from tests.support.bpf.kernel import EXCLUSIVE, MULTI, OVERRIDE, attached, linked, load, pinned
from tests.support.bpf.node import BalancedNode, removed

FOUR = Service("10.96.0.10", 80, "10.244.0.21", 8080)
SIX = Service("fd00:96::10", 80, "fd00:244::21", 8080)
FAMILIES = pytest.mark.parametrize("service", [pytest.param(FOUR, id="IPv4"), pytest.param(SIX, id="IPv6")])
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])

OK, BROKEN, UNKNOWN = ("OK", 0), ("BROKEN", 1), ("UNKNOWN", 3)


def vip(service: Service, protocol: str = "tcp") -> tuple[str, str]:
    host = f"[{service.address}]" if ":" in service.address else service.address
    return "--vip", f"{host}:{service.port}/{protocol}"


def hook(service: Service, verb: str = "connect") -> str:
    return f"{verb}{6 if ':' in service.address else 4}"


def cilium(service: Service, code: bytes, verb: str = "connect") -> int:
    """A program with the name that Cilium gives it."""
    name = f"cil_sock{hook(service)[-1]}_{verb}"
    return load(code, name, hook(service, verb))


@contextlib.contextmanager
def full(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.top, cilium(service, balancer.translator(service)), hook(service)):
        yield


@contextlib.contextmanager
def node_only(node: BalancedNode, service: Service) -> Iterator[None]:
    code = balancer.translator(service, only_namespace=node.cookie())
    with attached(node.top, cilium(service, code), hook(service)):
        yield


@contextlib.contextmanager
def by_link(node: BalancedNode, service: Service) -> Iterator[None]:
    with linked(node.top, cilium(service, balancer.translator(service)), hook(service)):
        yield


@contextlib.contextmanager
def exclusive(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.top, cilium(service, balancer.translator(service)), hook(service), EXCLUSIVE):
        yield


@contextlib.contextmanager
def below(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.pods, cilium(service, balancer.translator(service)), hook(service)):
        yield


@contextlib.contextmanager
def one_pod(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.pods / "pod", cilium(service, balancer.translator(service)), hook(service)):
        yield


@contextlib.contextmanager
def idle(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.top, cilium(service, balancer.idler()), hook(service)):
        yield


@contextlib.contextmanager
def strange(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.top, load(balancer.idler(), "watcher", hook(service)), hook(service)):
        yield


@contextlib.contextmanager
def strange_and_translating(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.top, load(balancer.translator(service), "watcher", hook(service)), hook(service)):
        yield


@contextlib.contextmanager
def strange_and_refusing(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.top, load(balancer.refuser(service), "firewall", hook(service)), hook(service)):
        yield


@contextlib.contextmanager
def without_backend(node: BalancedNode, service: Service) -> Iterator[None]:
    with attached(node.top, cilium(service, balancer.refuser(service)), hook(service)):
        yield


@contextlib.contextmanager
def overridden(node: BalancedNode, service: Service) -> Iterator[None]:
    """The node's translator lets a cgroup have its own instead, and the pods' does nothing."""
    whole = attached(node.top, cilium(service, balancer.translator(service)), hook(service), OVERRIDE)
    with whole, attached(node.pods, load(balancer.idler(), "watcher", hook(service)), hook(service), OVERRIDE):
        yield


@contextlib.contextmanager
def nothing(_: BalancedNode, __: Service) -> Iterator[None]:
    yield


@dataclass(frozen=True)
class Case:
    """What is attached, and what becomes of an address as a pod and as the node."""

    load: Callable[[BalancedNode, Service], contextlib.AbstractContextManager[None]]
    verdict: tuple[str, int]
    pod: str
    node: str


CASES = {
    "nothing": Case(nothing, OK, "preserved", "preserved"),
    "full": Case(full, BROKEN, "translated", "translated"),
    "full, by a link": Case(by_link, BROKEN, "translated", "translated"),
    "the node's namespace only": Case(node_only, OK, "preserved", "translated"),
    "exclusive": Case(exclusive, BROKEN, "translated", "translated"),
    "attached below the root": Case(below, BROKEN, "translated", "preserved"),
    "attached to one pod": Case(one_pod, UNKNOWN, "preserved", "preserved"),
    "idle": Case(idle, UNKNOWN, "preserved", "preserved"),
    "unknown and idle": Case(strange, UNKNOWN, "preserved", "preserved"),
    "unknown and translating": Case(strange_and_translating, BROKEN, "translated", "translated"),
    "unknown and refusing": Case(strange_and_refusing, UNKNOWN, "rejected", "unreachable"),
    "a service without a backend": Case(without_backend, BROKEN, "rejected", "unreachable"),
    "overridden for pods": Case(overridden, OK, "preserved", "translated"),
}


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_verdict_is_what_a_connection_meets(
    node: BalancedNode, case: Case, service: Service, protocol: str
) -> None:
    with case.load(node, service):
        found = node.check(*vip(service, protocol))

    assert (found.verdict, found.outcomes("pod"), found.outcomes("node"), found.stderr) == (
        case.verdict,
        [case.pod],
        [case.node],
        "",
    )


def test_getpeername_is_not_believed(node: BalancedNode) -> None:
    """Cilium's program on that hook answers with the service's address."""
    liar = cilium(FOUR, balancer.translator(FOUR.backwards), "getpeername")
    with full(node, FOUR), attached(node.top, liar, "getpeername4", MULTI):
        found = node.check(*vip(FOUR))

    assert (found.verdict, found.outcomes("pod")) == (BROKEN, ["translated"])


def test_a_pod_is_judged_by_its_own_cgroup_not_by_the_cgroup_of_the_command(node: BalancedNode) -> None:
    """Tried outside the cgroup to which the program is attached, the address would seem to survive."""
    with below(node, FOUR):
        assert node.check(*vip(FOUR), cgroup=node.processes).verdict[0] != "BROKEN"
        assert node.check(*vip(FOUR), cgroup=node.pods).verdict == BROKEN


NODE_ONLY = "socketLB.hostNamespaceOnly=true"
RESTART = "restart Cilium's agents: kubectl --namespace kube-system rollout restart ds/cilium"
SAYS_NODE_ONLY = (
    "/run/cilium-config.json says that service addresses are replaced for the node's own processes only; "
    "the kernel does it for every process"
)


@pytest.mark.parametrize(
    ("settings", "drift", "do"),
    [
        pytest.param({"bpf-lb-sock-hostns-only": "true"}, [SAYS_NODE_ONLY], [RESTART], id="changed-without-a-restart"),
        pytest.param({}, [], [f"set Cilium's Helm value {NODE_ONLY}", RESTART], id="not-changed"),
    ],
)
def test_a_configuration_that_the_kernel_does_not_follow_is_named(
    node: BalancedNode, settings: dict[str, str], drift: list[str], do: list[str]
) -> None:
    data = {"kube-proxy-replacement": "true", "bpf-lb-sock": "false"} | settings
    node.sandbox.path("/run/cilium-config.json").write_text(json.dumps({"data": data}))

    with full(node, FOUR):
        found = node.check(*vip(FOUR), "--config", "/run/cilium-config.json")

    notes = [note for note in found.document["notes"] if "the kernel does it" in note]
    assert (found.verdict, notes, found.document["do"]) == (BROKEN, drift, do)


def test_a_config_map_that_gives_cilium_a_ztunnel_of_its_own_is_noted(node: BalancedNode) -> None:
    node.sandbox.path("/run/cilium-config.json").write_text(json.dumps({"data": {"enable-ztunnel": "true"}}))

    found = node.check("--config", "/run/cilium-config.json")

    assert (found.verdict, [note.partition(";")[0] for note in found.document["notes"]]) == (
        OK,
        ["/run/cilium-config.json (enable-ztunnel: true) says that Cilium has a ztunnel of its own"],
    )


def test_a_program_has_its_whole_name_where_the_kernel_knows_it(node: BalancedNode) -> None:
    program = load(balancer.idler(), "cil_sock4_connect", "connect4", whole_name=True)
    with attached(node.top, program, "connect4"):
        [found] = [one for one in node.check("--no-probe").document["programs"] if one["appliesToPod"]]

    assert (found["name"], found["owner"], found["mode"], found["cgroup"]) == (
        "cil_sock4_connect",
        "Cilium",
        "multi",
        str(node.top),
    )


def test_the_worst_address_decides(node: BalancedNode) -> None:
    other = Service("10.96.0.11", 80, "10.244.0.22", 80)
    with full(node, FOUR), node_only(node, other):
        found = node.check(*vip(other), *vip(FOUR))

    assert (found.verdict, found.outcomes("pod")) == (BROKEN, ["preserved", "translated"])


def test_without_a_trial_programs_alone_prove_nothing(node: BalancedNode) -> None:
    with full(node, FOUR):
        assert node.check("--no-probe").verdict == UNKNOWN
    assert node.check("--no-probe").verdict == OK


def entry(service: Service, *, slot: int = 0, backends: int = 1, protocol: int = 6) -> tuple[bytes, bytes]:
    """A service as Cilium's map has it: struct lb4_key or lb6_key, and struct lb4_service."""
    key = ipaddress.ip_address(service.address).packed + struct.pack("!H", service.port)
    return key + struct.pack("=HBBxx", slot, protocol, 0), struct.pack("=IHHBBH", 0, backends, 0, 0, 0, 0)


def test_ciliums_own_services_are_tried_if_none_is_given(node: BalancedNode) -> None:
    """Not the entry that every address has for the ports that it lacks, nor backends, nor services without any."""
    without = Service("10.96.0.12", 80, "", 0)
    dns = Service("10.96.0.13", 53, "", 0)
    entries = [
        entry(FOUR),
        entry(FOUR, slot=1),
        entry(Service(FOUR.address, 0, "", 0), backends=0, protocol=0),
        entry(without, backends=0),
        entry(dns, protocol=17),
    ]
    pins = node.pins()

    with (
        pinned(pins / "cilium_lb4_services_v2", dict(entries)),
        pinned(pins / "cilium_lb6_services_v2", dict([entry(SIX)])),
        full(node, FOUR),
    ):
        found = node.check()

    assert sorted(
        (trial["target"], trial["outcome"]) for trial in found.document["trials"] if trial["from"] == "pod"
    ) == [
        ("10.96.0.10:80/tcp", "translated"),
        ("10.96.0.13:53/udp", "preserved"),
        ("[fd00:96::10]:80/tcp", "preserved"),
    ]


def test_a_map_of_another_layout_is_not_read(node: BalancedNode) -> None:
    with pinned(node.pins() / "cilium_lb4_services_v2", {bytes(16): bytes(12)}), full(node, FOUR):
        found = node.check()

    assert (found.verdict, found.document["trials"]) == (UNKNOWN, [])


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--pod", "/run/netns/gone"), "/run/netns/gone: No such file or directory"),
        (("--pod", "/etc/hostname"), "/etc/hostname: is not a network namespace"),
        (("--pod", "/proc/self/ns/mnt"), "/proc/self/ns/mnt: is not a network namespace"),
        (("--pod", "²"), "²: No such file or directory"),
        (("--pod", "4194305"), "process 4194305: No such file or directory"),
        (("--cgroup", "/sys/fs/cgroup/gone"), "programs of /sys/fs/cgroup/gone: No such file or directory"),
    ],
)
def test_who_is_not_there_is_not_ok(node: BalancedNode, options: tuple[str, str], why: str) -> None:
    """Nothing is attached, and no address is given: nobody would look at it otherwise."""
    done = node.run("mesh", "check", *options)

    assert (done.returncode, done.stdout.splitlines()[0]) == (3, f"UNKNOWN: {why}")


@pytest.mark.parametrize("option", ["--pod", "--cgroup", "--config"])
def test_an_option_that_a_shell_has_left_empty_is_not_any_pod(node: BalancedNode, option: str) -> None:
    done = node.run("mesh", "check", option, "")

    assert (done.returncode, done.stdout) == (2, "")
    assert f"{option}: is empty" in done.stderr


def test_a_cgroup_that_a_killed_check_has_left_goes_and_one_in_use_stays(node: BalancedNode) -> None:
    left, used, new = (node.pods / f"cni-chain-probe-{number}" for number in (1, 2, 3))
    for directory in (left, used, new):
        directory.mkdir()
    for directory in (left, used):
        os.utime(directory, (0, 0))
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        try:
            (used / "cgroup.procs").write_text(str(process.pid))
            with below(node, FOUR):
                found = node.check(*vip(FOUR), cgroup=node.pods)
        finally:
            process.kill()
    stay = [directory for directory in (left, used, new) if directory.exists()]
    for directory in stay:
        removed(directory)

    assert (found.verdict, stay) == (BROKEN, [used, new])


def test_a_cgroup_may_be_written_in_any_way(node: BalancedNode) -> None:
    with one_pod(node, FOUR):
        found = node.check(cgroup=node.pods / "pod" / "..")
        slash = node.run("mesh", "check", "--cgroup", f"{node.pods}/")

    assert (found.verdict, found.document["cgroup"], slash.returncode) == (UNKNOWN, str(node.pods), 3)


def test_a_mount_of_any_bytes_elsewhere_hides_no_cgroup(node: BalancedNode) -> None:
    odd = b"/run/\xff\r\xc2\xa0x"
    script = "import os, sys; os.mkdir(sys.argv[1]); os.execvp('mount', ['mount', '-t', 'tmpfs', 'tmpfs', sys.argv[1]])"
    node.sandbox.run("python3", "-c", script, os.fsdecode(odd))
    with full(node, FOUR):
        found = node.check(*vip(FOUR))

    assert found.verdict == BROKEN


def test_a_config_map_that_can_not_be_read_is_not_broken(node: BalancedNode) -> None:
    done = node.run("mesh", "check", "--config", "/run/gone.json")

    assert (done.returncode, done.stdout) == (3, "")
    assert "/run/gone.json: No such file or directory" in done.stderr


def test_nothing_of_a_check_stays(node: BalancedNode) -> None:
    with full(node, FOUR):
        node.check(*vip(FOUR))
        assert [place.name for place in node.pods.iterdir() if place.is_dir()] == ["pod"]
