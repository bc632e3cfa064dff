"""The node: its cgroups, one pod, and the command."""

import contextlib
import ipaddress
import json
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cni_chain.mesh import bpf
from tests.support.bpf.balancer import Service
from tests.support.bpf.kernel import write
from tests.support.bpf.node import BalancedNode
from tests.support.files import schemas
from tests.support.shim import campaign
from tests.support.shim.pod import ADDRESSES, Answer, Endpoint, MeshedPod, connected, told

_PROGRAM_TYPES = (3, 25)  # BPF_PROG_TYPE_SCHED_CLS and CGROUP_SOCKOPT
PINS = "/sys/fs/bpf/cni-chain-shim"


def loaded() -> set[int]:
    """The IDs of the shim's programs that are loaded on this machine."""
    return {one.id for kind in _PROGRAM_TYPES for one in bpf.programs(kind) if one.name.startswith("cnichain_")}


def answers(found: Sequence[Answer]) -> list[Endpoint | None]:
    """The destinations alone."""
    return [one.destination for one in found]


@dataclass(frozen=True)
class ShimNode:
    """A balanced node with one pod that is redirected to a proxy."""

    node: BalancedNode
    pod: MeshedPod
    of_others: set[int] = field(default_factory=loaded)  # programs that were there before

    @property
    def proxy(self) -> Path:
        """The proxy's cgroup."""
        return self.node.pods / "proxy"

    @property
    def applications(self) -> Path:
        """The cgroup of the pod's own processes."""
        return self.node.pods / "pod"

    @contextlib.contextmanager
    def meshed(self, families: tuple[int, ...] = (4, 6), host: str = "::") -> Iterator[None]:
        """A load balancer that replaces services' addresses, and a proxy, while the block runs."""
        with campaign.balanced(self.node.top, self.node.pins(), families), self.pod.proxied(self.proxy, host):
            yield

    @contextlib.contextmanager
    def maps(self, sizes: Mapping[int, tuple[int, int]] | None = None) -> Iterator[None]:
        """The load balancer's maps alone, by default of both families and of the sizes that are known."""
        with campaign.maps(self.node.pins(), sizes or campaign.SIZES):
            yield

    def shim(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`mesh shim`, by a process of the node."""
        return self.node.run("mesh", "shim", *words)

    def on(self, *options: str) -> None:
        """Lay the shim in the pod and on the proxy."""
        done = self.shim("on", "--pod", self.pod.path, "--proxy", str(self.proxy), *options)
        assert done.returncode == 0, done.stderr

    def status(self) -> tuple[int, dict[str, Any]]:
        """The exit status of `mesh shim status`, and its document."""
        done = self.shim("status", "--json")
        document: dict[str, Any] = json.loads(done.stdout)
        assert not schemas.problem(document), schemas.problem(document)
        return done.returncode, document

    def connect(self, family: int, rounds: int, *, repaired: bool = True) -> campaign.Totals:
        """Many connections of the pod's applications, see `campaign.connect`."""
        return campaign.connect(self.pod, self.applications, family, rounds, repaired=repaired)

    def told(
        self, places: Sequence[Endpoint], source_port: int = 0, *, mapped: bool = False, pod: MeshedPod | None = None
    ) -> list[Answer]:
        """What the proxy takes for the destination of connections, one after the other."""

        def connect() -> list[Any]:
            answers = [told(connected(*place, source_port, mapped=mapped)) for place in places]
            return [(answer.destination, answer.port) for answer in answers]

        return [
            Answer(tuple(destination) if destination else None, port)
            for destination, port in (pod or self.pod).ask(connect, self.applications)
        ]

    def learn(self, family: int, port: int, service: Service) -> None:
        """Write by hand that a connection from a port of the pod's address was one to a service."""
        cookie = self.pod.ask(lambda: struct.unpack("=Q", socket.socket().getsockopt(1, 71, 8))[0], self.applications)
        addresses = [ipaddress.ip_address(one) for one in (ADDRESSES[family], service.address, service.backend)]
        source, asked, backend = (
            bytes(10) + b"\xff\xff" + one.packed if family == 4 else one.packed for one in addresses
        )
        key = struct.pack("=Q", cookie) + source + struct.pack("!H6x", port)
        value = asked + backend + struct.pack("!HH", service.port, service.backend_port)
        write(self.node.sandbox.path(f"{PINS}/origins"), key, value)

    def leftovers(self) -> list[str]:
        """What of the shim is still in the pod, in the BPF file system or in the kernel, which frees with a delay."""
        found = self.pod.run("tc", "filter", "show", "dev", "lo", "egress").splitlines()
        found += [line for line in self.pod.run("tc", "qdisc", "show", "dev", "lo").splitlines() if "clsact" in line]
        found += [PINS] if self.node.sandbox.path(PINS).exists() else []
        return found or [f"program {one}" for one in sorted(self._programs_left())]

    def _programs_left(self) -> set[int]:
        deadline = time.monotonic() + 30
        while (left := loaded() - self.of_others) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left
