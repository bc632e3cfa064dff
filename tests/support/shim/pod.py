"""A pod with addresses of both families and Istio's rules, a proxy that listens in it, and applications.

Whoever connects is told by the proxy what it takes for the connection's destination, as ztunnel asks for it, and the
port from which the connection seems to come: a redirection may have changed that.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.capture.meshes import LEGACY, Mesh
from tests.support.capture.pod import Pod
from tests.support.capture.proxy import enter
from tests.support.sandbox.namespaces import Sandbox

PROXY_PORT = 15001
ADDRESSES = {4: "198.18.0.2", 6: "fd00:18::2"}
ORIGINAL_DST = 80  # SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST
_ISTIO = Mesh("Istio ambient", "istio", LEGACY)

Endpoint = tuple[str, int]


@dataclass(frozen=True)
class Answer:
    """What the proxy took for a connection's destination, None if the kernel didn't say, and the port it came from."""

    destination: Endpoint | None
    port: int


@dataclass(frozen=True)
class MeshedPod:
    """The pod `name` of a sandbox."""

    sandbox: Sandbox
    name: str

    @classmethod
    @contextlib.contextmanager
    def made(cls, sandbox: Sandbox, name: str) -> Iterator["MeshedPod"]:
        """A pod whose interface leads nowhere, until the block ends: all that it connects to is redirected.

        Raises NotBuiltError.
        """
        for command in (
            f"ip netns add {name}",
            f"ip link add eth0 netns {name} type veth peer name eth1 netns {name}",
            f"ip -n {name} addr add {ADDRESSES[4]}/24 dev eth0",
            f"ip -n {name} addr add {ADDRESSES[6]}/64 dev eth0 nodad",
            f"ip -n {name} link set lo up",
            f"ip -n {name} link set eth0 up",
            f"ip -n {name} link set eth1 up",
            f"ip -n {name} -4 route add default dev eth0",
            f"ip -n {name} -6 route add default dev eth0",
        ):
            sandbox.run(*command.split())
        try:
            _ISTIO.lay(Pod(sandbox, name))
            yield cls(sandbox, name)
        finally:
            sandbox.run("ip", "netns", "del", name, check=False)

    @property
    def path(self) -> str:
        """The namespace, as seen in the sandbox."""
        return f"/run/netns/{self.name}"

    @property
    def namespace(self) -> Path:
        """The namespace, as it can be opened from outside of the sandbox."""
        return self.sandbox.path(self.path)

    def run(self, *command: str) -> str:
        """Run a command in the pod, and return what it prints."""
        return self.sandbox.run("ip", "netns", "exec", self.name, *command).stdout

    def ask(self, question: Callable[[], Any], cgroup: Path) -> Any:
        """What an application in the pod answers, as JSON can hold it."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reader)
                _go(self.namespace, cgroup)
                with os.fdopen(writer, "w") as out:
                    json.dump(question(), out)
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as lines:
            said = lines.read()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the application failed"
        return json.loads(said)

    @contextlib.contextmanager
    def proxied(self, cgroup: Path, host: str = "::") -> Iterator[None]:
        """A process in a cgroup, with a socket in the pod that listens, as ztunnel's does; :: takes both families."""
        ready, listening = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                _go(self.namespace, cgroup)
                _serve(host, listening)
            finally:
                os._exit(1)
        try:
            os.close(listening)
            assert os.read(ready, 1) == b"\n", "the proxy can't listen"
            yield
        finally:
            os.close(ready)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def connected(address: str, port: int, source_port: int = 0, *, mapped: bool = False) -> socket.socket:
    """A connection, from a port if one is given; `mapped`: from a socket of IPv6 to an address of IPv4."""
    family = socket.AF_INET6 if ":" in address or mapped else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    one.settimeout(30)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Closed by a reset, so that the port can be used again at once.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    if source_port:
        one.bind((ADDRESSES[6 if ":" in address else 4], source_port))
    one.connect((f"::ffff:{address}" if mapped else address, port))
    return one


def told(connection: socket.socket) -> Answer:
    """What the proxy tells a connection, which is closed then."""
    with connection, connection.makefile() as lines:
        host, port, seen = lines.readline().split()
    return Answer(None if host == "-" else (host, int(port)), int(seen))


def _go(namespace: Path, cgroup: Path) -> None:
    (cgroup / "cgroup.procs").write_text("0")
    enter(namespace)


def _serve(host: str, listening: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, PROXY_PORT), family=family, backlog=1024, dualstack_ipv6=host == "::")
    poll = select.poll()
    poll.register(server, select.POLLIN)
    os.write(listening, b"\n")
    while True:
        poll.poll()
        connection, peer = server.accept()
        with connection, contextlib.suppress(OSError):
            found = original_destination(connection)
            host_said, port = found or ("-", 0)
            connection.sendall(f"{host_said} {port} {peer[1]}\n".encode())


def original_destination(connection: socket.socket) -> Endpoint | None:
    """Ask for it as ztunnel does: for IPv4 first, whatever the socket's family is."""
    with contextlib.suppress(OSError):
        answer = connection.getsockopt(socket.SOL_IP, ORIGINAL_DST, 16)
        return socket.inet_ntop(socket.AF_INET, answer[4:8]), struct.unpack_from("!H", answer, 2)[0]
    with contextlib.suppress(OSError):
        answer = connection.getsockopt(socket.IPPROTO_IPV6, ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, answer[8:24]), struct.unpack_from("!H", answer, 2)[0]
    return None
