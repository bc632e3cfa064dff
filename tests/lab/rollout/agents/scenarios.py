"""What is done to a cluster whose agents are DaemonSets; see tests/lab/rollout/scenarios.py."""

import json
import time
from collections.abc import Callable

from tests.lab.rollout.agents import cilium, istio
from tests.lab.rollout.agents.guide import Operator, blocks
from tests.lab.rollout.agents.release import Release
from tests.lab.rollout.lab import Lab
from tests.lab.rollout.shown import Shown
from tests.lab.rollout.workload import Seen, Workload
from tests.support.sandbox.node import CHAIN, FACADE, NET

LIST = "05-cilium.conflist"
# What an operator looks at on a node after a step: the guide's page has it.
LOOKS, STATUS = f"ls {NET} {CHAIN}/*", "cni-chain status"


def in_mesh(lab: Lab, seen: Seen) -> str:
    """Fails if a pod that told of itself was never answered, or one that runs is outside the mesh."""
    enrolled = istio.enrolled(lab)
    never = sorted(pod for pod in seen.told if f"default/{pod}" not in enrolled)
    outside = istio.outside(lab)
    assert not seen.failed, seen.failed[:5]
    assert not never, never
    assert not outside, outside
    told = f"{len(never)} of {len(seen.told)} pods that came, and {len(outside)} of {len(istio.inside(lab))} that run"
    return (
        f"{len(seen.failed)} of {seen.asked} requests lost (slowest {seen.slowest * 1000:.0f} ms); "
        f"{told}, outside the mesh; {seen.rounds} restarts of the deployment"
    )


def types(lab: Lab, shown: Shown) -> None:
    """Say what each node's runtime takes."""
    for name, node in lab.nodes.items():
        first = node.first()
        script = f"jq -c '[.plugins[].type]' {NET}/{first}"
        shown.say(f"{name} takes {first} {node.sandbox.run('sh', '-c', script).stdout.strip()}")


def installed(lab: Lab, shown: Shown, network: Release) -> Operator:
    """Both agents as their own guides install them, sharing Cilium's list, and a namespace in the mesh."""
    for release in (network, istio.RELEASE):
        release.load(lab)
    lab.kubectl("label", "namespace", "default", f"{istio.MODE}=ambient")
    start = time.monotonic()
    network.install(lab, *cilium.SHARED)
    lab.ready()
    istio.RELEASE.install(lab)
    shown.say(f"Cilium and Istio ready after {time.monotonic() - start:.1f} s")
    return Operator(lab, shown, network, istio.RELEASE)


def migration(lab: Lab, shown: Shown, network: Release) -> None:
    """The live migration of a cluster with these agents by the guide alone, and the way out of it again."""
    operator = installed(lab, shown, network)
    work = Workload(lab)
    work.apply()
    operator.does("kubectl get pods --all-namespaces --output wide")
    types(lab, shown)
    prepare, *others = blocks("live-cluster", "Steps")[:4]
    steps = zip(("prepared", "Cilium moved", "on", "Istio moved"), (without_namespace(prepare), *others), strict=True)
    with work.asked() as seen:
        for title, commands in steps:
            timed(operator, shown, title, commands)
            shown.run(STATUS if title == "on" else LOOKS, node="node1")
        work.restart()
    types(lab, shown)
    assert {node.first() for node in lab.nodes.values()} == {FACADE}
    shown.say(in_mesh(lab, seen))
    lab.kubectl("delete", "pods", "--selector=app=still")
    work.restart()
    work.rolled_out()
    shown.say(work.settled())

    with work.asked() as seen:
        timed(operator, shown, "off", blocks("live-cluster", "Roll back")[0])
        shown.run(LOOKS, node="node1")
        for commands in moves_back(lab):
            timed(operator, shown, "moved back", commands)
        timed(operator, shown, "uninstalled", "helm uninstall cni-chain --namespace cni-chain")
        shown.run(LOOKS, node="node1")
        work.restart()
    types(lab, shown)
    assert {node.first() for node in lab.nodes.values()} == {LIST}
    shown.say(in_mesh(lab, seen))


def timed(operator: Operator, shown: Shown, title: str, commands: str) -> None:
    """What an operator does, and how long it took."""
    start = time.monotonic()
    operator.does(commands, quiet=True)
    shown.say(f"{title}: {time.monotonic() - start:.1f} s")


def without_namespace(commands: str) -> str:
    """The commands without those that make the namespace: the lab has it."""
    kept = [line for line in commands.splitlines() if not line.startswith(("kubectl create", "kubectl label"))]
    return "\n".join(kept)


def moves_back(lab: Lab) -> list[str]:
    """What a node prints to move each agent back, for every node that has to be cordoned meanwhile."""
    printed = json.loads(lab.nodes["node1"].command("migrate", "status", "--json")[1])
    found = []
    for step in printed["steps"]:
        commands = [command for command in step["commands"] if command.startswith(("helm", "kubectl"))]
        if any(command.startswith("helm") for command in commands):
            found.append("\n".join(commands).replace(" NODE", f" {' '.join(lab.nodes)}"))
    return found


def daemonsets(lab: Lab, shown: Shown) -> None:
    """Cilium's and Istio's DaemonSets, Cilium's with a stand-in for its datapath: there and back by the guide."""
    migration(lab, shown, cilium.STAND_IN)


def real(lab: Lab, shown: Shown) -> None:
    """The same with the whole of Cilium: its operator, its agents and their datapath on each node."""
    migration(lab, shown, cilium.REAL)


AGENTS: dict[str, Callable[[Lab, Shown], None]] = {one.__name__: one for one in (daemonsets, real)}
