"""The quick benchmark: cni-chain's verbs against a bare interpreter, and what is promised of both."""

import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.files.calls import Node, Sample, bundle

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
    return alternating(kinds, rounds, seconds)


def beside(node: Node, other: Node, rounds: int, seconds: float) -> dict[str, dict[str, dict[str, Any]]]:
    """Run the verbs of two builds in turn; return each verb's figures of this one, of the other, and their ratios."""
    builds = {"this": node, "other": other}
    kinds: dict[str, Callable[[str], Sample]] = {
        f"{verb} {name}": partial(built.cni, verb) for verb in VERBS for name, built in builds.items()
    }
    samples = alternating(kinds, rounds, seconds)
    figures: dict[str, dict[str, dict[str, Any]]] = {}
    for verb in VERBS:
        this, that = line(samples[f"{verb} this"]), line(samples[f"{verb} other"])
        ratio = {key: round(this[key] / that[key], 3) for key in ("best_ms", "median_ms", "cpu_ms")}
        figures[verb] = {"this": this, "other": that, "ratio": ratio, "rounds": {"n": len(samples[f"{verb} this"])}}
    return figures


def beside_text(figures: dict[str, dict[str, dict[str, Any]]], directory: Path, load: float) -> str:
    """Return what `beside` has measured, for people."""
    rounds = next(iter(figures.values()))["rounds"]["n"]
    lines = [f"{told(machine(directory, load))}; {rounds:g} rounds, two no-op delegates", ""]
    lines.append(f"{'milliseconds':14}{'this':>8}{'other':>8}{'ratio':>8}{'of the best':>13}{'of the CPU':>12}")
    for verb, run in figures.items():
        medians = f"{run['this']['median_ms']:8.2f}{run['other']['median_ms']:8.2f}{run['ratio']['median_ms']:8.3f}"
        lines.append(f"{verb:14}{medians}{run['ratio']['best_ms']:13.3f}{run['ratio']['cpu_ms']:12.3f}")
    return "\n".join(lines)


def alternating(kinds: dict[str, Callable[[str], Sample]], rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Give each kind its turn in each round, until `rounds` or the time is up. Each is told the round's own name."""
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


def line(samples: Iterable[Sample]) -> dict[str, float]:
    """Return what is told of one kind's runs."""
    runs = list(samples)
    times = sorted(sample.milliseconds for sample in runs)
    return {
        "best_ms": round(times[0], 2),
        "median_ms": round(statistics.median(times), 2),
        "p90_ms": round(times[len(times) * 9 // 10], 2),
        "cpu_ms": round(statistics.median(sample.cpu_ms for sample in runs), 2),
        "peak_mb": round(max(sample.peak_kib for sample in runs) / 1024, 1),
    }


def machine(directory: Path, load: float) -> dict[str, Any]:
    """Return what of the machine bears on the figures: no name and no maker."""
    kernel = re.match(r"[\d.]*\d", platform.release())
    clock = re.search(r"^cpu MHz\s*:\s*(\d+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cores": os.cpu_count(),
        "mhz": int(clock[1]) if clock else None,
        "kernel": kernel[0] if kernel else "",
        "python": platform.python_version(),
        "load": round(load, 2),
        "state_on": file_system(directory),
    }


def file_system(directory: Path) -> str:
    """Name the file system's type: what a durable write costs depends on it."""
    command = ["stat", "--file-system", "--format", "%T", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def report(node: Node, samples: dict[str, list[Sample]], load: float) -> dict[str, Any]:
    """Put all figures into one JSON object."""
    size, files = bundle(node.program)
    lines = {kind: line(runs) for kind, runs in samples.items()}
    for figures in lines.values():
        figures["ratio"] = round(figures["median_ms"] / lines[BARE]["median_ms"], 2)
    return {
        "machine": machine(node.root, load),
        "rounds": len(samples[BARE]),
        "runs": lines,
        "bundle": {"mb": round(size / 1e6, 1), "files": files},
    }


def show(figures: dict[str, Any]) -> None:
    """Print the report for people."""
    about, runs = figures["machine"], figures["runs"]
    print(f"{told(about)}; {figures['rounds']} rounds, two no-op delegates\n")
    print(f"{'milliseconds':24}{'best':>8}{'median':>8}{'90 %':>8}{'ratio':>8}{'peak MB':>10}")
    for kind, run in runs.items():
        times = f"{run['best_ms']:8.2f}{run['median_ms']:8.2f}{run['p90_ms']:8.2f}"
        print(f"{kind:24}{times}{run['ratio']:8.2f}{run['peak_mb'] or '':>10}".rstrip())
    verbs = [runs[verb] for verb in VERBS]
    print()
    for what, value, limit in (
        ("ADD, times a bare interpreter", runs[ADD]["ratio"], ADD_RATIO_LIMIT),
        ("peak memory, MB", max(run["peak_mb"] for run in verbs), PEAK_LIMIT_MB),
        ("directory, MB", figures["bundle"]["mb"], SIZE_LIMIT_MB),
    ):
        print(f"{what:32}{value:8}  {'within' if value <= limit else 'OVER'} {limit}")
    print(f"{'files in it':32}{figures['bundle']['files']:8}")


def told(about: dict[str, Any]) -> str:
    """Return the machine in words."""
    clock = f" at {about['mhz'] / 1000:.1f} GHz" if about["mhz"] else ""
    return (
        f"{about['cores']} cores{clock}, Linux {about['kernel']}, Python {about['python']}, "
        f"state on {about['state_on']}, load {about['load']} before"
    )
