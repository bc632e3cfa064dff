"""A pod in a namespace, with addresses of both families, and something outside to talk to."""

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cni_chain.mesh.packet import ANYBODY
from tests.support.capture.proxy import DIRECT, PORT, StandIn, enter, forked, greeted, listening, serve
from tests.support.sandbox.namespaces import Sandbox

# For benchmarks of networks, RFC 2544 and RFC 5180; by family.
POD = {4: "198.18.0.2", 6: "2001:2::2"}
OUTSIDE = {4: "198.18.0.1", 6: "2001:2::1"}


@dataclass(frozen=True)
class Pod:
    """The pod `name` of a sandbox; both ends have a server that says that it was reached directly.

    `process` is one of the sandbox whose user namespace the pod has, if it has one of its own.
    """

    sandbox: Sandbox
    name: str
    process: str = ""

    @classmethod
    @contextlib.contextmanager
    def made(cls, sandbox: Sandbox, name: str, process: str = "") -> Iterator["Pod"]:
        """A pod with its peer, until the block ends."""
        peer = f"{name}-peer"
        sandbox.run("ip", "netns", *(("attach", name, process) if process else ("add", name)))
        sandbox.run("ip", "netns", "add", peer)
        sandbox.run("ip", "link", "add", "eth0", "netns", name, "type", "veth", "peer", "name", "eth0", "netns", peer)
        for namespace, addresses in ((name, POD), (peer, OUTSIDE)):
            sandbox.run("ip", "-n", namespace, "address", "add", f"{addresses[4]}/24", "dev", "eth0")
            sandbox.run("ip", "-n", namespace, "address", "add", f"{addresses[6]}/64", "dev", "eth0", "nodad")
            sandbox.run("ip", "-n", namespace, "link", "set", "lo", "up")
            sandbox.run("ip", "-n", namespace, "link", "set", "eth0", "up")
        pod = cls(sandbox, name, process)
        try:
            with pod.answers(pod.namespace), pod.answers(pod.peer):
                yield pod
        finally:
            sandbox.run("ip", "netns", "delete", name)
            sandbox.run("ip", "netns", "delete", peer)

    @property
    def namespace(self) -> Path:
        return self.sandbox.path(f"/run/netns/{self.name}")

    @property
    def peer(self) -> Path:
        return self.sandbox.path(f"/run/netns/{self.name}-peer")

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a command in the pod's namespaces."""
        enter = ["ip", "netns", "exec", self.name]
        if self.process:
            enter = ["nsenter", f"--target={self.process}", "--user", "--net"]
        # A file of the sandbox's own; the root of a user namespace can't open one that another root made.
        lock = {"XTABLES_LOCKFILE": f"/tmp/{self.name}{self.process}.lock"}  # noqa: S108
        return self.sandbox.run(*enter, *command, stdin=stdin, env=lock).stdout

    def stand_in(
        self, out: int, into: int, *more: int, mark: int = 0, user: int = 0, addresses: tuple[str, ...] = ("::",)
    ) -> StandIn:
        """A proxy that listens on these ports, at each of the addresses."""
        listen = tuple((address, port) for port in (out, into, *more) for address in addresses)
        beyond = {str(family): address for family, address in OUTSIDE.items()}
        return StandIn(str(self.namespace), listen, out, beyond, mark, user)

    def wipe(self) -> None:
        """Take away all rules, whoever laid them."""
        self.run("sh", "-c", "iptables-legacy -t nat -F && ip6tables-legacy -t nat -F && nft flush ruleset")

    @contextlib.contextmanager
    def answers(self, namespace: Path) -> Iterator[None]:
        """A server in a namespace that says that it was reached directly."""

        def work(ready: Callable[[], object]) -> None:
            enter(namespace)
            with listening("::", PORT) as one:
                ready()
                while select.select([one], [], []):
                    connection, _ = one.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(DIRECT.encode())

        with forked(work):
            yield

    def reaches(self, tunnel: int = 0) -> dict[tuple[str, int], str]:
        """Who answers a connection that leaves the pod, one that arrives, and one to the port `tunnel`, by family."""
        out = inside(self.namespace, lambda: " ".join(greeted(OUTSIDE[family]) for family in OUTSIDE)).split()
        into = inside(self.peer, lambda: " ".join(greeted(POD[family]) for family in POD)).split()
        through = inside(self.peer, lambda: " ".join(greeted(POD[family], tunnel) for family in POD)) if tunnel else ""
        return {
            (direction, family): who
            for direction, found in (("out", out), ("in", into), *([("tunnel", through.split())] if tunnel else []))
            for family, who in zip(POD, found, strict=True)
        }


def stands(what: StandIn) -> contextlib.AbstractContextManager[None]:
    """A stand-in for a proxy, in a process of its own, until the block ends."""
    return forked(lambda ready: serve(what, ready))


def inside(namespace: Path, question: Callable[[], str]) -> str:
    """What an application in a namespace answers."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            enter(namespace)
            # As an application whose user no rule names.
            os.setgroups([])
            os.setgid(ANYBODY)
            os.setuid(ANYBODY)
            os.write(writer, question().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said
