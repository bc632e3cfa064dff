"""cni-chain at work, for a reader who has never seen it:  python -m tests.lab.demo PROGRAM

A private node; a facade that nobody edits; two agents that never stop rewriting their own directories; pods
that come and go meanwhile. Whatever it prints was observed, and it fails if anything is not as it says.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.demo.agents import AGENTS, REWRITE_SECONDS, agents, generations
from tests.lab.demo.watch import Watch
from tests.support.sandbox import node as lay
from tests.support.sandbox.inventory import inventory, left
from tests.support.sandbox.namespaces import Sandbox, SandboxUnavailableError
from tests.support.sandbox.node import CHAIN, FACADE, LOG, NET, NODE4, SOMAXCONN, USUAL, Answer, Json, Node, Pod

DIRECTORIES = (NET, CHAIN, *(f"{CHAIN}/{owner}.d" for owner in ("cilium", "istio", "local")))
MBIT = 20
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class NotAsClaimedError(Exception):
    pass


def claim(true: object, what: str) -> None:
    if not true:
        raise NotAsClaimedError(what)


def heading(title: str, rest: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if COLOUR else ("", "")
    print(f"\n{bold}{title:<13}{plain}{rest}")


def row(*cells: tuple[str, int]) -> None:
    """Cells to the left; to the right where the width is negative."""
    padded = (text.ljust(width) if width > 0 else text.rjust(-width) for text, width in cells)
    print("  " + "  ".join(padded).rstrip())


def show_chain() -> None:
    heading("The chain", f'{NET}/{FACADE}, network "cilium"')
    writers = {"local": "the administrator, once"}
    for number, (owner, plugin, file, _) in enumerate(USUAL, 1):
        writer = writers.get(owner, f"{owner}'s agent, every {REWRITE_SECONDS * 1000:.0f} ms")
        row((str(number), 1), (owner, 6), (plugin, 9), (f"{CHAIN}/{file}", 44), (writer, 24))


class Pods:
    """The pods of the demonstration, and how long cnitool took for each (pod, verb)."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.took: dict[tuple[str, str], float] = {}
        heading("The pods", "cnitool add, a request from another host, cnitool check; at the end cnitool del")
        heads = (("pod", 5), ("interface", 9), ("address", 10), ("sysctl", 14), ("bandwidth", 9))
        row(*heads, ("through its hostPort", 40))
        with contextlib.ExitStack() as namespaces:
            pods = [namespaces.enter_context(self._pod(number)) for number in (1, 2, 3)]
            for pod in pods:
                self._run(pod)
            claim(len(node.leases()) == len(pods), f"leases: {node.leases()}")
            for pod in reversed(pods):
                self._cnitool("del", pod)
        self.names = [pod.name for pod in pods]

    def _pod(self, number: int) -> contextlib.AbstractContextManager[Pod]:
        port = {"hostPort": 18080 + number, "containerPort": 8080, "protocol": "tcp"}
        rate, burst = MBIT * 10**6, 10**7
        limits = {"ingressRate": rate, "ingressBurst": burst, "egressRate": rate, "egressBurst": burst}
        return self.node.pod(f"web-{number}", portMappings=[port], bandwidth=limits)

    def _cnitool(self, verb: str, pod: Pod) -> Answer:
        answer = self.node.cnitool(verb, pod)
        claim(answer.status == 0, f"cnitool {verb} {pod.name}: {answer.err or answer.out}")
        self.took[pod.name, verb.upper()] = answer.ms
        return answer

    def _run(self, pod: Pod) -> None:
        """ADD, a look at what the pod got, CHECK: one row of the table."""
        result = self._cnitool("add", pod).result
        [address] = lay.addresses(result)
        [interface] = [i["name"] for i in result["interfaces"] if i.get("sandbox")]
        shown = json.loads(self.node.inside(pod.name, "ip", "-json", "addr", "show", interface))
        claim(address in [a["local"] for a in shown[0]["addr_info"]], f"{pod.name} has {shown}, not {address}")
        somaxconn = self.node.inside(pod.name, "cat", "/proc/sys/net/core/somaxconn").strip()
        claim(somaxconn == SOMAXCONN, f"{pod.name}: somaxconn is {somaxconn}")
        limits = rates(self.node)
        claim(limits == {MBIT * 1_000_000}, f"{pod.name}: bandwidth is {limits}")
        url = f"http://{NODE4}:{pod.capabilities['portMappings'][0]['hostPort']}/"
        with self.node.serving(pod):
            answer = self.node.http(url, "outside")
        claim(answer.get("body") == pod.name, f"{pod.name}: {url} answers {answer}")
        self._cnitool("check", pod)
        got = f'{url} → {answer["status"]} "{answer["body"]}"'
        sysctl, bandwidth = f"somaxconn {somaxconn}", f"{MBIT} Mbit/s"
        cells = ((pod.name, 5), (interface, 9), (address, 10), (sysctl, 14), (bandwidth, 9))
        row(*cells, (got, 40))


def rates(node: Node) -> set[int]:
    """What the node's token buckets let through, in bits per second."""
    listed = json.loads(node.sandbox.run("tc", "-json", "qdisc").stdout)
    return {q["options"]["rate"] * 8 for q in listed if q["kind"] == "tbf"}


def show_times(log: Sequence[Json], pods: Pods) -> None:
    heading("The time", f"in milliseconds: delegates from {LOG}, all of cnitool by the clock;")
    print(" " * 12, "the rest is cnitool's and cni-chain's own, their start and a first VERSION included")
    plugins = [plugin for _, plugin, *_ in USUAL]
    heads = [f"{owner}/{plugin}" for owner, plugin, *_ in USUAL]
    row(("pod", 5), ("verb", 5), *((head, -len(head)) for head in heads), ("the rest", -8), ("all", -5))
    for pod in pods.names:
        lines = {line["verb"]: lay.calls(line) for line in log if line["pod"] == f"default/{pod}"}
        claim(list(lines) == ["ADD", "CHECK", "DEL"], f"the log has {list(lines)} for {pod}")
        for verb, calls in lines.items():
            took = {call["type"]: call["ms"] for call in calls}
            order = plugins[::-1] if verb == "DEL" else plugins
            claim(list(took) == order, f"{verb} of {pod} ran {list(took)}")
            cells = [(f"{took[plugin]:.0f}", -len(head)) for plugin, head in zip(plugins, heads, strict=True)]
            whole = pods.took[pod, verb]
            row((pod, 5), (verb, 5), *cells, (f"{whole - sum(took.values()):.0f}", -8), (f"{whole:.0f}", -5))


def show_writers(watch: Watch, processes: Mapping[int, str], written: Mapping[str, int]) -> None:
    heading("The writers", "each change in these directories, with its process, from the kernel (fanotify)")
    for directory in DIRECTORIES:
        owner = Path(directory).name.removesuffix(".d")
        writers = {processes.get(pid, f"process {pid}") for pid in watch.writers(directory)}
        what = "no change"
        if owner in AGENTS:
            claim(writers == {owner}, f"{directory} was changed by {sorted(writers) or 'nobody'}")
            claim(written[owner] > 10, f"{owner}'s agent has written {written[owner]} times only")
            what = f"{owner}'s agent replaced its file {written[owner]} times, and nobody else wrote"
        else:
            claim(not writers, f"{directory} was changed by {sorted(writers)}")
        row((directory, 25), (what, 66))


def fingerprint(file: Path) -> tuple[int, int, str]:
    stat = file.stat()
    return stat.st_ino, stat.st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()


def demonstrate(sandbox: Sandbox, program: Path, tools: Path) -> None:
    node = Node(sandbox, program, tools)
    node.warm_up()
    node.usual_chain()
    for owner, _, file, _ in USUAL:
        if owner in AGENTS:  # their directories are there; their files they write themselves
            node.remove(file)
    before = inventory(sandbox)
    facade = sandbox.path(f"{NET}/{FACADE}")
    untouched = fingerprint(facade)
    show_chain()
    watched = {directory: sandbox.path(directory) for directory in DIRECTORIES}
    with Watch(watched) as watch, agents(node) as processes:
        pods = Pods(node)
    show_times(node.log(), pods)
    show_writers(watch, processes, generations(node))
    claim(fingerprint(facade) == untouched, "the facade was changed")
    row(("the facade", 25), (f"same inode, time and bytes as at the start, sha256 {untouched[2][:12]}…", 66))
    there = left(sandbox, before)
    claim(not there, "left behind: " + "; ".join(there))
    heading("Left behind", "no namespace, interface, rule, lease, record, temporary file, process or mount")


def main(program: str) -> int:
    start = time.monotonic()
    tools = lay.tools()
    if tools is None:
        print("cnitool and the reference plugins are not built: make tools", file=sys.stderr)
        return 1
    print("cni-chain: every agent owns a directory, and nobody edits the conflist.")
    print("On a node made of namespaces (this machine is not touched), two agents never stop rewriting")
    print("their configuration while pods come and go. Reference plugins stand in for the agents' own:")
    print("bridge with host-local for cilium-cni, tuning for istio-cni.")
    try:
        with Sandbox() as sandbox:
            demonstrate(sandbox, Path(program), tools)
    except (NotAsClaimedError, SandboxUnavailableError, OSError) as e:
        print(f"\nNot as it should be: {e}", file=sys.stderr)
        return 1
    print(f"\nAll of this was observed, in {time.monotonic() - start:.1f} s.")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.lab.demo PROGRAM")
    sys.exit(main(sys.argv[1]))
