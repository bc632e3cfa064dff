"""Makes system calls fail, one after the other, and prints what must not be: `python -m tests.faults PROGRAM`."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conftest import compiled_double, launched
from tests.faults import campaign
from tests.faults.inject import ERRORS, HOWS, Fault, UntraceableError, memory
from tests.faults.scenes import SCENES


def main() -> None:
    """Run what is asked for; exit status 1 if there is a violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Errors at every system call.")
    parser.add_argument("program", help="the frozen program, or `source`")
    parser.add_argument("--all", action="store_true", help="every call and error, not the bounded set (half an hour)")
    parser.add_argument(
        "--verb", action="append", choices=sorted({scene.verb for scene in SCENES}), help="(repeatable)"
    )
    parser.add_argument("--scene", action="append", choices=[scene.name for scene in SCENES], help="(repeatable)")
    parser.add_argument("--error", action="append", choices=ERRORS, help="(repeatable)")
    parser.add_argument("--how", action="append", choices=HOWS, help="(repeatable)")
    parser.add_argument("--call", metavar="TEXT", help="only calls in whose name or target this is")
    parser.add_argument("--list", action="store_true", help="print the calls without a fault, and which are exempt")
    parser.add_argument("--save", type=Path, metavar="FILE", help="the violations as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cni-chain-faults.", dir=memory()) as root:
        try:
            found = run(options, Path(root))
        except UntraceableError as error:
            raise SystemExit(f"system calls can't be made to fail here: {error}") from None
    if options.save:
        options.save.write_text(json.dumps([one._asdict() for one in found], indent=1) + "\n")
    if found:
        raise SystemExit(1)


def run(options: argparse.Namespace, root: Path) -> list[campaign.Found]:
    """Go through the scenes that are asked for and return the violations, printed already."""
    double, program = compiled_double(root), launched(options.program, root)
    everything: list[campaign.Found] = []
    for scene in SCENES:
        if (options.verb and scene.verb not in options.verb) or (options.scene and scene.name not in options.scene):
            continue
        start = time.monotonic()
        with campaign.begun(scene, str(program), double, root / scene.__name__) as tried:
            if options.list:
                print(*tried.listing(), sep="\n")
                continue
            faults = tried.everything() if options.all else tried.bounded()
            found = tried.run(counted(scene.name, [fault for fault in faults if wanted(options, fault)]))
            if not (options.error or options.how or options.call):
                found += tried.run_limited(campaign.LIMITS)
        print(f"{scene.name}: {tried.summary()}, {time.monotonic() - start:.0f} s", flush=True)
        print(*campaign.table(found), *campaign.kinds(found), sep="\n", flush=True)
        everything += found
    print("", "all scenes:", *(list(campaign.kinds(everything)) or ["no violation"]), sep="\n")
    return everything


def counted(scene: str, faults: Sequence[Fault]) -> Iterator[Fault]:
    """Yield the faults, and tell on a terminal how far one has come: of a GC there are ten thousand."""
    for number, fault in enumerate(faults, start=1):
        if sys.stderr.isatty():
            print(f"\r{scene}: {number} of {len(faults)}", end="\r", file=sys.stderr, flush=True)
        yield fault


def wanted(options: argparse.Namespace, fault: Fault) -> bool:
    """Tell whether a fault is one of those that are asked for."""
    point = fault.point
    return (
        (not options.error or fault.error in options.error)
        and (not options.how or fault.how in options.how)
        and (not options.call or options.call in f"{point.name} {point.target}")
    )


if __name__ == "__main__":
    main()
