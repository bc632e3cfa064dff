"""What is done to the cluster: each function is one scenario, on its own cluster, and fails if docs/ say otherwise."""

import threading
import time
from collections.abc import Callable

from cni_chain import __version__
from cni_chain.migrate.one_list import NAME as ONE_LIST
from tests.lab.cluster.daemon import wait_until
from tests.lab.rollout.lab import CONTAINERD, NAME, Lab
from tests.lab.rollout.node import LIST, Node
from tests.lab.rollout.shown import Shown
from tests.lab.rollout.versions import NEXT, SOURCE, newer
from tests.lab.rollout.workload import Seen, Workload
from tests.support.helm import CHART
from tests.support.sandbox.namespaces import CHECKOUT
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET, PORTMAP, TUNING, single, whole_list

OWNERS = ("owners={net:bridge\\,portmap,mesh:tuning}", "networkName=pods")
ON, PREPARED, OFF = "state=on", "state=prepared", "state=off"
AGENTS = "app.kubernetes.io/name=cni-chain"
SHORT = CHART.relative_to(CHECKOUT)  # as it is typed in a checkout


def since(start: float) -> str:
    return f"{time.monotonic() - start:.1f} s"


def firsts(lab: Lab) -> dict[str, str]:
    """The file that each node's runtime takes."""
    return {name: node.first() for name, node in lab.nodes.items()}


def all_have(lab: Lab, file: str) -> None:
    assert set(firsts(lab).values()) == {file}, firsts(lab)


def nothing_lost(seen: Seen) -> None:
    assert seen.asked > 100, seen
    assert not seen.failed, seen.failed[:5]
    assert seen.told, "no pod came"
    assert not seen.outside, {pod: seen.told[pod] for pod in seen.outside}


def pod_of(lab: Lab, node: str) -> str:
    """The agent's pod on a node."""
    pods = lab.get("pods", f"--namespace={NAME}", f"--selector={AGENTS}", f"--field-selector=spec.nodeName={node}")
    return str(next(pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]))


def write_network(node: Node) -> None:
    """What a network's agent that was moved writes."""
    plugins = node.pods_list()["plugins"]
    node.fragment("net.d/10-net.conflist", whole_list(plugins[0], PORTMAP, name="pods", version="1.0.0"))


def write_mesh(node: Node) -> None:
    """What a mesh's agent that was moved writes."""
    node.fragment("mesh.d/20-mesh.conf", single(TUNING, "1.0.0"))


def fresh(lab: Lab, shown: Shown) -> None:
    """Three nodes that have no network yet: the facade first, then the agents, and pods that wait for both."""
    work = Workload(lab)
    shown.run("kubectl get nodes")
    start = time.monotonic()
    lab.helm("install", NAME, str(CHART), *_words(*OWNERS, ON))
    for node in lab.nodes.values():
        wait_until(lambda node=node: node.first() == FACADE, f"{node.name}: the facade")  # type: ignore[misc]
    shown.say(f"facade on all nodes {since(start)} after helm install")
    with work.asked(churn=False) as seen:
        applied = threading.Thread(target=work.apply)
        applied.start()
        # CRI-O tells why only at its start.
        told = [name for name, node in lab.nodes.items() if node.kind == CONTAINERD]
        said = f"waiting for net's CNI configuration in {CHAIN}/net.d"
        wait_until(lambda: all(said in lab.conditions()[name][1] for name in told), "the nodes name the owner", 90)
        shown.run("kubectl describe nodes", lines=r"^Name:|^  Ready")
        start = time.monotonic()
        for node in lab.nodes.values():
            write_network(node)
        shown.say(f"nodes Ready {lab.ready():.1f} s after the network's agents have written")
        wait_until(lambda: bool(_events(lab, "mesh.d")), "pods wait for the mesh")
        shown.run("kubectl get pods -o wide")
        shown.run("kubectl get events --field-selector reason=FailedCreatePodSandBox | grep mesh.d | head -4")
        assert not any(node.records() for node in lab.nodes.values())
        start = time.monotonic()
        for node in lab.nodes.values():
            write_mesh(node)
        applied.join()
        work.rolled_out()
        shown.say(f"9 pods run {since(start)} after the mesh's agents have written")
        lab.rolled_out()
        shown.run(f"kubectl -n {NAME} rollout status daemonset/{NAME}")
    assert len(seen.told) >= 9, seen.told
    assert not seen.outside, seen.told
    shown.say(f"{len(seen.outside)} of {len(seen.told)} pods outside the mesh")
    shown.say(work.settled())


def live(lab: Lab, shown: Shown) -> None:
    """A cluster whose pods come and go and are asked meanwhile: prepared, on, back by helm rollback, on, off."""
    work = Workload(lab)
    lab.ready()
    work.apply()
    shown.run("kubectl get nodes -o wide")
    with work.asked() as seen:
        start = time.monotonic()
        shown.run(f"helm install {NAME} {SHORT} --namespace {NAME} {' '.join(_quoted(*OWNERS))}")
        shown.run(f"kubectl -n {NAME} rollout status daemonset/{NAME} --timeout=180s")
        shown.say(f"prepared: {since(start)}")
        all_have(lab, LIST)
        shown.run(f"kubectl -n {NAME} get pods -o wide")
        shown.run(f"ls {NET} {CHAIN}/*", node="node1")
        assert not any(node.records() for node in lab.nodes.values()), "prepared changes nothing for pods"
        start = time.monotonic()
        shown.run(f"helm upgrade {NAME} {SHORT} --namespace {NAME} --reuse-values --set state=on")
        shown.run(f"kubectl -n {NAME} rollout status daemonset/{NAME} --timeout=180s")
        shown.say(f"on: {since(start)}")
        all_have(lab, FACADE)
        work.restart()
    shown.say(seen.text())
    nothing_lost(seen)
    work.restart()
    work.rolled_out()
    for name in ("node1", "node3"):
        shown.run(f"kubectl -n {NAME} exec {pod_of(lab, name)} -- {BIN}/cni-chain status")
    lab.kubectl("delete", "pods", "--selector=app=still")
    work.rolled_out()
    shown.say(work.settled())
    _measure(lab, shown)

    with work.asked() as seen:
        start = time.monotonic()
        shown.run(f"helm rollback {NAME} 1 --namespace {NAME}")
        lab.rolled_out()
        shown.say(f"helm rollback to prepared: {since(start)}")
        all_have(lab, LIST)
        shown.say(f"on again: {lab.upgrade(ON):.1f} s")
        all_have(lab, FACADE)
        shown.say(f"off: {lab.upgrade(OFF):.1f} s")
        all_have(lab, LIST)
        lab.helm("uninstall", NAME)
        shown.run(f"ls {NET}", node="node1")
    shown.say(seen.text())
    nothing_lost(seen)
    lab.kubectl("delete", "pods", "--selector=app=still")
    work.restart()
    work.rolled_out()
    for name, node in lab.nodes.items():
        left = len(node.records())
        _, freed = node.command("gc", "--yes")
        shown.say(f"{name}: {left} records of pods that came before off; cni-chain gc: {freed.splitlines()[-1:]}")
    work.settled_without()


def tampered(lab: Lab, shown: Shown) -> None:
    """A fragment of one node is edited before `on`: the node refuses, and the roll-out stops until it is mended."""
    work = Workload(lab)
    lab.ready()
    work.apply()
    lab.install(*OWNERS)
    node = lab.nodes["node2"]
    [file] = [name for name in node.fragments() if name.startswith("mesh.d/")]
    path = node.sandbox.path(f"{CHAIN}/{file}")
    good = path.read_text()
    with work.asked() as seen:
        node.sandbox.run("sed", "-i", "s/1024/2048/", f"{CHAIN}/{file}")
        shown.run(f"sed -n /somaxconn/p {CHAIN}/{file}", node="node2")
        lab.upgrade(ON, wait=False)
        shown.run(f"kubectl -n {NAME} rollout status daemonset/{NAME} --timeout=60s")
        shown.run(f"kubectl -n {NAME} get pods -o wide")
        found = firsts(lab)
        assert found["node2"] == LIST, found
        pod = pod_of(lab, "node2")
        shown.run(f"kubectl -n {NAME} logs {pod} --tail=1")
        shown.run(f"kubectl -n {NAME} describe pod {pod}", lines="Readiness probe failed")
        shown.run("curl -s 127.0.0.1:9753/readyz", node="node2")
        shown.say(f"the runtimes take {found}")
        path.write_text(good)
        start = time.monotonic()
        lab.rolled_out()
        shown.say(f"mended, and all nodes on {since(start)} later")
        all_have(lab, FACADE)
    shown.say(seen.text())
    nothing_lost(seen)


def joins(lab: Lab, shown: Shown) -> None:
    """A node that joins while the cluster is prepared, on and off, with and without a configuration of its own."""
    work = Workload(lab)
    lab.ready()
    work.apply()
    lab.install(*OWNERS)
    for state, kind in ((PREPARED, CONTAINERD), (ON, CONTAINERD), (OFF, CONTAINERD)):
        if state != PREPARED:
            lab.upgrade(state)
        for number, network in ((4, True), (5, False)):
            start = time.monotonic()
            node = lab.join(f"node{number}", kind, network=network)
            name = state.removeprefix("state=")
            words = "with a list" if network else "with an empty directory"
            if not network:
                if state == OFF:
                    wait_until(lambda node=node: bool(node.agents()), "its agent")  # type: ignore[misc]
                    time.sleep(5)
                    assert not node.names(), node.names()
                    shown.say(f"{name}: a node joins {words}: nothing is put there")
                    lab.leave(node.name)
                    continue
                write_network(node)
                write_mesh(node)
            took = lab.ready(node.name)
            work.rolled_out()
            lab.rolled_out()
            first = node.first()
            shown.say(f"{name}: a node joins {words}: Ready {took:.1f} s later, all {since(start)}, takes {first}")
            assert first == (LIST if network and state != ON else FACADE), first
            lab.leave(node.name)
        work.rolled_out()


def reboots(lab: Lab, shown: Shown) -> None:
    """Nodes lose their power, and /run with it, in each state; one comes back to a wiped /opt/cni and /etc/cni."""
    work = Workload(lab)
    lab.ready()
    work.apply()
    lab.install(*OWNERS)
    for state, names in ((PREPARED, ("node3",)), (ON, ("node1", "node3"))):
        if state == ON:
            lab.upgrade(ON)
            lab.kubectl("delete", "pods", "--selector=app=still")
            work.restart()
            work.rolled_out()
        for name in names:
            node = lab.nodes[name]
            before, records = node.first(), len(node.records())
            start, now = time.monotonic(), _now()
            node.reboot()
            took = _comes_back(lab, node, start, now)
            lab.rolled_out()
            shown.say(f"{state.removeprefix('state=')}: {name} ({node.kind}) reboots with {records} records: {took}")
            assert node.first() == before, node.names()
        if state == ON:
            shown.say(work.settled(120))
    node = lab.nodes["node2"]
    node.stop()
    for place in ("opt/cni/cni-chain", "opt/cni/bin/cni-chain", "etc/cni"):
        lab.sandbox.run("rm", "-rf", f"{node.disk}/of-the-node/{place}")
    start, now = time.monotonic(), _now()
    node.start()
    node.wait_until_file(f"{NET}/{FACADE}")
    shown.say(f"node2 boots with its program and configuration wiped: facade back {since(start)} after its start")
    write_network(node)
    write_mesh(node)
    shown.say(_comes_back(lab, node, start, now))
    lab.rolled_out()
    shown.say(work.settled(120))


def killed(lab: Lab, shown: Shown) -> None:
    """kill -9 of each agent, again and again, through every step, with pods that come and go."""
    work = Workload(lab)
    lab.ready()
    work.apply()
    kills, ended = [0], threading.Event()

    def keep_killing() -> None:
        while not ended.wait(2):
            for node in lab.nodes.values():
                kills[0] += node.kill_agents()

    with work.asked() as seen:
        for text, step in (
            ("prepared", lambda: lab.helm("install", NAME, str(CHART), *_words(*OWNERS))),
            ("on", lambda: lab.upgrade(ON, wait=False)),
            ("off", lambda: lab.upgrade(OFF, wait=False)),
        ):
            ended.clear()
            thread = threading.Thread(target=keep_killing)
            before, start = kills[0], time.monotonic()
            step()
            thread.start()
            time.sleep(8)
            ended.set()
            thread.join()
            lab.rolled_out(seconds=400)
            shown.say(f"{text}: {kills[0] - before} kills in 8 s, roll-out ended after {since(start)}")
            all_have(lab, FACADE if text == "on" else LIST)
    shown.say(seen.text())
    nothing_lost(seen)
    work.restart()
    work.rolled_out()


def absent(lab: Lab, shown: Shown) -> None:
    """Everything of the chart is taken away while on, the facade is deleted, and the order is wrong."""
    work = Workload(lab)
    lab.ready()
    work.apply()
    lab.install(*OWNERS, ON)
    node = lab.nodes["node1"]
    for _ in range(3):
        node.sandbox.run("rm", f"{NET}/{FACADE}")
        shown.say(f"facade deleted: back after {node.wait_until_file(f'{NET}/{FACADE}'):.1f} s")
        time.sleep(3)
    node.sandbox.run("rm", f"{NET}/{FACADE}")
    wait_until(lambda: node.asked("/readyz")[0] == 503, "it has stopped")
    time.sleep(3)
    shown.run("curl -s 127.0.0.1:9753/readyz", node="node1")
    assert node.first() == LIST
    lab.kubectl("delete", "pod", f"--namespace={NAME}", pod_of(lab, "node1"))
    lab.rolled_out()
    node.wait_until_file(f"{NET}/{FACADE}")
    with work.asked(churn=False) as seen:
        shown.run(f"helm uninstall {NAME} --namespace {NAME}")
        wait_until(lambda: not any(one.agents() for one in lab.nodes.values()), "the end of the agents")
        start = time.monotonic()
        work.restart()
        work.rolled_out()
        shown.say(f"without any agent 6 pods replaced in {since(start)}")
        all_have(lab, FACADE)
        shown.run("kubectl get nodes")
    shown.say(seen.text())
    nothing_lost(seen)
    with work.asked() as seen:
        shown.say(f"installed again, off: {lab.install(*OWNERS, OFF):.1f} s")
        all_have(lab, LIST)
        lab.helm("uninstall", NAME)
    shown.say(seen.text())
    nothing_lost(seen)


def born(lab: Lab, shown: Shown) -> None:
    """Nodes that had the facade before any network: off and on again; then their mesh goes before the chart knows."""
    work = Workload(lab)
    lab.helm("install", NAME, str(CHART), *_words(*OWNERS, ON))
    for node in lab.nodes.values():
        node.wait_until_file(f"{NET}/{FACADE}")
        write_network(node)
        write_mesh(node)
    lab.ready()
    lab.rolled_out()
    work.apply()
    with work.asked() as seen:
        shown.say(f"off: {lab.upgrade(OFF):.1f} s")
        all_have(lab, ONE_LIST)
        shown.run(_types_of(ONE_LIST), node="node1")
        shown.say(f"on again: {lab.upgrade(ON):.1f} s")
        all_have(lab, FACADE)
    shown.say(seen.text())
    nothing_lost(seen)

    with work.asked(churn=False) as seen:
        for node in lab.nodes.values():
            node.sandbox.run("sh", "-c", f"rm {CHAIN}/mesh.d/*")
        wait_until(lambda: {node.asked("/readyz")[0] for node in lab.nodes.values()} == {503}, "each node says so")
        shown.run("curl -s 127.0.0.1:9753/readyz", node="node1")
        work.restart()
        wait_until(lambda: bool(_events(lab, "mesh.d")), "pods wait for the mesh")
        shown.run("kubectl get events --field-selector reason=FailedCreatePodSandBox | grep mesh.d | head -2")
    shown.say(seen.text())
    assert not seen.failed, seen.failed[:5]
    assert not seen.outside, seen.outside
    without = ("owners={net:bridge\\,portmap}", "without={mesh}")
    start = time.monotonic()
    shown.run(f"helm upgrade {NAME} {SHORT} --namespace {NAME} --reuse-values {' '.join(_quoted(*without))}")
    lab.rolled_out()
    work.rolled_out()
    shown.say(f"without the mesh, by a value: {since(start)}, pods that waited run")
    shown.say(f"off: {lab.upgrade(OFF):.1f} s")
    for name, node in lab.nodes.items():
        types = node.sandbox.run("sh", "-c", _types_of(ONE_LIST)).stdout.strip()
        assert (node.first(), types) == (ONE_LIST, '["bridge","portmap"]'), (name, node.names(), types)
    shown.run(_types_of(ONE_LIST), node="node1")
    lab.helm("uninstall", NAME)
    lab.kubectl("delete", "pods", "--selector=app=still")
    work.restart()
    work.rolled_out()
    all_have(lab, ONE_LIST)


def versions(lab: Lab, shown: Shown) -> None:
    """The agent's version is changed while on, to the next one and back, with pods that come and go."""
    work = Workload(lab)
    lab.ready()
    work.apply()
    lab.load_program(newer(lab.program), NEXT, SOURCE)
    lab.install(*OWNERS, ON)
    with work.asked() as seen:
        for tag in (NEXT, __version__):
            start = time.monotonic()
            words = f"--namespace {NAME} --reset-then-reuse-values --set image.tag={tag}"
            shown.run(f"helm upgrade {NAME} {SHORT} {words}")
            lab.rolled_out()
            shown.say(f"{tag}: {since(start)}")
            for one in lab.nodes.values():
                assert one.command("--version")[1].endswith(tag), one.command("--version")
            work.restart()
        shown.run(f"ls /opt/cni/cni-chain; readlink {BIN}/cni-chain", node="node1")
    shown.say(seen.text())
    nothing_lost(seen)
    work.rolled_out()
    calls = {name: node.calls() for name, node in lab.nodes.items()}
    shown.say(f"calls in the nodes' logs: {calls}")
    assert not [key for found in calls.values() for key in found if key.startswith("ADD") and key != "ADD ok"], calls
    lab.kubectl("delete", "pods", "--selector=app=still")
    work.rolled_out()
    shown.say(work.settled())


def _types_of(file: str) -> str:
    """What shows the plugins of a list."""
    return f"jq -c '[.plugins[].type]' {NET}/{file}"


def _comes_back(lab: Lab, node: Node, start: float, since_when: str) -> str:
    """Wait until all of a node's pods were started again; `since_when` is the API's time of its start."""

    def started() -> bool:
        pods = lab.get("pods", "--all-namespaces", f"--field-selector=spec.nodeName={node.name}")
        states = [one for pod in pods for one in pod["status"].get("containerStatuses", [])]
        times = [one["state"].get("running", {}).get("startedAt", "") for one in states if one["ready"]]
        return len(times) == len(pods) and all(time >= since_when for time in times)

    wait_until(lambda: bool(node.agents()), f"{node.name}: its agent", 180)
    agent = since(start)
    wait_until(started, f"{node.name}: its pods", 180)
    return f"its agent runs after {agent}, and all its pods after {since(start)}"


def _now() -> str:
    """The time as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _events(lab: Lab, words: str) -> list[str]:
    events = lab.get("events", "--all-namespaces")
    return [event["message"] for event in events if words in event.get("message", "")]


def _measure(lab: Lab, shown: Shown) -> None:
    """What the agents take while nothing happens."""
    agents = {name: node.agents()[0] for name, node in lab.nodes.items()}
    before = {name: _cpu(lab.nodes[name], number) for name, number in agents.items()}
    time.sleep(30)
    for name, number in agents.items():
        node = lab.nodes[name]
        cpu = (_cpu(node, number) - before[name]) / 30 * 1000
        status = node.sandbox.path(f"/proc/{number}/status").read_text()
        words = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        group = node.sandbox.path(f"/proc/{number}/cgroup").read_text()
        memory = next(line.split(":", 2)[2] for line in group.splitlines() if ":memory:" in line)
        peak = node.sandbox.path(f"/sys/fs/cgroup/memory{memory}/memory.max_usage_in_bytes").read_text()
        shown.say(
            f"{name}: the agent has {int(words['VmRSS'].split()[0]) / 1000:.1f} MB, its cgroup's peak is "
            f"{int(peak) / 1e6:.1f} MB, {cpu:.0f} millicores"
        )


def _cpu(node: Node, number: int) -> float:
    fields = node.sandbox.path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _words(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def _quoted(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", f"'{value}'")]


SCENARIOS: dict[str, Callable[[Lab, Shown], None]] = {
    one.__name__: one for one in (live, fresh, tampered, joins, reboots, killed, versions, absent, born)
}
BARE = frozenset({"fresh", "born"})  # on nodes without a network
