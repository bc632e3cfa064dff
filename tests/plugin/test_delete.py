"""Section 4 of the contract: DEL repeats exactly what ran, and always comes to an end."""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.node import ABSENT, Json, Node

DELS = ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]


@pytest.fixture
def pod(node: Node) -> Node:
    """The node with an attachment c1."""
    assert node.add().ok
    return node


@pytest.mark.parametrize("change", ["edited", "removed", "another-order", "another-owner", "broken", "unsafe"])
def test_del_runs_the_records_delegates_whatever_the_fragments_are_now(pod: Node, change: str) -> None:
    """The record's delegates, configurations and order, backward."""
    if change == "edited":
        pod.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni", "new": True})
    elif change == "removed":
        (pod.chain_dir / "istio.d/10-istio-cni.conf").unlink()
    elif change == "another-order":
        pod.owners.reverse()
    elif change == "another-owner":
        pod.owner("linkerd", "linkerd-cni")
    elif change == "broken":
        pod.fragment("istio", "10-istio-cni.conf", b"{")
    else:
        (pod.chain_dir / "istio.d").chmod(0o777)

    outcome = pod.delete()

    assert outcome.ok
    assert outcome.ran == DELS
    assert "new" not in outcome.conf("istio-cni")
    assert pod.records == []


def test_a_records_configurations_are_exact(host: Node) -> None:
    """64-bit integers, unknown keys and unicode come back at DEL as ADD had them."""
    host.owner("cilium")
    own = {"type": "cilium-cni", "big": 18446744073709551615, "kubeconfig": "/etc/é", "f": 1.5, "n": None}
    host.fragment("cilium", "10.conf", own)
    host.add()
    host.fragment("cilium", "10.conf", {"type": "cilium-cni"})

    conf = host.delete().conf("cilium-cni")

    assert conf == own | {"name": "pods", "cniVersion": "1.1.0", "prevResult": host.result()}


def test_deleting_again_succeeds(pod: Node) -> None:
    """Runtimes do: without a record the chain as it is now."""
    assert pod.delete().ok

    again = pod.delete(CNI_NETNS="")

    assert again.ok
    assert again.ran == DELS


def test_del_without_any_add_runs_the_chain_as_it_is_now(node: Node) -> None:
    """Older pods, a lost disk."""
    outcome = node.delete(prevResult=node.result())

    assert outcome.ok
    assert outcome.ran == DELS
    assert all(call.conf["prevResult"] == node.result() for call in outcome.calls)


def test_del_without_record_and_fragments_succeeds(host: Node) -> None:
    host.owner("cilium")
    host.owner("istio", required=False)

    outcome = host.delete()

    assert (outcome.ok, outcome.ran) == (True, [])


@pytest.mark.parametrize("gone", ["file", "directory", "types"])
def test_without_a_record_an_owner_that_has_written_nothing_is_skipped(node: Node, gone: str) -> None:
    (node.chain_dir / "istio.d/10-istio-cni.conf").unlink()
    if gone == "directory":
        (node.chain_dir / "istio.d").rmdir()
    elif gone == "types":
        node.fragment("istio", "10.conf", {"type": "another"})
        node.owners[1]["types"] = ["istio-cni"]

    outcome = node.delete()

    assert outcome.ok
    assert outcome.ran == ["DEL portmap", "DEL cilium-cni"]


UNUSABLE = ["broken", "refused", pytest.param("unsafe", marks=pytest.mark.root), "unreadable"]


def spoil(node: Node, fault: str) -> None:
    """Istio's only file in a state in which its plugin can't be told."""
    path = node.chain_dir / "istio.d/10-istio-cni.conf"
    if fault == "broken":
        path.write_bytes(b"{")
    elif fault == "unsafe":
        path.chmod(0o666)
    elif fault == "refused":
        path.write_text('{"type": "a/b"}')
    else:
        path.unlink()
        path.parent.rmdir()
        path.parent.symlink_to(path.parent)  # ELOOP


@pytest.mark.parametrize("fault", UNUSABLE)
def test_without_a_record_a_required_owner_that_is_not_usable_is_an_error(node: Node, fault: str) -> None:
    """Each pod of before `migrate switch` has no record: one bad mode must not leak in silence.

    The others are deleted, but who holds the addresses is not: the owner's plugin may refer to them.
    """
    spoil(node, fault)

    outcome = node.delete()

    assert outcome.code in (5, 7, 11)
    assert "istio's CNI configuration" in outcome.msg
    assert outcome.ran == ["DEL portmap"]
    assert node.records == []


@pytest.mark.parametrize("fault", UNUSABLE)
def test_without_a_record_an_optional_owners_half_written_file_alone_is_left_out(node: Node, fault: str) -> None:
    """As for ADD, which refuses the others."""
    node.owners[1]["required"] = False
    spoil(node, fault)

    outcome = node.delete()

    if fault != "broken":
        assert outcome.ran == ["DEL portmap"]
        assert outcome.code == node.add().code
        return
    assert outcome.ok
    assert outcome.ran == ["DEL portmap", "DEL cilium-cni"]
    assert any("left out" in note for note in node.log_lines[-1]["notes"])


def test_without_a_record_nothing_is_recorded(node: Node) -> None:
    """The next DEL derives it again. Most often nothing had ever run: a refused ADD's clean-up, at every retry."""
    node.plugin("istio-cni").fails("DEL", "no agent")

    assert node.delete().ran == ["DEL portmap", "DEL istio-cni"]
    assert node.records == []

    node.plugin("istio-cni").behaves("DEL")
    assert node.delete().ran == DELS


def test_the_clean_up_of_a_refused_add_leaves_no_record(node: Node) -> None:
    node.uninstall("istio-cni")

    for number in range(10):
        assert node.add(f"c{number}").code == 11
        assert not node.delete(f"c{number}").ok

    assert node.records == []


def test_a_chain_dir_that_is_not_there_is_an_error(node: Node) -> None:
    """It isn't mounted yet: that doesn't mean that every owner is gone."""
    node.chain_dir.rename(node.root / "away")

    outcome = node.delete()

    assert (outcome.code, outcome.ran) == (5, [])
    assert str(node.chain_dir) in outcome.msg


def test_not_even_for_a_pod_that_an_owner_exempts(node: Node) -> None:
    node.owners[1]["exempt"] = [{"namespace": "n", "podNamePrefix": "p"}]
    node.chain_dir.rename(node.root / "away")

    assert node.delete(CNI_ARGS="K8S_POD_NAMESPACE=n;K8S_POD_NAME=p1").code == 5


def test_nor_does_it_erase_a_record(pod: Node) -> None:
    """A missing binary of an owner without a directory counts as done only where there is a directory of chains."""
    pod.chain_dir.rename(pod.root / "away")
    pod.uninstall("istio-cni")

    assert not pod.delete().ok
    assert len(pod.records) == 1


# A failing delegate.


def test_del_continues_past_a_failing_delegate_but_keeps_the_addresses(pod: Node) -> None:
    """The first delegate goes last and only when all after it are gone.

    So an address is never freed under a plugin that still refers to it.
    """
    pod.plugin("portmap").fails("DEL", "iptables is locked", 13)

    outcome = pod.delete()

    assert (outcome.code, outcome.msg) == (13, "local/portmap: iptables is locked")
    assert outcome.ran == ["DEL portmap", "DEL istio-cni"]


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_what_failed_is_retried_by_the_next_del_or_gc_and_only_that(pod: Node, verb: str) -> None:
    pod.plugin("portmap").fails("DEL")
    assert not pod.delete().ok
    pod.plugin("portmap").behaves("DEL")

    outcome = pod.delete() if verb == "DEL" else pod.gc(None)

    assert outcome.ok
    assert [name for name in outcome.ran if name.startswith("DEL")] == ["DEL portmap", "DEL cilium-cni"]
    assert pod.records == []


def test_if_the_first_delegate_fails_it_alone_is_retried(pod: Node) -> None:
    pod.plugin("cilium-cni").fails("DEL")
    assert pod.delete().ran == DELS
    pod.plugin("cilium-cni").behaves("DEL")

    assert pod.delete().ran == ["DEL cilium-cni"]


def test_of_several_failures_the_first_is_told_and_the_others_are_in_details(pod: Node) -> None:
    """The first one's code and msg."""
    pod.plugin("portmap").fails("DEL", "first", 21, details="own details")
    pod.plugin("istio-cni").fails("DEL", "second", 22)

    outcome = pod.delete()

    assert (outcome.code, outcome.msg) == (21, "local/portmap: first")
    assert "own details" in outcome.details
    assert "istio/istio-cni: second" in outcome.details


def test_what_a_delegate_prints_on_a_successful_del_is_ignored(pod: Node) -> None:
    pod.plugin("portmap").does("DEL", prints=b"OK\n")
    pod.plugin("istio-cni").does("DEL", prints={"code": 7, "msg": "x"})
    pod.plugin("cilium-cni").does("DEL", prints=b"{" * 1000)

    assert pod.delete().ok


@pytest.mark.parametrize(
    "error",
    [
        pytest.param({"msg": "link eth0 not found"}, id="not-found"),
        pytest.param({"msg": "open /x: no such file or directory"}, id="no-such-file"),
        pytest.param({"msg": "no", "details": "not found: no such file or directory"}, id="in-details"),
        pytest.param({"msg": "not found", "details": "not found"}, id="both"),
        pytest.param({"msg": "link eth0 not\nfound"}, id="line-break"),
    ],
)
def test_on_del_no_words_are_left_that_containerd_takes_for_success(pod: Node, error: Json) -> None:
    """Every failing DEL is checked for these words; here a delegate has them."""
    pod.plugin("portmap").fails("DEL", **error)
    pod.plugin("istio-cni").fails("DEL", **error)

    outcome = pod.delete()

    assert outcome.code == 7
    assert len(pod.records) == 1


@pytest.mark.parametrize("key", ["cniVersion", "name", "stateDir", "chainDir", "CNI_IFNAME", "CNI_PATH"])
@pytest.mark.parametrize("words", ["not found/", "no such file or directory/", "not\nfound/"])
def test_nor_do_our_own_words_lead_containerd_astray(pod: Node, key: str, words: str) -> None:
    assert not pod.delete(**{key: words}).ok


def test_without_an_error_object_the_words_of_stderr_are_reworded_too(pod: Node) -> None:
    pod.plugin("portmap").does("DEL", "stderr open /x: no such file or directory", "exit 1")

    assert pod.delete().code == 100


# State that can't be read.


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="half"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(b"{}", id="empty-object"),
        pytest.param(b"[1]", id="list"),
        pytest.param(b'{"version": 1, "delegates": 5}', id="other-shape"),
    ],
)
def test_a_damaged_record_is_set_aside_and_never_fatal(pod: Node, content: bytes) -> None:
    """State that can't be read: the chain as it is now."""
    (record,) = pod.records
    record.write_bytes(content)

    outcome = pod.delete()

    assert outcome.ok
    assert outcome.ran == DELS
    assert pod.records == []
    assert [path.read_bytes() for path in pod.damaged] == [content]


def test_every_field_of_a_record_may_be_damaged(pod: Node) -> None:
    """Whatever a field is turned into, DEL succeeds and nothing is left."""
    (path,) = pod.records
    lines = [line for line in path.read_bytes().splitlines() if line]
    values: list[Any] = [5, {}, "x", ABSENT]
    for number, line in enumerate(lines):
        record = json.loads(line)
        for key, value in itertools.product(record, values):
            damaged = {name: content for name, content in (record | {key: value}).items() if content is not ABSENT}
            changed = json.dumps(damaged).encode()
            path.write_bytes(b"".join(part + b"\n" for part in [*lines[:number], changed, *lines[number + 1 :]]))

            outcome = pod.delete()

            assert outcome.ok, f"line {number}, {key}: {value!r}"
            assert pod.records == []


def damage(path: Path) -> None:
    path.write_bytes(b"{")


def test_a_damaged_record_stays_until_what_stands_in_for_it_is_deleted(pod: Node) -> None:
    damage(pod.records[0])
    pod.plugin("istio-cni").fails("DEL", "no agent")
    assert not pod.delete().ok
    assert (len(pod.records), pod.damaged) == (1, [])
    pod.plugin("istio-cni").behaves("DEL")

    assert pod.delete().ran == DELS
    assert (pod.records, len(pod.damaged)) == ([], 1)


@pytest.mark.parametrize("kind", ["directory", "link", "pipe"])
def test_what_is_no_file_at_all_is_no_record(pod: Node, kind: str) -> None:
    (record,) = pod.records
    record.unlink()
    if kind == "directory":
        record.mkdir()
    elif kind == "link":
        record.symlink_to("/etc/passwd")
    else:
        os.mkfifo(record)

    assert pod.delete().ran == DELS
    assert pod.records == []
    assert pod.add().ok


def test_a_second_damaged_record_lies_beside_the_first(pod: Node) -> None:
    (path,) = pod.records
    path.unlink()
    path.mkdir()
    assert pod.delete().ok
    for _ in range(2):
        pod.add()
        damage(path)
        assert pod.delete().ok

    assert len(pod.damaged) == 3


def test_a_record_does_not_grow_with_each_del_that_fails(pod: Node) -> None:
    """The kubelet tries for days; a plugin may say a megabyte each time, and never the same."""
    sizes = []
    for number in range(4):
        pod.plugin("portmap").fails("DEL", "no", details=f"{number}{'x' * 100_000}")
        pod.delete()
        sizes.append(pod.records[0].stat().st_size)

    assert max(sizes) < 10_000
    assert sizes[1:] == sizes[:1] * 3


UNREADABLE = [
    pytest.param("state", "must be owned by root", id="state-writable", marks=pytest.mark.root),
    pytest.param("record", "not owned by root", id="record-writable", marks=pytest.mark.root),
    pytest.param("both", "must be owned by root", id="both-writable", marks=pytest.mark.root),
    pytest.param("no-directory", "Not a directory", id="state-is-a-file"),
]


@pytest.mark.parametrize(("what", "told"), UNREADABLE)
def test_a_record_that_cannot_be_read_is_kept_and_the_call_fails(pod: Node, what: str, told: str) -> None:
    """Only ENOENT means that there is none. The chain as it is now is deleted meanwhile."""
    (record,) = pod.records
    before = record.read_bytes()
    changed = pod.state_dir if what in ("state", "both") else record
    away = pod.root / "away"
    if what == "no-directory":
        pod.state_dir.rename(away)
        pod.state_dir.write_text("a file")
    else:
        changed.chmod(0o770)
    if what == "both":
        pod.chain_dir.joinpath("istio.d").chmod(0o775)

    outcome = pod.delete()

    assert outcome.code == 5
    assert told in outcome.msg
    assert str(pod.state_dir) in outcome.msg
    assert outcome.ran == (["DEL portmap"] if what == "both" else DELS)

    if what == "no-directory":
        pod.state_dir.unlink()
        away.rename(pod.state_dir)
    else:
        changed.chmod(0o700 if changed == pod.state_dir else 0o600)
    assert record.read_bytes() == before
    assert pod.delete().ran == DELS
    assert pod.records == []


def test_with_hardly_any_descriptors_a_record_is_kept(pod: Node) -> None:
    """`ulimit -n 5`: neither the record nor a fragment can be opened."""
    before = pod.records[0].read_bytes()
    limited = pod.root / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -n 5\nexec "{pod.program}"\n')
    limited.chmod(0o755)
    program, pod.program = pod.program, str(limited)

    assert not pod.delete().ok
    assert pod.records[0].read_bytes() == before

    pod.program = program
    assert pod.delete().ran == DELS


def test_a_del_without_a_record_looks_again_for_an_owner_that_was_unusable(host: Node) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni")
    path = host.fragment("istio", "10-istio-cni.conf", b"{")
    assert host.delete().code == 11
    path.write_text(json.dumps({"type": "istio-cni"}))

    outcome = host.delete()

    assert outcome.ran == ["DEL istio-cni", "DEL cilium-cni"]
