"""A process in a user namespace of its own, with a network namespace that this one owns, until it is killed.

    python -I users.py    in a sandbox; prints its PID when both are made

Its users 0 and on are 100000 and on outside, as those of a pod with `hostUsers: false`.
"""

import ctypes
import os
import signal

_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_MAP = "0 100000 65536"


def unshare(kind: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(kind):
        raise OSError(ctypes.get_errno(), "unshare")


def main() -> None:
    own = os.getpid()
    alone, left = os.pipe()
    helper = os.fork()  # only a process that stays outside may map more than one user
    if helper == 0:
        os.read(alone, 1)
        for mapping in ("uid_map", "gid_map"):
            with open(f"/proc/{own}/{mapping}", "w", encoding="ascii") as file:
                file.write(_MAP)
        os._exit(0)
    unshare(_CLONE_NEWUSER)
    os.write(left, b"1")
    os.waitpid(helper, 0)
    unshare(_CLONE_NEWNET)
    print(own, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
