"""Tests that share something run one after the other, in one worker; all others wherever there is room."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.lanes import begins, lane

ALONE = ("tests/cli/test_doctor_here.py::test_a[source]", "tests/cli/test_rules.py::test_b[cni-chain]")
AGENTS = (
    "tests/system/agents/test_pods.py::test_pod[1.1.0-cni-chain-{}]",
    "tests/system/agents/test_files.py::test_f[cni-chain-{}]",
)
MESH = (
    "tests/system/mesh/test_pods.py::test_a[{0}-cni-chain]",
    "tests/system/mesh/test_agents_away.py::test_b[{0}-cni-chain-x]",
)
WALK = "tests/system/runtimes/test_walk.py::test_there_and_back[cni-chain-{}]"
LIFE = "tests/system/runtimes/test_life.py::test_{}[{}-cni-chain]"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ALONE,
        (
            "tests/system/runtimes/test_first_day.py::test_a[cni-chain]",
            "tests/system/shim/test_life.py::test_b[cni-chain]",
        ),
        ("tests/release/test_budget.py::test_a", "tests/release/test_freeze.py::test_b"),
        [test.format("1.20") for test in AGENTS],
        [test.format("CRI-O-1.34") for test in MESH],
        (LIFE.format("a", "CRI-O-1.34"), LIFE.format("b", "CRI-O-1.34")),
        ("tests/system/war/test_war.py::test_a", "tests/system/war/test_writers.py::test_b[cni-chain]"),
        ("tests/system/new/test_one.py::test_a", "tests/system/new/test_other.py::test_b[cni-chain]"),
        ("tests/system/runtimes/test_podman.py::test_a[cni-chain]", "tests/system/runtimes/test_podman.py::test_b"),
        ("tests/system/owners/test_multus.py::test_a[cni-chain]", "tests/system/owners/test_multus.py::test_b[source]"),
    ],
)
def test_tests_that_share_something_are_in_one_lane(one: str, other: str) -> None:
    assert lane(one) == lane(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tests/cli/test_show.py::test_a[source]", "tests/cli/test_show.py::test_a[cni-chain]"),
        ("tests/system/pods/test_pods.py::test_a[source]", "tests/system/pods/test_pods.py::test_b[source]"),
        (AGENTS[0].format("1.20"), AGENTS[0].format("1.18")),
        (AGENTS[0].format("1.20"), "tests/system/agents/test_waiting.py::test_agent_away[killed-1.20-source-1.0.0]"),
        (MESH[0].format("CRI-O-1.34"), MESH[0].format("containerd-2.4")),
        (LIFE.format("a", "CRI-O-1.34"), LIFE.format("a", "containerd-2.4")),
        (WALK.format("CRI-O-1.34"), WALK.format("containerd-2.4")),
    ],
)
def test_tests_that_share_nothing_are_in_two(one: str, other: str) -> None:
    assert lane(one) != lane(other)


def test_what_takes_longest_begins_first() -> None:
    tests = [ALONE[0], WALK.format("CRI-O-1.34"), "tests/system/runtimes/test_podman.py::test_a[cni-chain]"]

    assert sorted(["tests/system/pods/test_pods.py::test_a[source]", *reversed(tests)], key=begins)[:3] == tests


CONFTEST = """\
import os, sys
sys.path.insert(0, {checkout!r})
from tests.conftest import pytest_xdist_make_scheduler

def pytest_runtest_call(item):
    with open({log!r}, "a") as log:
        log.write(f"{{item.path.stem}} {{os.environ['PYTEST_XDIST_WORKER']}}\\n")
"""
THREE = 'import pytest\n\n@pytest.mark.parametrize("n", range(3))\ndef test_it(n):\n    pass\n'


def test_workers_keep_to_the_lanes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    checkout = Path(__file__).resolve().parents[2]
    folder = tmp_path / "tests/cli"
    folder.mkdir(parents=True)
    (tmp_path / "conftest.py").write_text(CONFTEST.format(checkout=str(checkout), log=str(log)))
    for name in ("test_doctor_here", "test_rules", "test_show", "test_cat"):
        (folder / f"{name}.py").write_text(THREE)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", f"--rootdir={tmp_path}"]

    done = subprocess.run([*command, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line.split() for line in log.read_text().splitlines()]
    assert len(ran) == 12
    assert len({worker for test, worker in ran if test in ("test_doctor_here", "test_rules")}) == 1
    assert len({worker for _, worker in ran}) == 2
