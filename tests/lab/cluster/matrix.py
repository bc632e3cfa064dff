"""What was seen of each mode, as the table of docs/mesh.md and the blocks of docs/evidence/service-address.md."""

import os
from typing import Any

import pytest

from tests.lab.cluster.report import kernel, versions
from tests.support.pages import Part

TABLE = Part("mesh.md", "modes")
PAGE = Part("evidence/service-address.md", "seen")
HEAD = (
    *("Cilium's settings", "its ConfigMap says", "a pod's connection to {vip} points to", "the node's"),
    *("a proxy in the pod sees", "`mesh check`", "exit status", "time (of CPU)", "`--datapath`"),
)
Json = dict[str, Any]


class Recorder:
    """A plugin of pytest that keeps the row of each mode, what commands printed there, and how many tests passed."""

    def __init__(self) -> None:
        self.seen: Json = {"rows": [], "behind": {}, "shown": [], "passed": 0, "failed": []}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.seen["failed"].append(report.nodeid.rpartition("::")[2])
        elif report.when == "call":
            self.seen["passed"] += 1
        if report.when == "call":
            mode = report.nodeid.rpartition("[")[2].partition("-")[0]
            for name, value in report.user_properties:
                if name == "row":
                    assert isinstance(value, dict)
                    self.seen["rows"].append(value | {"number": mode})
                elif name == "behind":
                    self.seen["behind"][mode] = value
                else:
                    self.seen["shown"].append([mode, value])


def report(seen: Json, seconds: float) -> str:
    """The versions, the table, and below it what commands printed."""
    failed = f"; FAILED: {', '.join(seen['failed'])}" if seen["failed"] else ""
    lines = [f"{versions()}; {os.cpu_count()} cores, Linux {kernel()}, {seconds:.0f} s in all."]
    lines[0] += f" The machine had other work: a load of {os.getloadavg()[2]:.0f}." if os.getloadavg()[2] > 2 else ""
    lines += ["", f"{seen['passed']} comparisons hold{failed}.", "", *table(seen["rows"], seen["behind"])]
    for row in seen["rows"]:
        lines += ["", f"### {row['mode']}"]
        if row["took"] is not None:
            lines += [
                "",
                f"A pod's new connection to the service was answered {row['took']:.1f} s after the agent was ready.",
            ]
        lines += [line for mode, text in seen["shown"] if mode == row["number"] for line in ("", "```", text, "```")]
    return "\n".join(lines) + "\n"


def table(rows: list[Json], behind: dict[str, str]) -> list[str]:
    """A row for each mode."""
    if not rows:
        return []
    vip = rows[0]["vip"]
    lines = ["| " + " | ".join(HEAD).format(vip=vip) + " |", "|---" * len(HEAD) + "|"]
    for row in rows:
        says = ", ".join(f'`{key}: "{value}"`' for key, value in row["configmap"].items())
        took = f"{row['passed']:.0f} ms ({row['cpu']:.0f})"
        cells = [row["mode"], says, row["pod"], row["node"], row["proxy"], row["verdict"], row["status"], took]
        lines.append("| " + " | ".join(map(str, [*cells, behind.get(row["number"], "–")])) + " |")
    return lines


def write(text: str) -> None:
    """Put it between the marks of both pages."""
    PAGE.write(text)
    TABLE.write("\n".join(line for line in text.splitlines() if line.startswith("|")) + "\n")
