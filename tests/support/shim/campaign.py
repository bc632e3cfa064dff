"""Connections through a redirection that has to change their source ports, each compared with what was asked for."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.bpf import balancer
from tests.support.bpf.balancer import Service
from tests.support.bpf.kernel import LRU_HASH, attached, emptily_pinned, load
from tests.support.shim.pod import Endpoint, MeshedPod, connected, told

# As many connections have the same source port at a time, so that the redirection leaves it to one of them only.
AT_ONCE = 6
_FIRST_PORT = 20000

SIZES = {4: (16, 8), 6: (32, 20)}
MAPS = {4: "cilium_lb4_reverse_sk", 6: "cilium_lb6_reverse_sk"}


def services(family: int) -> list[Service]:
    """As many services with a backend each as are connected to at a time."""
    if family == 4:
        return [Service(f"10.96.0.{10 + one}", 80 + one, f"10.244.0.{20 + one}", 8080) for one in range(AT_ONCE)]
    return [Service(f"fd00:96::{10 + one}", 80 + one, f"fd00:244::{20 + one}", 8080) for one in range(AT_ONCE)]


def mapped(service: Service) -> Service:
    """A service of IPv4 as a socket of IPv6 asks for it."""
    return Service(f"::ffff:{service.address}", service.port, f"::ffff:{service.backend}", service.backend_port)


@contextlib.contextmanager
def maps(pins: Path, sizes: Mapping[int, tuple[int, int]]) -> Iterator[dict[int, int]]:
    """Cilium's maps of these families, with keys and values of these sizes: their descriptors."""
    with contextlib.ExitStack() as held:
        yield {
            family: held.enter_context(emptily_pinned(pins / MAPS[family], LRU_HASH, *both))
            for family, both in sizes.items()
        }


@contextlib.contextmanager
def balanced(cgroup: Path, pins: Path, families: tuple[int, ...] = (4, 6)) -> Iterator[None]:
    """Cilium's stand-in for these families: its maps, and on a cgroup a program for each service."""
    with maps(pins, {family: SIZES[family] for family in families}) as reverse, contextlib.ExitStack() as held:
        for family in families:
            for service in services(family):
                asked = [service, mapped(service)] if family == 4 else [service]
                for one in asked:
                    hook = "connect6" if ":" in one.address else "connect4"
                    program = load(balancer.recorder(one, reverse[family]), f"cil_sock{hook[-1]}_connect", hook)
                    held.enter_context(attached(cgroup, program, hook))
        yield


@dataclass(frozen=True)
class Totals:
    """How many connections were made, to services and to backends; those whose port was changed; the wrong answers."""

    to_services: int
    to_backends: int
    remapped: int
    wrong: list[str]

    @property
    def all(self) -> int:
        return self.to_services + self.to_backends


def connect(pod: MeshedPod, cgroup: Path, family: int, rounds: int, *, repaired: bool = True) -> Totals:
    """Connect in rounds, each from one source port: to all services but one, and to the backend of that one.

    An answer is wrong if it isn't the service's address (the backend's, unless `repaired`), or isn't the backend's
    for a connection that went there.
    """
    found: dict[str, Any] = pod.ask(lambda: _connect(family, rounds, repaired=repaired), cgroup)
    return Totals(**found)


def _connect(family: int, rounds: int, *, repaired: bool) -> dict[str, Any]:
    known = services(family)
    to_services = to_backends = remapped = 0
    wrong: list[str] = []
    for number in range(rounds):
        port = _FIRST_PORT + number
        asked: list[Endpoint] = [(service.address, service.port) for service in known]
        expected = asked if repaired else [(service.backend, service.backend_port) for service in known]
        direct = known[number % AT_ONCE]
        asked[number % AT_ONCE] = expected[number % AT_ONCE] = (direct.backend, direct.backend_port)
        connections = [connected(*one, port) for one in asked]
        for one, wanted, connection in zip(asked, expected, connections, strict=True):
            answer = told(connection)
            remapped += answer.port != port
            if answer.destination != wanted:
                wrong.append(f"{one} from {port}, seen as {answer.port}: {answer.destination}, not {wanted}")
        to_services += AT_ONCE - 1
        to_backends += 1
    return {"to_services": to_services, "to_backends": to_backends, "remapped": remapped, "wrong": wrong}
