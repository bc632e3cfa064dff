"""Runs a program once, with one of its system calls failing, and tells which one that was."""

import errno
import os
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.compiler import NoCompilerError, compiled

ERRORS = ("EIO", "EMFILE", "ENOMEM", "EACCES", "ENOSPC")
# Once; this call about the same file from then on; this call from then on, whatever it is about.
ONCE, ON, ALL = HOWS = ("once", "on", "all")


class UntraceableError(Exception):
    """No program can be traced on this machine; the text says why."""


class Point(NamedTuple):
    """One system call of a run: `nth` counts the calls of that name about that target, `number` all calls so far."""

    number: int
    name: str
    target: str
    nth: int

    def __str__(self) -> str:
        return f"call {self.number}, {self.name}({self.target}) no. {self.nth}"


class Fault(NamedTuple):
    """What is made to fail, and how."""

    point: Point
    error: str
    how: str


class Ended(NamedTuple):
    """What a caller sees of one run, and the calls in it that failed (or all, if none was to)."""

    status: int | None  # negative for a signal, None if it hung
    stdout: bytes
    stderr: str
    calls: list[Point]


class Injector:
    """Runs programs in a directory, where their standard streams are files of known names."""

    def __init__(self, directory: Path) -> None:
        self.root = directory
        # How long one run may take (seconds) until it counts as hanging; more than the scenes' facades allow a verb.
        self.patience = 20
        self.stdin, self.stdout, self.stderr = (directory / name for name in ("request", "answer", "words"))
        self._report = directory / "report"
        try:
            self._fault = compiled(Path(__file__).with_name("fault.c"), directory / "fault", "-O2")
        except NoCompilerError as error:
            raise UntraceableError(str(error)) from error

    def run(self, program: str, environ: Mapping[str, str], stdin: bytes, fault: Fault | None = None) -> Ended:
        """Run a program; without a fault, list its calls. Raises UntraceableError."""
        what = ["list"]
        if fault:
            name, target, nth = fault.point[1:]
            what = [fault.how, name, target, str(nth), str(getattr(errno, fault.error))]
        done = self._start([str(self._fault), str(self.patience), str(self._report), *what, program], environ, stdin)
        *lines, end = self._report.read_bytes().decode(errors="replace").split("\n")[:-1] or [""]
        if done or not end.startswith(("end", "hung")):
            raise UntraceableError(self.stderr.read_text(errors="replace").strip() or f"exit status {done}")
        status = None if end == "hung" else exit_status(int(end.split("\t")[1]))
        if not fault and status in (126, 127):
            raise UntraceableError(f"{program} can't be started under ptrace")
        return self._ended(status, points(lines))

    def plain(self, program: str, environ: Mapping[str, str], stdin: bytes) -> Ended:
        """Run a program as it is."""
        return self._ended(self._start([program], environ, stdin), [])

    def limited(self, program: str, environ: Mapping[str, str], stdin: bytes, descriptors: int) -> Ended:
        """Run a program that may have no more than that many descriptors; what it starts has the same limit."""
        shell = ["/bin/sh", "-c", f'ulimit -n {descriptors}; exec "$0"', program]
        return self._ended(self._start(shell, environ, stdin), [])

    def _start(self, line: Sequence[str], environ: Mapping[str, str], stdin: bytes) -> int:
        self.stdin.write_bytes(stdin)
        with self.stdin.open("rb") as given, self.stdout.open("wb") as taken, self.stderr.open("wb") as said:
            return subprocess.run(
                line, stdin=given, stdout=taken, stderr=said, env=environ, cwd=self.root, check=False
            ).returncode

    def _ended(self, status: int | None, calls: list[Point]) -> Ended:
        return Ended(status, self.stdout.read_bytes(), self.stderr.read_text(errors="replace"), calls)


def memory() -> str | None:
    """The directory in memory, where runs take half as long, unless nothing may be executed there."""
    directory = "/dev/shm"  # noqa: S108
    usable = os.path.isdir(directory) and not os.statvfs(directory).f_flag & os.ST_NOEXEC
    return directory if usable else None


def exit_status(waited: int) -> int:
    """Return what a wait status tells: an exit status, or the negative number of a signal."""
    return -(waited & 0x7F) if waited & 0x7F else waited >> 8


def points(lines: Sequence[str]) -> list[Point]:
    """Return the calls in a report's lines."""
    met: Counter[tuple[str, str]] = Counter()
    found = []
    for line in lines:
        number, name, target = line.split("\t", 2)
        met[name, target] += 1
        found.append(Point(int(number), name, target, met[name, target]))
    return found
