"""Several real nodes, and what is done to them: `python -m tests.lab.rollout PROGRAM [SCENARIO ...]`.

Three kubelets, two with containerd and one with CRI-O. The image is made of the frozen PROGRAM, Helm does the rest.
It prints what was seen of each scenario, and fails where one doesn't end as the docs say. Without a name it runs all
but those of the agents' DaemonSets. Root; `make cluster-nodes` has built what it needs, and `make cluster-agents` what
those need beside it.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from tests.lab.cluster.daemon import built, installed
from tests.lab.cluster.machine import Machine, compare
from tests.lab.rollout.agents.scenarios import AGENTS
from tests.lab.rollout.lab import Lab
from tests.lab.rollout.scenarios import BARE, SCENARIOS
from tests.lab.rollout.shown import Shown
from tests.support.gomodules import NotBuiltError
from tests.support.runtimes import daemons
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.node import is_frozen

ALL = SCENARIOS | AGENTS


def check(program: Path) -> None:
    """Everything is there. Raises NotBuiltError, or SystemExit with the reason."""
    if os.geteuid() != 0:
        raise SystemExit("not root: the nodes' sandboxes can't be made")
    if not is_frozen(program):
        raise SystemExit(f"{program} is not the frozen program: make frozen")
    if sandbox_node.tools() is None:
        raise SystemExit("the reference plugins are not built: make tools")
    for name in ("etcd", "kube", "helm"):
        built(name)
    for name in ("containerd", "crio"):
        daemons.built(name)
    for tool in ("iptables", "openssl", "runc", "conmon", "skopeo"):
        installed(tool)


def run(program: Path, name: str) -> bool:
    """One scenario, on a cluster of its own; whether it ended as the docs say."""
    print(f"== {name}: {ALL[name].__doc__}", flush=True)
    start = time.monotonic()
    try:
        with Lab.started(program, network=name not in BARE | AGENTS.keys()) as lab:
            try:
                ALL[name](lab, Shown(lab, name))
            except Exception:
                print(lab.explain(), flush=True)
                raise
    except Exception:  # noqa: BLE001  # the others can be told all the same
        traceback.print_exc()
        print(f"== {name} FAILED after {time.monotonic() - start:.0f} s", flush=True)
        return False
    print(f"== {name} passed in {time.monotonic() - start:.0f} s\n", flush=True)
    return True


def main() -> int:
    """Run the scenarios that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.rollout", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(ALL)}")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in ALL]
    if unknown:
        parser.error(f"no scenario {unknown[0]}: {', '.join(ALL)}")
    try:
        check(options.program)
    except NotBuiltError as error:
        raise SystemExit(f"{error} (make cluster-nodes does it all)") from error
    # Ended from outside, it still removes what it has made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    before = Machine.look()
    passed = [run(options.program, name) for name in options.scenarios or SCENARIOS]
    # Here runs no BPF program: those that are new are of a Cilium beside this, in another cluster.
    changed = [line for line in compare(before) if not line.startswith("BPF ")]
    print("\n".join(["This machine is NOT as it was:", *changed] if changed else ["This machine is as it was."]))
    return 0 if all(passed) and not changed else 1


if __name__ == "__main__":
    sys.exit(main())
