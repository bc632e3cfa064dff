"""What the next change of a release would do: the steps, whose directories, and the nodes' pace. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cni_chain.agents.agent import Agent
from cni_chain.agents.registry import BY_OWNER, EDITORS, is_local
from cni_chain.checks.wording import counted, listed
from cni_chain.cluster.objects import Options, Release, Writer
from cni_chain.cluster.report import Fleet
from cni_chain.daemon.wanted import OFF, ON, PREPARED
from cni_chain.migrate import settings
from cni_chain.migrate.scene import Member
from cni_chain.migrate.settings import Setting

MOVE, SET, BACK, UNINSTALL = "move", "set", "move back", "uninstall"

_NEXT = {PREPARED: ON, ON: ON, OFF: OFF}


class Step(NamedTuple):
    """One step. `done` is None if that can't be told from here."""

    action: str
    text: str
    done: bool | None
    commands: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    owner: str | None = None
    daemonset: str | None = None  # of the agent, NAMESPACE/NAME

    def document(self) -> dict[str, Any]:
        """Return it as members of a JSON object."""
        return {
            "action": self.action,
            "text": self.text,
            "done": self.done,
            "owner": self.owner,
            "daemonSet": self.daemonset,
            "commands": list(self.commands),
            "remarks": list(self.remarks),
        }


class Pace(NamedTuple):
    """How the controller would go over the nodes."""

    nodes: int
    at_once: tuple[str, ...]  # nodes that aren't ready: their pods are replaced whatever maxUnavailable says
    max_unavailable: int
    batches: int
    seconds: int  # at least

    def document(self) -> dict[str, Any]:
        """Return it as members of a JSON object."""
        return {
            "nodes": self.nodes,
            "atOnce": list(self.at_once),
            "maxUnavailable": self.max_unavailable,
            "batches": self.batches,
            "seconds": self.seconds,
        }


class Plan(NamedTuple):
    """What is to be done to get from one state to another."""

    fleet: Fleet
    to: str
    steps: tuple[Step, ...]
    pace: Pace | None  # None: no pod is replaced
    undo: tuple[str, ...]
    others: tuple[str, ...]  # DaemonSets in the runtime's directory that no owner is known for

    def document(self, now: float) -> dict[str, Any]:
        """Return it as members of a JSON object."""
        release = self.fleet.release
        return {
            "namespace": release.namespace,
            "name": release.name,
            "from": release.options.state,
            "to": self.to,
            "done": self.fleet.done,
            "holds": self.fleet.holds(now),
            "steps": [step.document() for step in self.steps],
            "pace": self.pace.document() if self.pace else None,
            "undo": list(self.undo),
            "others": list(self.others),
        }


def plan(fleet: Fleet, writers: Sequence[Writer] | None, to: str | None) -> Plan:
    """Return what leads to a state, without one to the next: after `prepared` comes `on`.

    `writers` are the DaemonSets that have directories of CNI configurations, None if they can't be seen.
    """
    release = fleet.release
    state = release.options.state
    to = to or _NEXT[state]
    moves = list(_moves(release.options, writers))
    if to == OFF:
        steps = [_set(fleet, to, (_MAY_REFUSE,)), *_back(release, writers), _uninstall(release)]
    elif to == PREPARED:
        steps = [_set(fleet, to, (_MAY_REFUSE,) if state == ON else ())]
    else:
        editors = [agent for agent, _ in moves if agent.owner in EDITORS and state != ON]
        before = [_cordoned(step) if agent in editors else step for agent, step in moves if _first(agent, editors)]
        told = (_UNCORDON,) if any(_CORDON in step.remarks for step in before) else ()
        after = (step for agent, step in moves if not _first(agent, editors))
        steps = [*before, _set(fleet, to, told), *after]
    known = {step.daemonset for _, step in moves}
    in_use = [one for one in writers or () if release.options.net_dir in one.paths]
    others = tuple(one.place for one in in_use if one.place not in known)
    changes = to != state
    return Plan(fleet, to, tuple(steps), _pace(fleet) if changes else None, tuple(_undo(release, changes)), others)


_CORDON = "cordon every node first: it removes its plugin from the list that is still in use"
_UNCORDON = "when every node is on, uncordon the nodes"


def _first(agent: Agent, editors: Sequence[Agent]) -> bool:
    """Return whether an agent moves before the facade is in place."""
    return not agent.mesh or agent.early or agent in editors


def _cordoned(step: Step) -> Step:
    return step if step.done else step._replace(remarks=(_CORDON, *step.remarks))


_MAY_REFUSE = "a node refuses where this takes a required owner's plugin away from new pods; the status says what to do"


def _set(fleet: Fleet, to: str, remarks: tuple[str, ...] = ()) -> Step:
    release = fleet.release
    wait = f"kubectl cni-chain wait {to} --namespace {release.namespace} --release {release.name}"
    if release.options.state == to:
        text = f"state is {to}" if fleet.done else f"state is {to}, and the roll-out goes on"
        return Step(SET, text, fleet.done, () if fleet.done else (wait,))
    if release.helm:
        upgrade = f"helm upgrade {release.helm} <chart> --namespace {release.namespace} --reuse-values"
        commands = [f"{upgrade} --set state={to}"]
    else:
        commands = []
        remarks = (f"Helm has not made this DaemonSet: its agent's argument becomes --state={to}", *remarks)
    test = [f"helm test {release.helm} --namespace {release.namespace}"] if to == ON and release.helm else []
    return Step(SET, f"Set state to {to}", False, (*commands, wait, *test), remarks)


def _uninstall(release: Release) -> Step:
    commands = (f"helm uninstall {release.helm} --namespace {release.namespace}",) if release.helm else ()
    return Step(UNINSTALL, "When every node is off, take the agents away", None, commands)


def _undo(release: Release, changes: bool) -> Iterable[str]:
    if changes and release.helm:
        yield f"helm rollback {release.helm} --namespace {release.namespace}"
    elif changes:
        yield f"the argument --state={release.options.state} again"


def _pace(fleet: Fleet) -> Pace:
    release = fleet.release
    at_once = tuple(line.node for line in fleet.lines if not line.ready and line.pod)
    others = max(0, release.desired - len(at_once))
    batches = -(-others // release.max_unavailable)
    return Pace(release.desired, at_once, release.max_unavailable, batches, batches * release.min_ready)


def words(pace: Pace, release: Release) -> list[str]:
    """Return the pace in sentences."""
    if release.strategy == "OnDelete":
        return [f"OnDelete: each of {counted(pace.nodes, 'node')} changes when you delete its pod."]
    lines = []
    if pace.at_once:
        few = listed(list(pace.at_once))
        lines.append(f"At once, whatever maxUnavailable says: {few}, because {_these(pace.at_once)} not ready now.")
    if pace.batches:
        each = (
            f"each {release.min_ready} s after the one before was ready" if release.min_ready else "one after another"
        )
        lines.append(
            f"{counted(pace.nodes - len(pace.at_once), 'node')}, {pace.max_unavailable} at a time, {each}: "
            f"{counted(pace.batches, 'time')}, {pace.seconds} s at least. Which node is next, Kubernetes chooses."
        )
    lines.append("A node whose agent refuses stays not ready, and stops the others there.")
    return lines


def _these(names: Sequence[str]) -> str:
    return "it is" if len(names) == 1 else "they are"


def _moves(options: Options, writers: Sequence[Writer] | None) -> Iterable[tuple[Agent, Step]]:
    """Yield each known owner's agent with the step that sends it to its directory."""
    agents = _agents(options)
    members = [_member(agent, options) for agent in agents]
    for agent, setting in zip(agents, settings.settings(members), strict=True):
        own = f"{options.chain_dir}/{agent.owner}.d"
        found = None if writers is None else _writer_of(agent, own, options.net_dir, writers)
        yield agent, _move(agent, own, options.net_dir, found, setting)


def _move(agent: Agent, own: str, net_dir: str, found: Writer | None, setting: Setting) -> Step:
    if found is None:
        text = f"Send {agent.name} to {own}: no DaemonSet of it is seen, so whether it is there is not known"
        return Step(MOVE, text, None, tuple(setting.commands), tuple(setting.remarks), agent.owner)
    if own in found.paths and net_dir not in found.paths:
        state = "" if found.updated else "; its own roll-out has not ended"
        return Step(MOVE, f"{agent.name} has {own}{state}", found.updated, (), (), agent.owner, found.place)
    text = f"Send {agent.name} to {own}: now it has {', '.join(found.paths)}"
    return Step(MOVE, text, False, tuple(setting.commands), tuple(setting.remarks), agent.owner, found.place)


def _back(release: Release, writers: Sequence[Writer] | None) -> Iterable[Step]:
    """Yield, for each agent that was moved, the step back: after the facade is gone, meshes first."""
    options = release.options
    agents = _agents(options)
    first = next((agent.file for agent in agents if not agent.mesh), "")
    for setting in settings.back([_member(agent, options) for agent in agents], options.net_dir, first):
        agent = BY_OWNER[setting.owner]
        own = f"{options.chain_dir}/{agent.owner}.d"
        found = None if writers is None else _writer_of(agent, own, options.net_dir, writers)
        if found is not None and own not in found.paths:
            yield Step(BACK, f"{agent.name} has {', '.join(found.paths)}", True, (), (), agent.owner, found.place)
            continue
        text = f"When every node is off, send {agent.name} back to {options.net_dir}"
        place = found.place if found else None
        done = None if found is None else False
        yield Step(BACK, text, done, tuple(setting.commands), tuple(setting.remarks), agent.owner, place)


def _agents(options: Options) -> list[Agent]:
    names = [owner.partition(":")[0] for owner in options.owners]
    return [BY_OWNER[name] for name in names if name in BY_OWNER and not is_local(name)]


def _member(agent: Agent, options: Options) -> Member:
    directory = f"{options.chain_dir}/{agent.owner}.d"
    return Member(agent, directory, {}, writes=True, moved=False, added=False, required=True)


def _writer_of(agent: Agent, own: str, net_dir: str, writers: Sequence[Writer]) -> Writer | None:
    """Return the DaemonSet of an agent: the one that has its directory, else one of its name in the runtime's."""
    for one in writers:
        if own in one.paths:
            return one
    usual = agent.chart.daemonset if agent.chart else ""
    named = [one for one in writers if net_dir in one.paths and agent.owner.partition("-")[0] in one.name]
    return next((one for one in named if one.name == usual), named[0] if named else None)
