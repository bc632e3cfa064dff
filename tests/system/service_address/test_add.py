"""The facade's key `mesh`: a pod's ADD where its mesh would not see services' addresses, and what the verdict costs."""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.bpf.chain import KEPT, RUN_DIR, MeshedNode
from tests.support.bpf.kernel import pinned
from tests.support.bpf.node import removed
from tests.support.sandbox.namespaces import kill
from tests.system.service_address.test_check import FOUR, entry, full, idle, node_only

BOTH = ["ADD net-cni", "ADD istio-cni"]
BECOMES = (
    "10.96.0.10:80/tcp becomes 10.244.0.21:8080/tcp before a mesh in the pod sees it: "
    "the mesh's policies for the service don't apply"
)
DO = (
    "set Cilium's Helm value socketLB.hostNamespaceOnly=true; "
    "restart Cilium's agents: kubectl --namespace kube-system rollout restart ds/cilium"
)
REFUSED = f'istio-cni/istio-cni: {BECOMES}; {DO}; mesh.serviceAddress is "enforce" (on the node: cni-chain mesh check)'


@pytest.fixture
def cilium(meshed: MeshedNode) -> Iterator[MeshedNode]:
    """A node whose services are in Cilium's map."""
    with pinned(meshed.node.pins() / "cilium_lb4_services_v2", dict([entry(FOUR)])):
        yield meshed


def test_where_addresses_survive_a_pod_starts(cilium: MeshedNode) -> None:
    with node_only(cilium.node, FOUR):
        outcome = cilium.call("ADD")

    assert (outcome.code, outcome.ran, cilium.notes()) == (0, BOTH, [])


def test_where_they_do_not_a_pod_is_refused_before_anything_has_run(cilium: MeshedNode) -> None:
    with full(cilium.node, FOUR):
        outcome = cilium.call("ADD")

        assert (outcome.code, outcome.text, outcome.ran, cilium.records()) == (11, REFUSED, [], [])
    # Repaired: the kubelet's next try.
    assert cilium.call("ADD").ran == BOTH


@pytest.mark.parametrize("level", ["info", "error"])
def test_where_a_warning_is_enough_the_log_has_it_at_any_level(cilium: MeshedNode, level: str) -> None:
    cilium.mesh = {"serviceAddress": "warn"}
    cilium.keys = {"logLevel": level}

    with full(cilium.node, FOUR):
        outcome = cilium.call("ADD")

    assert (outcome.code, outcome.ran) == (0, BOTH)
    assert cilium.notes() == [f"service addresses before istio-cni/istio-cni: BROKEN: {BECOMES}; {DO}"]
    assert "BROKEN: 10.96.0.10:80/tcp becomes" in " ".join(cilium.log().split())


@pytest.mark.parametrize("choice", ["enforce", "warn"])
def test_what_can_not_be_told_is_treated_as_what_is_broken(meshed: MeshedNode, choice: str) -> None:
    """No service is known, so nothing shows what the programs do."""
    meshed.mesh = {"serviceAddress": choice}
    why = "sees where a pod connects, and no service address was tried"

    with idle(meshed.node, FOUR):
        outcome = meshed.call("ADD")

    if choice == "enforce":
        assert (outcome.code, outcome.ran, meshed.records()) == (11, [], [])
        assert "it is not known whether service addresses reach the mesh: " in outcome.text
        assert why in outcome.text
    else:
        assert (outcome.code, outcome.ran) == (0, BOTH)
        [note] = meshed.notes()
        assert note.startswith("service addresses before istio-cni/istio-cni: UNKNOWN: ")
        assert why in note


def test_the_agents_own_pods_and_chains_without_a_mesh_are_not_looked_at(cilium: MeshedNode) -> None:
    with full(cilium.node, FOUR):
        agents = cilium.call("ADD", "istio-system/istio-cni-node-x")
        cilium.types = ("net-cni",)
        without = cilium.call("ADD", "shop/other")

    assert (agents.ran, without.ran) == (["ADD net-cni"], ["ADD net-cni"])
    assert not cilium.kept.parent.exists()


def test_without_the_key_nobody_looks(cilium: MeshedNode) -> None:
    cilium.mesh = None
    with full(cilium.node, FOUR):
        assert cilium.call("ADD").ran == BOTH

    assert not cilium.kept.parent.exists()


def test_a_verdict_is_made_once_and_again_when_the_programs_are_others(cilium: MeshedNode) -> None:
    made = []

    def add(pod: str) -> list[str]:
        ran = cilium.call("ADD", f"shop/{pod}").ran
        made.append(json.loads(cilium.kept.read_bytes())["made"])
        return ran

    with node_only(cilium.node, FOUR):
        assert (add("one"), add("two")) == (BOTH, BOTH)
    with full(cilium.node, FOUR):
        assert (add("three"), add("four")) == ([], [])
    with node_only(cilium.node, FOUR):
        assert add("five") == BOTH
    assert add("six") == BOTH

    assert [one == other for one, other in itertools.pairwise(made)] == [True, False, True, False, False]


def test_only_an_add_is_refused(cilium: MeshedNode) -> None:
    with node_only(cilium.node, FOUR):
        assert cilium.call("ADD").ran == BOTH
    cilium.kept.unlink()

    result = {"cniVersion": "1.1.0", "ips": [{"address": "10.244.0.7/24"}]}
    with full(cilium.node, FOUR):
        asked = [cilium.call("CHECK", conf={"prevResult": result}), cilium.call("STATUS")]
        asked += [cilium.call("GC", conf={"cni.dev/valid-attachments": [{"containerID": "web", "ifname": "eth0"}]})]
        asked += [cilium.call("DEL")]

    assert [outcome.code for outcome in asked] == [0, 0, 0, 0]
    assert asked[-1].ran == ["DEL istio-cni", "DEL net-cni"]
    assert not cilium.kept.exists()


# What the verdict's file may be instead; each gets the path.
def forged(path: Path) -> None:
    """As a verdict of this boot would be, but by another user."""
    document = json.loads(path.read_bytes()) | {"verdict": "OK", "why": "trust me", "do": []}
    path.write_text(json.dumps(document))
    os.chown(path, 65534, 65534)


def writable(path: Path) -> None:
    changed()(path)
    path.chmod(0o666)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def changed(**keys: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        document = json.loads(path.read_bytes()) | {"verdict": "OK"} | keys
        path.write_text(json.dumps(document))

    return change


def written(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


def of_another_directory(path: Path) -> None:
    forged(path)
    path.parent.chmod(0o777)


def without_programs(path: Path) -> None:
    document = json.loads(path.read_bytes()) | {"verdict": "OK"}
    del document["programs"]
    path.write_text(json.dumps(document))


DAMAGE = {
    "another user's": forged,
    "writable by all": writable,
    "in a directory that all may write to": of_another_directory,
    "a link": linked,
    "a pipe": piped,
    "empty": written(b""),
    "half written": written(b'{"verdict": "OK"'),
    "no object": written(b'["OK"]'),
    "nested beyond reason": written(b"[" * 60_000),
    "without end": written(b'{"verdict": "OK", "why": "' + b"x" * 200_000),
    "of another boot": changed(boot="8c5b6d3e"),
    "of another version": changed(version="0.0.1"),
    "of tomorrow": changed(made=1e12),
    "of no time": changed(made="now"),
    "as old as the boot": changed(made=0.0),
    "of other programs": changed(programs={"connect4": [1]}),
    "of strange programs": changed(programs=[[{}]]),
    "without programs": without_programs,
    "of programs that were never known": changed(programs=None, cgroup="/gone"),
    "of another cgroup": changed(cgroup="/proc"),
    "of a cgroup that is no path": changed(cgroup="\0"),
    "a verdict that does not exist": changed(verdict="FINE"),
    "without a sentence": changed(why=None),
    "with advice that is no list": changed(do="nothing"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_verdict_that_is_not_as_it_was_written_is_made_anew(
    cilium: MeshedNode, damage: Callable[[Path], object]
) -> None:
    with full(cilium.node, FOUR):
        assert cilium.call("ADD").code == 11
        damage(cilium.kept)
        outcome = cilium.call("ADD")

        assert (outcome.code, outcome.text, outcome.ran) == (11, REFUSED, [])


def read_only(meshed: MeshedNode) -> None:
    meshed.node.sandbox.run("mkdir", RUN_DIR)
    meshed.node.sandbox.run("mount", "-t", "tmpfs", "-o", "ro,mode=0700", "tmpfs", RUN_DIR)


def full_disk(meshed: MeshedNode) -> None:
    meshed.node.sandbox.run("mkdir", RUN_DIR)
    meshed.node.sandbox.run("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1,mode=0700", "tmpfs", RUN_DIR)


def a_file(meshed: MeshedNode) -> None:
    meshed.node.sandbox.run("touch", RUN_DIR)


def a_directory_in_its_place(meshed: MeshedNode) -> None:
    meshed.node.sandbox.run("mkdir", "-p", f"{KEPT}/x")


PLACES = {
    "read-only": read_only,
    "full": full_disk,
    "a file in the directory's place": a_file,
    "a directory in the file's place": a_directory_in_its_place,
}


@contextmanager
def broken_place(meshed: MeshedNode, make: Callable[[MeshedNode], None]) -> Iterator[None]:
    make(meshed)
    try:
        yield
    finally:
        meshed.node.sandbox.run("umount", RUN_DIR, check=False)


@pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)
def test_where_no_verdict_can_be_kept_each_pod_has_its_own_and_the_log_says_why(
    cilium: MeshedNode, make: Callable[[MeshedNode], None]
) -> None:
    with broken_place(cilium, make):
        with full(cilium.node, FOUR):
            assert cilium.call("ADD").text == REFUSED
        with node_only(cilium.node, FOUR):
            assert cilium.call("ADD").ran == BOTH

        [note] = cilium.notes()
        assert note.startswith(RUN_DIR)
        assert "can't be kept" in note


def test_many_pods_at_once_get_the_same_answer_and_leave_nothing(cilium: MeshedNode) -> None:
    with full(cilium.node, FOUR), ExitStack() as ends:
        calls = [ends.enter_context(cilium.starting("ADD", f"shop/web-{number}")) for number in range(12)]
        outcomes = [cilium.ended(call) for call in calls]

        assert {outcome.text for outcome in outcomes} == {REFUSED}
        assert [file.name for file in cilium.kept.parent.iterdir()] == [cilium.kept.name]
        assert [place.name for place in cilium.node.pods.iterdir() if place.is_dir()] == ["pod"]


def test_a_call_that_is_killed_while_it_finds_out_holds_nobody_up(cilium: MeshedNode) -> None:
    with node_only(cilium.node, FOUR):
        for moment in (0.02, 0.05, 0.1, 0.2):
            with cilium.starting("ADD", "shop/killed") as process:
                time.sleep(moment)
                kill(process)
        cilium.ran()

        outcome = cilium.call("ADD")

    for directory in cilium.node.pods.glob("cni-chain-probe-*"):  # of the killed: a check removes it a minute later
        removed(directory)
    assert (outcome.code, outcome.ran) == (0, BOTH)
    assert json.loads(cilium.kept.read_bytes())["verdict"] == "OK"
