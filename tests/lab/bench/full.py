"""The whole comparison, in sections that can be run one by one; each returns plain values for JSON."""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab.bench import real
from tests.lab.bench.quick import VERBS, alternating, line, machine
from tests.lab.bench.rivals import CHAIN, LIBCNI, MULTUS, PLAIN, Rivals, multus, network_namespace
from tests.lab.runtimes import bench as runtimes
from tests.support.files.double import Json
from tests.support.files.meter import Meter, Sample, bundle
from tests.support.sandbox.namespaces import CHECKOUT

DELEGATES = (1, 2, 4, 8)
PODS, CALLERS, STORMS = 250, 32, 3
RECORDS = (1, 100, 1000, 5000)
FILES = (1, 10, 50)
REAL_STORMS = 1
PODS_OF_EACH = 20
SECTIONS = ("verbs", "storm", "resources", "scale", "real", "pods", "profile")

Kinds = dict[str, Callable[[str], Sample]]


def measure(program: Path, sections: Sequence[str], rounds: int, seconds: float) -> Json:
    """Measure the sections, each for about `seconds` at most."""
    other = multus()
    figures: Json = {"multus": other is not None}
    with network_namespace() as netns:
        with Meter(program, 2, netns) as meter:
            figures["machine"] = machine(meter.root, os.getloadavg()[0])
        for section in sections:
            load = os.getloadavg()[0]
            figures[section] = MEASURED[section](program, other, netns, rounds, seconds)
            figures[section]["load"] = round(load, 2)
    return figures


def verbs(program: Path, other: Path | None, netns: str, rounds: int, seconds: float) -> Json:
    """Time each verb with 1, 2, 4, 8 delegates, one caller."""
    found: Json = {}
    for number in DELEGATES:
        with Meter(program, number, netns) as meter:
            rivals = Rivals(meter, other)
            kinds: Kinds = {}
            for verb in VERBS:
                for name in rivals.programs:
                    kinds[f"{verb}/{name}"] = partial(rivals.direct, name, verb)
                for name in rivals.conflists:
                    through = name if name == PLAIN else name + LIBCNI
                    kinds[f"{verb}/{through}"] = partial(rivals.by_libcni, name, verb)
            samples = alternating(kinds, rounds, seconds / len(DELEGATES))
        found[str(number)] = tabulated(samples)
    return {"delegates": found}


def tabulated(samples: dict[str, list[Sample]]) -> Json:
    """Return the lines of `verb/name` kinds as verb -> name -> line."""
    found: Json = {}
    for kind, runs in samples.items():
        verb, _, name = kind.partition("/")
        found.setdefault(verb, {})[name] = {**line(runs), "rounds": len(runs)}
    return found


def storm(program: Path, other: Path | None, netns: str, rounds: int, seconds: float) -> Json:
    """Time 250 pods' ADDs, then their DELs, 32 at once: with no-op delegates, then with real plugins."""
    del rounds, seconds
    took: dict[str, dict[str, list[float]]] = {"ADD": {}, "DEL": {}}
    with Meter(program, 2, netns) as meter:
        rivals = Rivals(meter, other)
        for name in rivals.conflists:
            for verb in ("ADD", "DEL"):
                rivals.by_libcni(name, verb, "warm-up")
        for number in range(STORMS):
            for name in rivals.conflists:
                for verb in ("ADD", "DEL"):
                    commands = [rivals.command(name, verb, f"pod-{number}-{pod}") for pod in range(PODS)]
                    took[verb].setdefault(name, []).append(at_once(commands, rivals.environ()) / PODS)
    real_ones = {
        verb: {name: [milliseconds / PODS for milliseconds in times] for name, times in of.items()}
        for verb, of in real.storm(program, other, PODS, CALLERS, REAL_STORMS).items()
    }
    return {"pods": PODS, "callers": CALLERS, "per_pod": per_pod(took), "per_pod_real": per_pod(real_ones)}


def per_pod(took: dict[str, dict[str, list[float]]]) -> Json:
    """Return the lines of verb -> name -> milliseconds a pod."""
    return {
        verb: {
            name: {"median_ms": round(statistics.median(times), 2), "best_ms": round(min(times), 2)}
            for name, times in of.items()
        }
        for verb, of in took.items()
    }


def at_once(commands: list[list[str]], environ: dict[str, str]) -> float:
    """Run all commands, 32 at a time, and return the milliseconds until the last has ended."""
    nothing = os.open(os.devnull, os.O_RDWR)
    streams = [(os.POSIX_SPAWN_DUP2, nothing, descriptor) for descriptor in (0, 1)]
    waiting = list(reversed(commands))
    running: set[int] = set()
    start = time.perf_counter()
    while waiting or running:
        if waiting and len(running) < CALLERS:
            command = waiting.pop()
            running.add(os.posix_spawn(command[0], command, environ, file_actions=streams))
            continue
        pid, status = os.wait()
        running.discard(pid)
        if status:
            raise SystemExit(f"one of {len(commands)} calls failed: wait status {status}")
    elapsed = time.perf_counter() - start
    os.close(nothing)
    return elapsed * 1e3


def resources(program: Path, other: Path | None, netns: str, rounds: int, seconds: float) -> Json:
    """Count what each verb does, and what lies on the disk."""
    del rounds, seconds
    found: Json = {}
    with Meter(program, 2, netns) as meter:
        rivals = Rivals(meter, other)
        for name in rivals.programs:
            for verb in ("ADD", "DEL"):
                rivals.direct(name, verb, "warm-up")
        for verb in VERBS:
            for name, plugin in rivals.programs.items():
                count = meter.counted(verb, f"pod-{name}", plugin, rivals.requests[name])
                peak = max(rivals.direct(name, verb, f"pod-{turn}").peak_kib for turn in range(3))
                found.setdefault(verb, {})[name] = {**count._asdict(), "peak_mb": round(peak / 1024, 1)}
    size, files = bundle(program)
    disk = {CHAIN: {"mb": round(size / 1e6, 1), "files": files}}
    if other:
        disk[MULTUS] = {"mb": round(other.stat().st_size / 1e6, 1), "files": 1}
    return {"verbs": found, "disk": disk}


def scale(program: Path, other: Path | None, netns: str, rounds: int, seconds: float) -> Json:
    """Time calls among many records, and with many files in an owner's directory that bring no delegate."""
    del other
    found: Json = {}
    for what, sizes, fill in (("records", RECORDS, fill_records), ("files", FILES, fill_files)):
        meters = {size: Meter(program, 2, netns) for size in sizes}
        try:
            kinds: Kinds = {}
            for size, meter in meters.items():
                fill(meter, size)
            for verb in ("STATUS", "ADD", "CHECK", "DEL"):
                for size, meter in meters.items():
                    kinds[f"{verb}/{size}"] = partial(meter.cni, verb)
            found[what] = tabulated(alternating(kinds, rounds, seconds / 2))
        finally:
            for meter in meters.values():
                meter.close()
    return found


def fill_records(meter: Meter, number: int) -> None:
    """Give the node so many records, of one pod that it has and of others that are made after it."""
    meter.cni("ADD", "first-pod")
    state = meter.node.state_dir
    name = f"{meter.request['name']}:first-pod:eth0"
    text = (state / name).read_text()
    for other in range(1, number):
        copy = state / name.replace("first-pod", f"pod{other:05}")
        copy.write_text(text.replace("first-pod", f"pod{other:05}"))
        copy.chmod(0o600)


def fill_files(meter: Meter, number: int) -> None:
    """Give each owner so many files, of which all but the first have a delegate that is there already."""
    for owner, plugin in enumerate(meter.types, start=1):
        for file in range(1, number):
            meter.fragment(f"owner{owner}", f"{file + 10}.conf", plugin)


def real_plugins(program: Path, other: Path | None, netns: str, rounds: int, seconds: float) -> Json:
    """Time bridge, portmap and bandwidth in a sandbox."""
    del netns
    return {"verbs": tabulated(real.measure(program, other, rounds, seconds))}


def pods(program: Path, other: Path | None, netns: str, rounds: int, seconds: float) -> Json:
    """Time RunPodSandbox of each runtime, with the plugins in a plain conflist and behind cni-chain."""
    del other, netns, rounds, seconds
    return {"runtimes": runtimes.compare(program, PODS_OF_EACH)}


def profile(program: Path, other: Path | None, netns: str, rounds: int, seconds: float) -> Json:
    """Time the stages of an ADD and a DEL, of the source in the interpreter that was frozen."""
    del other
    found: Json = {}
    python = os.path.realpath(sys.executable)
    with Meter(program, 2, netns) as meter:
        meter.cni("ADD", "warm-up")
        for verb in ("ADD", "DEL"):
            file = meter.root / f"stages-{verb}"
            end = time.monotonic() + seconds / 2
            for number in range(rounds):
                if verb == "DEL":
                    meter.cni("ADD", f"pod-{number}")
                command = [python, "-I", "-S", str(Path(__file__).with_name("stages.py")), str(CHECKOUT), str(file)]
                meter.run(command, *meter.asked(verb, f"pod-{number}"))
                meter.require_answer(verb, CHAIN)
                if time.monotonic() > end:
                    break
            runs: dict[str, list[float]] = {}
            for text in file.read_text().splitlines():
                for stage in text.split("\t"):
                    name, _, took = stage.rpartition("=")
                    runs.setdefault(name, []).append(float(took))
            found[verb] = {
                name: {"median_ms": round(statistics.median(took), 3), "best_ms": round(min(took), 3)}
                for name, took in runs.items()
            }
    return {"verbs": found}


MEASURED: dict[str, Callable[[Path, Path | None, str, int, float], dict[str, Any]]] = {
    "verbs": verbs,
    "storm": storm,
    "resources": resources,
    "scale": scale,
    "real": real_plugins,
    "pods": pods,
    "profile": profile,
}
