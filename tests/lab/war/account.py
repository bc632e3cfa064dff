"""From what was seen to what is told: who wrote how often, and what pods would have got for how long. Pure."""

import statistics
from collections import defaultdict
from typing import Any

from cni_chain.plugin.fragments import ignored_because
from tests.lab.war.observer import Change
from tests.lab.war.run import Seen, Step
from tests.lab.war.scenarios import NOTHING, WAITS, Scenario
from tests.support.agents.writers import CILIUM, ISTIO

Json = dict[str, Any]
WRITES = {"renamed to", "created", "modified"}
COMPLETE = "cilium-cni → istio-cni"


def account(name: str, scenario: Scenario, seen: Seen, seed: int | None) -> Json:
    """Return all figures of one scenario, as they are printed, drawn and kept as JSON."""
    writes = {agent: _times(seen, agent, WRITES) for agent in (CILIUM, ISTIO)}
    return {
        "scenario": name,
        "title": scenario.title,
        "told": scenario.told,
        "seconds": round(seen.seconds, 3),
        "seed": seed,
        "directories": scenario.directories,
        "settings": {agent: list(flags) for agent, flags in scenario.settings.items()},
        "pods get": _shares(seen),
        "looks": [[round(look.at, 6), look.state] for look in seen.looks],
        "writes": {agent: [round(at, 6) for at in times] for agent, times in writes.items()},
        "overwritten by Cilium after, ms": _answers(writes, scenario),
        "renamed by Cilium": sum(_is_rename(seen, change) for change in seen.changes),
        "steps": [[round(step.at, 3), step.agent, step.what] for step in seen.steps],
        "starts": {agent: _count(seen, agent, "started") for agent in (CILIUM, ISTIO)},
        "killed": {agent: _count(seen, agent, "killed") for agent in (CILIUM, ISTIO)},
        "istio ready": _ready(seen),
        "foreign": foreign(scenario, seen) if scenario.split else None,
        "facade untouched": seen.facade_untouched,
        "verified": len(seen.verified),
        "findings": [[round(at, 3), finding] for at, found in seen.verified for finding in found],
    }


def _times(seen: Seen, agent: str, verbs: set[str]) -> list[float]:
    """When an agent has put a file into place, under a name that a reader looks at."""
    return [
        change.at
        for change in seen.changes
        if seen.agents.get(change.process) == agent and change.verbs & verbs and not ignored_because(change.name)
    ]


def _is_rename(seen: Seen, change: Change) -> bool:
    """Tell whether Cilium has put another's file out of the way."""
    by_cilium = seen.agents.get(change.process) == CILIUM
    return by_cilium and "renamed away" in change.verbs and not ignored_because(change.name)


def _shares(seen: Seen) -> list[Json]:
    """What a pod that starts would have got, the longest time first."""
    spans: dict[str, list[float]] = defaultdict(list)
    ends = [look.at for look in seen.looks[1:]] + [seen.seconds]
    for look, end in zip(seen.looks, ends, strict=True):
        spans[look.state].append(end - look.at)
    found = [
        {
            "state": state,
            "share": round(sum(lengths) / seen.seconds, 6),
            "times": len(lengths),
            "longest_ms": round(max(lengths) * 1000, 3),
        }
        for state, lengths in spans.items()
    ]
    return sorted(found, key=lambda one: -float(str(one["share"])))


def _answers(writes: dict[str, list[float]], scenario: Scenario) -> Json | None:
    """How soon Cilium has written over what Istio had written, where both write to one directory."""
    if scenario.split:
        return None
    after = [
        (answer - at) * 1000
        for at, until in zip(writes[ISTIO], [*writes[ISTIO][1:], float("inf")], strict=True)
        for answer in [next((one for one in writes[CILIUM] if at <= one < until), None)]
        if answer is not None
    ]
    if not after:
        return None
    return {"times": len(after), "median": round(statistics.median(after), 3), "longest": round(max(after), 3)}


def _count(seen: Seen, agent: str, what: str) -> int:
    return sum(step.agent == agent and step.what.startswith(what) for step in seen.steps)


def _ready(seen: Seen) -> Json:
    """How long after its start Istio's agent was ready; of the starts after which it wasn't, how long each lasted."""
    after: list[float] = []
    never: list[float] = []
    started: float | None = None
    for step in [*seen.steps, Step(seen.seconds, ISTIO, "the end")]:
        if step.agent != ISTIO:
            continue
        if step.what == "started":
            started = step.at
        elif started is not None:
            (after if step.what == "ready" else never).append(round(step.at - started, 3))
            started = None
    return {"after": after, "never in": never}


def foreign(scenario: Scenario, seen: Seen) -> list[str]:
    """Return every change in a directory by anybody but its owner, temporary files included, each once."""
    owners = {directory: agent for agent, directory in scenario.directories.items()}
    return sorted(
        {
            f"{change.directory}/{change.name} {', '.join(sorted(change.verbs))} by "
            + seen.agents.get(change.process, f"process {change.process}")
            for change in seen.changes
            if seen.agents.get(change.process) != owners.get(change.directory, "nobody")
        }
    )


def broken_promises(figures: Json) -> list[str]:
    """Return what the split has not kept of what it promises; nothing if all is as it should be."""
    broken = [f"a foreign change: {one}" for one in figures["foreign"]]
    if not figures["facade untouched"]:
        broken.append("the facade was changed")
    states = [state for _, state in figures["looks"]]
    first = next((n for n, state in enumerate(states) if state == COMPLETE), len(states))
    # Until both have written for the first time a pod waits: nothing else may be before, and nothing at all after.
    broken += [f"before both had written, a pod got: {one}" for one in states[:first] if not one.startswith(WAITS)]
    broken += [f"after both had written, a pod got: {one}" for one in states[first + 1 :] if one != COMPLETE]
    if first == len(states):
        broken.append(f"no pod ever got {COMPLETE}")
    broken += [f"cni-chain verify after {at:.1f} s: {finding}" for at, finding in unexpected(figures)]
    for agent in (CILIUM, ISTIO):
        if not figures["writes"][agent]:
            broken.append(f"{agent}'s writer has never written")
    broken += [
        f"Istio was not ready {one:.0f} s after a start" for one in figures["istio ready"]["never in"] if one > 20
    ]
    if figures["renamed by Cilium"]:
        broken.append(f"Cilium has renamed {figures['renamed by Cilium']} files")
    return broken


def unexpected(figures: Json) -> list[tuple[float, str]]:
    """Return when `verify` found what: all of it, but for the owners that have yet to write for the first time."""
    both = next((at for at, state in figures["looks"] if state == COMPLETE), figures["seconds"])
    waiting = "new pods wait for cilium's CNI", "new pods wait for istio's CNI"
    return [
        (at, finding)
        for at, finding in figures["findings"]
        if at > both or not any(words in finding for words in waiting)
    ]


def short(state: str) -> str:
    """Return a state as a table has it: of a pod that waits, the reason's beginning."""
    if state.startswith(WAITS):
        return state.partition(":")[0] + ": " + state.removeprefix(WAITS).partition(":")[0]
    return state or NOTHING
