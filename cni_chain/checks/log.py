"""Rules about the log: whether cni-chain can write it, whether a program rotates it, which failures repeat."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from cni_chain.checks.node import Node
from cni_chain.checks.records import without_particulars
from cni_chain.checks.rule import WARNING, Finding, Kind, Needs, of_node
from cni_chain.checks.wording import listed

_LOOKED_AT = 200  # lines of the log
_MANY = 10  # lines among them with the same failure, from which on it is reported
_RECENT = 86400  # seconds; older failures are not reported
_GONE = 600  # seconds without a failure after which a pod counts as gone, if other pods have succeeded since
_TAIL = 1 << 20  # bytes
_LARGE = 200 << 20  # bytes of a log that no program rotates

UNWRITABLE = Kind(
    "log-unwritable",
    WARNING,
    "the directory of `logFile` doesn't exist",
    "When a pod has no network, no log says why.",
    "Create the directory, or set another logFile in the facade.",
)
LARGE = Kind(
    "log-large",
    WARNING,
    "the log has 200 MiB or more",
    "It fills the disk, and on a full disk cni-chain can't write records.",
    "Install conf/logrotate.d/cni-chain.",
)
REPEATS = Kind(
    "log-repeats",
    WARNING,
    "ten or more of the last 200 calls failed with the same error, the last one within a day; a failure doesn't count "
    "if the same verb succeeded later for the same pod, or if its pod hasn't failed for ten minutes while other pods "
    "succeeded",
    "The runtime retries again and again.",
    "Do what the message asks for; docs/troubleshooting.md explains the common messages.",
)


@of_node(UNWRITABLE, LARGE, REPEATS, needs=Needs.NODE)
def log(node: Node) -> Iterator[Finding]:
    """Yield what is wrong with the facades' logs, and the failures that repeat in them."""
    for path in sorted({survey.facade.log_file for survey in node.surveys if survey.facade.log_file}):
        yield from _log(node, path)


def _log(node: Node, path: str) -> Iterator[Finding]:
    real = node.tree.real(path)
    if not os.path.isdir(os.path.dirname(real)):
        do = f"mkdir -p {os.path.dirname(path)}, or set another logFile in the facade."
        yield UNWRITABLE.at(path, "its directory doesn't exist, so cni-chain logs nothing", do=do)
        return
    try:
        size = os.stat(real).st_size
        lines = _tail(real)
    except OSError:  # not written yet
        return
    if size > _LARGE:
        yield LARGE.at(path, f"has {size >> 20} MiB: no program rotates it")
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


def _repeated(path: str, lines: list[dict[str, Any]]) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in _unhealed(lines):
        message = without_particulars(str(line.get("msg", "")))
        groups.setdefault((str(line.get("verb")), message), []).append(line)
    newest = _moment(_RECENT)
    for (verb, message), group in groups.items():
        if len(group) < _MANY or str(group[-1].get("time", "")) < newest:
            continue
        pods = sorted({str(line["pod"]) for line in group if line.get("pod")})
        whose = f" ({listed(pods)})" if pods else ""
        yield REPEATS.at(
            path,
            f"{len(group)} of the last {len(lines)} calls are this failed {verb}: {message}{whose}",
            why=f"The runtime retries again and again; the last time was {group[-1].get('time')}.",
        )


def _unhealed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the failures that still count: their verb has not succeeded since for their pod, and the pod isn't gone.

    While an agent starts, a runtime retries under the pod's name; a controller may replace the pod.
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
    """Return the time `ago` seconds before now, as the log writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - ago))
