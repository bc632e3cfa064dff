"""podman 4 with the CNI back end: an old libcni, which knows no version after 1.0.0, no STATUS and no GC."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.runtimes.cri import BUSYBOX
from tests.support.runtimes.daemons import HERE
from tests.support.runtimes.kubelet import EXEMPT, collect, driver, lay_facade
from tests.support.runtimes.podman import Podman
from tests.support.runtimes.steer import STEERED, steered
from tests.support.sandbox.inventory import inventory, left, links, processes, rules, settled
from tests.support.sandbox.node import (
    BIN,
    DEVICE,
    FACADE,
    HOST_DEVICE,
    NET,
    NODE4,
    OWNERS,
    STATE,
    TUNING,
    UNMASQUERADED,
    Json,
    Node,
    single,
    types,
    wait_for,
    whole_list,
)
from tests.system.runtimes.test_changes import CO_EDITED, OLD

# What podman itself makes once and keeps; and umount.
KEPT = {"directory /run/runc", "directory /run/cni/tuning", "directory /run/mount"}
SERVE = "hostname >/index.html; exec busybox httpd -f -p 8080 -h /"
TOGETHER = 24
WORKERS, EACH = 4, 6


@pytest.fixture
def node(podman: Podman) -> Iterator[Node]:
    """The usual chain; when the test is over, nothing of its containers may be there."""
    node = podman.node
    node.usual_chain()
    lay_facade(node)
    node.sandbox.path("/var/log/cni-chain.log").unlink(missing_ok=True)
    before = inventory(node.sandbox) | KEPT

    yield node

    there = left(node.sandbox, before)
    podman.attempt("rm", "--force", "--all", "--time", "0")
    assert not [thing for thing in there if "/overlay-containers/" not in thing], "left behind:\n" + "\n".join(there)


def command(podman: Podman, name: str, *options: str) -> list[str]:
    """A container that serves its own name."""
    run = ["run", "--detach", "--pull=never", "--name", name, "--hostname", name, "--cgroup-parent", podman.cgroup]
    return [*run, *options, "--entrypoint", "", BUSYBOX, "/bin/busybox", "sh", "-c", SERVE]


def address(podman: Podman, name: str) -> str:
    found: str = podman.inspect(name)["NetworkSettings"]["Networks"]["cilium"]["IPAddress"]
    return found


def records(node: Node) -> list[str]:
    directory = node.sandbox.path(STATE)
    names = [file.name for file in directory.iterdir()] if directory.is_dir() else []
    return sorted(name for name in names if not name.startswith("."))


def remove(podman: Podman, *names: str) -> None:
    podman("rm", "--force", "--time", "0", *names)


def network(node: Node) -> set[str]:
    """All that a container's network is made of, and what makes it."""
    sandbox = node.sandbox
    return {*links(sandbox), *rules(sandbox), *processes(sandbox), *node.leases(), *records(node)}


def forget(node: Node) -> None:
    """What libcni keeps of a container when podman had no DEL for it, or one that failed."""
    for file in node.sandbox.path("/var/lib/cni/results").iterdir():
        file.unlink()


def test_a_container_comes_is_reached_and_goes(podman: Podman, node: Node) -> None:
    """On its address and on the node's port; stopped and started again as well."""
    podman(*command(podman, "web", "--network", "cilium", "--publish", "18080:8080"))
    bodies = [node.http(f"http://{address(podman, 'web')}:8080/"), node.http(f"http://{NODE4}:18080/", "outside")]
    taken = node.leases(), len(records(node))
    podman("stop", "--time", "0", "web")
    stopped = node.leases(), records(node)
    podman("start", "web")
    bodies += [node.http(f"http://{NODE4}:18080/", "outside")]
    remove(podman, "web")

    assert [answer.get("body") for answer in bodies] == ["web\n"] * 3
    assert len(taken[0]) == taken[1] == 1
    assert stopped == ([], [])
    assert [line["verb"] for line in node.log()] == ["ADD", "DEL"] * 2
    assert types(node.log()[0]) == ["bridge", "tuning", "portmap", "bandwidth"]


def test_a_network_is_reloaded(podman: Podman, node: Node) -> None:
    """DEL and ADD again, with the same address: for that podman wants `ips` among the facade's capabilities."""
    podman(*command(podman, "web", "--network", "cilium", "--publish", "18080:8080"))
    before = address(podman, "web")
    podman("network", "reload", "web")
    answers = [node.http(f"http://{before}:8080/"), node.http(f"http://{NODE4}:18080/", "outside")]
    leases = node.leases()
    remove(podman, "web")

    assert [answer.get("body") for answer in answers] == ["web\n"] * 2
    assert len(leases) == 1
    assert [line["verb"] for line in node.log()] == ["ADD", "DEL"] * 2


def test_a_reboot(podman: Podman, node: Node) -> None:
    """The container is the same, so the ADD is for the same attachment: what its record tells of is undone first."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    podman(*command(podman, "web", "--network", "cilium", "--publish", "18080:8080"))
    before = node.leases()
    node.sandbox.run("sh", "-c", (HERE / "reboot.sh").read_text())
    podman("start", "web")
    after = node.leases()
    answer = node.http(f"http://{NODE4}:18080/", "outside")
    remove(podman, "web")

    assert before != after
    assert len(before) == len(after) == 1
    assert answer.get("body") == "web\n"


def test_a_pod_of_two_containers(podman: Podman, node: Node) -> None:
    """They share what the pod's own container got: one ADD, one DEL."""
    pod = ["--network", "cilium", "--publish", "18081:8080", "--cgroup-parent", podman.cgroup]
    podman("pod", "create", "--name", "pod", "--hostname", "pod", *pod)
    for name in ("one", "two"):
        run = ["run", "--detach", "--pull=never", "--pod", "pod", "--name", name, "--entrypoint", ""]
        serve = SERVE if name == "one" else "exec sleep 1000"
        podman(*run, BUSYBOX, "/bin/busybox", "sh", "-c", serve)
    answer = node.http(f"http://{NODE4}:18081/", "outside")
    podman("pod", "rm", "--force", "--time", "0", "pod")

    assert answer.get("body") == "pod\n"
    assert [line["verb"] for line in node.log()] == ["ADD", "DEL"]


def test_containers_at_once(podman: Podman, node: Node) -> None:
    """Each has an address of its own; all go, and nothing stays."""
    names = [f"web-{n}" for n in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as threads:
        list(threads.map(lambda name: podman(*command(podman, name, "--network", "cilium")), names))
        given = sorted(address(podman, name) for name in names)
        leases = node.leases()
        list(threads.map(lambda name: remove(podman, name), names))

    assert given == leases
    assert len(set(given)) == TOGETHER
    assert [line["msg"] for line in node.log() if line.get("code")] == []


@pytest.mark.parametrize("plugin", ["bridge", "tuning", "portmap", "bandwidth"])
def test_an_add_that_fails(podman: Podman, node: Node, plugin: str) -> None:
    """podman says whose plugin it was; nothing is taken, and the container starts once the plugin works."""
    with steered(node, plugin) as it:
        it.fails("ADD", "the agent is away")
        failed = podman.attempt(*command(podman, "web", "--network", "cilium"))
        leases = node.leases(), records(node)
        it.works()
        podman("start", "web")
        remove(podman, "web")

    assert f"/{plugin}: the agent is away" in failed.stderr
    assert leases == ([], [])


def test_a_required_owner_is_waited_for(podman: Podman, node: Node) -> None:
    """podman says which one; it doesn't try again by itself."""
    node.remove("istio.d/10-istio.conf")

    failed = podman.attempt(*command(podman, "web", "--network", "cilium"))
    node.fragment("istio.d/10-istio.conf", single(TUNING))
    podman("start", "web")
    remove(podman, "web")

    assert "waiting for istio's CNI configuration" in failed.stderr


def test_fragments_change_while_containers_live(podman: Podman, node: Node) -> None:
    """A container is stopped with what it was started with."""
    podman(*command(podman, "web", "--network", "cilium"))
    node.remove("istio.d/10-istio.conf")
    node.remove("local.d/10-portmap.conf")
    remove(podman, "web")

    assert types(node.log()[-1]) == ["bandwidth", "portmap", "tuning", "bridge"]


def test_a_del_that_fails_is_not_lost(podman: Podman, node: Node) -> None:
    """podman only logs it and forgets the container; the record keeps the address until a GC, and frees it."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    podman(*command(podman, "web", "--network", "cilium"))
    with steered(node, "tuning") as it:
        it.fails("DEL", "the agent is away")
        said = podman.attempt("rm", "--force", "--time", "0", "web")
    leases, kept = node.leases(), records(node)
    collect(node)
    forget(node)

    assert "istio/tuning: the agent is away" in said.stderr
    assert len(leases) == len(kept) == 1
    assert (node.leases(), records(node)) == ([], [])


def test_a_container_that_podman_forgot_heals_by_itself(podman: Podman, node: Node) -> None:
    """Nobody calls GC: other containers come and go, and its address is free soon after the agent is back."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    podman(*command(podman, "web", "--network", "cilium"))
    with steered(node, "tuning") as it:
        it.fails("DEL", "the agent is away")
        podman.attempt("rm", "--force", "--time", "0", "web")
    leases, kept = node.leases(), records(node)

    def healed() -> bool:
        podman(*command(podman, "other", "--network", "cilium"))
        remove(podman, "other")
        return not node.leases()

    wait_for(healed, "the address of the container that is forgotten", 60)
    forget(node)

    assert len(leases) == len(kept) == 1
    assert records(node) == []


def test_an_owner_is_uninstalled_while_its_containers_live(podman: Podman, node: Node) -> None:
    """Fragment and binary are gone: a container that it was run for ends all the same."""
    podman(*command(podman, "web", "--network", "cilium"))
    binary = node.sandbox.path(f"{BIN}/tuning")
    away = binary.rename(node.sandbox.path(f"{STEERED}/tuning.away"))
    node.remove("istio.d/10-istio.conf")
    remove(podman, "web")
    away.rename(binary)

    assert (node.leases(), records(node)) == ([], [])


def test_an_add_that_hangs_past_our_own_deadline(podman: Podman, node: Node) -> None:
    """podman has no deadline of its own. It says whose plugin it was, nothing is left, and the container can start."""
    lay_facade(node, {"timeouts": {"ADD": 10}})  # as long as the other plugins may take while other tests run
    before = network(node)

    with steered(node, "portmap") as it:
        it.hangs("ADD")
        failed = podman.attempt(*command(podman, "web", "--network", "cilium"))
        hung = it.reached()
        settled(lambda: network(node) - before)  # podman itself may still clean up
        there = network(node)
        state = podman.inspect("web")["State"]
        it.works()
        podman("start", "web")
        remove(podman, "web")

    assert hung
    assert "local/portmap: did not end in time and was killed (timeouts.ADD is 10 s" in failed.stderr
    assert there == before
    assert (state["Running"], state["Pid"]) == (False, 0)


def test_a_del_that_hangs(podman: Podman, node: Node) -> None:
    """It is killed at its deadline. podman stops the container all the same, and its next start undoes it first."""
    lay_facade(node, {"timeouts": {"DEL": 10}})
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    podman(*command(podman, "web", "--network", "cilium"))

    with steered(node, "portmap") as it:
        it.hangs("DEL")
        said = podman.attempt("stop", "--time", "0", "web")
        leases, kept = node.leases(), records(node)
        it.works()
    podman("start", "web")
    again = node.leases(), records(node)
    remove(podman, "web")

    assert "local/portmap: did not end in time and was killed (timeouts.DEL is 10 s" in said.stderr
    assert len(leases) == len(kept) == 1
    assert again[1] == kept
    assert again[0] != leases
    assert len(again[0]) == 1


@pytest.mark.parametrize("then", ["started again", "removed"])
def test_a_namespace_that_vanished(podman: Podman, node: Node, then: str) -> None:
    """podman then calls no DEL at all: the address is freed by the container's next start, or else by a GC."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    podman(*command(podman, "web", "--network", "cilium"))
    netns = podman.inspect("web")["NetworkSettings"]["SandboxKey"]

    node.sandbox.run("umount", "--lazy", netns)
    node.sandbox.run("rm", netns)
    podman("stop", "--time", "0", "web")
    verbs = [line["verb"] for line in node.log()]
    before = node.leases(), records(node)
    if then == "started again":
        podman("start", "web")
    after = node.leases(), records(node)
    remove(podman, "web")
    if then == "removed":
        collect(node)
        forget(node)

    assert verbs == ["ADD"]
    assert len(before[0]) == len(after[0]) == 1
    assert before[1] == after[1]
    assert (before[0] == after[0]) is (then == "removed")
    assert (node.leases(), records(node)) == ([], [])


FIRST: dict[str, Json] = {"bridge": UNMASQUERADED, "host-device": HOST_DEVICE}


@pytest.mark.parametrize("first", FIRST)
def test_a_container_whose_stop_failed_starts_in_another_namespace(podman: Podman, node: Node, first: str) -> None:
    """What is left of its first life is deleted where that was; host-device finds nothing to give back elsewhere."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(FIRST[first]))
    lay_facade(node, {"owners": [{"name": "cilium"}, OWNERS[1]]})
    with node.device() as plug, steered(node, first) as it, steered(node, "tuning") as tuning:
        podman(*command(podman, "web", "--network", "cilium"))
        before = podman.inspect("web")["NetworkSettings"]["SandboxKey"]
        tuning.fails("DEL", "the agent is away")
        said = podman.attempt("stop", "--time", "0", "web")
        kept = records(node)
        tuning.tells("DEL")
        it.tells("DEL")
        plug()
        podman("start", "web")
        told = it.told(), tuning.told()
        after = podman.inspect("web")["NetworkSettings"]["SandboxKey"]
        again = address(podman, "web"), records(node)
        remove(podman, "web")
        given_back = f"link {DEVICE}" in links(node.sandbox)

    assert "istio/tuning: the agent is away" in said.stderr
    assert before != after
    assert set(told[0]) == set(told[1]) == {before}
    assert again[0]
    assert again[1] == kept
    assert len(kept) == 1
    assert given_back
    assert (node.leases(), records(node)) == ([], [])


def test_the_owners_own_agent_waits_as_well(podman: Podman, node: Node) -> None:
    """podman sends a pod's name, which is the container's, and no namespace: nothing that it starts is exempt."""
    lay_facade(node, {"owners": [OWNERS[0], OWNERS[1] | {"exempt": [EXEMPT]}, OWNERS[2]]})
    node.remove("istio.d/10-istio.conf")
    agent = f"{EXEMPT['podNamePrefix']}x7k2p"

    failed = podman.attempt(*command(podman, agent, "--network", "cilium"))
    refused = node.log()[0]
    node.fragment("istio.d/10-istio.conf", single(TUNING))
    podman("start", agent)
    remove(podman, agent)

    assert "waiting for istio's CNI configuration" in failed.stderr
    assert refused["pod"] == f"/{agent}"


def lost(podman: Podman, node: Node) -> str:
    """A container whose ADD failed and could not be undone; what podman says."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    with steered(node, "bridge") as bridge, steered(node, "portmap") as portmap:
        portmap.fails("ADD", "no ports today")
        bridge.fails("DEL", "no way back")
        return podman.attempt(*command(podman, "lost", "--network", "cilium")).stderr


def test_a_failed_add_that_could_not_be_undone(podman: Podman, node: Node) -> None:
    """podman removes the container without a DEL; our record frees its address at a GC, and no living one's."""
    podman(*command(podman, "other", "--network", "cilium"))
    kept = node.leases(), records(node)
    said = lost(podman, node)
    remove(podman, "lost")
    leases, known = node.leases(), records(node)
    collect(node, podman.inspect("other")["Id"])
    collected = node.leases(), records(node)
    remove(podman, "other")

    assert "local/portmap: no ports today" in said
    assert (len(leases), len(known)) == (2, 2)
    assert collected == kept


@pytest.mark.parametrize("verb", ["add", "del"])
def test_the_next_call_for_a_lost_container_frees_it(podman: Podman, node: Node, verb: str) -> None:
    """Its next start is one; whoever else makes an ADD or a DEL for the same attachment does the same."""
    lost(podman, node)
    container = podman.inspect("lost")["Id"]
    before = node.leases()
    if verb == "add":
        podman("start", "lost")
    else:
        driver(node, f"-id={container}", "-netns=", "del")
    after = node.leases()
    remove(podman, "lost")

    assert len(before) == 1
    assert len(after) == (1 if verb == "add" else 0)
    assert after != before


@pytest.fixture
def install_next(node: Node) -> Iterator[Callable[[], int]]:
    """Puts a new version into a directory beside the others and replaces the link in one step; how many there are."""
    entry, home = node.sandbox.path(f"{BIN}/cni-chain"), node.sandbox.path("/opt/cni/cni-chain")
    first = entry.readlink()
    installed: list[Path] = []

    def point_to(target: Path) -> None:
        temporary = entry.with_name(".cni-chain.new")
        temporary.symlink_to(target)
        temporary.rename(entry)

    def install() -> int:
        version = home / f"next-{len(installed) + 1}"
        installed.append(version)
        # Not by this process: what a thread starts meanwhile would hold the program open for writing, and it can't run.
        subprocess.run(["cp", "--archive", home / first.parent.name, version], check=True)  # noqa: S607
        point_to(first.parent.with_name(version.name) / first.name)
        return len(installed)

    yield install

    point_to(first)
    for version in installed:
        shutil.rmtree(version)


def test_the_executable_is_replaced_under_load(podman: Podman, node: Node, install_next: Callable[[], int]) -> None:
    """A new version comes again and again while containers come and go: not one call fails."""

    def come_and_go(worker: int) -> None:
        for n in range(EACH):
            podman(*command(podman, f"web-{worker}-{n}", "--network", "cilium"))
            remove(podman, f"web-{worker}-{n}")

    installed = 0
    with ThreadPoolExecutor(WORKERS) as threads:
        workers = [threads.submit(come_and_go, worker) for worker in range(WORKERS)]
        while not all(worker.done() for worker in workers):
            installed = install_next()
            time.sleep(0.2)
    for worker in workers:
        worker.result()

    assert installed > 3
    assert [line["msg"] for line in node.log() if line.get("code")] == []
    assert sorted(line["verb"] for line in node.log()) == ["ADD"] * WORKERS * EACH + ["DEL"] * WORKERS * EACH


def test_from_an_old_conflist_to_the_facade_and_back(podman: Podman, node: Node) -> None:
    """Containers made under each end under the other, and under their own: each by the plugins that it began with."""
    net = node.sandbox.path(NET)
    facade = net / FACADE
    laid = facade.read_text()

    def run(*names: str) -> None:
        for name in names:
            podman(*command(podman, name, "--network", "cilium"))

    (net / OLD).write_text(json.dumps(CO_EDITED))
    facade.unlink()
    run("old-0", "old-1", "old-2")
    logged = node.log()
    facade.write_text(laid)
    remove(podman, "old-0")
    run("new-0", "new-1", "new-2")
    remove(podman, "old-1", "new-0")
    addresses = sorted(address(podman, name) for name in ("old-2", "new-1", "new-2"))
    leases, kept = node.leases(), records(node)
    facade.unlink()
    remove(podman, "old-2", "new-1")
    run("forth")
    facade.write_text(laid)
    remove(podman, "forth", "new-2")
    (net / OLD).unlink()

    assert logged == []
    assert addresses == leases
    assert len(kept) == 2
    assert (node.leases(), records(node)) == ([], [])
    assert sorted(line["verb"] for line in node.log()) == ["ADD"] * 3 + ["DEL"] * 3
