"""What was seen, as the table and the blocks of docs/evidence/cluster.md."""

import os
import platform
import re
import subprocess
from typing import Any

import pytest

from tests.lab.cluster.conftest import FACADES
from tests.lab.cluster.daemon import HERE
from tests.support.pages import Part

PART = Part("evidence/cluster.md", "seen")
PINNED = {
    "gotools/kube": "k8s.io/kubernetes",
    "gotools/etcd": "go.etcd.io/etcd/server/v3",
    "gotools/cilium": "github.com/cilium/cilium",
    "../../support/helm": "helm.sh/helm/v3",
    "../../support/runtimes/gotools/containerd": "github.com/containerd/containerd/v2",
}
PACKAGED = ("clang-19", "runc")
Json = dict[str, Any]


class Recorder:
    """A plugin of pytest that keeps how each scenario ended, with which facade, and what it saw."""

    def __init__(self) -> None:
        self.seen: dict[str, Json] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            assert isinstance(item, pytest.Function)
            does = (item.function.__doc__ or "").strip()
            self.seen.setdefault(item.originalname, {"does": does, "facades": {}, "shown": []})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        scenario = self.seen[report.location[2].partition("[")[0]]
        facade = next(one.name for one in FACADES if one.name.replace(" ", "-") in report.nodeid)
        cell = scenario["facades"].setdefault(facade, {"passed": True, "seconds": 0.0, "seen": []})
        cell["passed"] = cell["passed"] and report.passed
        if report.when == "call":
            cell["seconds"] = report.duration
            cell["seen"] = [value for name, value in report.user_properties if name == "seen"]
            scenario["shown"] += [[facade, value] for name, value in report.user_properties if name == "shown"]


def report(scenarios: dict[str, Json], seconds: float) -> str:
    """The versions, the table with a verdict for each row, and what commands printed."""
    columns = [facade.name for facade in FACADES]
    scenarios = {name: scenario for name, scenario in scenarios.items() if scenario["facades"]}
    lines = [f"{versions()}; {os.cpu_count()} cores, Linux {kernel()}, {seconds:.0f} s in all.", ""]
    lines += ["| what happens | " + " | ".join(f"facade {name}" for name in columns) + " |", "|---" * 3 + "|"]
    for name, scenario in scenarios.items():
        cells = [_cell(scenario["facades"].get(column)) for column in columns]
        lines.append(f"| **{title(name)}** {scenario['does']} | " + " | ".join(cells) + " |")
    for name, scenario in scenarios.items():
        if scenario["shown"]:
            lines += ["", f"### {title(name).capitalize()}"]
            blocks: dict[str, tuple[str, list[str]]] = {}
            for facade, text in scenario["shown"]:
                blocks.setdefault(_timeless(text), (text, []))[1].append(facade)
            for text, facades in blocks.values():
                same = "With either facade (but for the times)" if len(set(facades)) > 1 else f"Facade {facades[0]}"
                lines += ["", f"{same}:", "", "```", text, "```"]
    return "\n".join(lines) + "\n"


def _timeless(text: str) -> str:
    return re.sub(r"[\d.:]+m?s?| +", " ", text)


def title(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _cell(cell: Json | None) -> str:
    if cell is None:
        return "–"
    words = "; ".join(cell["seen"])
    return f"{'ok' if cell['passed'] else '**FAILED**'}, {cell['seconds']:.0f} s: {words}"


def versions() -> str:
    """What was built, and what the distribution brought."""
    found = []
    for directory, module in PINNED.items():
        lines = [line.split() for line in (HERE / directory / "go.mod").read_text().splitlines()]
        pin = next(words for words in lines if module in words[:2] and len(words) > 1 and words[0] != "tool")
        found.append(f"{module} {pin[pin.index(module) + 1]}")
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *PACKAGED]
    found += subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return ", ".join(found)


def kernel() -> str:
    found = re.match(r"[\d.]*\d", platform.release())
    return found[0] if found else ""


def write(text: str) -> None:
    """Put it between the marks of the document."""
    PART.write(text)
