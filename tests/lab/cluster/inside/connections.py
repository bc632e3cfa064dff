"""Real connections, made by whoever runs this, and where they point: one JSON object for each address.

connections.py [--hold] IP:PORT/tcp|udp...    --hold: once more, with the answers, when the standard input has ended

`points` is where the kernel's own list of sockets says that a socket is connected to, not getpeername(), which a load
balancer can answer. `answer` is what a web server, or a proxy in between, said to a request, which is the first word on
a connection.
"""

import errno
import json
import os
import select
import socket
import struct
import sys

REQUEST = b"GET /hostname HTTP/1.0\r\n\r\n"
SECONDS = 3  # nobody answers a connection to a service without backends


def points(connected: socket.socket, protocol: str) -> str:
    """The other end of a socket, by /proc/net. "" if it was refused so soon that it isn't there any more."""
    inode = str(os.fstat(connected.fileno()).st_ino)
    with open(f"/proc/self/net/{protocol}", encoding="ascii") as sockets:
        for line in list(sockets)[1:]:
            words = line.split()
            if words[9] == inode:
                address, port = words[2].split(":")
                # The address is printed as a number of this machine, the port as it is.
                return f"{socket.inet_ntoa(struct.pack('=I', int(address, 16)))}:{int(port, 16)}"
    return ""


def connect(target: str) -> tuple[socket.socket, dict[str, str]]:
    """The socket, and what became of it."""
    place, _, protocol = target.partition("/")
    address, _, port = place.rpartition(":")
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    made.setblocking(False)
    number = made.connect_ex((address, int(port)))
    if number not in (0, errno.EINPROGRESS):
        return made, {"target": target, "refused": errno.errorcode[number]}
    found = {"target": target, "points": points(made, protocol), "from": "{}:{}".format(*made.getsockname())}
    if not select.select([], [made], [], SECONDS)[1]:
        return made, found | {"error": "no answer"}
    if number := made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return made, found | {"error": errno.errorcode[number]}
    return made, found | {"getpeername": "{}:{}".format(*made.getpeername())}


def asked(made: socket.socket, found: dict[str, str]) -> dict[str, str]:
    """What became of it, with the answer to a request if there can be one."""
    if "getpeername" not in found or made.type != socket.SOCK_STREAM:
        return found
    made.settimeout(10 * SECONDS)
    made.sendall(REQUEST)
    said = b"".join(iter(lambda: made.recv(4096), b""))
    return found | {"answer": said.decode().rpartition("\r\n")[2].strip()}


def main() -> None:
    made = [connect(target) for target in sys.argv[1:] if target != "--hold"]
    if "--hold" in sys.argv:
        print(json.dumps([found for _, found in made]), flush=True)
        sys.stdin.read()
    print(json.dumps([asked(*one) for one in made]))


main()
