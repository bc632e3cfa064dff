"""Measures, prints, compares with what is promised.

Every kind of run takes its turn in each round, so that whatever else the machine does meets all of them
alike: the ratios hold where the milliseconds don't.
"""

import argparse
import contextlib
import json
import os
from functools import partial
from pathlib import Path

from tests.lab.bench import full, plot, quick, rivals, tables
from tests.support.files.double import Json
from tests.support.files.meter import CallFailedError, Meter, Sample
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox.namespaces import SandboxUnavailableError


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.bench", description="What one call of cni-chain costs.")
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60, help="stop after this time, whatever the rounds (60)")
    parser.add_argument(
        "--beside",
        type=Path,
        metavar="PROGRAM",
        help="another build, a bare interpreter, and multus if it is built, in the same run (root)",
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
            beside(options, load)
            return
        with Meter(options.program) as meter:
            figures = quick.report(meter, quick.measure(meter, options.rounds, options.seconds), load)
    except (CallFailedError, NotBuiltError, SandboxUnavailableError) as error:
        raise SystemExit(str(error)) from None
    print(json.dumps(figures, indent=2)) if options.json else quick.show(figures)


def beside(options: argparse.Namespace, load: float) -> None:
    """Run this program, another build of it, and multus if it is there."""
    with contextlib.ExitStack() as opened:
        netns = opened.enter_context(rivals.network_namespace())
        meter = opened.enter_context(Meter(options.program, netns=netns))
        other = opened.enter_context(Meter(options.beside, netns=netns))
        builds: dict[str, quick.Build] = {"this": meter.cni, "other": other.cni}
        multus = rivals.multus()
        if multus:
            builds[rivals.MULTUS] = partial(_direct, rivals.Rivals(meter, multus))
        figures = quick.beside(meter, builds, options.rounds, options.seconds)
        print(json.dumps(figures, indent=2) if options.json else quick.beside_text(figures, meter.root, load))


def _direct(compared: rivals.Rivals, verb: str, container: str) -> Sample:
    return compared.direct(rivals.MULTUS, verb, container)


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
