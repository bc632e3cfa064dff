"""A stand-in for a mesh's proxy in a pod: it listens as the real one does, and its own connections are real.

To a connection that left the pod it says what the other end told it, if its own connection to there went through, and
"looped" if that came back to itself: then it is not the proxy for which the rules were laid.

    python -I proxy.py '{"namespace": …}'    in a sandbox; prints a line when it listens
"""

import contextlib
import ctypes
import json
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

PROXY, DIRECT, NOBODY, LOOPED = "proxy", "direct", "nobody", "looped"
PORT = 80
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_SO_MARK = 36


@dataclass(frozen=True)
class StandIn:
    """Where it listens, and what it is.

    `listen`: addresses with ports. `out`: the port of connections that leave the pod. `beyond`: where those lead, by
    family. With a mark it is outside the pod and its own connections have that mark; else it is in the pod, as a user,
    by the numbers of the user namespace that it enters.
    """

    namespace: str
    listen: tuple[tuple[str, int], ...]
    out: int
    beyond: dict[str, str]
    mark: int = 0
    user: int = 0
    user_namespace: str = ""

    @property
    def text(self) -> str:
        """It as an argument of this script."""
        return json.dumps(asdict(self))


def enter(namespace: str | Path, kind: int = _CLONE_NEWNET) -> None:
    """Move this process into a namespace."""
    with open(namespace, "rb") as opened:
        if ctypes.CDLL(None, use_errno=True).setns(opened.fileno(), kind):
            raise OSError(ctypes.get_errno(), "setns")


def greeted(address: str, port: int = PORT) -> str:
    """Who answers at an address."""
    try:
        with tcp(address) as connection:
            connection.connect((address, port))
            return connection.recv(16).decode() or NOBODY
    except OSError:
        return NOBODY


def tcp(address: str) -> socket.socket:
    """A socket of the address's family, with a time limit."""
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.settimeout(10)  # some states of a campaign wait so long
    return connection


def listening(address: str, port: int) -> socket.socket:
    """A socket that listens there; for both families on `::`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, dualstack_ipv6=address == "::")


def serve(what: StandIn, ready: Callable[[], object]) -> None:
    """Be it, until killed."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    enter(what.namespace)
    if what.user_namespace:
        enter(what.user_namespace, _CLONE_NEWUSER)
    if what.user:
        os.setgroups([])
        os.setgid(what.user)
        os.setuid(what.user)
    sockets = [listening(*place) for place in what.listen]
    if what.mark:
        enter(f"/proc/self/fd/{home}")
    ready()
    while True:
        for one in select.select(sockets, [], [])[0]:
            connection, _ = one.accept()
            with connection, contextlib.suppress(OSError):
                is_out = connection.getsockname()[1] == what.out
                connection.sendall((_beyond(what, connection, sockets) if is_out else PROXY).encode())


def _beyond(what: StandIn, accepted: socket.socket, sockets: list[socket.socket]) -> str:
    address = what.beyond["6" if ":" in accepted.getpeername()[0].removeprefix("::ffff:") else "4"]
    try:
        with _of_the_pod(what, address) as own:
            own.connect((address, PORT))
            if _came_back(own, sockets):
                return LOOPED
            return PROXY if own.recv(16).decode() == DIRECT else NOBODY
    except OSError:
        return NOBODY


def _of_the_pod(what: StandIn, address: str) -> socket.socket:
    """A socket in the pod, for a connection of the proxy's own."""
    if not what.mark:
        return tcp(address)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    enter(what.namespace)
    own = tcp(address)
    enter(f"/proc/self/fd/{home}")
    os.close(home)
    own.setsockopt(socket.SOL_SOCKET, _SO_MARK, what.mark)
    return own


def _came_back(own: socket.socket, sockets: list[socket.socket]) -> bool:
    """Whether a connection of ours is one that waits to be accepted by us."""
    for one in select.select(sockets, [], [], 0)[0]:
        with contextlib.suppress(OSError):
            connection, (address, port, *_) = one.accept()
            with connection:
                if (address.removeprefix("::ffff:"), port) == own.getsockname()[:2]:
                    return True
    return False


@contextlib.contextmanager
def forked(work: Callable[[Callable[[], object]], None]) -> Iterator[None]:
    """A child process that does something for ever, from when it says that it is ready until the block ends."""
    ready, said = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(lambda: os.write(said, b"\n"))
        finally:
            os._exit(1)
    try:
        os.close(said)
        assert os.read(ready, 1) == b"\n", "the child process ended"
        yield
    finally:
        os.close(ready)
        os.kill(child, 9)
        os.waitpid(child, 0)


if __name__ == "__main__":
    Path("/proc/self/comm").write_text("stand-in")
    given = json.loads(sys.argv[1])
    given["listen"] = tuple((address, port) for address, port in given["listen"])
    serve(StandIn(**given), lambda: print("listens", flush=True))
