"""Where the time of the frozen program's start goes: between marks that strace sees in a VERSION.

The stops themselves are in it: shares tell more than milliseconds.
"""

import re
import shutil
import statistics
from pathlib import Path

from tests.support.files.calls import CallFailedError, Json, Node

# Each stage ends with the first such call after the one before.
MARKS = (
    ("the kernel executes it, the loader binds two libraries", re.compile(r'readlink\("/proc/self/exe"')),
    ("the interpreter is initialized", re.compile(r'openat\(AT_FDCWD, "/proc/self/environ"')),
    ("`cni_chain`, `system`, `plugin`, `spec`, `errors`", re.compile(r'openat\(AT_FDCWD, "[^"]*/_json\.')),
    ("`jsontext`, `_json`, the answer", re.compile(r"exit_group\(")),
)
TRACED = "execve,openat,readlink,exit_group"


def measure(program: Path, netns: str, rounds: int) -> dict[str, list[float]]:
    """Return each stage's milliseconds by round. Raises CallFailedError without strace, or where a mark is missing."""
    strace = shutil.which("strace")
    if strace is None:
        raise CallFailedError("the start is seen by strace: apt-get install strace")
    took: dict[str, list[float]] = {stage: [] for stage, _ in MARKS}
    with Node(program, 2, netns) as node:
        file = node.root / "strace"
        command = [strace, "-f", "--seccomp-bpf", "-ttt", "-o", str(file), "-e", f"trace={TRACED}", str(program)]
        for _ in range(rounds):
            node.run(command, *node.asked("VERSION", "pod"))
            for stage, seconds in stages(file.read_text()).items():
                took[stage].append(seconds * 1e3)
    return took


def stages(trace: str) -> dict[str, float]:
    """Return the seconds of each stage of one traced run."""
    lines = [line.split(maxsplit=2)[1:] for line in trace.splitlines()]
    start = float(lines[0][0])
    found: dict[str, float] = {}
    at = 0
    for stage, mark in MARKS:
        at = next((number for number in range(at + 1, len(lines)) if mark.match(lines[number][1])), -1)
        if at < 0:
            raise CallFailedError(f"no call ends the stage {stage!r} in\n{trace}")
        end = float(lines[at][0])
        found[stage] = end - start
        start = end
    return found


def lines(took: dict[str, list[float]]) -> Json:
    """Return the medians."""
    return {stage: round(statistics.median(times), 2) for stage, times in took.items()}
