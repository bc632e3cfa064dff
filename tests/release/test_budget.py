"""Each verb's budget, written down: who exceeds it makes a call dearer, and either mends that or argues for it here.

Times are for `make bench`, where nothing else runs. What is counted here is the same on an idle machine and on a busy
one, save for a poll or two.
"""

import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.files.meter import CallFailedError, Meter, bundle
from tests.support.sandbox.node import is_frozen

# Of the source, in a fresh interpreter: modules that it hadn't loaded by itself, ours among them.
# With a record, CHECK and DEL read no fragments; DEL reads the facade on disk.
MODULES = {"VERSION": 10, "STATUS": 28, "ADD": 28, "CHECK": 26, "DEL": 28}

# Of the frozen program with two delegates: system calls, files opened, syncs, programs started. The last two are exact.
# The first two hold for Python 3.11; they have some 4 % of air, for a longer path to the program and for polls.
COUNTS = {
    "VERSION": (46, 2, 0, 0),
    "STATUS": (277, 8, 0, 1),  # the first owner's delegate only
    "ADD": (500, 15, 2, 2),  # the record and its directory
    "CHECK": (447, 8, 0, 2),
    "DEL": (474, 12, 0, 2),  # two of them are directories in which the facade on disk may be
}
# Of its own, without those of the programs that it starts; the same on every machine of the architecture, with 4 % of
# air for what the C library chooses by the processor.
INSTRUCTIONS = {"VERSION": 9_850_000, "ADD": 17_900_000}
# Of memory, of a VERSION: pages that were touched, whatever the kernel's own are.
PAGE_FAULTS = 760
BUNDLE_BYTES, BUNDLE_FILES = 14_000_000, 30
COUNTED = ("system calls", "files opened", "syncs", "programs started")
EXACT = ("syncs", "programs started")
TURNS = 12  # at most, until one is within the budget

# Whose numbers COUNTS are, as the bill of materials tells.
PYTHON = "libpython3.11"

VALGRIND = shutil.which("valgrind")

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
def meter(program: str) -> Iterator[Meter]:
    """A node on which every delegate has been asked for its versions, with one pod to CHECK and to DEL."""
    if not is_frozen(program):
        pytest.skip("by design: the source is no directory build")
    with Meter(Path(program)) as meter:
        meter.cni("ADD", "first")
        yield meter


@pytest.fixture(scope="module")
def source() -> Iterator[Meter]:
    """The same, for the source."""
    with Meter(CHECKOUT) as meter:
        loaded(meter, "ADD")
        yield meter


def loaded(meter: Meter, verb: str, container: str = "modules") -> list[str]:
    """Return the modules that a call of the source loads in a fresh interpreter."""
    stdin, environ = meter.asked(verb, container)
    python = [sys.executable, "-I", "-S", "-c", LOADED, str(CHECKOUT)]
    with open(stdin, "rb") as conf:
        done = subprocess.run(python, stdin=conf, env=environ, capture_output=True, check=True)
    meter.output.write_bytes(done.stdout)
    meter.require_answer(verb, "cni-chain")
    return done.stderr.decode().split()


def require_within(what: str, found: int, budget: int, hint: str = "") -> None:
    assert found <= budget, f"{what}: {found}, budget {budget} (tests/release/test_budget.py){hint}"


@pytest.mark.parametrize("verb", MODULES)
def test_modules_that_a_verb_imports(verb: str, source: Meter) -> None:
    names = loaded(source, verb, "another" if verb == "ADD" else "modules")

    require_within(f"{verb}: modules imported", len(names), MODULES[verb], f":\n{' '.join(names)}")


@pytest.mark.parametrize("verb", COUNTS)
def test_what_a_verb_asks_of_the_kernel(verb: str, meter: Meter) -> None:
    if PYTHON not in (meter.program.resolve().parent / "sbom.cdx.json").read_text():
        pytest.skip("by design: these budgets are Python 3.11's")
    counts = []
    for turn in range(TURNS):
        container = f"{verb}-{turn}"
        if verb in ("CHECK", "DEL"):
            meter.cni("ADD", container)
        try:
            counts.append(meter.counted(verb, container))
            if all(found <= budget for found, budget in zip(counts[-1], COUNTS[verb], strict=True)):
                break
        except CallFailedError as error:
            if "ptrace" not in str(error):
                raise
            pytest.skip(f"system calls can't be counted here: {error}")
    # A delegate that is slow to end costs polls more, so the best of the turns counts.
    for what, found, budget in zip(COUNTED, map(min, zip(*counts, strict=True)), COUNTS[verb], strict=True):
        require_within(f"{verb}: {what}", found, budget)
        if what in EXACT:
            assert found == budget, f"{verb}: {what}: {found}, and no longer {budget}: write it down"


@pytest.mark.parametrize("verb", INSTRUCTIONS)
def test_instructions_of_a_verb(verb: str, meter: Meter, tmp_path: Path) -> None:
    if not VALGRIND:
        pytest.skip("needs valgrind, which counts instructions")
    stdin, environ = meter.asked(verb, f"instructions-{verb}")
    log = tmp_path / "valgrind.log"
    counting = [VALGRIND, "--tool=callgrind", f"--callgrind-out-file={tmp_path}/out", f"--log-file={log}"]
    with open(stdin, "rb") as conf:
        done = subprocess.run(
            [*counting, str(meter.program)], stdin=conf, env=environ, capture_output=True, check=False
        )
    meter.output.write_bytes(done.stdout)
    meter.require_answer(verb, "cni-chain")

    counted = re.findall(r"Collected : (\d+)", log.read_text())

    require_within(f"{verb}: instructions", int(counted[-1]), INSTRUCTIONS[verb])


def test_page_faults_of_a_version(meter: Meter) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    subprocess.run([meter.program], env={"CNI_COMMAND": "VERSION"}, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt

    require_within("VERSION: page faults", after - before, PAGE_FAULTS)


def test_bytes_and_files_of_the_bundle(meter: Meter) -> None:
    size, files = bundle(meter.program)
    largest = sorted(
        ((file.stat().st_size, file.name) for file in meter.program.resolve().parent.rglob("*") if file.is_file()),
        reverse=True,
    )[:5]

    hint = "; the largest: " + ", ".join(f"{name} {size}" for size, name in largest)
    require_within("bytes of the bundle", size, BUNDLE_BYTES, hint)
    require_within("files of the bundle", files, BUNDLE_FILES)
