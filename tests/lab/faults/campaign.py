"""Which calls of a scene are made to fail, how, and what came of it."""

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.lab.faults.inject import ALL, ERRORS, HOWS, ON, ONCE, Fault, Injector, Point
from tests.lab.faults.scenes import FORWARD, OWNERS, Collect, Scene, Violation
from tests.support.files.node import called_node

# What doesn't fail, and why.
EXEMPT = {
    "exit_group": "ends the process whatever it answers",
    "exit": "ends the process whatever it answers",
    "rt_sigreturn": "has no answer",
    "brk": "never fails: it answers where the break is, and the C library takes any other answer for that",
}


# What the bounded set leaves out: these fail for want of memory at most, or never but for a wrong argument.
UNLIKELY = {
    *("mmap", "munmap", "mprotect", "madvise", "mremap", "prlimit64", "rt_sigaction", "rt_sigprocmask"),
    *("getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "futex", "clock_nanosleep", "uname"),
}
# Calls that make a descriptor: they fail together when a process or the machine has no more of them.
DESCRIPTORS = ("openat", "open", "pipe2", "dup", "fcntl(F_DUPFD)", "fcntl(F_DUPFD_CLOEXEC)", "pidfd_open", "getdents64")

ALIKE = re.compile("|".join((*FORWARD, *OWNERS, *Collect.pods)))
# From fewer than a process needs to begin with to more than a DEL ever has open.
LIMITS = range(3, 24)


class Found(NamedTuple):
    """A violation, and the fault that led to it."""

    scene: str
    number: int
    call: str
    nth: int
    error: str
    how: str
    kind: str
    seen: str


class Campaign:
    """One scene, and what is tried on it."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        ended, self._unprovoked = scene.reference()
        self._calls = ended.calls
        stdin = str(scene.host.root / "request")
        # Until it has read what is asked, there is nothing that it could answer to.
        self._startup = next(call.number for call in self._calls if (call.name, call.target) == ("read", stdin))
        self._tried = self._missed = 0

    def listing(self) -> Iterator[str]:
        """The calls of the run, a line each."""
        for call in self._calls:
            why = "start-up" if call.number < self._startup else EXEMPT.get(call.name, "")
            yield f"{call.number:5}  {self._named(call)} no. {call.nth}" + (f"  ({why})" if why else "")

    def everything(self) -> list[Fault]:
        """Every call with every error, once and from then on."""
        return [
            Fault(point, error, how)
            for point in self._calls
            if point.name not in EXEMPT and (self.scene.startup or point.number >= self._startup)
            for error in ERRORS
            # What fails for whatever it is about fails alike from one call on or the next.
            for how in (HOWS if point.target and point.nth == 1 else (ONCE, ON))
        ]

    def bounded(self) -> list[Fault]:
        """Of each call about each kind of file, save at start-up: the first, one between and the last, with one error.

        Owners, delegates and pods are alike in this, so that a few of them stand for all.
        """
        candidates = [
            point for point in self._calls if point.number >= self._startup and point.name not in {*EXEMPT, *UNLIKELY}
        ]
        kinds: dict[tuple[str, str], list[Point]] = {}
        for point in candidates:
            if not self.scene.focus or self._short(point.target).partition("/")[0] in self.scene.focus:
                kinds.setdefault((point.name, alike(point.target)), []).append(point)
        faults = []
        for (name, _), points in kinds.items():
            faults.append(Fault(points[0], *(("EMFILE", ALL) if name in DESCRIPTORS else ("ENOMEM", ON))))
            some = dict.fromkeys((points[0], points[len(points) // 2], points[-1]))
            faults += [Fault(point, "EIO", ONCE) for point in some]
        return sorted(faults, key=lambda fault: fault.point.number)

    def run(self, faults: Iterable[Fault]) -> list[Found]:
        """Try them and return what must not be."""
        found = [Found(self.scene.name, 0, "no fault", 0, "", "", *told) for told in self._told(self._unprovoked)]
        for fault in faults:
            point = fault.point
            ended, violations = self.scene.run(fault, startup=point.number < self._startup)
            if not ended.calls:
                self._missed += 1
                continue
            self._tried += 1
            at = (self.scene.name, point.number, self._named(point), point.nth, fault.error, fault.how)
            found += [Found(*at, *told) for told in self._told(violations)]
        return found

    def run_limited(self, limits: Iterable[int]) -> list[Found]:
        """Run the call with each of these numbers of descriptors and return what must not be."""
        return [
            Found(self.scene.name, 0, f"{limit} descriptors", 0, "EMFILE", "limit", *told)
            for limit in limits
            for told in self._told(self.scene.run_limited(limit))
        ]

    def _told(self, violations: Iterable[Violation]) -> Iterator[tuple[str, str]]:
        """Each kind once, with all that was seen of it."""
        kinds: dict[str, list[str]] = {}
        for violation in violations:
            kinds.setdefault(violation.kind, []).append(violation.seen)
        for kind, seen in kinds.items():
            yield kind, self._short("; ".join(dict.fromkeys(seen)))

    def summary(self) -> str:
        """How much was tried."""
        missed = f" ({self._missed} more didn't come up)" if self._missed else ""
        return f"{len(self._calls)} calls, {self._startup - 1} of them at start-up; {self._tried} faults tried{missed}"

    def _named(self, point: Point) -> str:
        return f"{point.name} {self._short(point.target)}".strip()

    def _short(self, text: str) -> str:
        """A text with the node's folders under the names that a scene's `focus` has for them."""
        host = self.scene.host
        for folder, name in ((host.state_dir, "state"), (host.bin_dir, "bin"), (host.chain_dir, "chain.d")):
            text = text.replace(str(folder), name)
        return text.replace(f"{host.root}/", "")


@contextlib.contextmanager
def begun(kind: type[Scene], program: str, double: Path, folder: Path) -> Iterator[Campaign]:
    """A scene in a folder of its own, which is removed afterwards. Raises UntraceableError."""
    folder.mkdir()
    host = called_node(folder, program, double)
    try:
        yield Campaign(kind(host, Injector(folder)))
    finally:
        host.close()
        shutil.rmtree(folder)


def alike(target: str) -> str:
    """Return a target with what tells owners, delegates and pods from each other left out."""
    return ALIKE.sub("*", target)


def table(found: Iterable[Found]) -> Iterator[str]:
    """One line for each call about one target and each kind of violation."""
    rows: dict[tuple[str, str], list[Found]] = {}
    for one in found:
        rows.setdefault((one.call, one.kind), []).append(one)
    for (call, kind), alike in rows.items():
        nths = sorted({one.nth for one in alike})
        which = f" no. {nths[0]}" + (f" and {len(nths) - 1} more" if nths[1:] else "") if nths[0] else ""
        how = ", ".join(sorted({f"{one.error} {one.how}" for one in alike}))
        yield f"{alike[0].number:5}  {call}{which}: {kind}: {alike[0].seen} [{how}]"


def kinds(found: Iterable[Found]) -> Iterator[str]:
    """How many faults led to which kind of violation."""
    for kind, times in Counter(one.kind for one in found).most_common():
        yield f"{times:6}  {kind}"
