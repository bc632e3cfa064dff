"""Lays the shim in pods and on proxies, and takes it away."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cni_chain.mesh import cgroups
from cni_chain.mesh.shim import filters, kernel, layout, namespaces, proxies
from cni_chain.mesh.shim.programs import ORIGINS, PINS, Learning, Programs
from cni_chain.node.errors import RefusedError, as_root


class Done(NamedTuple):
    """What was changed: the families that are repaired, the pods' namespaces, and how many proxies."""

    families: list[int]
    pods: list[str]
    proxies: int


class _Pod(NamedTuple):
    path: str
    asked: socket.socket
    cookie: int
    learning: Learning


def on(pods: Sequence[str], wanted: Sequence[str], *, counts_only: bool) -> Done:
    """Lay the shim in pods, and on proxies; each is a process or a path: of a network namespace, of a cgroup.

    What is there already is replaced, and its counters begin anew. Raises RefusedError, and then nothing was laid.
    """
    paths, directories = [_namespace(pod) for pod in pods], [_cgroup(proxy) for proxy in wanted]
    with contextlib.ExitStack() as held, contextlib.ExitStack() as undoing:
        programs = Programs(held)
        # All programs are loaded before the first is attached: most of what can fail has failed by then.
        with _refused("the shim's programs"):
            answering = {cgroup: programs.answering(layout.Proxy(counts_only)) for cgroup in directories}
        prepared = [_prepared(path, programs, held) for path in paths]
        with _refused(PINS):
            undoing.callback(_remove_if_empty, PINS)
            if proxies.share(programs.origins()):
                undoing.callback(os.unlink, ORIGINS)
        for cgroup, program in answering.items():
            with _refused(cgroup):
                proxies.link(program, cgroup)
                undoing.callback(os.unlink, proxies.pin_of(cgroup))
        for pod in prepared:
            with _refused(pod.path):
                undoing.callback(namespaces.clear, pod.asked)
                _lay(pod)
        undoing.pop_all()
    return Done(programs.families, paths, len(directories))


def off() -> Done:
    """Take the shim from every pod and every proxy of this node. Raises RefusedError."""
    cleared: list[str] = []
    for path in namespaces.of_pods():
        with _refused(path), contextlib.suppress(FileNotFoundError), namespaces.entered(path) as asked:
            if namespaces.clear(asked):
                cleared.append(path)
    with _refused(PINS):
        return Done([], cleared, proxies.clear())


def _prepared(path: str, programs: Programs, held: contextlib.ExitStack) -> _Pod:
    with _refused(path):
        if namespaces.is_nodes(path):
            raise RefusedError(f"{path}: is the node's own network namespace", "the shim is laid in pods only")
        asked = held.enter_context(namespaces.entered(path))
        cookie = namespaces.cookie(asked)
    with _refused("the shim's programs"):
        return _Pod(path, asked, cookie, programs.learning())


def _lay(pod: _Pod) -> None:
    namespaces.clear(pod.asked)
    made = filters.add_qdisc(pod.asked)
    kernel.write_only(pod.learning.pod, layout.Pod(pod.cookie, made).packed())
    try:
        for family, program in pod.learning.programs.items():
            filters.add(pod.asked, family, program, layout.LEARN[family])
    except OSError:
        # Without a filter that says so, nobody would know any more whose it is.
        if made and not namespaces.clear(pod.asked):
            filters.remove_qdisc(pod.asked)
        raise


def _namespace(pod: str) -> str:
    return f"/proc/{pod}/ns/net" if pod.isdecimal() else pod


def _cgroup(proxy: str) -> str:
    """Return the directory of a proxy's cgroup. Raises RefusedError."""
    root = cgroups.root()
    if root is None:
        raise RefusedError("this node has no cgroups of version 2")
    with _refused(f"process {proxy}" if proxy.isdecimal() else proxy):
        directory = cgroups.of_process(root, int(proxy)) if proxy.isdecimal() else os.path.normpath(proxy)
        there, whole = os.stat(directory), os.stat(root)
    if there.st_dev != whole.st_dev or not os.path.isdir(directory):
        raise RefusedError(f"{directory}: is not a cgroup of version 2")
    if there.st_ino == whole.st_ino:
        raise RefusedError(
            f"{directory}: is the cgroup of all processes", "give the proxy's own: the program sees each getsockopt()"
        )
    return directory


def _remove_if_empty(directory: str) -> None:
    with contextlib.suppress(OSError):
        os.rmdir(directory)


@contextlib.contextmanager
def _refused(what: str) -> Iterator[None]:
    """Turn an OSError into what the command says of it."""
    try:
        yield
    except OSError as error:
        raise RefusedError(f"{what}: {error.strerror or error}", as_root(error)) from None
