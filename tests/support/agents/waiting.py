"""Cases in which a plugin waits for its agent as long as it ever does: on nodes of their own, all at the same time."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.agents.case import Case, Outcome
from tests.support.agents.node import AgentNode
from tests.support.sandbox.namespaces import Sandbox

# So many nodes at once: they sleep most of the time, but each holds the agents' programs in memory.
AT_ONCE = 6


@dataclass(frozen=True)
class Scenario:
    """What happens on the node; its assertions are in there."""

    run: Callable[[Case], None]
    cilium: str

    @property
    def name(self) -> str:
        return self.run.__name__


@dataclass(frozen=True)
class Combination:
    """A scenario with a program and a version of the facade."""

    scenario: Scenario
    program: str
    facade: str

    def play(self, program: Path, tools: Path) -> Outcome:
        """Raises what the scenario raises, NotBuiltError and SandboxUnavailableError."""
        cilium = self.scenario.cilium
        with Sandbox() as sandbox, AgentNode.running(sandbox, program, tools, cilium) as node:
            case = Case(node, self.facade, self.scenario.name.replace("_", " "))
            self.scenario.run(case)
            node.restore()
            return Outcome(case, case.left())


class Waiting:
    """All of them, started."""

    def __init__(self, combinations: Iterable[Combination], programs: Mapping[str, Path], tools: Path) -> None:
        """`programs`: where each program under test is."""
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._playing = {c: self._pool.submit(c.play, programs[c.program], tools) for c in combinations}

    def outcome(self, combination: Combination) -> Future[Outcome]:
        return self._playing[combination]

    def close(self) -> None:
        """Those that have not begun don't; the others come to their end."""
        self._pool.shutdown(cancel_futures=True)
