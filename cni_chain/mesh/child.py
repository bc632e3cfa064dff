"""A child process in another network namespace: this process stays where it is."""

from __future__ import annotations

import fcntl
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

from cni_chain.node import system_calls
from cni_chain.node.errors import UnreadableError

_NS_GET_NSTYPE = 0xB703  # include/uapi/linux/nsfs.h


def must_be_network(namespace: str) -> None:
    """Raise UnreadableError unless a path is a network namespace."""
    try:
        opened = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UnreadableError(f"{namespace}: {error.strerror}") from None
    try:
        is_network = fcntl.ioctl(opened, _NS_GET_NSTYPE) == system_calls.CLONE_NEWNET
    except OSError:  # it is no namespace
        is_network = False
    finally:
        os.close(opened)
    if not is_network:
        raise UnreadableError(f"{namespace}: is not a network namespace")


def ask(question: Callable[[], Any], namespace: str = "", cgroup: str | None = None) -> Any:
    """Return what `question` returns, as JSON can hold it, when a child asks it in a namespace and a cgroup.

    Without a namespace the child gets one of its own, in which nothing is. Raises UnreadableError if it can't get
    there, or for an OSError of the question.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "w", encoding="utf-8") as out:
                json.dump(_answer(question, namespace, cgroup), out)
            status = 0
        except BaseException:  # noqa: BLE001  # nothing of the parent may run in the child
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as lines:
        said = lines.read()
    os.waitpid(process, 0)
    answer = json.loads(said) if said else {"error": "the child process ended without an answer"}
    if "error" in answer:
        raise UnreadableError(answer["error"])
    return answer["answer"]


def _answer(question: Callable[[], Any], namespace: str, cgroup: str | None) -> dict[str, Any]:
    try:
        if cgroup is not None:
            with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as processes:
                processes.write("0")
        if namespace:
            _enter(namespace)
        else:
            system_calls.unshare(system_calls.CLONE_NEWNET)
        return {"answer": question()}
    except OSError as error:
        return {"error": f"{error.filename or namespace or 'an empty network namespace'}: {error.strerror}"}


def _enter(namespace: str) -> None:
    opened = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        system_calls.setns(opened, system_calls.CLONE_NEWNET)
    finally:
        os.close(opened)
