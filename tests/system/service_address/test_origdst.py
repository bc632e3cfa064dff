"""`cni-chain mesh origdst`: the service behind a connection, from maps as Cilium pins them, for real sockets."""

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cni_chain.node import system_calls
from tests.support.bpf.balancer import Service
from tests.support.bpf.book import Book, Endpoint
from tests.support.bpf.kernel import kept_in_socket, within
from tests.support.bpf.node import BalancedNode
from tests.support.files import schemas
from tests.support.sandbox.namespaces import Sandbox, kill, members

FOUR = Service("10.96.0.10", 80, "10.244.0.21", 8080)
SIX = Service("fd00:96::10", 80, "fd00:244::21", 8080)
FAMILIES = pytest.mark.parametrize("service", [pytest.param(FOUR, id="IPv4"), pytest.param(SIX, id="IPv6")])
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])
POD = "/run/netns/origpod"
SOURCES = {FOUR.backend: "10.244.0.11", SIX.backend: "fd00:244::11"}
COOKIE = 57  # SO_COOKIE

pytestmark = pytest.mark.usefixtures("pod")


@pytest.fixture(scope="module")
def pod(sandbox: Sandbox) -> Iterator[None]:
    """A pod in which the backends and the services answer as well, so that every connection is a real one."""
    inside = ("ip", "-n", Path(POD).name)
    sandbox.run("ip", "netns", "add", Path(POD).name)
    sandbox.run(*inside, "link", "set", "lo", "up")
    for address in (*SOURCES, *SOURCES.values(), FOUR.address, SIX.address):
        nodad = ("nodad",) if ":" in address else ()
        sandbox.run(*inside, "addr", "add", address, "dev", "lo", *nodad)
    yield
    sandbox.run("ip", "netns", "delete", Path(POD).name)


def text(endpoint: Endpoint, protocol: str = "tcp") -> str:
    host = f"[{endpoint[0]}]" if ":" in endpoint[0] else endpoint[0]
    return f"{host}:{endpoint[1]}/{protocol}"


def asked(service: Service, protocol: str = "tcp") -> str:
    return text((service.address, service.port), protocol)


@dataclass(frozen=True)
class Connection:
    """A real connection of the pod's."""

    opened: socket.socket
    source: Endpoint

    @property
    def cookie(self) -> int:
        return int(struct.unpack("=Q", self.opened.getsockopt(socket.SOL_SOCKET, COOKIE, 8))[0])


@contextlib.contextmanager
def connection(
    node: BalancedNode, to: Endpoint, protocol: str = "tcp", *, mapped: bool = False
) -> Iterator[Connection]:
    """A socket of the pod's that is connected; `mapped` is one of IPv6 that talks IPv4."""
    family = socket.AF_INET6 if ":" in to[0] or mapped else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    prefix = "::ffff:" if mapped else ""
    address = SOURCES.get(to[0]) or {FOUR.address: "10.244.0.11", SIX.address: "fd00:244::11"}[to[0]]

    def connect() -> tuple[socket.socket, socket.socket]:
        server, client = socket.socket(family, kind), socket.socket(family, kind)
        server.bind((prefix + to[0], to[1]))
        if protocol == "tcp":
            server.listen()
        client.bind((prefix + address, 0))
        client.connect((prefix + to[0], to[1]))
        return server, client

    server, client = within(node.sandbox.path(POD), connect)
    with server, client:
        yield Connection(client, (address, client.getsockname()[1]))


@dataclass(frozen=True)
class Told:
    """What the command answered."""

    status: int
    document: dict[str, Any]

    @property
    def answer(self) -> tuple[int, str, str | None, list[str]]:
        return self.status, self.document["answer"], self.document["service"], self.document["candidates"]


def ask(node: BalancedNode, source: Endpoint, destination: Endpoint, protocol: str = "tcp", *options: str) -> Told:
    where = options or ("--netns", POD)
    done = node.run("mesh", "origdst", text(source), text(destination, protocol), "--json", *where)
    assert done.stdout, done.stderr
    assert not done.stderr
    document = json.loads(done.stdout)
    assert not schemas.problem(document), schemas.problem(document)
    return Told(done.returncode, document)


def backend(service: Service) -> Endpoint:
    return service.backend, service.backend_port


@FAMILIES
def test_an_address_that_was_replaced_at_connect_is_found_by_the_socket(node: BalancedNode, service: Service) -> None:
    book = Book(service)
    book.add(replace(service, port=81))  # another service with the same backend
    with connection(node, backend(service)) as made:
        book.replaced(cookie := made.cookie, service)
        with book.pinned(node.pins()):
            found = ask(node, made.source, backend(service))

    assert (found.answer, found.document["socket"]["cookie"]) == ((0, "service", asked(service), []), cookie)


def test_a_socket_of_ipv6_that_talks_ipv4_is_found_too(node: BalancedNode) -> None:
    book = Book(FOUR)
    with connection(node, backend(FOUR), mapped=True) as made:
        book.replaced(made.cookie, FOUR)
        with book.pinned(node.pins()):
            assert ask(node, made.source, backend(FOUR)).answer == (0, "service", asked(FOUR), [])


@FAMILIES
def test_the_pod_is_known_by_its_recorded_address(node: BalancedNode, service: Service) -> None:
    book, now = Book(service), time.time()
    address = SOURCES[service.backend]
    with connection(node, backend(service)) as made:
        book.replaced(made.cookie, service)
        node.record("older", "/run/netns/none", now - 60, addresses=[f"{address}/32"])
        node.record("other", "/proc/1/ns/net", now, addresses=["10.244.0.1/32"])
        node.record("pod", POD, now - 30, addresses=["192.0.2.1/24", f"{address}/{128 if ':' in address else 32}"])
        try:
            with book.pinned(node.pins()):
                found = ask(node, made.source, backend(service), "tcp", "--json")
        finally:
            node.forget_records()

    assert (found.answer, found.document["netns"]) == ((0, "service", asked(service), []), POD)


@FAMILIES
def test_of_udp_a_map_alone_is_not_certain(node: BalancedNode, service: Service) -> None:
    """The socket may have been connected anew, to the backend itself: the entry stays."""
    book = Book(service, protocol="udp")
    with connection(node, backend(service), "udp") as made:
        book.replaced(made.cookie, service)
        with book.pinned(node.pins()):
            found = ask(node, made.source, backend(service), "udp")

    assert found.answer == (1, "candidates", None, [asked(service, "udp")])


@FAMILIES
@PROTOCOLS
def test_an_address_that_is_replaced_behind_the_interface_is_found_by_the_packets(
    node: BalancedNode, service: Service, protocol: str
) -> None:
    book = Book(service, protocol=protocol)
    book.add(replace(service, port=81))
    with connection(node, (service.address, service.port), protocol) as made:
        book.connected(made.source, service)
        with book.pinned(node.pins()):
            found = ask(node, made.source, backend(service), protocol)
            unseen = ask(node, made.source, backend(service), protocol, "--netns", "/proc/1/ns/net")

    assert found.answer == unseen.answer == (0, "service", asked(service, protocol), [])
    assert "not open" not in found.document["why"]
    assert "no socket with this source is open" in unseen.document["why"]


@FAMILIES
@PROTOCOLS
def test_a_connection_that_was_made_to_the_backend_has_only_candidates(
    node: BalancedNode, service: Service, protocol: str
) -> None:
    """Whatever the tables have of an older connection with these addresses and ports."""
    other = replace(service, port=81)
    book = Book(service, protocol=protocol)
    book.add(other)
    with connection(node, backend(service), protocol) as made:
        book.connected(made.source, service)
        book.replaced(made.cookie + 1, service)
        with book.pinned(node.pins()):
            found = ask(node, made.source, backend(service), protocol)

    assert found.answer == (1, "candidates", None, [asked(service, protocol), asked(other, protocol)])


@FAMILIES
def test_an_address_of_no_service_was_asked_for_itself(node: BalancedNode, service: Service) -> None:
    elsewhere = replace(service, backend=SOURCES[service.backend])
    with connection(node, backend(service)) as made, Book(elsewhere).pinned(node.pins()):
        assert ask(node, made.source, backend(service)).answer == (1, "none", None, [])


@FAMILIES
def test_the_address_of_a_service_is_the_answer_itself(node: BalancedNode, service: Service) -> None:
    there = (service.address, service.port)
    with connection(node, there) as made, Book(service).pinned(node.pins()):
        assert ask(node, made.source, there).answer == (0, "service", asked(service), [])


def test_a_wrong_backend_is_not_certain(node: BalancedNode) -> None:
    """The socket asked for a service; that this is its backend is in no table."""
    wrong = replace(FOUR, backend="10.244.0.99")
    book = Book(FOUR)
    book.add(replace(FOUR, address="10.96.0.11", backend="10.244.0.99"))
    with connection(node, (FOUR.address, FOUR.port)) as made:
        book.connected(made.source, FOUR)
        with book.pinned(node.pins()):
            assert ask(node, made.source, backend(wrong)).answer == (1, "candidates", None, [asked(FOUR)])


def test_a_service_that_was_deleted_meanwhile_leaves_candidates(node: BalancedNode) -> None:
    source = ("10.244.0.11", 40912)
    book = Book(FOUR)
    book.connected(source, replace(FOUR, address="10.96.0.77"))
    with book.pinned(node.pins()):
        found = ask(node, source, backend(FOUR))

    assert (found.answer, "deleted" in found.document["why"]) == ((1, "candidates", None, [asked(FOUR)]), True)


def test_a_connection_that_is_to_no_service_is_told_so(node: BalancedNode) -> None:
    source = ("10.244.0.11", 40912)
    book = Book(replace(FOUR, backend="10.244.0.99"))
    book.connected(source, FOUR, to_service=False)
    with book.pinned(node.pins()):
        found = ask(node, source, backend(FOUR))

    assert (found.answer, "to no service" in found.document["why"]) == ((1, "none", None, []), True)


# A process of the pod that connects, and prints its port and descriptor.
CONNECT = """
import socket, sys, time
source, address, port, protocol = sys.argv[1:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
server, client = socket.socket(family, kind), socket.socket(family, kind)
server.bind((address, int(port)))
if protocol == "tcp":
    server.listen()
client.bind((source, 0))
client.connect((address, int(port)))
print(client.getsockname()[1], client.fileno(), flush=True)
time.sleep(600)
"""


@FAMILIES
@PROTOCOLS
def test_the_newest_layout_keeps_the_address_in_the_socket(node: BalancedNode, service: Service, protocol: str) -> None:
    """It is in no release of Cilium yet; a socket's own entry is certain for UDP too."""
    book = Book(service, protocol=protocol)
    name = f"cilium_lb{book.family}_reverse_sk_v2"
    arguments = (SOURCES[service.backend], *map(str, backend(service)), protocol)
    connect = ("ip", "netns", "exec", Path(POD).name, "python3", "-c", CONNECT, *arguments)
    with node.sandbox.start(*connect) as process:
        try:
            assert process.stdout
            port, descriptor = map(int, process.stdout.readline().split())
            with (
                copied(members(process)[0], descriptor) as mine,
                kept_in_socket(node.pins() / name, mine, book.storage(service)),
                book.pinned(node.pins()),
            ):
                found = ask(node, (SOURCES[service.backend], port), backend(service), protocol)
        finally:
            kill(process)

    assert found.answer == (0, "service", asked(service, protocol), [])
    assert "the socket itself" in found.document["why"]


@contextlib.contextmanager
def copied(pid: int, descriptor: int) -> Iterator[int]:
    """A copy of another process's descriptor."""
    process = os.pidfd_open(pid)
    mine = system_calls.pidfd_getfd(process, descriptor)
    try:
        yield mine
    finally:
        os.close(mine)
        os.close(process)


@pytest.mark.parametrize(
    "name",
    ["lb4_services_v2", "lb4_backends_v3", "lb4_reverse_nat", "lb4_reverse_sk", "lb4_reverse_sk_v2", "ct4_global"],
)
def test_a_map_of_another_layout_is_refused_with_its_sizes(node: BalancedNode, name: str) -> None:
    """Each is needed for one of these two: a connection to the backend, and one to the service."""
    answers = []
    for there in (backend(FOUR), (FOUR.address, FOUR.port)):
        book = Book(FOUR)
        with connection(node, there) as made:
            book.connected(made.source, FOUR)
            book.maps[f"cilium_{name}"] = {bytes(20): bytes(60)}
            with book.pinned(node.pins()):
                answers.append(ask(node, made.source, backend(FOUR)))

    [refused, *_] = [answer for answer in answers if answer.status == 3]
    assert refused.answer[1:] == ("unknown", None, [])
    assert f"cilium_{name}: has keys and values of 20 and 60 bytes, and not of" in refused.document["why"]


@FAMILIES
def test_without_a_load_balancers_maps_nothing_is_known(node: BalancedNode, service: Service) -> None:
    node.pins()
    found = ask(node, (SOURCES[service.backend], 40912), backend(service))

    assert found.answer == (3, "unknown", None, [])
    assert "does not exist: does Cilium balance services of IPv" in found.document["why"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("10.244.0.11", "10.244.0.21:8080"), "SRC 10.244.0.11: must be IP:PORT"),
        (("10.244.0.11:1", "example:80"), "DST example:80: must be IP:PORT"),
        (("10.244.0.11:1", "[fd00::1]:80"), "must be of the same family, IPv4 or IPv6"),
    ],
)
def test_wrong_usage_is_told(node: BalancedNode, arguments: tuple[str, str], message: str) -> None:
    done = node.run("mesh", "origdst", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_namespace_that_cannot_be_entered_is_not_an_answer(node: BalancedNode) -> None:
    done = node.run("mesh", "origdst", "10.244.0.11:1", "10.244.0.21:80", "--netns", "/run/netns/none")

    assert (done.returncode, done.stdout) == (3, "")
    assert "/run/netns/none: No such file or directory" in done.stderr
