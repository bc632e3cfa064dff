"""The facade's key `mesh.serviceAddress`: does a service's address survive on this node until a pod's mesh sees it?

`cni-chain mesh check` finds out, as a child process with a deadline: the plugin loads nothing of that package, and
whatever befalls the child, the call has an answer. The verdict is kept (`verdicts`), and one of several calls makes it.
"""

from __future__ import annotations

import errno
import fcntl
import sys
import time

from cni_chain.plugin import attached, delegate, facade, jsontext, system, verdicts
from cni_chain.plugin.errors import TRY_AGAIN, CNIError
from cni_chain.plugin.verdicts import BROKEN, OK, UNKNOWN, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_chain.plugin.call import Call
    from cni_chain.plugin.record import RecordedDelegate

# The plugins that redirect a pod's connections to a mesh's proxy. A test compares them with the agents' entries, which
# the plugin doesn't load.
MESHES = frozenset(("istio-cni", "linkerd-cni", "kuma-cni", "consul-cni"))

_MOST_SECONDS = 20.0  # for a verdict, and for one that another call makes; a check takes a fraction of a second
_INTERVAL = 0.05  # seconds between two looks at whether the other call has done it
_EXITS = {0: OK, 1: BROKEN, 3: UNKNOWN}  # of `mesh check`


def look(call: Call, delegates: Iterable[RecordedDelegate]) -> None:
    """Have a pod with a mesh's plugin join only where addresses survive, or log that they don't, as the facade says.

    Raises CNIError 11. What can't be told is treated as what is broken, so that no pod bypasses its mesh in silence.
    """
    plugin = next((one for one in delegates if one.type in MESHES), None)
    if plugin is None:
        return
    found = _verdict(call)
    if found.verdict == OK:
        return
    if call.request.facade.service_address == facade.WARN:
        call.log.note_always(f"service addresses before {plugin}: {found}")
        return
    unknown = "" if found.verdict == BROKEN else "it is not known whether service addresses reach the mesh: "
    asked = 'mesh.serviceAddress is "enforce" (on the node: cni-chain mesh check)'
    raise CNIError(TRY_AGAIN, f"{plugin}: {unknown}{found.why}", "; ".join((*found.do, asked)))


def _verdict(call: Call) -> Verdict:
    found = verdicts.kept()
    if found is not None:
        return found
    until = min(time.monotonic() + _MOST_SECONDS, call.request.deadline)
    try:
        held = verdicts.directory()
    except OSError as error:
        call.log.note(f"{verdicts.DIRECTORY}: the verdict on service addresses can't be kept: {error.strerror}")
        return _make(call, until)[0]
    try:
        while not _locked(held):
            if time.monotonic() >= until:
                return Verdict(UNKNOWN, f"another call has been finding out for {_MOST_SECONDS:g} s")
            time.sleep(_INTERVAL)
            found = verdicts.kept()
            if found is not None:
                return found
        return verdicts.kept() or _make_and_keep(call, held, until)
    finally:
        system.quiet_close(held)


def _locked(held: int) -> bool:
    """Take the lock, which the kernel releases when this process closes the directory or ends; False if it is taken."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno == errno.EWOULDBLOCK:
            return False
        raise
    return True


def _make_and_keep(call: Call, held: int, until: float) -> Verdict:
    made, cgroup, seen = _make(call, until)
    if verdicts.programs(cgroup) != seen:  # they were replaced meanwhile: a restarted agent has its new ones by now
        made, cgroup, seen = _make(call, until)
    try:
        verdicts.keep(held, made, cgroup, seen)
    except OSError as error:
        call.log.note(f"{verdicts.FILE}: the verdict can't be kept: {error.strerror}")
    return made


def _make(call: Call, until: float) -> tuple[Verdict, str, dict[str, list[int]]]:
    """Return the verdict of `mesh check`, and the cgroup and the programs that it is about."""
    program, *arguments = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "cni_chain"]
    environ = {"PATH": call.request.environ.get("PATH", "")}
    seconds = until - time.monotonic()
    if seconds <= 0:
        return Verdict(UNKNOWN, "no time was left to find out"), "", {}
    try:
        outcome = delegate.execute(
            program, environ, b"", seconds, arguments=(*arguments, "mesh", "check", "--json"), pass_on=False
        )
    except OSError as error:
        return Verdict(UNKNOWN, f"{program} can't be executed: {error.strerror}"), "", {}
    if outcome.status is None:
        return Verdict(UNKNOWN, f"cni-chain mesh check did not end within {seconds:.0f} s"), "", {}
    try:
        return _answer(_EXITS[outcome.status], jsontext.decode(outcome.stdout))
    except (ValueError, KeyError, TypeError, AttributeError):
        said = outcome.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2] or f"exit status {outcome.status}"
        return Verdict(UNKNOWN, f"cni-chain mesh check failed: {said}"), "", {}


def _answer(verdict: str, document: dict[str, Any]) -> tuple[Verdict, str, dict[str, list[int]]]:
    seen: dict[str, list[int]] = {hook: [] for hook in attached.REPLACING} if document["cgroup"] else {}
    for program in document["programs"]:
        if program["appliesToPod"] and program["hook"] in seen:
            seen[program["hook"]].append(program["id"])
    return Verdict(verdict, str(document["why"]), [str(one) for one in document["do"]]), document["cgroup"], seen
