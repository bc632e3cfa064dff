"""Measures, prints, compares with what is promised.

Every kind of run takes its turn in each round, so that whatever else the machine does meets all of them
alike: the ratios hold where the milliseconds don't.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.calls import Node, Sample

BARE, ADD = "python3 -I -S -c pass", "ADD"
VERBS = ("VERSION", ADD, "CHECK", "STATUS", "DEL")
WARM_UP = 3
ADD_RATIO_LIMIT, PEAK_LIMIT_MB, SIZE_LIMIT_MB = 3, 25, 15


def measure(node: Node, rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Run everything `rounds` times, or as often as the time allows."""
    # The interpreter that was frozen, by its own name: a version manager's shim costs more than it does.
    python = os.path.realpath(sys.executable)
    kinds: dict[str, Callable[[str], Sample]] = {
        BARE: lambda _: node.run([python, "-I", "-S", "-c", "pass"]),
        "a no-op delegate": lambda _: node.delegate(),
        "a durable write": lambda _: node.durable_write(),
    }
    kinds |= {verb: partial(node.cni, verb) for verb in VERBS}
    samples: dict[str, list[Sample]] = {kind: [] for kind in kinds}
    end = time.monotonic() + seconds
    for number in range(rounds + WARM_UP):
        for kind, call in kinds.items():
            sample = call(f"pod-{number}")
            if number >= WARM_UP:
                samples[kind].append(sample)
        if time.monotonic() > end and number > WARM_UP:
            break
    return samples


def bundle(program: Path) -> tuple[int, int]:
    """Return the bytes and the number of files of the directory that holds the frozen program."""
    files = [file for file in program.resolve().parent.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files), len(files)


def report(node: Node, samples: dict[str, list[Sample]], load: float) -> dict[str, Any]:
    """Put all figures into one JSON object."""
    bare = statistics.median(sample.milliseconds for sample in samples[BARE])
    size, files = bundle(node.program)
    lines = {}
    for kind, runs in samples.items():
        times = sorted(sample.milliseconds for sample in runs)
        median = statistics.median(times)
        lines[kind] = {
            "best_ms": round(times[0], 2),
            "median_ms": round(median, 2),
            "p90_ms": round(times[len(times) * 9 // 10], 2),
            "ratio": round(median / bare, 2),
            "peak_mb": round(max(sample.peak_kib for sample in runs) / 1024, 1),
        }
    kernel = re.match(r"[\d.]*\d", platform.release())
    return {
        "machine": {
            "cores": os.cpu_count(),
            "kernel": kernel[0] if kernel else "",
            "python": platform.python_version(),
            "load": round(load, 2),
            "state_on": file_system(node.root),
        },
        "rounds": len(samples[BARE]),
        "runs": lines,
        "bundle": {"mb": round(size / 1e6, 1), "files": files},
    }


def file_system(directory: Path) -> str:
    """Name the file system's type: what a durable write costs depends on it."""
    command = ["stat", "--file-system", "--format", "%T", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def show(figures: dict[str, Any]) -> None:
    """Print the report for people."""
    machine, runs = figures["machine"], figures["runs"]
    print(
        f"{machine['cores']} cores, Linux {machine['kernel']}, Python {machine['python']}, "
        f"state on {machine['state_on']}, load {machine['load']} before; "
        f"{figures['rounds']} rounds, two no-op delegates\n"
    )
    print(f"{'milliseconds':24}{'best':>8}{'median':>8}{'90 %':>8}{'ratio':>8}{'peak MB':>10}")
    for kind, line in runs.items():
        times = f"{line['best_ms']:8.2f}{line['median_ms']:8.2f}{line['p90_ms']:8.2f}"
        print(f"{kind:24}{times}{line['ratio']:8.2f}{line['peak_mb'] or '':>10}".rstrip())
    verbs = [runs[verb] for verb in VERBS]
    print()
    for what, value, limit in (
        ("ADD, times a bare interpreter", runs[ADD]["ratio"], ADD_RATIO_LIMIT),
        ("peak memory, MB", max(line["peak_mb"] for line in verbs), PEAK_LIMIT_MB),
        ("directory, MB", figures["bundle"]["mb"], SIZE_LIMIT_MB),
    ):
        print(f"{what:32}{value:8}  {'within' if value <= limit else 'OVER'} {limit}")
    print(f"{'files in it':32}{figures['bundle']['files']:8}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What one call of cni-chain costs.")
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=60, help="stop after this time, whatever the rounds (60)")
    parser.add_argument("--json", action="store_true", help="one JSON object with all figures")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with Node(options.program) as node:
        figures = report(node, measure(node, options.rounds, options.seconds), load)
    print(json.dumps(figures, indent=2)) if options.json else show(figures)


if __name__ == "__main__":
    main()
