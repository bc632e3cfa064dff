"""One scenario on a node of its own, from the first agent's start to the end: what was done and what was seen."""

import contextlib
import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.lab.war.observer import Change, Look, Observer
from tests.lab.war.scenarios import Scenario, look
from tests.support.agents import writers
from tests.support.agents.split_node import SplitNode
from tests.support.agents.writers import CILIUM, ISTIO, Writer
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET, Node

# A node's agents don't start in one instant. Cilium's runs in the host's network and is there first.
HEAD_START = 1.0
GLANCE = 0.05  # seconds between two looks at what is not told by the kernel: readiness, and what is due
OUT_OF_ACTION = 2.0  # an agent that is restarted is away for up to so long
KILLED = 1 / 3  # of the restarts, with SIGKILL
AT_ITS_START, STARTING = 1 / 4, 0.3  # so many are ended again so soon, perhaps in the middle of writing


class Step(NamedTuple):
    """What was done to an agent, or what it said: started, stopped, killed, ready."""

    at: float
    agent: str
    what: str


class Seen(NamedTuple):
    """All of one scenario. Times are seconds since the first agent was started."""

    seconds: float
    steps: list[Step]
    looks: list[Look]
    changes: list[Change]
    agents: dict[int, str]  # process → agent
    verified: list[tuple[float, list[str]]]  # when `cni-chain verify` was run, and what it found
    facade_untouched: bool


class Restarts:
    """Which agent goes down next, when, how and for how long: by chance, repeatable with the seed."""

    def __init__(self, seed: int, every: float) -> None:
        self._random = random.Random(seed)  # noqa: S311  # nothing secret about it
        self._every = every
        self._back: dict[str, float] = {}  # agent that is down → when it comes back
        self._down = [(self._later(2 * HEAD_START), self._some())]  # when, and which agents

    def _later(self, now: float) -> float:
        return now + self._random.uniform(0.5, 1.5) * self._every

    def _some(self) -> list[str]:
        """One agent, or both at once, as when a node is drained."""
        return self._random.choice(([CILIUM], [ISTIO], [CILIUM, ISTIO]))

    def act(self, now: float, agents: dict[str, Writer]) -> Iterator[tuple[str, str]]:
        """Do what is due, and yield it: (agent, what)."""
        for agent in [agent for agent, due in self._back.items() if now >= due]:
            del self._back[agent]
            agents[agent].start()
            yield agent, "started"
            if self._random.random() < AT_ITS_START:
                self._down.append((now + self._random.uniform(0, STARTING), [agent]))
        for one in [one for one in self._down if now >= one[0]]:
            self._down.remove(one)
            for agent in one[1]:
                if agent not in self._back:
                    self._back[agent] = now + self._random.uniform(0, OUT_OF_ACTION)
                    yield agent, self._end(agents[agent])
        if not self._down:
            self._down.append((self._later(now), self._some()))

    def _end(self, writer: Writer) -> str:
        if self._random.random() < KILLED:
            writer.kill()
            return "killed"
        return "stopped" if writer.stop(5) else "killed, since SIGTERM didn't end it"


def run(scenario: Scenario, program: Path, tools: Path, seconds: float, restarts: Restarts | None) -> Seen:
    """Run one scenario. The program is cni-chain; what is split is verified with it whenever something has changed."""
    with Sandbox() as sandbox:
        node = SplitNode(sandbox, program, tools) if scenario.split else Node(sandbox, program, tools)
        facade = _fingerprint(node)
        agents = {
            CILIUM: writers.cilium(sandbox, scenario.directories[CILIUM], *scenario.settings[CILIUM]),
            ISTIO: writers.istio(sandbox, scenario.directories[ISTIO], *scenario.settings[ISTIO]),
        }
        watched = dict.fromkeys((NET, *scenario.directories.values()))
        if scenario.split:
            watched |= dict.fromkeys((CHAIN, f"{CHAIN}/local.d"))
        observer = Observer({name: sandbox.path(name) for name in watched}, look(scenario, sandbox.path("/")))
        stage = Stage(node, agents, observer, verify=scenario.split)
        with observer, contextlib.ExitStack() as ended:
            for writer in agents.values():
                ended.callback(writer.close)
            stage.play(seconds, restarts)
        return stage.seen(untouched=_fingerprint(node) == facade)


class Stage:
    """The agents, whoever acts on them, and whoever looks."""

    def __init__(self, node: Node, agents: dict[str, Writer], observer: Observer, *, verify: bool) -> None:
        self._node = node
        self._agents = agents
        self._observer = observer
        self._verify = verify
        self._begin = self._end = time.monotonic()
        self._steps: list[Step] = []
        self._verified: list[tuple[float, list[str]]] = []

    def play(self, seconds: float, restarts: Restarts | None) -> None:
        """Start Cilium's writer, then Istio's, and let them be, or restart them, until the time is over."""
        self._begin = time.monotonic()
        self._start(CILIUM)
        known = 0
        while (now := time.monotonic() - self._begin) < seconds:
            if now >= HEAD_START and not self._agents[ISTIO].processes:
                self._start(ISTIO)
            if restarts and self._agents[ISTIO].processes:
                self._steps += [Step(self._now(), *done) for done in restarts.act(now, self._agents)]
            self._listen()
            changes = len(self._observer.changes)
            if self._verify and changes > known:
                self._verified.append((self._now(), self._findings()))
            known = changes
            time.sleep(GLANCE)
        self._end = time.monotonic()

    def _now(self) -> float:
        return time.monotonic() - self._begin

    def _start(self, agent: str) -> None:
        self._steps.append(Step(self._now(), agent, "started"))
        self._agents[agent].start()

    def _listen(self) -> None:
        """Note when Istio's agent has become ready, since its last start."""
        ready = sum(one.get("ready") == "true" for one in self._agents[ISTIO].said)
        if ready > sum(step.what == "ready" for step in self._steps):
            self._steps.append(Step(self._now(), ISTIO, "ready"))

    def _findings(self) -> list[str]:
        """What cni-chain itself says about the node now."""
        answer = self._node.sandbox.run(f"{BIN}/cni-chain", "verify", "--json", check=False)
        found = json.loads(answer.stdout)["findings"]
        return [f"{one['severity']}: {one['path']}: {one['what']}" for one in found]

    def seen(self, *, untouched: bool) -> Seen:
        """Return all of it, up to the moment at which the play was over: what ends the agents is no part of it."""
        length = self._end - self._begin
        observer = self._observer
        looks = [one._replace(at=max(0.0, one.at - self._begin)) for one in observer.looks if one.at < self._end]
        changes = [one._replace(at=one.at - self._begin) for one in observer.changes if one.at < self._end]
        agents = {process: agent for agent, writer in self._agents.items() for process in writer.processes}
        return Seen(length, self._steps, looks, changes, agents, self._verified, untouched)


def _fingerprint(node: Node) -> object:
    """The facade's inode, time and bytes, if there is one."""
    file = node.sandbox.path(f"{NET}/{FACADE}")
    if not file.exists():
        return None
    status = file.stat()
    return status.st_ino, status.st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()
