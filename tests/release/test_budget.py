"""Each verb's budget, written down: who exceeds it makes a call dearer, and either mends that or argues for it here.

Times are for `make bench`, where nothing else runs. What is counted here is the same on an idle machine and on a busy
one, save for a poll or two.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.files.calls import CallFailedError, Node, bundle
from tests.support.sandbox.node import is_frozen

# Of the source, in a fresh interpreter: modules that it hadn't loaded by itself, ours among them.
# With a record, CHECK and DEL read no fragments; DEL reads the facade on disk.
MODULES = {"VERSION": 10, "STATUS": 28, "ADD": 28, "CHECK": 26, "DEL": 28}

# Of the frozen program with two delegates: system calls, files opened, syncs, programs started. The last two are exact.
# The first two hold for Python 3.11; they have some 4 % of air, for a longer path to the program and for polls.
COUNTS = {
    "VERSION": (190, 9, 0, 0),
    "STATUS": (405, 14, 0, 1),  # the first owner's delegate only
    "ADD": (625, 21, 2, 2),  # the record and its directory
    "CHECK": (575, 14, 0, 2),
    "DEL": (580, 17, 0, 2),  # two of them are directories in which the facade on disk may be
}
BUNDLE_BYTES, BUNDLE_FILES = 12_000_000, 22
COUNTED = ("system calls", "files opened", "syncs", "programs started")
EXACT = ("syncs", "programs started")
TURNS = 3

# Whose numbers COUNTS are, as files in the bundle tell.
PYTHON = "*python3.11*"

LOADED = """\
import posix, sys  # not os: whether a call loads that is to be seen
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
from cni_chain.__main__ import main
status = main()
posix.write(2, (" ".join(sorted(set(sys.modules) - before)) + "\\n").encode())
posix._exit(status)
"""


@pytest.fixture(scope="module")
def node(program: str) -> Iterator[Node]:
    """A node on which every delegate has been asked for its versions, with one pod to CHECK and to DEL."""
    if not is_frozen(program):
        pytest.skip("by design: the source is no directory build")
    with Node(Path(program)) as node:
        node.cni("ADD", "first")
        yield node


@pytest.fixture(scope="module")
def source() -> Iterator[Node]:
    """The same, for the source."""
    with Node(CHECKOUT) as node:
        loaded(node, "ADD")
        yield node


def loaded(node: Node, verb: str, container: str = "modules") -> list[str]:
    """Return the modules that a call of the source loads in a fresh interpreter."""
    stdin, environ = node.asked(verb, container)
    python = [sys.executable, "-I", "-S", "-c", LOADED, str(CHECKOUT)]
    with open(stdin, "rb") as conf:
        done = subprocess.run(python, stdin=conf, env=environ, capture_output=True, check=True)
    node.output.write_bytes(done.stdout)
    node.require_answer(verb, "cni-chain")
    return done.stderr.decode().split()


def require_within(what: str, found: int, budget: int, hint: str = "") -> None:
    assert found <= budget, f"{what}: {found}, budget {budget} (tests/release/test_budget.py){hint}"


@pytest.mark.parametrize("verb", MODULES)
def test_modules_that_a_verb_imports(verb: str, source: Node) -> None:
    names = loaded(source, verb, "another" if verb == "ADD" else "modules")

    require_within(f"{verb}: modules imported", len(names), MODULES[verb], f":\n{' '.join(names)}")


@pytest.mark.parametrize("verb", COUNTS)
def test_what_a_verb_asks_of_the_kernel(verb: str, node: Node) -> None:
    if not any((node.program.resolve().parent / "_internal").glob(PYTHON)):
        pytest.skip("by design: these budgets are Python 3.11's")
    counts = []
    for turn in range(TURNS):
        container = f"{verb}-{turn}"
        if verb in ("CHECK", "DEL"):
            node.cni("ADD", container)
        try:
            counts.append(node.counted(verb, container))
        except CallFailedError as error:
            if "ptrace" not in str(error):
                raise
            pytest.skip(f"system calls can't be counted here: {error}")
    # A delegate that is slow to end costs a poll more, so the best of the turns counts.
    for what, found, budget in zip(COUNTED, map(min, zip(*counts, strict=True)), COUNTS[verb], strict=True):
        require_within(f"{verb}: {what}", found, budget)
        if what in EXACT:
            assert found == budget, f"{verb}: {what}: {found}, and no longer {budget}: write it down"


def test_bytes_and_files_of_the_bundle(node: Node) -> None:
    size, files = bundle(node.program)
    largest = sorted(
        ((file.stat().st_size, file.name) for file in node.program.resolve().parent.rglob("*") if file.is_file()),
        reverse=True,
    )[:5]

    hint = "; the largest: " + ", ".join(f"{name} {size}" for size, name in largest)
    require_within("bytes of the bundle", size, BUNDLE_BYTES, hint)
    require_within("files of the bundle", files, BUNDLE_FILES)
