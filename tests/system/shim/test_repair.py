"""What the proxy takes for a connection's destination, with the shim and without."""

import socket

import pytest

from tests.support.bpf import balancer
from tests.support.bpf.kernel import attached, load
from tests.support.shim.campaign import AT_ONCE, MAPS, SIZES, services
from tests.support.shim.node import ShimNode, answers
from tests.support.shim.pod import ORIGINAL_DST, MeshedPod

# Each with five connections to services; `python -m tests.lab.shim` makes more.
ROUNDS = 620
PORT = 30000

FAMILIES = pytest.mark.parametrize("family", [pytest.param(4, id="IPv4"), pytest.param(6, id="IPv6")])


@FAMILIES
def test_the_proxy_is_told_the_services_address_though_most_source_ports_change(node: ShimNode, family: int) -> None:
    with node.meshed():
        node.on()
        found = node.connect(family, ROUNDS)
        _, status = node.status()

    assert (found.wrong, found.to_services >= 3000) == ([], True)
    assert found.remapped >= found.all // 2
    [pod], [proxy] = status["pods"], status["proxies"]
    assert (pod["learned"], pod["direct"], pod["unseen"]) == (found.to_services, found.to_backends, 0)
    assert (proxy["asked"], proxy["answered"], proxy["counted"]) == (found.all, found.to_services, 0)
    assert (proxy["unknown"], proxy["different"]) == (found.to_backends, 0)


@FAMILIES
def test_without_it_the_proxy_is_told_the_backends_address(node: ShimNode, family: int) -> None:
    with node.meshed():
        found = node.connect(family, 3, repaired=False)

    assert (found.wrong, found.all) == ([], 3 * AT_ONCE)


@FAMILIES
def test_a_dry_run_counts_and_the_proxy_sees_no_difference(node: ShimNode, family: int) -> None:
    with node.meshed():
        node.on("--dry-run")
        found = node.connect(family, 10, repaired=False)
        _, status = node.status()

    [pod], [proxy] = status["pods"], status["proxies"]
    assert (found.wrong, proxy["countsOnly"]) == ([], True)
    assert (pod["learned"], proxy["counted"], proxy["answered"]) == (found.to_services, found.to_services, 0)


@pytest.mark.parametrize(("family", "host"), [(4, "0.0.0.0"), (6, "::1")])  # noqa: S104  # in a namespace
def test_a_proxy_may_listen_for_one_family_alone(node: ShimNode, family: int, host: str) -> None:
    with node.meshed(host=host):
        node.on()
        found = node.connect(family, 3)

    assert found.wrong == []


def test_an_application_may_ask_for_a_service_of_ipv4_by_a_socket_of_ipv6(node: ShimNode) -> None:
    places = [(service.address, service.port) for service in services(4)]
    with node.meshed():
        node.on()

        assert answers(node.told(places, mapped=True)) == places


@FAMILIES
def test_what_an_earlier_connection_with_the_same_ports_has_left_is_forgotten(node: ShimNode, family: int) -> None:
    """A direct connection to the same backend has the same ends; nothing but the socket differs."""
    service = services(family)[0]
    asked = [(service.address, service.port), (service.backend, service.backend_port)] * 3
    with node.meshed():
        node.on()
        found = node.told(asked, PORT)

    assert [(one.destination, one.port) for one in found] == [(place, PORT) for place in asked]


@FAMILIES
def test_another_pod_with_the_same_addresses_is_another_pod(node: ShimNode, family: int) -> None:
    """It has no filter, so nothing is forgotten for it; its proxy is in the same cgroup."""
    service = services(family)[0]
    backend = (service.backend, service.backend_port)
    with (
        node.meshed(),
        MeshedPod.made(node.node.sandbox, "other") as other,
        other.proxied(node.proxy),
    ):
        node.on()
        node.told([(service.address, service.port)], PORT)

        assert answers(node.told([backend], PORT, pod=other)) == [backend]


@FAMILIES
def test_what_the_load_balancer_does_not_note_stays_as_the_kernel_has_it(node: ShimNode, family: int) -> None:
    service = services(family)[0]
    hook = f"connect{family}"
    program = load(balancer.translator(service), f"cil_sock{family}_connect", hook)
    with node.maps(), node.pod.proxied(node.proxy), attached(node.node.top, program, hook):
        node.on()
        found = answers(node.told([(service.address, service.port)]))
        _, status = node.status()

    assert found == [(service.backend, service.backend_port)]
    assert (status["pods"][0]["direct"], status["proxies"][0]["unknown"]) == (1, 1)


@FAMILIES
def test_what_was_learned_of_another_backend_is_not_used(node: ShimNode, family: int) -> None:
    """The kernel's answer must be the backend's: what is known of the same source and port is about something else."""
    service, other = services(family)[:2]
    backend = (service.backend, service.backend_port)
    with node.meshed(), MeshedPod.made(node.node.sandbox, "other") as laid:
        done = node.shim("on", "--pod", laid.path, "--proxy", str(node.proxy))
        assert done.returncode == 0, done.stderr
        node.learn(family, PORT, other)
        found = node.told([backend], PORT)
        _, status = node.status()

    assert (answers(found), status["proxies"][0]["different"]) == ([backend], 1)


@pytest.mark.parametrize("families", [(4,), (6,)], ids=["IPv4", "IPv6"])
def test_a_node_may_have_one_family(node: ShimNode, families: tuple[int, ...]) -> None:
    with node.meshed(families):
        node.on()
        found = node.connect(families[0], 3)
        _, status = node.status()

    assert (found.wrong, status["pods"][0]["families"]) == ([], list(families))


def test_other_questions_of_the_proxy_are_answered_as_before(node: ShimNode) -> None:
    """Also those with room for more than a page, which kernels before 6.4 take from such a program only."""
    with node.meshed():
        before = node.pod.ask(other_answers, node.proxy)
        node.on()

        assert node.pod.ask(other_answers, node.proxy) == before


def other_answers() -> list[str]:
    """What the kernel says of a socket, and what it refuses to say."""
    asked = [
        (socket.SOL_SOCKET, socket.SO_TYPE, 4),
        (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16384),
        (socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16384),
        (socket.SOL_IP, ORIGINAL_DST, 16),  # the socket is not connected
        (socket.SOL_IP, ORIGINAL_DST, 4),
        (socket.IPPROTO_IPV6, ORIGINAL_DST, 28),
    ]
    found = []
    with socket.socket(socket.AF_INET6) as one:
        for level, name, room in asked:
            try:
                found.append(one.getsockopt(level, name, room).hex())
            except OSError as error:
                found.append(str(error))
    return found


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("grown", [(8, 0), (0, 4)], ids=["keys", "values"])
def test_a_map_of_another_layout_is_refused_and_nothing_is_laid(
    node: ShimNode, family: int, grown: tuple[int, int]
) -> None:
    other = 10 - family
    with (
        node.maps({other: SIZES[other]}),
        node.maps({family: (SIZES[family][0] + grown[0], SIZES[family][1] + grown[1])}),
    ):
        done = node.shim("on", "--pod", node.pod.path, "--proxy", str(node.proxy))

        assert (done.returncode, done.stdout) == (1, "")
        assert f"/sys/fs/bpf/tc/globals/{MAPS[family]}: its layout is unknown: " in done.stderr
        assert node.leftovers() == []


def test_without_a_load_balancer_there_is_nothing_to_repair(node: ShimNode) -> None:
    node.node.pins()

    done = node.shim("on", "--pod", node.pod.path, "--proxy", str(node.proxy))

    assert (done.returncode, node.leftovers()) == (1, [])
    assert "there is nothing to repair" in done.stderr
