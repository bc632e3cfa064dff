"""Measures, prints, compares with what is promised.

Every kind of run takes its turn in each round, so that whatever else the machine does meets all of them
alike: the ratios hold where the milliseconds don't.
"""

import argparse
import json
import os
from pathlib import Path

from tests.lab.bench import full, plot, quick, tables
from tests.support.files.calls import CallFailedError, Json, Node
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox.namespaces import SandboxUnavailableError


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.bench", description="What one call of cni-chain costs.")
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60, help="stop after this time, whatever the rounds (60)")
    parser.add_argument(
        "--beside", type=Path, metavar="PROGRAM", help="another build, in the same run: before and after"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object with all figures")
    parser.add_argument(
        "--full", action="store_true", help="beside the plain conflist and multus, in all sections (root)"
    )
    parser.add_argument("--only", action="append", choices=full.SECTIONS, help="of --full, this section (repeatable)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="--full's figures as JSON, added to those in FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw --full's verbs as SVG")
    parser.add_argument("--show", action="store_true", help="measure nothing: print, or draw, what --save has kept")
    options = parser.parse_args()
    try:
        if options.full or options.only or options.show:
            compare(options)
            return
        load = os.getloadavg()[0]
        if options.beside:
            with Node(options.program) as node, Node(options.beside) as other:
                both = quick.beside(node, other, options.rounds, options.seconds)
                print(json.dumps(both, indent=2) if options.json else quick.beside_text(both, node.root, load))
            return
        with Node(options.program) as node:
            figures = quick.report(node, quick.measure(node, options.rounds, options.seconds), load)
    except (CallFailedError, NotBuiltError, SandboxUnavailableError) as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(figures, indent=2)) if options.json else quick.show(figures)


def compare(options: argparse.Namespace) -> None:
    """Run the whole comparison, or the sections that are asked for."""
    figures: Json = {}
    if options.save and options.save.exists():
        figures = json.loads(options.save.read_text())
    if not options.show:
        figures |= full.measure(options.program, options.only or full.SECTIONS, options.rounds, options.seconds)
        if options.save:
            options.save.write_text(json.dumps(figures, indent=1) + "\n")
    if options.plot:
        options.plot.write_text(plot.picture(figures))
    print(json.dumps(figures, indent=2) if options.json else tables.document(figures))


if __name__ == "__main__":
    main()
