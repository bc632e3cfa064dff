"""A proxy's listeners, as ztunnel has them in a pod: to who is redirected here it says where he wanted to go.

proxy.py NAMESPACE PORT...    the process stays outside of the namespace, only its sockets are in there
"""

import ctypes
import os
import select
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWNET = 0x40000000
SO_ORIGINAL_DST = 80  # include/uapi/linux/netfilter_ipv4.h


def enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    Path("/proc/self/comm").write_text("stand-in")
    home, pod = (os.open(path, os.O_RDONLY) for path in ("/proc/self/ns/net", sys.argv[1]))
    enter(pod)
    listeners = [socket.create_server(("", int(port))) for port in sys.argv[2:]]
    enter(home)
    print("ready", flush=True)
    while True:
        for listener in select.select(listeners, [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                # struct sockaddr_in
                port, address = struct.unpack_from("!2xH4s", connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
                connection.recv(4096)
                connection.sendall(f"to {socket.inet_ntoa(address)}:{port}".encode())


main()
