"""What an agent has said of its node: in its log, or in an event that its kubelet has written for it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cni_chain.cluster.times import seconds
from cni_chain.daemon.report import NOT_READY, REFUSED

LOG, EVENT = "log", "event"

_BODY = "Response body: "  # before what a kubelet copies
_PROBE = "ProbeWarning"


class Saying(NamedTuple):
    """What an agent has said, and when. What an event doesn't have is None."""

    source: str  # LOG or EVENT
    at: float | None
    refused: bool
    reasons: tuple[str, ...]
    reached: str | None = None
    owners: Mapping[str, str | None] | None = None  # why each isn't ready; None: it is
    pods: int | None = None
    stranded: int | None = None
    findings: Mapping[str, int] | None = None
    ready: bool = False


def of_log(text: str) -> Saying | None:
    """Return the last report in the end of an agent's log, None if there is none."""
    for line in reversed(text.splitlines()):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):  # a traceback, or the first line was cut off, or no agent wrote it
            continue
        if isinstance(found, dict) and isinstance(found.get("reasons"), list):
            return Saying(
                source=LOG,
                at=seconds(found.get("time")),
                refused=found.get("refused") is True,
                reasons=tuple(map(str, found["reasons"])),
                reached=_text(found.get("reached")),
                owners=_members(found.get("owners"), str | None),
                pods=_number(found.get("pods")),
                stranded=_number(found.get("stranded")),
                findings=_members(found.get("findings"), int),
                ready=found.get("ready") is True,
            )
    return None


def of_events(events: Iterable[Mapping[str, Any]]) -> dict[str, Saying]:
    """Return the last that each pod's agent has said by way of its kubelet, by the pod's name."""
    found: dict[str, Saying] = {}
    for event in events:
        at = moment(event)
        said = (
            _of_body(str(event.get("message", "")).partition(_BODY)[2], at) if event.get("reason") == _PROBE else None
        )
        name = str((event.get("involvedObject") or {}).get("name", ""))
        if said is not None and (name not in found or (found[name].at or 0) <= (at or 0)):
            found[name] = said
    return found


def of_controller(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return why each DaemonSet's last pod could not be made, by the DaemonSet's name."""
    found: dict[str, tuple[float, str]] = {}
    for event in events:
        about = event.get("involvedObject") or {}
        if about.get("kind") == "DaemonSet" and event.get("reason") == "FailedCreate":
            name, at = str(about.get("name", "")), moment(event) or 0.0
            if name not in found or found[name][0] <= at:
                found[name] = (at, str(event.get("message", "")))
    return {name: text for name, (_, text) in found.items()}


def moment(event: Mapping[str, Any]) -> float | None:
    """Return when an event was last seen."""
    series = event.get("series") or {}
    for value in (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime")):
        at = seconds(value)
        if at is not None:
            return at
    return None


def _of_body(body: str, at: float | None) -> Saying | None:
    first, *reasons = body.strip().splitlines() or [""]
    verdict, colon, rest = first.partition(": ")
    if not colon or verdict not in (NOT_READY, REFUSED):
        return None
    reached = rest.rpartition(" the node is ")[2]
    return Saying(EVENT, at, verdict == REFUSED, tuple(reasons), reached or None)


def _members(value: Any, kind: Any) -> Any:
    """Return an object whose members are all of a kind, None for anything else."""
    return value if isinstance(value, dict) and all(isinstance(one, kind) for one in value.values()) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
