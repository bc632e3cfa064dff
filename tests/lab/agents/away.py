"""How long pods wait for Istio's agent, by the `timeoutSeconds` of its owner: python -m tests.lab.agents.away PROGRAM

The real istio-cni behind cni-chain asks a stand-in for the Kubernetes API that takes a token only as long as its
agent's pod is there. A kubelet's tries are played: a failed ADD is followed by a DEL and, 12 s later, by the next ADD
with a new container ID. Prints tables; --only names one. All of it takes some ten minutes, most of it asleep.
"""

import argparse
import dataclasses
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.agents.agent_pod import AgentPod, agent_pod, owners_with_limit
from tests.support.agents.node import MESH, PLAIN, AgentNode, MeshPod
from tests.support.agents.writers import ADVISED
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import Answer
from tests.support.stand_ins.orders import slow

LIMITS = (None, 5, 10, 15)
# Of a kubelet, between a failure and its next try: 10 s and up to half of that again, and what making a sandbox takes.
PAUSE_SECONDS = 12
# Pods are made so often, from the moment of the failure until it ends.
EVERY_SECONDS, AWAY_SECONDS = 4, 44
SLOW_SECONDS = (1, 2, 4, 6)
WITHOUT_RETRY = tuple(setting for setting in ADVISED if "retry" not in setting)
AT_ONCE = 4

Row = tuple[object, ...]


@contextmanager
def node_with(
    program: Path, limit: float | None, settings: Sequence[str] = ADVISED
) -> Iterator[tuple[AgentNode, AgentPod]]:
    """A node whose agents run, with that limit."""
    tools = sandbox_node.tools()
    assert tools, "make tools"
    with (
        Sandbox() as sandbox,
        AgentNode.running(sandbox, program, tools, "1.20") as node,
        agent_pod(node, *settings) as agent,
    ):
        node.lay_facade("1.0.0", **({} if limit is None else {"owners": owners_with_limit(node, limit)}))
        yield node, agent


def limit_text(limit: float | None) -> str:
    return "none" if limit is None else f"{limit} s"


def failing(program: Path, limit: float | None, settings: Sequence[str]) -> list[Row]:
    """One ADD while the token is revoked, for a pod of the mesh and one outside it."""
    with node_with(program, limit, settings) as (node, agent), ExitStack() as stack:
        pods = [stack.enter_context(node.mesh_pod(namespace)) for namespace in (MESH, PLAIN)]
        agent.goes()
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda pod: node.cni("add", pod), pods))
    retry = "yes" if settings == ADVISED else "no"
    return [
        (retry, limit_text(limit), where, f"{answer.ms / 1000:.1f}", answer.error["code"], f"`{answer.error['msg']}`")
        for where, answer in zip(("in the mesh", "outside"), answers, strict=True)
    ]


def tried(node: AgentNode, pod: MeshPod) -> tuple[float, int]:
    """Try as a kubelet does: when it was there, and how many tries that took."""
    tries = 0
    while True:
        tries += 1
        once = dataclasses.replace(pod, container=secrets.token_hex(32))
        if node.cni("add", once).status == 0:
            ready = time.monotonic()
            node.cni("del", once)
            return ready, tries
        node.cni("del", once)
        time.sleep(PAUSE_SECONDS)


def waiting(node: AgentNode, goes: Callable[[], None], comes_back: Callable[[], None]) -> list[float]:
    """Seconds from the end of a failure until each of the pods that were made meanwhile is ready; 0: before it."""
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=AWAY_SECONDS // EVERY_SECONDS + 1) as pool:
        goes()
        began, futures = time.monotonic(), []
        for number in range(AWAY_SECONDS // EVERY_SECONDS):
            pod = stack.enter_context(node.mesh_pod((MESH, PLAIN)[number % 2]))
            futures.append(pool.submit(tried, node, pod))
            time.sleep(max(0.0, began + (number + 1) * EVERY_SECONDS - time.monotonic()))
        comes_back()
        back = time.monotonic()
        return [max(0.0, future.result()[0] - back) for future in futures]


def spread(seconds: Sequence[float]) -> Row:
    return tuple(f"{value:.0f}" for value in (min(seconds), statistics.median(seconds), max(seconds)))


def agent_away(program: Path, limit: float | None, settings: Sequence[str]) -> list[Row]:
    with node_with(program, limit, settings) as (node, agent):
        retry = "yes" if settings == ADVISED else "no"
        return [(retry, limit_text(limit), *spread(waiting(node, agent.goes, agent.comes_back)))]


def api_away(program: Path, limit: float | None) -> list[Row]:
    """The token counts, but nobody answers at the API's address."""
    with node_with(program, limit) as (node, _):
        api = node.kubernetes
        return [(limit_text(limit), *spread(waiting(node, api.stop, api.start)))]


def api_slow(program: Path, limit: float | None) -> list[Row]:
    """Every answer of the API takes so long."""
    with node_with(program, limit) as (node, _), ExitStack() as stack:
        row: list[str] = []
        for seconds in SLOW_SECONDS:
            node.kubernetes.order(slow(seconds))
            pods = [stack.enter_context(node.mesh_pod(namespace)) for namespace in (MESH, PLAIN)]
            with ThreadPoolExecutor() as pool:
                answers = list(pool.map(lambda pod: node.cni("add", pod), pods))
            row += [told(answer) for answer in answers]
    return [(limit_text(limit), *row)]


def told(answer: Answer) -> str:
    ended = "" if answer.status == 0 else f", **{answer.error['code']}**"
    return f"{answer.ms / 1000:.1f}{ended}"


TABLES: dict[str, tuple[tuple[str, ...], Callable[..., list[Row]], list[tuple[object, ...]]]] = {
    "failing": (
        ("retry", "timeoutSeconds", "pod", "seconds", "code", "msg"),
        failing,
        [(limit, settings) for settings in (ADVISED, WITHOUT_RETRY) for limit in LIMITS],
    ),
    "agent-away": (
        ("retry", "timeoutSeconds", "ready after: soonest", "median", "last"),
        agent_away,
        [*((limit, ADVISED) for limit in LIMITS), (None, WITHOUT_RETRY)],
    ),
    "api-away": (("timeoutSeconds", "ready after: soonest", "median", "last"), api_away, [(one,) for one in LIMITS]),
    "api-slow": (
        ("timeoutSeconds", *(f"{s} s: {where}" for s in SLOW_SECONDS for where in ("in the mesh", "outside"))),
        api_slow,
        [(one,) for one in LIMITS],
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.agents.away", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("--only", choices=TABLES, action="append", help="(repeatable)")
    options = parser.parse_args()
    for name in options.only or TABLES:
        heads, measure, cases = TABLES[name]
        print(f"\n{name}\n\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|", flush=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for rows in pool.map(lambda case, measure=measure: measure(options.program, *case), cases):
                for row in rows:
                    print(f"| {' | '.join(map(str, row))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
