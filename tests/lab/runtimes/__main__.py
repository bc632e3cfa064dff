"""Runs these tests and prints the table of docs/evidence/runtimes.md: `python -m tests.lab.runtimes PROGRAM`."""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.runtimes.daemons import HERE, RUNTIMES
from tests.support.runtimes.podman import Podman

SUITE = Path(__file__).parents[2] / "system/runtimes"
BUILT = ("github.com/containerd/containerd/v2", "github.com/cri-o/cri-o")
PACKAGED = ("containerd", "podman", "runc", "conmon")


class Table:
    """A plugin of pytest that counts, for each test and runtime, how its cases ended, and how long they took."""

    def __init__(self) -> None:
        self.titles: dict[str, str] = {}
        self.cells: dict[tuple[str, str], Counter[str]] = {}
        self.seconds: dict[tuple[str, str], float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            name = getattr(item, "originalname", item.name)
            self.titles[name] = name.removeprefix("test_").replace("_", " ")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        key = report.location[2].partition("[")[0], self._runtime(report.nodeid)
        self.cells.setdefault(key, Counter())[report.outcome] += 1
        self.seconds[key] = self.seconds.get(key, 0) + report.duration

    @staticmethod
    def _runtime(nodeid: str) -> str:
        found = [kind.name for kind in RUNTIMES if kind.name.replace(" ", "-") in nodeid]
        return found[0] if found else Podman.name

    def rows(self) -> list[str]:
        columns = [*(kind.name for kind in RUNTIMES), Podman.name]
        rows = ["| what was run | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name, title in self.titles.items():
            cells = [self._cell((name, column)) for column in columns]
            rows.append(f"| {title} | " + " | ".join(cells) + " |")
        return rows

    def _cell(self, key: tuple[str, str]) -> str:
        counts = self.cells.get(key, Counter())
        if counts["failed"]:
            return f"{counts['failed']} **failed**"
        if not counts["passed"]:
            return "–"
        times = f"{counts['passed']} × " if counts["passed"] > 1 else ""
        return f"{times}ok, {self.seconds[key]:.1f} s"


def versions() -> list[str]:
    """What was built, and what the distribution brought."""
    pins = [line.split() for file in HERE.glob("gotools/*/go.mod") for line in file.read_text().splitlines()]
    built = [f"{words[0]} {words[1]}" for words in pins if words and words[0] in BUILT]
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *PACKAGED]
    packages = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return sorted(built) + packages


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.runtimes", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    options = parser.parse_args()
    table = Table()
    status = pytest.main(["--quiet", f"--program={options.program}", str(SUITE)], plugins=[table])
    print(f"\nVersions: {', '.join(versions())}\n")
    print("\n".join(table.rows()))
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
