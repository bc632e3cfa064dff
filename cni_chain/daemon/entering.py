"""From a container into its node: the program is installed there, and goes on as what is installed.

The container sees other files than the node, so it moves into the mount namespace of the node's first process. Its own
program is then reached through a descriptor that was opened before. What is refused there leaves this process in the
container, where it can still say so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NoReturn

from cni_chain.change import files, install, installed
from cni_chain.daemon.wanted import Wanted
from cni_chain.node import system_calls
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree

_OWN, _NODES = "/proc/self/ns/mnt", "/proc/1/ns/mnt"


def is_outside() -> bool:
    """Return whether this process sees other files than the node's first process. Raises RefusedError."""
    if os.getpid() == 1:
        raise RefusedError("process 1 here is this agent, so it can't see the node", "set hostPID: true")
    try:
        own, nodes = os.stat(_OWN), os.stat(_NODES)
    except OSError as error:
        raise RefusedError(
            f"{_NODES}: {error.strerror}", "run it as root, with the capabilities SYS_ADMIN, SYS_CHROOT and SYS_PTRACE"
        ) from None
    return (own.st_dev, own.st_ino) != (nodes.st_dev, nodes.st_ino)


class Image:
    """The program in the container, by a descriptor that outlives the move and an exec."""

    def __init__(self, descriptor: int | None = None) -> None:
        """`descriptor` is the one that was handed on. Raises RefusedError if this is not the frozen program."""
        home = installed.running()
        if descriptor is None:
            if home is None:
                raise RefusedError(install.FROM_SOURCE)
            descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        self.descriptor = descriptor

    @property
    def source(self) -> str:
        """The program's directory, as any mount namespace reaches it."""
        return f"/proc/self/fd/{self.descriptor}/."

    def install(self, wanted: Wanted) -> None:
        """Install the program on the node. Raises RefusedError; this process stays where it is."""
        node = _opened()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _in_the_node(node, writer, lambda: self._install(wanted))
        os.close(node)
        os.close(writer)
        with open(reader, "rb") as pipe:
            why = pipe.read().decode("utf-8", "replace")
        _, status = os.waitpid(child, 0)
        if why or status:
            raise RefusedError(why or f"the installation ended with status {os.waitstatus_to_exitcode(status)}")

    def _install(self, wanted: Wanted) -> None:
        tree = Tree()
        with files.locked(tree, wanted.net_dir):
            install.plan(tree, wanted.options(with_facade=False), self.source).run()

    def go_on(self, wanted: Wanted, words: list[str]) -> NoReturn:
        """Become what is installed on the node, with the words of a command line. Raises RefusedError, OSError."""
        node = _opened()
        os.set_inheritable(self.descriptor, True)
        system_calls.setns(node, system_calls.CLONE_NEWNS)
        os.close(node)
        os.chdir("/")
        program = f"{wanted.bin_dir}/{installed.NAME}"
        os.execv(program, [program, *words, f"--image={self.descriptor}"])  # noqa: S606  # no shell


def _opened() -> int:
    try:
        return os.open(_NODES, os.O_RDONLY)
    except OSError as error:
        raise RefusedError(f"{_NODES}: {error.strerror}") from None


def _in_the_node(node: int, pipe: int, do: Callable[[], None]) -> NoReturn:
    """Do something in the node's mount namespace, write to a pipe why it is refused, and end this process."""
    status = 1
    try:
        try:
            system_calls.setns(node, system_calls.CLONE_NEWNS)
            os.chdir("/")
            do()
        except OSError as error:
            os.write(pipe, f"{error.filename or _NODES}: {error.strerror}".encode())
        except RefusedError as error:
            os.write(pipe, str(error).encode())
        status = 0
    finally:
        os._exit(status)
