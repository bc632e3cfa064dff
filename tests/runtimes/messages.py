"""What an operator sees of each failure: `python -m tests.runtimes.messages PROGRAM` makes them and writes the docs."""

import argparse
import sys
from pathlib import Path

from tests.pages import Part
from tests.runtimes.daemons import Containerd24, Crio
from tests.runtimes.failures import FAILURES, block, told
from tests.runtimes.nodes import kubelet_on
from tests.sandbox import node as sandbox_node
from tests.sandbox.node import is_frozen

PART = Part("evidence/runtimes.md", "messages")


def main() -> None:
    """Write what was said between the marks of docs/evidence/runtimes.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.runtimes.messages", description=__doc__)
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
