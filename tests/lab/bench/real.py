"""The reference plugins, in a sandbox: what a call of cni-chain is beside the work that delegates really do."""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.lab.bench.quick import alternating
from tests.lab.bench.rivals import CHAIN, MULTUS, PLAIN, WORDS
from tests.support.files.double import Json
from tests.support.files.meter import CallFailedError, Meter, Sample
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import BANDWIDTH, BIN, BRIDGE, CNIDRV, NET, PORTMAP, Pod, whole_list

VERBS = ("ADD", "CHECK", "DEL")
CLOCK = "/opt/cni/clock"
CAPABILITIES: Json = {"portMappings": True, "bandwidth": True}
OWNERS: list[Json] = [{"name": name} for name in ("primary", "ports", "shaping")]
PLUGINS: list[Json] = [BRIDGE, PORTMAP, BANDWIDTH]
ASKED: Json = {
    "portMappings": [{"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}],
    "bandwidth": {"ingressRate": 10_000_000, "ingressBurst": 1_000_000},
}


@contextlib.contextmanager
def laid(program: Path, other: Path | None) -> Iterator[tuple[sandbox_node.Node, dict[str, str]]]:
    """A sandbox with a conflist for each of those compared."""
    tools = sandbox_node.tools()
    if tools is None:
        raise CallFailedError("the reference plugins are not built: make tools")
    (CHECKOUT / "out").mkdir(exist_ok=True)
    # All that the sandbox has under /var is memory, and records never are.
    with Sandbox() as sandbox, tempfile.TemporaryDirectory(prefix="bench.", dir=CHECKOUT / "out") as disk:
        node = sandbox_node.Node(sandbox, program, tools)
        node.warm_up()
        yield node, conflists(node, other, disk)


def storm(program: Path, other: Path | None, pods: int, callers: int, storms: int) -> dict[str, dict[str, list[float]]]:
    """Return the milliseconds that all pods' ADDs, then their DELs, took, so many at once: verb -> name -> storms."""
    took: dict[str, dict[str, list[float]]] = {"ADD": {}, "DEL": {}}
    with laid(program, other) as (node, names):
        known = [_of_storm(number) for number in range(pods)]
        node.sandbox.run("ip", "-batch", "-", stdin="".join(f"netns add {pod.name}\n" for pod in known))
        for _ in range(storms):
            for name, file in names.items():
                for verb, times in took.items():
                    arguments = [word for pod in known for word in (*pod.options(), WORDS[verb])]
                    command = ["xargs", "-0", "-P", str(callers), "-n", str(len(arguments) // pods)]
                    command += [*CNIDRV, f"-conf={file}", "-ifname=eth0"]
                    start = time.perf_counter()
                    node.sandbox.run(*command, env={"CNI_PATH": BIN}, stdin="\0".join(arguments), timeout=600)
                    times.setdefault(name, []).append((time.perf_counter() - start) * 1e3)
    return took


def _of_storm(number: int) -> Pod:
    ports = [{"hostPort": 20000 + number, "containerPort": 8080, "protocol": "tcp"}]
    return Pod(f"storm-{number}", capabilities={**ASKED, "portMappings": ports})


def measure(program: Path, other: Path | None, rounds: int, seconds: float) -> dict[str, list[Sample]]:
    """Return the samples of `verb/name`, libcni included in each."""
    with laid(program, other) as (node, names):
        with Meter(program) as here:
            shutil.copy(here.compile("clock"), node.sandbox.path(CLOCK))
        with node.pod("bench", **ASKED) as pod:
            # All of a conflist's verbs before the next one's: they have one port of the node and one interface.
            kinds: dict[str, Callable[[str], Sample]] = {
                f"{verb}/{name}": partial(timed, node, pod, verb, file)
                for name, file in names.items()
                for verb in VERBS
            }
            return alternating(kinds, rounds, seconds)


def conflists(node: sandbox_node.Node, other: Path | None, disk: str) -> dict[str, str]:
    """Lay a conflist for each of those compared, all of the same plugins."""
    whole = whole_list(*PLUGINS, name="bench", version="1.0.0")
    for owner, plugin in zip(OWNERS, PLUGINS, strict=True):
        node.fragment(f"{owner['name']}.d/10.conf", {"cniVersion": "1.0.0", **plugin})
    chain = {
        "type": CHAIN,
        "capabilities": CAPABILITIES,
        "owners": OWNERS,
        "stateDir": f"{disk}/state",
        "logFile": f"{disk}/log",
    }
    lists = {PLAIN: whole, CHAIN: {**whole, "plugins": [chain]}}
    if other:
        shutil.copy(other, node.sandbox.path(f"{BIN}/{MULTUS}"))
        called = {"type": MULTUS, "capabilities": CAPABILITIES, "binDir": BIN, "cniDir": f"{disk}/multus"}
        lists[MULTUS] = {**whole, "plugins": [{**called, "logToStderr": False, "delegates": [whole]}]}
    files = {}
    for name, conf in lists.items():
        files[name] = f"{NET}/{conf['plugins'][0]['type']}.conflist"
        node.sandbox.path(files[name]).write_text(json.dumps(conf))
    return files


def timed(node: sandbox_node.Node, pod: Pod, verb: str, file: str, number: str) -> Sample:
    """Time a call in the sandbox; entering it is not counted."""
    del number
    command = [*CNIDRV, f"-conf={file}", "-ifname=eth0", *pod.options(), WORDS[verb]]
    done = node.sandbox.run(CLOCK, "/dev/null", "/run/answer", *command, env={"CNI_PATH": BIN})
    nanoseconds, busy, peak, status = map(int, done.stdout.split())
    answer = node.sandbox.path("/run/answer").read_text()
    if status != 0 or (verb == "ADD" and not json.loads(answer).get("ips")):
        raise CallFailedError(f"{file}: {verb}: wait status {status}\n{answer}{done.stderr}")
    return Sample(nanoseconds / 1e6, peak, busy / 1e6)
