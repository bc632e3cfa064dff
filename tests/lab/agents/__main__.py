"""Runs the chain with the agents' own plugins and prints the table of cases: `python -m tests.lab.agents PROGRAM`."""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.agents.case import OUTCOME, Case, Outcome, Step

TESTS = Path(__file__).parents[2]
PINNED = (
    ("gotools/cilium/go.mod", "github.com/cilium/cilium"),
    ("gotools/cilium/go-1.18.mod", "github.com/cilium/cilium"),
    ("gotools/istio/go.mod", "istio.io/istio"),
    ("gotools/gocni/go.mod", "github.com/containerd/go-cni"),
)
SHORT = {"cilium-agent": "Cilium", "kubernetes": "Kubernetes", "istio-node-agent": "Istio"}
HEADS = ("case", "Cilium", "facade", "calls and what came of them", "who was asked, how often", "seconds", "left")
MODULES = (
    "pods",
    "reboot",
    "chained",
    "status_and_gc",
    "cilium_unwell",
    "istio_unwell",
    "hanging",
    "revoked",
    "files",
    "waiting",
)
# So much of a message says which it is.
MESSAGE = 110


# How names in the tests are written elsewhere.
SPELLED = {
    "api": "API",
    "cant": "can't",
    "cilium": "Cilium",
    "ciliums": "Cilium's",
    "del": "DEL",
    "gc": "GC",
    "istio": "Istio",
    "istios": "Istio's",
    "kubernetes": "Kubernetes",
    "networks": "network's",
    "others": "others'",
    "status": "STATUS",
}


@dataclass
class Calls:
    """Calls of a case that follow each other and end alike."""

    ended: str
    steps: list[Step]

    @property
    def text(self) -> str:
        return self.ended if len(self.steps) == 1 else f"{self.ended} ×{len(self.steps)}"

    @property
    def asked(self) -> str:
        """Who was asked meanwhile, how often, and which answers were no success."""
        calls = [call for step in self.steps for call in step.calls]
        found = []
        for name, short in SHORT.items():
            statuses = [call.status for call in calls if call.to == name]
            bad = Counter(status for status in statuses if status >= 400)
            told = ", ".join(f"{status} ×{times}" if times > 1 else str(status) for status, times in bad.items())
            if statuses:
                found.append(f"{short} {len(statuses)}" + (f" ({told})" if bad else ""))
        return ", ".join(found) or "–"

    @property
    def seconds(self) -> float:
        """How long the longest took."""
        return max(step.answer.ms for step in self.steps) / 1000


def calls(case: Case) -> list[Calls]:
    """The calls of a case, in order."""
    found: list[Calls] = []
    for step in case.steps:
        ended = outcome(step)
        if found and found[-1].ended == ended:
            found[-1].steps.append(step)
        else:
            found.append(Calls(ended, [step]))
    return found


def outcome(step: Step) -> str:
    """How a call ended, for a cell."""
    if step.answer.status == 0:
        return f"{step.verb} ok"
    words = step.named(step.error["msg"]).replace("|", "\\|")
    words = words if len(words) <= MESSAGE else f"{words[:MESSAGE].rpartition(' ')[0]} …"
    return f"{step.verb} **{step.error['code']}** {words}"


@dataclass
class Row:
    """A case. Those that differ in the facade's version, and in how long they took, and in nothing else, share it."""

    title: str
    cilium: str
    calls: list[Calls]
    left: list[str]
    facades: set[str] = field(default_factory=set)
    seconds: list[list[float]] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.title, self.cilium, *(call.text + call.asked for call in self.calls), *self.left)

    def markdown(self) -> str:
        longest = (f"{max(times):.1f}" for times in zip(*self.seconds, strict=True))
        lines = ([call.text for call in self.calls], [call.asked for call in self.calls], longest)
        facades, left = ", ".join(sorted(self.facades)), ", ".join(self.left) or "nothing"
        return f"| {' | '.join((self.title, self.cilium, facades, *map('<br>'.join, lines), left))} |"


class Table:
    """A plugin of pytest that keeps the cases of all tests, in their order."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], Row] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        try:
            yield
        finally:
            ended = item.stash.get(OUTCOME, None)
            if ended and ended.case.steps:
                self._add(ended)

    def _add(self, ended: Outcome) -> None:
        case = ended.case
        title = re.sub(r"\w+", lambda word: SPELLED.get(word[0], word[0]), case.title)
        row = Row(title[0].upper() + title[1:], case.node.cilium_version, calls(case), ended.left)
        row = self._rows.setdefault(row.key, row)
        row.facades.add(case.version)
        row.seconds.append([call.seconds for call in calls(case)])

    def markdown(self) -> list[str]:
        """Where a case came several times, its longest times."""
        return [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|", *(row.markdown() for row in self._rows.values())]


def versions() -> list[str]:
    """What the agents' programs were built from."""
    found = []
    for file, module in PINNED:
        pinned = re.search(
            rf"^(?:require |\t){re.escape(module)} (v\S+)", (TESTS / "support/agents" / file).read_text(), re.MULTILINE
        )
        assert pinned, file
        found.append(f"{module} {pinned[1]}")
    return found


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.agents", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument(
        "--slow", action="store_true", help="the agents' own time limits at both versions of the facade"
    )
    options = parser.parse_args()
    table = Table()
    modules = [str(TESTS / f"system/agents/test_{name}.py") for name in MODULES]
    arguments = ["--quiet", f"--program={options.program}", *modules]
    if options.slow:
        arguments.append("--slow-agents")
    status = pytest.main(arguments, plugins=[table])
    print(f"\nVersions: {', '.join(versions())}\n")
    print("\n".join(table.markdown()))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
