"""`python -m tests.lab.shim PROGRAM [--rounds N]`: what a proxy is told, with the shim and without (root)."""

import argparse
import os
import sys
import time
from pathlib import Path

from tests.support.bpf.node import BalancedNode
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import install
from tests.support.shim.node import ShimNode
from tests.support.shim.pod import MeshedPod


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("program", type=Path, help="the frozen program")
    options.add_argument("--rounds", type=int, default=2000, help="for each line, of five connections to services")
    given = options.parse_args()
    wrong = 0
    with Sandbox() as sandbox:
        install(sandbox, given.program.resolve())
        balanced = BalancedNode.make(sandbox, f"cni-chain-lab-{os.getpid()}")
        for family in (4, 6):
            with MeshedPod.made(sandbox, "pod") as pod:
                node = ShimNode(balanced, pod)
                node.proxy.mkdir()
                wrong += compared(node, family, given.rounds)
                node.proxy.rmdir()
        balanced.remove()
    return 1 if wrong else 0


def compared(node: ShimNode, family: int, rounds: int) -> int:
    """Print what the proxy was told without the shim, with a dry run, and with it; return how much was wrong."""
    with node.meshed():
        wrong = connected("without", node, family, rounds, repaired=False)
        node.on("--dry-run")
        wrong += connected("--dry-run", node, family, rounds, repaired=False)
        start = time.monotonic()
        node.on()
        took = time.monotonic() - start
        wrong += connected("with", node, family, rounds, repaired=True)
        print(f"mesh shim on took {took * 1e3:.0f} ms", node.shim("status").stdout, node.shim("off").stdout, sep="\n")
    left = node.leftovers()
    print(f"left: {', '.join(left) or 'nothing'}\n")
    return wrong + len(left)


def connected(name: str, node: ShimNode, family: int, rounds: int, *, repaired: bool) -> int:
    """Make the connections, print what came of them, and return how many answers were wrong."""
    start = time.monotonic()
    found = node.connect(family, rounds, repaired=repaired)
    each = (time.monotonic() - start) / found.all
    print(
        f"IPv{family}, {name}: {found.to_services} connections to services, {found.to_backends} to backends, "
        f"{found.remapped} with another source port: {len(found.wrong)} wrong, {each * 1e6:.0f} us each",
        *found.wrong[:3],
        sep="\n  ",
    )
    return len(found.wrong)


sys.exit(main())
