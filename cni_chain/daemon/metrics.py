"""The agent's metrics in Prometheus' text format: the node's report, and the calls in the plugin's log.

The official client library imports ssl, which this program doesn't have. There are at most 200 series on any node:
plugins beyond the first five, and kinds of findings beyond the first ten, are counted together.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cni_chain import __version__
from cni_chain.daemon.report import Report
from cni_chain.daemon.wanted import NONE, STATES
from cni_chain.node import calls
from cni_chain.node.calls import Call

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Seconds: a plugin takes 5 ms, and has up to 110 s. 10 s is what the alert about slow plugins asks for.
_BUCKETS = (0.01, 0.05, 0.1, 0.5, 2.5, 10.0, 30.0)
_VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
_TIMED = ("ADD", "DEL")
_PLUGINS = 5
_FINDINGS, _OWNERS = 10, 8
_REST = ("other", "other")
_RESULTS = ("ok", "failed")

Labels = Mapping[str, str]


class Histogram:
    """How many calls took how long."""

    def __init__(self) -> None:
        self._counts = [0] * len(_BUCKETS)
        self._sum = 0.0
        self._total = 0

    def take(self, seconds: float) -> None:
        """Count one call."""
        self._sum += seconds
        self._total += 1
        for index, bound in enumerate(_BUCKETS):
            if seconds <= bound:
                self._counts[index] += 1

    def lines(self, name: str, labels: Labels) -> Iterator[str]:
        """Yield its series."""
        for bound, count in zip(_BUCKETS, self._counts, strict=True):
            yield _line(f"{name}_bucket", {**labels, "le": f"{bound:g}"}, count)
        yield _line(f"{name}_bucket", {**labels, "le": "+Inf"}, self._total)
        yield _line(f"{name}_sum", labels, round(self._sum, 6))
        yield _line(f"{name}_count", labels, self._total)


class Metrics:
    """What is counted since the agent's start. The log's reader and the server's threads use it."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._lock = threading.Lock()
        self._calls = {(verb, result): 0 for verb in _VERBS for result in _RESULTS}
        self._verbs = {verb: Histogram() for verb in _TIMED}
        self._delegates: dict[tuple[str, str, str], Histogram] = {}
        self._failures: dict[tuple[str, str, str], int] = {}
        self._plugins: list[tuple[str, str]] = []
        self._collected = dict.fromkeys(_RESULTS, 0)
        self._freed = 0

    def read(self, lines: Iterable[bytes]) -> None:
        """Count the calls in lines of the plugin's log."""
        with self._lock:
            for call in calls.parsed(lines):
                self._take(call)

    def collected(self, freed: int, *, failed: bool) -> None:
        """Count a run of `gc`, and the attachments that it has freed."""
        with self._lock:
            self._collected["failed" if failed else "ok"] += 1
            self._freed += freed

    def _take(self, call: Call) -> None:
        if call.verb not in _VERBS:
            return
        self._calls[call.verb, "failed" if call.failed else "ok"] += 1
        if call.verb in self._verbs:
            self._verbs[call.verb].take(call.milliseconds / 1000)
        ran = call.line.get("delegates")
        for one in ran if isinstance(ran, list) else ():
            if isinstance(one, dict) and one.get("command") in _TIMED:
                self._take_delegate(one)

    def _take_delegate(self, one: dict[str, Any]) -> None:
        plugin = (str(one.get("owner", "")), str(one.get("type", "")))
        if plugin not in self._plugins and len(self._plugins) < _PLUGINS:
            self._plugins.append(plugin)
        key = (*(plugin if plugin in self._plugins else _REST), str(one["command"]))
        taken = one.get("ms")
        histogram = self._delegates.setdefault(key, Histogram())
        self._failures[key] = self._failures.get(key, 0) + ("code" in one)
        if isinstance(taken, int | float):
            histogram.take(taken / 1000)

    def text(self, report: Report, looked: float) -> str:
        """Return all series; `looked` is when the report was made (seconds since the epoch)."""
        with self._lock:
            lines = [*_of_node(report, looked), *self._of_calls(), *_of_process(self._started)]
        return "\n".join([*lines, ""])

    def _of_calls(self) -> Iterator[str]:
        yield from _family("cni_chain_gc_runs_total", "counter", "Runs of the clean-up that had something to free.")
        for result in _RESULTS:
            yield _line("cni_chain_gc_runs_total", {"result": result}, self._collected[result])
        yield from _family("cni_chain_gc_freed_total", "counter", "Attachments that the clean-up has freed.")
        yield _line("cni_chain_gc_freed_total", {}, self._freed)
        yield from _family("cni_chain_calls_total", "counter", "The runtime's calls in the plugin's log.")
        for (verb, result), count in self._calls.items():
            yield _line("cni_chain_calls_total", {"verb": verb, "result": result}, count)
        name = "cni_chain_call_duration_seconds"
        yield from _family(name, "histogram", "How long calls took, with all their plugins.")
        for verb, histogram in self._verbs.items():
            yield from histogram.lines(name, {"verb": verb})
        if not self._delegates:
            return
        name = "cni_chain_delegate_duration_seconds"
        yield from _family(name, "histogram", "How long each plugin took.")
        for key, histogram in self._delegates.items():
            yield from histogram.lines(name, _of_plugin(key))
        name = "cni_chain_delegate_failures_total"
        yield from _family(name, "counter", "How often each plugin failed.")
        for key, count in self._failures.items():
            yield _line(name, _of_plugin(key), count)


def _of_plugin(key: tuple[str, str, str]) -> Labels:
    owner, type_, verb = key
    return {"owner": owner, "type": type_, "verb": verb}


def _of_node(report: Report, looked: float) -> Iterator[str]:
    yield from _one("cni_chain_info", "The version, and the state that is wanted.", 1,
                    {"version": __version__, "state": report.wanted})  # fmt: skip
    yield from _one("cni_chain_ready", "Whether the node is as it is wanted, and a new pod gets the whole chain.",
                    int(report.ready))  # fmt: skip
    yield from _family("cni_chain_reached", "gauge", "The state that the node has.")
    for state in (*STATES, NONE):
        yield _line("cni_chain_reached", {"state": state}, int(report.reached == state))
    yield from _family("cni_chain_owner_ready", "gauge", "Whether an owner contributes its plugins.")
    for name, why in list(report.owners.items())[:_OWNERS]:
        yield _line("cni_chain_owner_ready", {"owner": name}, int(not why))
    yield from _family("cni_chain_findings", "gauge", "What doctor finds, by kind.")
    for id_, severity, count in report.findings[:_FINDINGS]:
        yield _line("cni_chain_findings", {"id": id_, "severity": severity}, count)
    rest = sum(count for _, _, count in report.findings[_FINDINGS:])
    if rest:
        yield _line("cni_chain_findings", {"id": "other", "severity": "warning"}, rest)
    yield from _one("cni_chain_attachments", "Attachments that have a record.", report.recorded)
    yield from _one("cni_chain_attachments_stranded", "Attachments whose DEL has failed.", report.stranded)
    yield from _family("cni_chain_repairs_total", "counter", "What the agent has put right.")
    yield _line("cni_chain_repairs_total", {}, report.repairs)
    yield from _one("cni_chain_repairs_stopped", "Whether it has stopped to put things right.", int(report.stopped))
    yield from _one("cni_chain_last_look_timestamp_seconds", "When the node was last looked at.", round(looked, 3))


def _of_process(started: float) -> Iterator[str]:
    try:
        with open("/proc/self/statm", "rb", buffering=0) as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        resident = 0
    used = os.times()
    yield from _one("process_resident_memory_bytes", "Resident memory.", resident)
    yield from _family("process_cpu_seconds_total", "counter", "Processor time.")
    yield _line("process_cpu_seconds_total", {}, round(used.user + used.system, 2))
    yield from _one("process_start_time_seconds", "When the agent was started.", round(started, 3))


def _one(name: str, text: str, value: float, labels: Labels | None = None) -> Iterator[str]:
    yield from _family(name, "gauge", text)
    yield _line(name, labels or {}, value)


def _family(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, labels: Labels, value: float) -> str:
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value}" if inner else f"{name} {value}"


def _escaped(text: str) -> str:
    text = text.encode(errors="replace").decode()  # a log's line may have half a character
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
