"""The closing walk: a node whose agents share one conflist gets a directory for each of them, and goes back.

containerd 2.4, Cilium's and Istio's own plugins and writers, with stand-ins for the rest of their agents; pods are made
and ended at every stage, and all that live ask each other all the time. `python -m tests.lab.runtimes.walk PROGRAM`
takes the walk and writes it, with the output of each command, into docs/evidence/walk.md.
"""

import argparse
import contextlib
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.agents.settings import flags
from tests.support.agents.writers import CILIUM, ISTIO
from tests.support.pages import Part
from tests.support.runtimes.agents import LIST, MESH, Agents
from tests.support.runtimes.cri import PodConfig, Port
from tests.support.runtimes.daemons import Containerd24, Runtime
from tests.support.runtimes.fresh import FreshNode, Traffic, fresh
from tests.support.runtimes.kubelet import Kubelet
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.node import CHAIN, FACADE, NET, NODE4, is_frozen

PART = Part("evidence/walk.md", "walk")
# Pods that are reached from outside by a port of the node, one made before the facade and one through it.
HOST_PORTS = {"before-3": 18080, "istio-moved": 18081}
# What differs from one walk to the next: the runtime's IDs, ages, how many files a build has, the width of columns.
VARIES = (
    (re.compile(r"\b[0-9a-f]{13}\b"), "ID"),
    (re.compile(r"\b\d+[smh]\b"), "AGE"),
    (re.compile(r"\b\d+ files of"), "N files of"),
    (re.compile(r"  +|-----+"), "  "),
)


@dataclass
class Stage:
    """What is done at once: a heading, words, commands with their output, and the pods that come and go."""

    title: str
    words: str
    commands: list[tuple[str, str]] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    there: int = 0

    def markdown(self) -> str:
        words = textwrap.fill(self.words, 118, break_on_hyphens=False)
        shown = "".join(f"# {command}\n{output}" for command, output in self.commands)
        pods = textwrap.fill(self._pods(), 118, break_on_hyphens=False)
        return "\n".join([f"### {self.title}\n", f"{words}\n", *([f"```\n{shown}```\n"] if shown else []), f"{pods}\n"])

    def _pods(self) -> str:
        changes = [f"{listed(names)} {what}" for names, what in ((self.made, "made"), (self.ended, "ended")) if names]
        return f"*Pods: {'; '.join(changes) or 'as before'}; {self.there} ask each other, and no request has failed.*"


def listed(names: list[str]) -> str:
    """Names as a sentence has them."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


class Walk:
    """The stages, as they are taken."""

    def __init__(self, agents: Agents, kubelet: Kubelet, traffic: Traffic) -> None:
        self.agents = agents
        self.kubelet = kubelet
        self.traffic = traffic
        self.stages: list[Stage] = []
        self.made: list[str] = []  # the pods of which Istio's agent is told
        self.enrols = not agents.alone

    def stage(self, title: str, words: str) -> None:
        self.stages.append(Stage(title, words))

    def does(self, *words: str, status: int = 0, file: str = "") -> str:
        """A command of the operator's. `file`: what the runtime must have for its network after it."""
        seen = self.kubelet.runtime.watch()
        ended, out, err = self.agents.node.command(*words)
        assert ended == status, f"{' '.join(words)}: exit {ended}\n{out}{err}"
        # What plugins log to stderr while they work is not the command's own.
        self.stages[-1].commands.append((shlex.join(words), err if status else out))
        if file:
            seen(file)
        return out

    def moves(self, agent: str, settings: list[str], meanwhile: str = "") -> None:
        """An agent is rolled out with other settings; while it is away a pod is being made."""
        with ThreadPoolExecutor(1) as thread, contextlib.ExitStack() as rollout:
            rollout.enter_context(self.agents.rolled_out(agent, settings))
            if meanwhile:
                config = PodConfig(meanwhile, MESH, self.kubelet.runtime.cgroup)
                pod = thread.submit(self.kubelet.client.run, config)
                rollout.close()
                self.traffic.join(config, pod.result())
                self._made(meanwhile)

    def pods(self, new: str, *ended: str) -> None:
        """One more pod, some less, and all is well."""
        self.traffic.start(new, MESH, tuple(Port(8080, port) for name, port in HOST_PORTS.items() if name == new))
        self._made(new)
        self.traffic.end(*ended)
        self.stages[-1].ended += ended
        self._agree()

    def _made(self, name: str) -> None:
        if self.enrols:
            self.made.append(name)
        self.stages[-1].made.append(name)

    def well(self) -> None:
        """Nothing has changed, and all is well."""
        self.traffic.unharmed()
        self._agree()

    def _agree(self) -> None:
        """Cilium's agent knows exactly the pods that are there, Istio's was told of each once, ports lead to them."""
        self.stages[-1].there = len(self.traffic.pods)
        assert self.agents.endpoints() == self.traffic.addresses
        assert self.agents.enrolled() == sorted(self.made)
        for name in HOST_PORTS.keys() & self.traffic.pods.keys():
            assert self.kubelet.body(f"http://{NODE4}:{HOST_PORTS[name]}/", "outside").startswith(f"{name}\n")


def take(walk: Walk) -> list[Stage]:
    """Take the walk, there and back."""
    there(walk)
    back(walk)
    return walk.stages


def there(walk: Walk) -> None:
    """From the list that both agents edit to a directory for each of them."""
    walk.stage(
        "Before",
        "Cilium writes `05-cilium.conflist` (with `cni.exclusive=false`, or it would set everything else aside), and "
        "Istio has put its plugin into it.",
    )
    walk.does("ls", NET)
    walk.does("grep", '"type"', f"{NET}/{LIST}")
    for name in ("before-1", "before-2", "before-3"):
        walk.pods(name)

    walk.stage("Install, without the facade", "From the unpacked archive. Nothing changes for pods.")
    walk.does("bin/cni-chain", "install", "--no-facade")
    walk.pods("installed")

    walk.stage("Look at the plan", "Still nothing is changed.")
    settings = settings_in(walk.does("cni-chain", "migrate", "plan"))
    walk.well()

    walk.stage("Write", "The fragments are copies of what is in use. No runtime reads them yet.")
    walk.does("cni-chain", "migrate", "write")
    walk.pods("written", "before-1")

    walk.stage(
        "Move Cilium",
        "With the lines of its settings. Its agent's pod is replaced, and writes into its own directory; a pod that "
        "starts in between waits for it.",
    )
    walk.moves(CILIUM, settings[CILIUM], "meanwhile")
    walk.does("ls", "-A", NET, f"{CHAIN}/cilium.d")
    walk.pods("cilium-moved", "installed")

    walk.stage(
        "Switch", "The proof is made again, for what is on the disk now, and the facade is renamed into its place."
    )
    walk.does("cni-chain", "migrate", "switch", file=FACADE)
    walk.does("cni-chain", "show")
    walk.pods("switched", "written")

    walk.stage("Undo", "One rename takes the facade away again, and one brings it back.")
    walk.does("cni-chain", "migrate", "undo", file=LIST)
    walk.pods("undone", "switched")
    walk.does("cni-chain", "migrate", "switch", file=FACADE)
    walk.pods("again", "undone")

    walk.stage("Move Istio", "With the lines of its settings. Its agent replaces the copy of its fragment by its own.")
    walk.moves(ISTIO, settings[ISTIO])
    walk.does("cni-chain", "verify")
    walk.pods("istio-moved", "before-2")

    walk.stage(
        "Check the node",
        "The pod that was ended while the facade was away has left its record, since containerd gives a DEL to the "
        "configuration of the day: its addresses are free, `gc` removes the record.",
    )
    walk.does("cni-chain", "doctor")
    walk.does("cni-chain", "gc", "--yes")
    walk.does("cni-chain", "doctor")
    walk.does("cni-chain", "attachments")
    walk.pods("collected", "again", "istio-moved")


def back(walk: Walk) -> None:
    """To the list that both edit, and without cni-chain."""
    walk.stage(
        "Roll back",
        "First the facade goes, then the agents go back: Istio, which edits the first file that it finds, and after it "
        "Cilium, whose start writes the list anew, so that for a moment it is without Istio's plugin; no pod should "
        "start then (`kubectl cordon`).",
    )
    walk.does("cni-chain", "migrate", "undo", file=LIST)
    walk.moves(ISTIO, [])
    walk.pods("back-1", "collected")
    seen = walk.kubelet.runtime.watch()
    walk.moves(CILIUM, [])
    walk.agents.wait_for_list()
    seen(LIST)  # a pod that starts before is outside the mesh
    walk.does("grep", '"type"', f"{NET}/{LIST}")
    walk.pods("back-2", "meanwhile")

    walk.stage(
        "Uninstall", "Once no pod has a record any more: those that were made through the facade must have ended."
    )
    if not walk.kubelet.runtime.checks:  # CRI-O has given each pod's DEL to the plugins of its ADD: no record is left
        walk.does("cni-chain", "uninstall", status=1)
    walk.does("cni-chain", "gc", "--yes")
    walk.does("cni-chain", "uninstall")
    walk.does("rm", "-r", CHAIN, f"{NET}/{FACADE}.undone", f"{NET}/{LIST}.before-cni-chain")
    walk.does("ls", "-A", NET)
    walk.pods("after", "before-3")


def settings_in(plan: str) -> dict[str, list[str]]:
    """What a plan as it is printed tells to set in each agent, as its writer takes it."""
    releases = {"cilium": CILIUM, "istio-cni": ISTIO}
    found: dict[str, list[str]] = {}
    for line in plan.replace("\\\n", " ").splitlines():
        words = [word for word in line.split() if word != "--install"]
        if words[:2] == ["helm", "upgrade"] and releases[words[2]] not in found:  # the first one moves the agent
            found[releases[words[2]]] = flags([line])
    return found


@contextlib.contextmanager
def started(kind: type[Runtime], program: str | Path, tools: Path, *, alone: bool = False) -> Iterator[Walk]:
    """A node at its beginning, with all that a walk needs; `alone`: Cilium is there without Istio.

    Raises NotBuiltError, SandboxUnavailableError.
    """
    with fresh(kind, program, tools) as kubelet, contextlib.ExitStack() as stack:
        assert isinstance(kubelet.node, FreshNode)
        agents = Agents(kubelet.node, alone=alone)
        stack.callback(agents.close)
        kubelet.warm_up()
        traffic = Traffic(kubelet)
        stack.callback(traffic.close)
        yield Walk(agents, kubelet, traffic)


def text(stages: list[Stage]) -> str:
    """The block of docs/evidence/walk.md."""
    return "\n".join(stage.markdown() for stage in stages)


def shown() -> str:
    """What docs/evidence/walk.md has of the walk."""
    return PART.read()


def alike(block: str) -> str:
    """A block without what differs from one walk to the next."""
    for pattern, word in VARIES:
        block = pattern.sub(word, block)
    return block


def main() -> None:
    """Take the walk and write it between the marks of docs/evidence/walk.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.runtimes.walk", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    options = parser.parse_args()
    tools = sandbox_node.tools()
    if tools is None or not is_frozen(options.program):
        parser.error("needs the frozen program and the reference plugins: make frozen tools")
    with started(Containerd24, options.program, tools) as walk:
        block = text(take(walk))
        walk.traffic.end_all()
    PART.write(block)
    sys.stdout.write(block)


if __name__ == "__main__":
    main()
