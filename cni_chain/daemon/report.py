"""What the agent says of its node: ready or why not, as text, as JSON, and for each owner. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from cni_chain import __version__
from cni_chain.checks.glance import Glance, document
from cni_chain.checks.mistaken import SECOND
from cni_chain.checks.wording import printable
from cni_chain.daemon.converging import Standing
from cni_chain.daemon.limit import Limit
from cni_chain.daemon.wanted import NONE, OFF, ON

NOT_READY, REFUSED = "not ready", "refuses"  # how the text of a node that isn't ready begins

_MOST = 10  # reasons


class Report(NamedTuple):
    """One look at the node. `owners` has why each owner isn't ready, "" if it is; `status` is None if it can't be read.

    `findings` counts the findings by id and severity; `recorded` and `stranded` are attachments.
    """

    wanted: str
    reached: str
    reasons: tuple[str, ...]
    owners: dict[str, str]
    repairs: int
    stopped: bool
    status: dict[str, Any] | None = None
    findings: tuple[tuple[str, str, int], ...] = ()
    recorded: int = 0
    stranded: int = 0
    refused: bool = False  # the agent won't go on by itself as things are
    warnings: tuple[str, ...] = ()  # what it can't do as it should, although the node may be ready

    @property
    def ready(self) -> bool:
        """Whether the node is as it is wanted, and, with the facade in place, a new pod gets the whole chain."""
        return not self.reasons

    def text(self) -> str:
        """Return it for people: the verdict, and a line for each reason."""
        if self.ready:
            return f"ready: {self.reached}\n"
        verdict = REFUSED if self.refused else NOT_READY
        reasons = map(printable, self.reasons)  # each is one line
        return "\n".join([f"{verdict}: {self.wanted} is wanted, and the node is {self.reached}", *reasons, ""])

    def document(self) -> dict[str, Any]:
        """Return it as members of a JSON object."""
        return self.verdict() | {
            "owners": [{"name": name, "ready": not why, "why": why or None} for name, why in self.owners.items()],
            "repairs": self.repairs,
            "stopped": self.stopped,
            "version": __version__,
        }

    def verdict(self) -> dict[str, Any]:
        """Return what is logged as soon as it changes."""
        return {
            "state": self.wanted,
            "reached": self.reached,
            "ready": self.ready,
            "refused": self.refused,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }

    def line(self) -> dict[str, Any]:
        """Return what the log has: the verdict, and what was so beside it at that moment."""
        return self.verdict() | {
            "version": __version__,
            "owners": {name: why or None for name, why in self.owners.items()},
            "pods": self.recorded,
            "stranded": self.stranded,
            "findings": {id_: count for id_, _, count in self.findings},
        }


def unseen(wanted: str, reason: str, named: list[str], *, refused: bool = True) -> Report:
    """Return the report on a node that can't be looked at; `named` are the owners that are wanted."""
    return Report(wanted, NONE, (reason,), dict.fromkeys(named, reason), 0, False, refused=refused)


def of(
    wanted: str,
    standing: Standing,
    limit: Limit,
    found: Glance,
    named: list[str],
    writer: str,
    warnings: tuple[str, ...] = (),
) -> Report:
    """Return the report after a step. `writer` is who has written in the runtime's directory, in words, if known."""
    status = document(found)
    reasons = list(standing.reasons)
    if limit.stopped:
        reasons.append(f"the last to write there was {writer}" if writer else "who writes there is not known")
    in_use = standing.reached == ON
    if in_use and not found.whole:
        reasons += [f"{one.place}: {one.text()}" for one in found.reasons]
    # Only a warning for `doctor`; but which of the two a node uses is not what anybody has asked the agent for.
    reasons += [f"{one.place}: {one.text()}" for one in found.findings if one.id == SECOND.id and not one.is_error]
    if not reasons and standing.reached != wanted and not (in_use and wanted != OFF):
        reasons.append(f"the node is {standing.reached}")
    owners = dict.fromkeys(named, "" if wanted == OFF else "the facade is not in place")
    for facade in status["facades"]:
        for owner in facade["owners"]:
            owners[owner["name"]] = _why(owner)
    counted: dict[tuple[str, str], int] = {}
    for finding in found.findings:
        counted[finding.id, finding.severity] = counted.get((finding.id, finding.severity), 0) + 1
    return Report(
        wanted,
        standing.reached,
        _shortened(reasons),
        owners,
        limit.total,
        limit.stopped,
        status,
        tuple((id_, severity, count) for (id_, severity), count in counted.items()),
        found.recorded,
        found.stranded,
        standing.refused,
        warnings,
    )


def _why(owner: dict[str, Any]) -> str:
    if owner["waitsFor"]:
        return str(owner["waitsFor"])
    if owner["errors"]:
        return ", ".join(owner["errors"])
    return "" if owner["plugins"] or not owner["required"] else "has no plugin"


def _shortened(reasons: list[str]) -> tuple[str, ...]:
    unique = list(dict.fromkeys(reasons))
    if len(unique) <= _MOST:
        return tuple(unique)
    return (*unique[: _MOST - 1], f"and {len(unique) - _MOST + 1} more: cni-chain doctor")
