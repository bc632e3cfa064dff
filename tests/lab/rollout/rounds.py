"""A node from nothing, with pods waiting for it, many times: `python -m tests.lab.rollout.rounds PROGRAM`.

The cluster has Helm's releases alone: Cilium's, Istio's, and cni-chain's or none. Then a node joins that has no network
and no taint; the agents' pods start on it in an order that is drawn anew in each round; 200 pods of the mesh have been
pending for it. Once all run, those are counted whose ADD Istio's agent has not answered. The node is thrown away.

In the classic layout both agents use the runtime's directory, as their own guides say; in the other cni-chain stands
there, and each has a directory of its own. Root; `make rounds` has built what it needs.
"""

import argparse
import contextlib
import fcntl
import json
import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab.cluster.machine import Machine, compare
from tests.lab.cluster.report import kernel
from tests.lab.rollout.agents import cilium, istio
from tests.lab.rollout.lab import CONTAINERD, NAME, Lab
from tests.support.helm import Json
from tests.support.pages import Part
from tests.support.runtimes.cri import PAUSE
from tests.support.sandbox.namespaces import CHECKOUT

PART = Part("evidence/rollout.md", "rounds")
OUT = CHECKOUT / "out/rounds"
CLASSIC, CHAIN = "classic", "cni-chain"
MESH, NUMBER, PODS, PATIENCE = "mesh", 9, 200, 600.0
# An agent's pod starts on a node when the node has its label: so the order is ours.
STARTS = {"cilium": "starts-cilium", "istio": "starts-istio", NAME: "starts-cni-chain"}
HEAD = (
    *("layout", "rounds", "pods that ran", "**without Istio's answer**", "rounds with such"),
    *("Ready, s", "all run, s", "ADDs refused and tried again"),
)
LONGEST = 6.0  # seconds from the node's joining to the start of an agent's pod


class Round(NamedTuple):
    """What was seen of a node."""

    layout: str
    number: int
    order: list[str]  # the agents with the seconds after which each was let start
    pods: int
    ran: int
    outside: int  # of those that ran, without Istio's answer
    ready: float  # seconds from the node's joining until it was Ready
    all_ran: float  # the same until the last pod ran
    refused: int  # ADDs that cni-chain refused meanwhile, and that the kubelet tried again


def selected(agent: str) -> Sequence[str]:
    """The words for Helm that let an agent's pod start only where the label is."""
    if agent != "istio":
        return "--set", f"nodeSelector.{STARTS[agent]}=yes"
    wanted = {"matchExpressions": [{"key": STARTS[agent], "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [wanted]}}
    return "--set-json", f"affinity={json.dumps({'nodeAffinity': required})}"


def install_classic(lab: Lab) -> None:
    """One directory, one list: Cilium writes it, Istio's plugin is put into it."""
    cilium.STAND_IN.install(lab, *cilium.SHARED, *selected("cilium"))
    istio.RELEASE.install(lab, *selected("istio"))


def install_chain(lab: Lab) -> None:
    """cni-chain, and each agent in its owner's directory: Helm's values alone."""
    lab.install("preset=cilium+istio-ambient", "state=on", f"nodeSelector.{STARTS[NAME]}=yes")
    cilium.STAND_IN.install_moved(lab, *selected("cilium"))
    istio.RELEASE.install_moved(lab, *selected("istio"))


LAYOUTS: dict[str, Callable[[Lab], None]] = {CLASSIC: install_classic, CHAIN: install_chain}


def one_round(lab: Lab, layout: str, number: int, pods: int) -> Round:
    """A node from nothing until its pods run; then it is gone."""
    name = f"node{NUMBER}"
    lab.apply(waiting(pods, name))
    running(lab, pods, lambda phases: phases.count("Pending") == pods, 120)
    order = delays(layout, number)
    node = lab.join(name, CONTAINERD, network=False, options=("--max-pods=250",))
    start = time.monotonic()
    ready = 0.0
    try:
        for agent, delay in order:
            time.sleep(max(0.0, start + delay - time.monotonic()))
            lab.kubectl("label", f"node/{name}", f"{STARTS[agent]}=yes")
        with contextlib.suppress(AssertionError):
            lab.ready(name, seconds=PATIENCE)
            ready = time.monotonic() - start
            running(lab, pods, lambda phases: phases.count("Running") == pods, PATIENCE)
        took = time.monotonic() - start
        ran = [phase for phase in phases_of(lab) if phase == "Running"]
        outside = istio.outside(lab)
        refused = sum(times for call, times in node.calls().items() if call.startswith("ADD ") and call != "ADD ok")
        words = [f"{agent} {delay}" for agent, delay in order]
        return Round(layout, number, words, pods, len(ran), len(outside), ready, took, refused)
    finally:
        node.save_logs(OUT / layout)
        lab.kubectl("delete", f"replicaset/{MESH}", f"--namespace={MESH}", "--cascade=orphan")  # nobody makes them anew
        lab.leave(name)
        running(lab, pods, lambda phases: not phases, 120)


def delays(layout: str, number: int) -> list[tuple[str, float]]:
    """When a round lets each agent's pod start, in seconds from the node's joining; the first one first."""
    draw = random.Random(number)  # noqa: S311  # an order, no secret
    drawn = [(agent, round(draw.uniform(0, LONGEST), 1)) for agent in STARTS if layout == CHAIN or agent != NAME]
    return sorted(drawn, key=lambda one: one[1])


def phases_of(lab: Lab) -> list[str]:
    """Of each pod of the mesh, in one call that is cheap for the API server."""
    words = ("get", "pods", f"--namespace={MESH}", "--output=jsonpath={.items[*].status.phase}")
    return lab.kubectl(*words).split()


def running(lab: Lab, pods: int, so: Callable[[list[str]], bool], seconds: float) -> None:
    """Wait for the pods' phases to be so."""
    end = time.monotonic() + seconds
    while not so(found := phases_of(lab)):
        assert time.monotonic() < end, f"{len(found)} of {pods} pods: { {one: found.count(one) for one in found} }"
        time.sleep(1)


def waiting(pods: int, node: str) -> Json:
    """Pods that can run on that node alone."""
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "containers": [{"name": "one", "image": PAUSE, "command": ["/pause"], "imagePullPolicy": "Never"}],
    }
    template = {"metadata": {"labels": {"app": MESH}}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": MESH, "namespace": MESH},
        "spec": {"replicas": pods, "selector": {"matchLabels": {"app": MESH}}, "template": template},
    }


def rounds(program: Path, layout: str, numbers: range, pods: int, lock: Path) -> Iterator[Round]:
    """A cluster with the releases, and one node after the other."""
    with Lab.started(program, kinds=()) as lab:
        for release in (cilium.STAND_IN, istio.RELEASE):
            release.load(lab)
        LAYOUTS[layout](lab)
        istio.mesh(lab, MESH)
        for number in numbers:
            with lock.open("a") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                seen = one_round(lab, layout, number, pods)
            yield seen


def load(file: Path) -> list[Round]:
    """What earlier runs have seen."""
    return [Round(*json.loads(line).values()) for line in file.read_text().splitlines()] if file.exists() else []


def report(seen: Sequence[Round]) -> str:
    """A row for each layout, and one for each round in which a pod ran outside."""
    lines = [f"{os.cpu_count()} cores, Linux {kernel()}; a load of {os.getloadavg()[2]:.0f}.", ""]
    lines += ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for layout in LAYOUTS:
        of_layout = [one for one in seen if one.layout == layout]
        if of_layout:
            lines.append("| " + " | ".join([layout, *map(str, totals(of_layout))]) + " |")
    lines += ["", "| layout | round | order, s after the node joined | outside | of |", "|---" * 5 + "|"]
    for one in seen:
        lines.append(f"| {one.layout} | {one.number} | {', '.join(one.order)} | {one.outside} | {one.ran} |")
    return "\n".join(lines) + "\n"


def totals(seen: Sequence[Round]) -> tuple[object, ...]:
    """The cells of a layout's row."""
    ran, wanted = sum(one.ran for one in seen), sum(one.pods for one in seen)
    ready, took = ([getattr(one, key) for one in seen] for key in ("ready", "all_ran"))
    spans = [f"{statistics.median(times):.0f} ({max(times):.0f} at most)" for times in (ready, took)]
    outside = [one.outside for one in seen]
    refused = sum(one.refused for one in seen)
    cells = (len(seen), f"{ran} of {wanted}", f"**{sum(outside)}**", sum(map(bool, outside)))
    return (*cells, *spans, refused)


def main() -> int:
    """Run rounds, each added to what earlier runs of the program have seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.rollout.rounds", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("--layout", action="append", choices=list(LAYOUTS), help="only this one")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pods", type=int, default=PODS)
    parser.add_argument("--seen", type=Path, default=OUT / "seen.jsonl", help="what earlier runs have seen, added to")
    parser.add_argument("--lock", type=Path, default=OUT / "lock", help="held while there is a node, for others' sake")
    parser.add_argument("--write", action="store_true", help="put what was seen into docs/ as well")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    OUT.mkdir(parents=True, exist_ok=True)
    before = Machine.look()
    for layout in options.layout or LAYOUTS:
        first = 1 + sum(one.layout == layout for one in load(options.seen))
        numbers = range(first, first + options.rounds)
        for one in rounds(options.program, layout, numbers, options.pods, options.lock):
            with options.seen.open("a") as file:
                file.write(json.dumps(one._asdict()) + "\n")
            print(f"{layout} {one.number}: {one.outside} of {one.ran} outside, {one.all_ran:.0f} s", flush=True)
    changed = [line for line in compare(before) if not line.startswith("BPF ")]
    print("\n".join(["This machine is NOT as it was:", *changed] if changed else ["This machine is as it was."]))
    seen = load(options.seen)
    text = report(seen)
    print(f"\n{text}")
    if options.write and not changed:
        PART.write(text)
    return int(bool(changed) or any(one.outside or one.ran < one.pods for one in seen if one.layout == CHAIN))


if __name__ == "__main__":
    sys.exit(main())
