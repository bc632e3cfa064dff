"""The doctor's look at the records and the log: what was never undone, what is damaged, what fails again and again."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator
from typing import Any

from cni_chain.cli import attached, gc
from cni_chain.cli.attached import Entry, StateDir
from cni_chain.cli.doctor_words import Node, Trouble, listed

_LOOKED_AT = 200  # lines of the log
_MANY = 10  # of which so many are the same failure
_RECENT = 86400  # seconds; older failures are history
_GONE = 600  # seconds without a failure after which a pod counts as gone, if others have succeeded since
_TAIL = 1 << 20  # bytes
_LARGE = 200 << 20  # bytes of a log that nobody rotates

# What differs between two lines about the same fault.
_PARTICULAR = re.compile(r"/(?:var/)?run/netns/\S+|\b[0-9a-f]{8,}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def check(node: Node) -> Iterator[Trouble]:
    """Yield what is wrong with the records and the logs."""
    for state in node.states:
        yield from _unreadable(state)
        yield from _exposed(node, state)
        yield from _damaged(state)
        if node.tree.is_this_system:
            yield from _stale(state)
        yield from _stranded(state)
        yield from _stuck(state)
    for path in sorted({survey.facade.log_file for survey in node.surveys if survey.facade.log_file}):
        yield from _log(node, path)


def _unreadable(state: StateDir) -> Iterator[Trouble]:
    if state.failure:
        yield Trouble(
            "records-unreadable",
            state.path,
            state.failure,
            "Every ADD and every DEL fails with 5: no new pod starts, and pods stay Terminating.",
            "Run doctor as root; if it already was, look at the file system.",
        )


def _exposed(node: Node, state: StateDir) -> Iterator[Trouble]:
    try:
        mode = stat.S_IMODE(os.stat(node.tree.real(state.path)).st_mode)
    except OSError:
        return
    if mode & 0o055:
        yield Trouble(
            "records-exposed",
            state.path,
            f"mode {mode:04o}: others than root may read the records",
            "Records hold the plugins' configurations, and with them credentials.",
            f"chmod 0700 {state.path}",
            warning=True,
        )


def _damaged(state: StateDir) -> Iterator[Trouble]:
    aside = [one.path for one in state.damaged if one.set_aside]
    if aside:
        yield Trouble(
            "records-set-aside",
            aside[0],
            f"{_count(len(aside), 'damaged record')} set aside",
            "Their pods were deleted by the chain as it was then, so something of an older chain may be left of them. "
            "(Version 0.1.0 sets the records of later versions aside, also of pods that run.)",
            "Look for what spoils files here (a full disk, a power loss), then cni-chain gc removes them.",
            warning=True,
        )
    for one in state.damaged:
        if one.unreadable and not one.set_aside:
            yield Trouble(
                "record-unreadable",
                one.path,
                one.reason,
                "The DEL of its attachment fails with 5 until it can be read, and its pod stays Terminating.",
                f"chown root {one.path}; chmod 0600 {one.path}. What others could write there is run as root at that "
                "DEL, so look at it first."
                if one.reason == attached.UNSAFE
                else "Run doctor as root; if it already was, look at the file system. If the file is lost, "
                "cni-chain gc --forget ID --force drops it, and the DEL then takes the chain as it is now.",
            )
        elif not one.set_aside:
            yield Trouble(
                "record-damaged",
                one.path,
                one.reason,
                "What was run for this attachment is not known: its DEL takes the chain as it is now.",
                "Nothing, if its pod still runs: its DEL sets the record aside. If its pod is gone: cni-chain gc "
                "--older-than 1h. It frees every damaged record of that age: first see that none of their pods runs.",
                warning=True,
            )


def _stale(state: StateDir) -> Iterator[Trouble]:
    stale = [
        entry
        for entry in state.entries
        if not entry.is_stranded
        and attached.namespace(entry.record.call["netns"], entry.record.created)[0] == attached.GONE
    ]
    if stale:
        names = [gc.name(entry.attachment, entry.pod) for entry in stale]
        yield Trouble(
            "records-stale",
            state.path,
            f"{_count(len(stale), 'attachment')} whose network namespace is gone: {listed(names)}",
            "Their addresses, rules and endpoints are still held. (For a minute or two after a reboot that is normal.)",
            "cni-chain gc",
            warning=True,
        )


def _stranded(state: StateDir) -> Iterator[Trouble]:
    """Yield what waits for the retry of its DEL, once for each cause: an agent that is away strands many alike."""
    causes: dict[tuple[str, str], list[Entry]] = {}
    for entry in state.entries:
        if entry.is_stranded:
            key = (_PARTICULAR.sub("…", entry.last_error), ", ".join(entry.left))
            causes.setdefault(key, []).append(entry)
    for (_, left), entries in causes.items():
        last = max(entries, key=lambda entry: entry.marker.last)
        names = [gc.name(entry.attachment, entry.pod) for entry in entries]
        told = f"; {left} left" if left else ""
        what = f"{names[0]}: {attached.failure(last)}{told}"
        if len(names) > 1:
            what = (
                f"{_count(len(names), 'attachment')} whose DEL failed alike: {listed(names)}{told}; of the last one: "
            )
            what += attached.failure(last)
        yield Trouble(
            "record-stranded",
            last.path if len(entries) == 1 else state.path,
            what,
            "The pod stays Terminating, or is gone and its addresses, rules and endpoints are still held.",
            "Mend the cause that the error names. The DEL is then retried by itself, when another pod comes or goes; "
            "cni-chain gc retries at once. What can never be deleted: cni-chain gc --forget ID drops its record; "
            'if the runtime goes on asking, "onDelError": "ignore" on its owner lets the pod go.',
            warning=True,
        )


def _stuck(state: StateDir) -> Iterator[Trouble]:
    for entry in state.entries:
        if not entry.is_abandoned:
            continue
        what = attached.failure(entry)
        if entry.record.state == "adding":
            do = "The runtime's DEL or next ADD undoes it; if its pod is gone, cni-chain gc does."
        else:
            what += f"; {listed(entry.left, 5)} left" if entry.left else ""
            do = "The runtime's next DEL goes on with it, and so does cni-chain gc."
        yield Trouble(
            "record-stuck",
            entry.path,
            f"{gc.name(entry.attachment, entry.pod)}: {what}",
            "cni-chain was killed in the middle of it, or version 0.1.0 has left it so when a DEL failed.",
            do,
            warning=True,
        )


def _log(node: Node, path: str) -> Iterator[Trouble]:
    real = node.tree.real(path)
    if not os.path.isdir(os.path.dirname(real)):
        yield Trouble(
            "log-unwritable",
            path,
            "its directory doesn't exist, so nothing is logged",
            "When a pod has no network, nothing tells why.",
            f"mkdir -p {os.path.dirname(path)}, or another logFile in the facade.",
            warning=True,
        )
        return
    try:
        size = os.stat(real).st_size
        lines = _tail(real)
    except OSError:  # not written yet
        return
    if size > _LARGE:
        yield Trouble(
            "log-large",
            path,
            f"has {size >> 20} MiB: nobody rotates it",
            "It fills the disk, and records can then no longer be written.",
            "Install conf/logrotate.d/cni-chain.",
            warning=True,
        )
    yield from _repeated(path, lines)


def _tail(path: str) -> list[dict[str, Any]]:
    with open(path, "rb") as log:
        log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL))
        text = log.read()
    lines = []
    for line in text.split(b"\n")[-_LOOKED_AT - 1 :]:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict):
            lines.append(document)
    return lines


def _repeated(path: str, lines: list[dict[str, Any]]) -> Iterator[Trouble]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in _unhealed(lines):
        message = _PARTICULAR.sub("…", str(line.get("msg", "")))
        groups.setdefault((str(line.get("verb")), message), []).append(line)
    newest = _moment(_RECENT)
    for (verb, message), group in groups.items():
        if len(group) < _MANY or str(group[-1].get("time", "")) < newest:
            continue
        pods = sorted({str(line["pod"]) for line in group if line.get("pod")})
        whose = f" ({listed(pods)})" if pods else ""
        yield Trouble(
            "log-repeats",
            path,
            f"{len(group)} of the last {len(lines)} calls are this {verb}: {message}{whose}",
            f"The runtime tries again and again; the last time was {group[-1].get('time')}.",
            "See what the message asks for; README.md, Troubleshoot, has the common ones.",
            warning=True,
        )


def _unhealed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the failures that still count: neither their pod's verb has succeeded since, nor is their pod gone.

    A runtime retries what an agent's start keeps waiting, under the pod's name; a controller may replace the pod.
    """
    failures: list[dict[str, Any]] = []
    succeeded: dict[object, str] = {}  # by verb, the last time
    for line in lines:
        verb, pod = line.get("verb"), line.get("pod") or ""
        if "code" in line:
            failures.append(line)
            continue
        succeeded[verb] = str(line.get("time", ""))
        failures = [one for one in failures if one.get("verb") != verb or (one.get("pod") or "") not in ("", pod)]
    last = {(one.get("verb"), one.get("pod")): str(one.get("time", "")) for one in failures}
    gone = {key for key, failed in last.items() if key[1] and failed < min(_moment(_GONE), succeeded.get(key[0], ""))}
    return [one for one in failures if (one.get("verb"), one.get("pod")) not in gone]


def _moment(ago: float) -> str:
    """Return the time so many seconds ago, as the log writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - ago))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
