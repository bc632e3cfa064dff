"""podman 4 with the CNI back end: an old libcni, which knows no version after 1.0.0, no STATUS and no GC."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.runtimes.cri import BUSYBOX
from tests.runtimes.daemons import HERE
from tests.runtimes.kubelet import collect, lay_facade
from tests.runtimes.podman import Podman
from tests.runtimes.steer import STEERED, steered
from tests.sandbox.inventory import inventory
from tests.sandbox.node import BIN, NODE4, STATE, TUNING, UNMASQUERADED, Node, single, types, whole_list

# What podman itself makes once and keeps.
KEPT = {"directory /run/runc", "directory /run/cni/tuning"}
SERVE = "hostname >/index.html; exec busybox httpd -f -p 8080 -h /"
TOGETHER = 8


@pytest.fixture
def node(podman: Podman) -> Iterator[Node]:
    """The usual chain; when the test is over, nothing of its containers may be there."""
    node = podman.node
    node.usual_chain()
    lay_facade(node)
    node.sandbox.path("/var/log/cni-chain.log").unlink(missing_ok=True)
    before = inventory(node.sandbox) | KEPT

    yield node

    left = sorted(inventory(node.sandbox) - before)
    podman.attempt("rm", "--force", "--all", "--time", "0")
    assert not [thing for thing in left if "/overlay-containers/" not in thing], "left behind:\n" + "\n".join(left)


def command(podman: Podman, name: str, *options: str) -> list[str]:
    """A container that serves its own name."""
    run = ["run", "--detach", "--pull=never", "--name", name, "--hostname", name, "--cgroup-parent", podman.cgroup]
    return [*run, *options, "--entrypoint", "", BUSYBOX, "/bin/busybox", "sh", "-c", SERVE]


def address(podman: Podman, name: str) -> str:
    [container] = json.loads(podman("inspect", name))
    found: str = container["NetworkSettings"]["Networks"]["cilium"]["IPAddress"]
    return found


def records(node: Node) -> list[str]:
    return sorted(f.name for f in node.sandbox.path(STATE).iterdir() if not f.name.startswith("."))


def remove(podman: Podman, *names: str) -> None:
    podman("rm", "--force", "--time", "0", *names)


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

    assert "owner istio has no fragment yet" in failed.stderr


def test_fragments_change_while_containers_live(podman: Podman, node: Node) -> None:
    """A container is stopped with what it was started with."""
    podman(*command(podman, "web", "--network", "cilium"))
    node.remove("istio.d/10-istio.conf")
    node.remove("local.d/10-portmap.conf")
    remove(podman, "web")

    assert types(node.log()[-1]) == ["bandwidth", "portmap", "tuning", "bridge"]


def test_a_del_that_fails_is_not_lost(podman: Podman, node: Node) -> None:
    """podman only logs it and forgets the container; the record keeps the address until the next GC, and frees it."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    podman(*command(podman, "web", "--network", "cilium"))
    with steered(node, "tuning") as it:
        it.fails("DEL", "the agent is away")
        said = podman.attempt("rm", "--force", "--time", "0", "web")
    leases, kept = node.leases(), records(node)
    collect(node)
    for file in node.sandbox.path("/var/lib/cni/results").iterdir():
        file.unlink()

    assert "istio/tuning: the agent is away" in said.stderr
    assert len(leases) == len(kept) == 1
    assert (node.leases(), records(node)) == ([], [])


def test_an_owner_is_uninstalled_while_its_containers_live(podman: Podman, node: Node) -> None:
    """Fragment and binary are gone: a container that it was run for ends all the same."""
    podman(*command(podman, "web", "--network", "cilium"))
    binary = node.sandbox.path(f"{BIN}/tuning")
    away = binary.rename(node.sandbox.path(f"{STEERED}/tuning.away"))
    node.remove("istio.d/10-istio.conf")
    remove(podman, "web")
    away.rename(binary)

    assert (node.leases(), records(node)) == ([], [])
