"""A case: calls of a runtime for pods of a node, each with what it made the plugins ask the agents."""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.support.agents.node import MESH, AgentNode, MeshPod
from tests.support.sandbox.inventory import settled
from tests.support.sandbox.node import FACADE, Answer, Json
from tests.support.stand_ins.calls import Call, summary
from tests.support.stand_ins.istio import enrolments


@dataclass(frozen=True)
class Step:
    """One call of the runtime, how it ended and who was asked what meanwhile."""

    verb: str
    pod: MeshPod | None
    answer: Answer
    calls: list[Call]

    def succeeded(self) -> "Step":
        self.answer.succeeded()
        return self

    @property
    def result(self) -> Json:
        return self.answer.result

    @property
    def error(self) -> Json:
        return self.answer.error

    @property
    def text(self) -> str:
        """What the error says in all its words."""
        return f"{self.error['msg']}; {self.error.get('details', '')}"

    def asked(self, whom: str) -> list[str]:
        """What one agent was asked, by its name, in the pod's own words: its names and IDs replaced."""
        return [self.named(text) for text in summary(call for call in self.calls if call.to == whom)]

    def named(self, text: str) -> str:
        """Words about the pod, without what is only this pod's."""
        return text.replace(self.pod.id, "ID").replace(self.pod.name, "POD") if self.pod else text

    @property
    def enrolled(self) -> list[Call]:
        """The enrolments that Istio's agent has answered well."""
        return enrolments(self.calls)


class Case:
    """The calls of one case, in order."""

    def __init__(self, node: AgentNode, version: str, title: str) -> None:
        self.node = node
        self.version = version
        self.title = title
        self.steps: list[Step] = []
        node.lay_facade(version)
        self._news()
        if node.baseline is None:
            node.baseline = node.things()

    def pod(self, namespace: str = MESH, name: str = "") -> contextlib.AbstractContextManager[MeshPod]:
        return self.node.mesh_pod(namespace, name)

    def cni(
        self,
        verb: str,
        pod: MeshPod | None = None,
        *,
        netns: str | None = None,
        file: str = FACADE,
        valid: Sequence[MeshPod] = (),
    ) -> Step:
        """A call through libcni."""
        return self.step(verb.upper(), pod, self.node.cni(verb, pod, file=file, netns=netns, valid=valid))

    @contextlib.contextmanager
    def many(self, count: int) -> Iterator[list[MeshPod]]:
        """Pods, not yet added."""
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(self.pod()) for _ in range(count)]

    def at_once(self, verb: str, pods: Sequence[MeshPod]) -> list[Step]:
        """The same call for several pods at the same time; what was asked stands with the first."""
        with ThreadPoolExecutor(len(pods)) as pool:
            answers = list(pool.map(lambda pod: self.node.cni(verb, pod), pods))
        return [self.step(verb.upper(), pod, answer) for pod, answer in zip(pods, answers, strict=True)]

    def containerd(self, verb: str, pod: MeshPod, netns: str) -> Step:
        """A call through containerd's own library."""
        return self.step({"add": "ADD", "remove": "DEL"}[verb], pod, self.node.gocni(verb, pod, netns))

    def step(self, verb: str, pod: MeshPod | None, answer: Answer) -> Step:
        """Take note of a call that was made."""
        step = Step(verb, pod, answer, self._news())
        self.steps.append(step)
        return step

    @contextlib.contextmanager
    def added(self, namespace: str = MESH, name: str = "") -> Iterator[MeshPod]:
        """A pod that runs."""
        with self.pod(namespace, name) as pod:
            self.cni("add", pod).succeeded()
            yield pod

    def news(self) -> list[str]:
        """What was asked since the last call, by nobody's call: an agent's own doing."""
        return summary(self._news())

    def _news(self) -> list[Call]:
        new = [call for process in self.node.stand_ins for call in process.news()]
        return sorted(new, key=lambda call: call.at)

    def left(self) -> list[str]:
        """What there is now that wasn't there before; what is going is waited for."""
        return sorted(settled(lambda: self.node.things() - (self.node.baseline or set())))


@dataclass(frozen=True)
class Outcome:
    """A case when it is over, and what it has left."""

    case: Case
    left: list[str]

    def keep(self, test: pytest.Item) -> None:
        """For the table of cases (tests/lab/agents/__main__.py), and to tell what is left."""
        test.stash[OUTCOME] = self
        if self.left:
            self.case.node.baseline = None  # the next case is not to blame
        assert not self.left, "left behind:\n" + "\n".join(self.left)


OUTCOME = pytest.StashKey[Outcome]()
