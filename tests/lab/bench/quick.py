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

from tests.support.files.meter import Meter, Sample, bundle

BARE, ADD = "python3 -I -S -c pass", "ADD"
VERBS = ("VERSION", ADD, "CHECK", "STATUS", "DEL")
# What a person types, and how many starts of a bare interpreter each may take; completion is a press of Tab.
COMMANDS = {
    "--version": (["--version"], 3),
    "--help": (["--help"], 3),
    "completion": (["__complete", "--", "show", "--o"], 3),
    "status": (["status"], 8),
}
WARM_UP = 3
ADD_RATIO_LIMIT, PEAK_LIMIT_MB, SIZE_LIMIT_MB = 3, 25, 15


def measure(meter: Meter, rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Run everything `rounds` times, or as often as the time allows."""
    kinds: dict[str, Callable[[str], Sample]] = {
        BARE: lambda _: _bare(meter),
        "a no-op delegate": lambda _: meter.delegate(),
        "a durable write": lambda _: meter.durable_write(),
    }
    kinds |= {verb: partial(meter.cni, verb) for verb in VERBS}
    where = ["--root", str(meter.well())]
    for name, (words, _) in COMMANDS.items():
        command = [str(meter.program), *words, *(where if name == "status" else [])]
        kinds[name] = lambda _, command=command: meter.run(command)  # type: ignore[misc]
    return alternating(kinds, rounds, seconds)


def _bare(meter: Meter) -> Sample:
    # The interpreter that was frozen, by its own name: a version manager's shim costs more than it does.
    return meter.run([os.path.realpath(sys.executable), "-I", "-S", "-c", "pass"])


Build = Callable[[str, str], Sample]  # a verb and a container, to what the call has cost


def beside(meter: Meter, builds: dict[str, Build], rounds: int, seconds: float) -> dict[str, Any]:
    """Run the verbs of several programs in turn, and a bare interpreter; the figures of each, by verb and program.

    The first of `builds` is what the others are compared with.
    """
    kinds: dict[str, Callable[[str], Sample]] = {BARE: lambda _: _bare(meter)}
    kinds |= {f"{verb} {name}": partial(call, verb) for verb in VERBS for name, call in builds.items()}
    samples = alternating(kinds, rounds, seconds)
    bare = line(samples[BARE])
    return {
        "rounds": len(samples[BARE]),
        "builds": list(builds),
        BARE: bare,
        **{verb: {name: line(samples[f"{verb} {name}"]) for name in builds} for verb in VERBS},
    }


def beside_text(figures: dict[str, Any], directory: Path, load: float) -> str:
    """Return what `beside` has measured, for people: of each verb the time, and its parts of the bare interpreter's."""
    bare, first = figures[BARE], figures["builds"][0]
    lines = [f"{told(machine(directory, load))}; {figures['rounds']} rounds, two no-op delegates", ""]
    lines.append(
        f"{'milliseconds':24}{'best':>8}{'median':>8}{'CPU':>8}{'to bare':>9}{'of CPU':>8}{first + ' to it':>14}"
    )
    lines.append(f"{BARE:24}{bare['best_ms']:8.2f}{bare['median_ms']:8.2f}{bare['cpu_ms']:8.2f}")
    for verb in VERBS:
        mine = figures[verb][first]
        for name, run in figures[verb].items():
            times = f"{run['best_ms']:8.2f}{run['median_ms']:8.2f}{run['cpu_ms']:8.2f}"
            to_bare = f"{run['median_ms'] / bare['median_ms']:9.2f}{run['cpu_ms'] / bare['cpu_ms']:8.2f}"
            to_it = "" if name == first else f"{mine['median_ms'] / run['median_ms']:14.2f}"
            lines.append(f"{verb + ' ' + name:24}{times}{to_bare}{to_it}")
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


def report(meter: Meter, samples: dict[str, list[Sample]], load: float) -> dict[str, Any]:
    """Put all figures into one JSON object."""
    size, files = bundle(meter.program)
    lines = {kind: line(runs) for kind, runs in samples.items()}
    for figures in lines.values():
        figures["ratio"] = round(figures["median_ms"] / lines[BARE]["median_ms"], 2)
    return {
        "machine": machine(meter.root, load),
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
        *((f"{name}, times it", runs[name]["ratio"], limit) for name, (_, limit) in COMMANDS.items()),
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
