"""What an operator sees of each failure: `python -m tests.lab.runtimes.messages PROGRAM` writes the docs."""

import argparse
import sys
from pathlib import Path

from tests.support.pages import Part
from tests.support.runtimes.daemons import Containerd24, Crio
from tests.support.runtimes.failures import FAILURES, block, told
from tests.support.runtimes.nodes import kubelet_on
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.node import is_frozen

PART = Part("evidence/runtimes.md", "messages")


def main() -> None:
    """Write what was said between the marks of docs/evidence/runtimes.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.runtimes.messages", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    options = parser.parse_args()
    tools = sandbox_node.tools()
    if tools is None or not is_frozen(options.program):
        parser.error("needs the frozen program and the reference plugins: make frozen tools")
    said: dict[str, dict[str, str]] = {failure.name: {} for failure in FAILURES}
    for kind in (Containerd24, Crio):
        with kubelet_on(kind, options.program, tools) as kubelet:
            kubelet.reset()
            for failure in FAILURES:
                if failure.verb != "CHECK" or kind.checks:
                    said[failure.name][kind.family] = told(kubelet, failure)
    PART.write(block(said))
    sys.stdout.write(block(said))


if __name__ == "__main__":
    main()
