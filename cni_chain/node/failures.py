"""Which of the last calls' failures still count: the last one of each kind that no success has followed. Pure.

Two failures are of one kind if they are of the same network, verb and code, and the same plugin failed (`owner/type`,
or cni-chain itself). A failure no longer counts:

* if the same verb has succeeded since for the same pod, or the pod has a record of a later ADD; for a call without a
  pod (STATUS, GC): if the same verb has succeeded since;
* if the pod has failed with another error since: only its last failure counts;
* if its pod is gone: it has not failed for three minutes, and the same verb has succeeded for another pod since. (The
  kubelet tries an ADD again every 10 to 15 seconds, and a DEL every minute. A success of another pod alone proves
  nothing: an owner may exempt that pod.);
* if it is older than a day, or than three minutes where the log has no successes (`logLevel` is `error`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cni_chain.node import attachments
from cni_chain.node.calls import Call

GONE = 180  # seconds without a failure after which a pod counts as gone, if other pods have succeeded since
RECENT = 86400  # seconds; older failures are history


class Failure(NamedTuple):
    """The failures of one kind that still count. `alone`: no call of the verb has succeeded since the last one."""

    last: Call
    times: int  # failed calls of these pods
    pods: list[str]
    first: float  # when the first of them ended (seconds since the epoch)
    alone: bool

    @property
    def namespaces(self) -> set[str]:
        """The namespaces of these pods."""
        return {pod.partition("/")[0] for pod in self.pods}

    def text(self, now: float) -> str:
        """Return it in one line, as in `12s ago: ADD shop/web-1: …`."""
        call = self.last
        whose = f" {call.pod}" if call.pod else ""
        return (
            f"{attachments.words(max(0, now - call.ended))} ago: {call.verb}{whose}: {call.message} (error {call.code})"
        )


class _Failing(NamedTuple):
    """The failed calls of one verb for one pod, or without a pod, since its last success."""

    calls: list[Call]
    others: bool = False  # the verb has succeeded for another pod since the last of them

    @property
    def last(self) -> Call:
        return self.calls[-1]


def unhealed(
    calls: Iterable[Call], now: float, added: Mapping[str, float], *, successes_are_logged: bool = True
) -> list[Failure]:
    """Return the failures that still count at the time `now`, the latest first.

    `calls` are in the order of the log; `added` has the pods that have a network by their record, and since when.
    """
    kinds: dict[tuple[str, str, int, str], list[_Failing]] = {}
    for failing in _failing(calls):
        call = failing.last
        age = now - call.ended
        is_gone = age > GONE and (not successes_are_logged or (failing.others and call.pod))
        has_network = call.verb == "ADD" and call.pod and added.get(call.pod, 0) > call.began
        if age <= RECENT and not is_gone and not has_network:
            kinds.setdefault(_kind(call), []).append(failing)
    found = [_failure(several) for several in kinds.values()]
    return sorted(found, key=lambda one: -one.last.ended)


def _failing(calls: Iterable[Call]) -> Iterable[_Failing]:
    """Return the pods whose last call of a verb has failed."""
    pods: dict[tuple[str, str, str], _Failing] = {}
    for call in calls:
        key = (call.network, call.verb, call.pod)
        held = pods.pop(key, _Failing([]))
        if call.failed:
            pods[key] = _Failing([*held.calls, call])
            continue
        for other, failing in pods.items():
            if other[:2] == key[:2]:
                pods[other] = failing._replace(others=True)
    return pods.values()


def _kind(call: Call) -> tuple[str, str, int, str]:
    return call.network, call.verb, call.code, call.culprit


def _failure(several: list[_Failing]) -> Failure:
    latest = max(reversed(several), key=lambda failing: failing.last.ended)
    same = [call for failing in several for call in failing.calls if _kind(call) == _kind(latest.last)]
    pods = [failing.last.pod for failing in several if failing.last.pod]
    return Failure(latest.last, len(same), pods, min(call.ended for call in same), not latest.others)
