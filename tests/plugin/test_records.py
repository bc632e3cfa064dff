"""Section 4 of the contract: records are durable, private, complete and gone after the last DEL."""

import json
import os
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.files.node import Node

PLUGINS = ["cilium-cni", "istio-cni", "portmap"]
HANGS = "sleep 60"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("path", ["state", "state/", "a/b//state"])
def test_state_is_roots_alone(node: Node, path: str, umask: int) -> None:
    """stateDir 0700, files 0600, whatever the runtime's umask is."""
    node.state_dir = node.root / path
    before = os.umask(umask)
    try:
        assert node.add(stateDir=f"{node.root}/{path}").ok
    finally:
        os.umask(before)

    assert stat.S_IMODE(node.state_dir.stat().st_mode) == 0o700
    assert node.records
    assert {stat.S_IMODE(file.stat().st_mode) for file in node.state_files} == {0o600}


def test_any_state_dir_is_used(node: Node) -> None:
    """Its parents are made as well."""
    elsewhere = node.root / "a/b/state"

    assert node.add(stateDir=str(elsewhere)).ok
    assert node.state_files == []
    assert [path for path in elsewhere.iterdir() if not path.name.startswith(".")]


def test_after_the_last_del_nothing_of_an_attachment_is_left(node: Node) -> None:
    """No lock file either."""
    for container in ("c1", "c2", "c3"):
        node.add(container)
    for container in ("c1", "c2", "c3"):
        node.delete(container)
        node.delete(container, CNI_NETNS="")

    assert {path.name for path in node.state_files} <= {".lock", ".versions"}


def test_the_record_is_there_before_the_first_delegate_runs(node: Node) -> None:
    node.plugin("cilium-cni").does("ADD", HANGS)
    running = node.begin("ADD")
    running.reaches("ADD", "cilium-cni")

    assert len(node.records) == 1
    running.kill()


@pytest.mark.parametrize("step", [0, 1, 2])
def test_after_a_kill_in_add_del_leaves_nothing_and_a_new_add_works(node: Node, step: int) -> None:
    node.plugin(PLUGINS[step]).does("ADD", HANGS)
    running = node.begin("ADD")
    running.reaches("ADD", PLUGINS[step])
    running.kill()
    node.plugin(PLUGINS[step]).behaves("ADD")

    outcome = node.delete()

    assert outcome.ok
    deleted = [call.type for call in outcome.calls]
    assert deleted == [plugin for plugin in reversed(PLUGINS) if plugin in deleted]
    assert set(deleted) >= set(PLUGINS[: step + 1])
    assert node.records == []
    assert node.add().ran == [f"ADD {plugin}" for plugin in PLUGINS]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_after_a_kill_in_add_a_new_add_cleans_up_first(node: Node, step: int) -> None:
    node.plugin(PLUGINS[step]).does("ADD", HANGS)
    running = node.begin("ADD")
    running.reaches("ADD", PLUGINS[step])
    running.kill()
    node.plugin(PLUGINS[step]).behaves("ADD")

    outcome = node.add()

    assert outcome.ok
    verbs = [call.verb for call in outcome.calls]
    assert verbs == sorted(verbs, reverse=True)
    assert {call.type for call in outcome.calls if call.verb == "DEL"} >= set(PLUGINS[: step + 1])


@pytest.mark.parametrize("step", [0, 1, 2])
def test_after_a_kill_in_del_the_next_del_goes_on_where_it_was(node: Node, step: int) -> None:
    """The record is replaced after each delegate."""
    node.add()
    node.plugin(PLUGINS[step]).does("DEL", HANGS)
    running = node.begin("DEL")
    running.reaches("DEL", PLUGINS[step])
    running.kill()
    node.plugin(PLUGINS[step]).behaves("DEL")

    outcome = node.delete()

    assert outcome.ok
    assert outcome.ran == [f"DEL {plugin}" for plugin in reversed(PLUGINS[: step + 1])]
    assert node.records == []
    assert node.add().ok


@pytest.mark.parametrize("step", [0, 1, 2])
def test_after_a_kill_in_a_rollback_del_leaves_nothing(node: Node, step: int) -> None:
    node.plugin("portmap").fails("ADD")
    node.plugin(PLUGINS[step]).does("DEL", HANGS)
    running = node.begin("ADD")
    running.reaches("DEL", PLUGINS[step])
    running.kill()
    node.plugin(PLUGINS[step]).behaves("DEL")

    outcome = node.delete()

    assert outcome.ok
    assert set(outcome.ran) >= {f"DEL {plugin}" for plugin in PLUGINS[: step + 1]}
    assert node.records == []


def test_after_a_kill_in_gc_the_next_gc_goes_on(node: Node) -> None:
    node.add()
    node.plugin("istio-cni").does("DEL", HANGS)
    running = node.begin("GC", "", **{"cni.dev/valid-attachments": []})
    running.reaches("DEL", "istio-cni")
    running.kill()
    node.plugin("istio-cni").behaves("DEL")

    outcome = node.gc([])

    assert [name for name in outcome.ran if name.startswith("DEL")] == ["DEL istio-cni", "DEL cilium-cni"]
    assert node.records == []


def test_a_kill_at_any_moment_leaves_nothing_that_del_does_not_take_away(node: Node) -> None:
    for milliseconds in range(0, 80, 4):
        running = node.begin("ADD")
        time.sleep(milliseconds / 1000)  # to kill it somewhere else each time; it holds wherever that is
        running.kill()

        assert node.delete().ok

    assert node.add().ok


@pytest.mark.parametrize("second", ["ADD", "DEL", "CHECK"])
@pytest.mark.parametrize("first", ["ADD", "DEL"])
def test_the_attachment_is_busy_while_another_verb_holds_it(node: Node, first: str, second: str) -> None:
    if first == "DEL":
        node.add()
    node.plugin("istio-cni").does(first, HANGS)
    running = node.begin(first)
    running.reaches(first, "istio-cni")
    before = len(node.calls)

    outcome = node.call(second)

    assert outcome.code == 11
    assert len(node.calls) == before
    running.kill()
    node.plugin("istio-cni").behaves(first)
    assert node.delete().ok


def test_the_lock_goes_with_the_process_that_held_it(node: Node) -> None:
    """Released by the kernel; a daemon that a delegate left behind doesn't keep it either."""
    node.plugin("cilium-cni").does("ADD", "daemon 60", "behave")
    node.plugin("istio-cni").does("ADD", HANGS)
    running = node.begin("ADD")
    running.reaches("ADD", "istio-cni")

    running.kill()

    assert node.delete().ok


def test_no_lock_is_held_across_attachments(node: Node) -> None:
    node.plugin("istio-cni").does("ADD", HANGS, call=1)
    running = node.begin("ADD", "c1")
    running.reaches("ADD", "istio-cni")

    assert node.add("c2").ok
    assert node.call("ADD", "c1", "eth1").ok
    assert node.delete("c2").ok
    running.kill()


def test_thirty_pods_start_and_stop_at_once(node: Node) -> None:
    containers = [f"pod{number}" for number in range(30)]
    with ThreadPoolExecutor(len(containers)) as threads:
        added = list(threads.map(node.add, containers))
        assert [outcome.answer for outcome in added] == [node.result(container=name) for name in containers]
        assert len(node.records) == len(containers)

        deleted = list(threads.map(node.delete, containers))

    assert all(outcome.ok for outcome in deleted)
    assert node.records == []
    for name in containers:
        ran = [f"{c.verb} {c.type}" for c in node.calls if c.env["CNI_CONTAINERID"] == name and c.verb != "VERSION"]
        assert ran == [f"ADD {plugin}" for plugin in PLUGINS] + [f"DEL {plugin}" for plugin in reversed(PLUGINS)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(("a-b", "c", "eth0"), ("a", "b-c", "eth0"), id="dash-in-the-network"),
        pytest.param(("pods", "c-eth0", "x"), ("pods", "c", "eth0-x"), id="dash-in-the-interface"),
        pytest.param(("pods", "A", "eth0"), ("pods", "a", "eth0"), id="case"),
        pytest.param(("pods", "a_b", "eth0"), ("pods", "a.b", "eth0"), id="punctuation"),
        pytest.param(("pods", "c", "eth%2f"), ("pods", "c", "eth%252f"), id="percent"),
        pytest.param(("pods", "c" * 400, "eth0"), ("pods", "c" * 399, "eth0"), id="long"),
        pytest.param(("pods", "c" * 400 + "1", "eth0"), ("pods", "c" * 400 + "2", "eth0"), id="long-and-alike"),
    ],
)
def test_attachments_never_share_a_record(node: Node, one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Network name + container ID + interface name, whatever characters and lengths are legal there."""
    netns = str(node.netns("c1"))
    for network, container, ifname in (one, other):
        node.network = network
        assert node.call("ADD", container, ifname, CNI_NETNS=netns).ran == [f"ADD {plugin}" for plugin in PLUGINS]
    assert len(node.records) == 2

    for network, container, ifname in (one, other):
        node.network = network
        assert node.call("DEL", container, ifname, CNI_NETNS=netns).ok
    assert node.records == []


def test_on_a_full_disk_add_fails_before_anything_ran(node: Node) -> None:
    """The record comes first. (The limit makes every write fail, as a full disk does.)"""
    node.add("c1")
    before = node.ran

    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 0; exec "$0"', node.program],
        env=node.attachment("ADD", "c2"),
        input=json.dumps(node.request()).encode(),
        capture_output=True,
        check=False,
    )

    assert json.loads(done.stdout)["code"] == 5
    assert (node.ran, len(node.records)) == (before, 1)


def test_a_state_dir_that_cannot_be_written_fails_add_before_anything_ran(node: Node) -> None:
    node.state_dir.write_text("a file")

    outcome = node.add()

    assert (outcome.code, outcome.ran) == (5, [])
    assert str(node.state_dir) in outcome.msg


def test_a_state_directory_that_cannot_be_made_is_told_by_its_name(node: Node) -> None:
    outcome = node.add(stateDir="/proc/cni-chain/state")

    assert (outcome.code, outcome.ran) == (5, [])
    assert "/proc/cni-chain" in outcome.msg
