"""The bounded set of what `python -m tests.lab.faults` tries, and that nothing wrong would pass it.

All of it, every call with every error, takes an hour: see docs/evidence/faults.md.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.faults.campaign import LIMITS, Campaign, begun, table
from tests.lab.faults.inject import ALL, ON, ONCE, Ended, Fault, Injector, Point, UntraceableError, memory
from tests.lab.faults.scenes import (
    EARLY,
    INCOMPLETE,
    INTERNAL,
    LOST,
    NO_ANSWER,
    NOT_DELETED,
    NOT_HEALED,
    SCENES,
    SET_ASIDE,
    SOMETHING_LEFT,
    TODAYS,
    Delete,
    Scene,
)
from tests.support.files.node import called_node
from tests.support.sandbox.node import is_frozen


@pytest.fixture
def injector(tmp_path: Path) -> Injector:
    return made(tmp_path)


def made(folder: Path) -> Injector:
    """An injector, or a skip where none can be had."""
    try:
        injector = Injector(folder)
        injector.run("/bin/true", {}, b"")
    except UntraceableError as error:
        pytest.skip(f"system calls can't be made to fail here: {error}")
    return injector


def ran(injector: Injector, script: str, fault: Fault | None = None) -> tuple[Ended, list[str]]:
    """A shell script under the injector, and the lines that it printed; $FILE has one."""
    file = injector.root / "file"
    file.write_text("a line\n")
    program = injector.root / "script"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    ended = injector.run(str(program), {"FILE": str(file), "PATH": "/usr/bin:/bin"}, b"", fault)
    return ended, ended.stdout.decode().splitlines()


READS = (
    'for turn in 1 2 3 4; do read line < "$FILE" && echo "$line" || echo failed; done; true < /dev/null && echo fine'
)


@pytest.mark.parametrize(
    ("how", "printed"),
    [
        (ONCE, ["a line", "failed", "a line", "a line", "fine"]),
        (ON, ["a line", "failed", "failed", "failed", "fine"]),
        (ALL, ["a line", "failed", "failed", "failed"]),
    ],
)
def test_a_call_fails_once_or_from_then_on_or_whatever_it_is_about(
    how: str, printed: list[str], injector: Injector
) -> None:
    second = Point(0, "openat", str(injector.root / "file"), 2)

    ended, lines = ran(injector, READS, Fault(second, "EIO", how))

    assert lines == printed
    assert ended.calls[0][1:3] == second[1:3]


def test_what_a_program_starts_is_spared(injector: Injector) -> None:
    every = Fault(Point(0, "openat", str(injector.root / "file"), 1), "EACCES", ALL)

    assert ran(injector, 'read line < "$FILE"; cat "$FILE"', every)[1] == ["a line"]


def test_a_close_that_fails_has_closed(injector: Injector) -> None:
    """As on Linux: else a delegate would wait for the end of its standard input for ever."""
    script = 'exec 3< "$FILE"; exec 3<&-; readlink /proc/$$/fd/3 || echo closed'
    (point,) = [call for call in ran(injector, script)[0].calls if call[1:3] == ("close", str(injector.root / "file"))][
        -1:
    ]

    ended, lines = ran(injector, script, Fault(point, "EIO", ONCE))

    assert len(ended.calls) == 1
    assert lines == ["closed"]


@pytest.mark.parametrize(
    ("script", "status"), [("exit 3", 3), ("kill -15 $$", -15), ("sleep 60", None)], ids=["exit", "signal", "hanging"]
)
def test_how_a_program_ends_is_told(script: str, status: int | None, injector: Injector) -> None:
    if status is None:
        injector.patience = 1

    assert ran(injector, script)[0].status == status


LIES = {
    "says done and does nothing": ("exit 0", {NOT_DELETED, SOMETHING_LEFT}),
    "says done and forgets": ('rm "$STATE"/pods:*; exit 0', {NOT_DELETED}),
    "fails and forgets": ('rm "$STATE"/pods:*; echo "$ERROR"; exit 1', {LOST, NOT_HEALED}),
    "fails and sets aside": (
        'cd "$STATE"; for f in pods:*; do mv "$f" ".damaged-$f"; done; echo "$ERROR"; exit 1',
        {SET_ASIDE, NOT_HEALED},
    ),
    "fails without a word": ("exit 1", {NO_ANSWER}),
    "fails and doesn't know why": ('echo "$ERROR" | sed s/5,/999,/; exit 1', {INTERNAL}),
    "dies": ("kill -9 $$", {NO_ANSWER}),
    "deletes what is there today": ('rm "$STATE"/pods:*; exec "$PROGRAM"', {TODAYS}),
    "begins with the address": (
        '"$BIN/cilium-cni" < "$REQUEST"; exec "$PROGRAM"',
        {EARLY, INCOMPLETE},
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_program_that_lies_is_found_out(lie: str, program: str, double: Path, tmp_path: Path) -> None:
    script, kinds = LIES[lie]
    injector = made(tmp_path)
    liar = tmp_path / "liar"
    error = '{"cniVersion":"1.1.0","code":5,"msg":"no"}'
    node = called_node(tmp_path, str(liar), double)
    told = {"STATE": node.state_dir, "BIN": node.bin_dir, "REQUEST": node.root / "request"}
    lines = [f"{name}={path}" for name, path in told.items()]
    lines += [f"PROGRAM={program}", f"ERROR='{error}'", f"if [ ! -e {tmp_path}/lie ]; then exec {program}; fi"]
    # It lies once: what follows shows what the lie has done.
    lines += [f"rm {tmp_path}/lie", script]
    liar.write_text("\n".join(("#!/bin/sh", *lines, "")))
    liar.chmod(0o755)
    scene = Delete(node, injector)
    (tmp_path / "lie").touch()

    _, violations = scene.reference()

    assert {violation.kind for violation in violations} == kinds


@contextlib.contextmanager
def tried(kind: type[Scene], program: str, double: Path) -> Iterator[Campaign]:
    """A scene that is to be tried, or a skip where nothing can be."""
    with tempfile.TemporaryDirectory(prefix="cni-chain-faults.", dir=memory()) as root:
        try:
            with begun(kind, program, double, Path(root) / "node") as campaign:
                yield campaign
        except UntraceableError as error:
            pytest.skip(f"system calls can't be made to fail here: {error}")


@pytest.mark.root
@pytest.mark.parametrize("kind", SCENES, ids=[scene.name for scene in SCENES])
def test_errors_of_the_kernel_make_no_lie_and_lose_nothing(kind: type[Scene], program: str, double: Path) -> None:
    if not is_frozen(program):
        pytest.skip("by design: the frozen program is what runs on a node, and what its calls are")
    with tried(kind, program, double) as campaign:
        found = campaign.run(campaign.bounded())

    assert found == [], "\n".join(("", *table(found)))


@pytest.mark.root
@pytest.mark.parametrize("kind", SCENES, ids=[scene.name for scene in SCENES])
def test_few_descriptors_make_no_lie_and_lose_nothing(kind: type[Scene], program: str, double: Path) -> None:
    """As under `ulimit -n 5`."""
    with tried(kind, program, double) as campaign:
        found = campaign.run_limited(LIMITS)

    assert found == [], "\n".join(("", *table(found)))
