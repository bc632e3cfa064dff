"""Starts the cluster, runs the scenarios and prints what was seen: `python -m tests.lab.cluster PROGRAM [--modes]`.

It makes cgroups, runs pytest in a cgroup namespace inside them, removes them, and looks whether the machine is as it
was. The exit status is 0 only if every scenario passed and it is.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lab.cluster import matrix, report
from tests.lab.cluster.conftest import GROUP, LOGS
from tests.lab.cluster.daemon import HERE, built, installed
from tests.lab.cluster.machine import Cgroups, Machine, compare
from tests.support.agents import writers
from tests.support.capture import meshes
from tests.support.gomodules import NotBuiltError
from tests.support.runtimes import daemons
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.namespaces import ENTER
from tests.support.sandbox.node import is_frozen

SEEN = LOGS / "seen.json"


class Suite(NamedTuple):
    """A module of scenarios, and what makes a report of what its recorder has seen."""

    module: str
    recorder: Callable[[], report.Recorder | matrix.Recorder]
    report: Callable[[Any, float], str]
    write: Callable[[str], None]


SCENARIOS = Suite("scenarios.py", report.Recorder, report.report, report.write)
MODES = Suite("modes.py", matrix.Recorder, matrix.report, matrix.write)


def run(program: Path, arguments: list[str]) -> tuple[int, list[str]]:
    """The scenarios in cgroups of their own: pytest's exit status, and what of this machine isn't as it was."""
    before = Machine.look()
    cgroups = Cgroups(f"/cni-chain-cluster-{os.getpid()}")
    cgroups.make()
    command = [sys.executable, "-m", "tests.lab.cluster", "--inside", str(program), *arguments]
    enter = ["bash", "-euc", ENTER, "enter", str(cgroups.top), str(cgroups.daemons), *command]
    try:
        done = subprocess.run(enter, env=os.environ | {GROUP: cgroups.name}, check=False)
    finally:
        left = cgroups.remove()
    return done.returncode, [*left, *compare(before)]


def run_inside(suite: Suite, program: Path, arguments: list[str]) -> int:
    """The scenarios, in the cgroup namespace."""
    recorder = suite.recorder()
    options = [f"--program={program}", "-p", "no:cacheprovider", "--verbose", *arguments, str(HERE / suite.module)]
    status = pytest.main(options, plugins=[recorder])
    SEEN.write_text(json.dumps(recorder.seen, indent=1))
    return int(status)


def check(suite: Suite, program: Path) -> None:
    """Everything is there. Raises NotBuiltError, or SystemExit with the reason."""
    if os.geteuid() != 0:
        raise SystemExit("not root: the cluster's sandbox can't be made")
    if not is_frozen(program):
        raise SystemExit(f"{program} is not the frozen program: make frozen")
    if sandbox_node.tools() is None:
        raise SystemExit("the reference plugins are not built: make tools")
    for name in ("etcd", "kube", "cilium", "helm"):
        built(name)
    daemons.built("containerd")
    if suite is MODES:
        writers.built("istio")
        meshes.built("istio")
    for tool in ("bpftool", "clang-19", "ipset", "iptables", "openssl", "runc"):
        installed(tool)


def main() -> int:
    """Run the scenarios, inside or from outside."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.cluster", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("--modes", action="store_true", help="run modes.py: what `cni-chain mesh` says of each mode")
    parser.add_argument("--write", action="store_true", help="put what was seen into docs/ as well")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    # What is left is pytest's: -k, -x.
    options, arguments = parser.parse_known_args()
    suite = MODES if options.modes else SCENARIOS
    if options.inside:
        return run_inside(suite, options.program, arguments)
    try:
        check(suite, options.program)
    except NotBuiltError as e:
        raise SystemExit(f"{e} (make cluster does it all)") from e
    # Ended from outside, it still removes what it has made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    LOGS.mkdir(parents=True, exist_ok=True)
    SEEN.unlink(missing_ok=True)
    start = time.monotonic()
    status, changed = run(options.program, [*(["--modes"] if options.modes else []), *arguments])
    if not SEEN.exists():
        print("The scenarios did not run.")
        return status or 1
    text = suite.report(json.loads(SEEN.read_text()), time.monotonic() - start)
    print(f"\n{text}")
    print("\n".join(["This machine is NOT as it was:", *changed] if changed else ["This machine is as it was."]))
    if options.write and not status and not changed:
        suite.write(text)
    return status or bool(changed)


if __name__ == "__main__":
    sys.exit(main())
