"""What `cni-chain doctor` says of what every call meets: a full disk, a read-only one, and the last calls' failures."""

import gzip
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_doctor import LOG, failures, log, record, stranded, succeeded
from tests.support.files import mounts
from tests.support.files.node import WEB, Json, Node

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def _like_a_node(request: pytest.FixtureRequest) -> None:
    if "node" in request.fixturenames:
        root = request.getfixturevalue("node").root
        (root / "var/log").mkdir(parents=True)
        (root / "var/lib/cni/chain").mkdir(parents=True, mode=0o700)


@pytest.fixture
def own_mounts() -> Iterator[None]:
    with mounts.private():
        yield


def findings(node: Node) -> list[Json]:
    found: list[Json] = json.loads(node.run("doctor", "--json").stdout)["findings"]
    return found


def on_the_node(pods: Node, *ids: str) -> dict[str, tuple[str, str]]:
    """What doctor finds on this node of these ids: severity and words."""
    found = pods.json("doctor", "--bin-dir", pods.cni_path)["findings"]
    return {one["id"]: (one["severity"], one["what"]) for one in found if one["id"] in ids}


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("full", "its file system is full (0 KiB of 1024 KiB left)"),
        ("out of inodes", "its file system has no free inodes (0 of 64 left)"),
        ("read-only", "its file system is read-only"),
    ],
)
@pytest.mark.usefixtures("own_mounts")
def test_where_no_record_can_be_written_each_add_fails_and_doctor_says_why(pods: Node, what: str, told: str) -> None:
    mounts.mount(pods.state_dir, what)

    assert pods.add("c2", CNI_ARGS=WEB).code == 5
    found = on_the_node(pods, "records-unwritable", "calls-failing")
    assert found["records-unwritable"] == ("error", f"no record can be written here: {told}")
    severity, last = found["calls-failing"]
    assert severity == "error"
    assert "s ago: ADD default/web-1: " in last
    assert last.endswith(" (error 5); no ADD has succeeded since")
    where = ("--bin-dir", pods.cni_path)
    verify = pods.run_without_state("verify", *where)
    assert (verify.status, "[records-unwritable]" in verify.stdout) == (1, True)
    show = " ".join(pods.run_without_state("show", *where).stdout.split())
    assert show.endswith(f"No new pod gets a network: no record can be written here: {told} [records-unwritable]")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("nearly full", "its file system is nearly full ("),
        ("few inodes", "its file system has few free inodes ("),
    ],
)
@pytest.mark.usefixtures("own_mounts")
def test_where_little_is_left_doctor_warns_before_an_add_fails(pods: Node, what: str, told: str) -> None:
    mounts.mount(pods.state_dir, what)

    assert pods.add("c2", CNI_ARGS=WEB).ok
    found = on_the_node(pods, "records-space-low", "records-unwritable", "calls-failing")
    assert list(found) == ["records-space-low"]
    severity, what_is_low = found["records-space-low"]
    assert (severity, what_is_low.startswith(told)) == ("warning", True)


@pytest.mark.usefixtures("own_mounts")
def test_a_small_file_system_with_room_is_no_fault(pods: Node) -> None:
    mounts.mount(pods.state_dir, "enough")

    assert on_the_node(pods, "records-space-low", "records-unwritable", "log-unwritable") == {}


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("full", "its file system is full (0 KiB of 1024 KiB left)"),
        ("out of inodes", "its file system has no free inodes (0 of 64 left)"),
        ("read-only", "its file system is read-only"),
    ],
)
@pytest.mark.usefixtures("own_mounts")
def test_a_log_that_can_not_be_written_is_a_warning_and_fails_no_pod(pods: Node, what: str, told: str) -> None:
    directory = pods.root / "log"
    mounts.mount(directory, what)
    pods.keys["logFile"] = str(directory / "cni-chain.log")
    pods.write_facade()

    assert pods.add("c2", CNI_ARGS=WEB).ok
    ids = ("log-unwritable", "records-unwritable", "calls-failing")
    assert on_the_node(pods, *ids) == {"log-unwritable": ("warning", f"cni-chain logs nothing: {told}")}


def test_what_the_plugin_itself_logs_is_understood(pods: Node) -> None:
    pods.plugin("istio-cni").fails("ADD", "no ztunnel connection")
    for number in range(3):
        assert not pods.add(f"d{number}", CNI_ARGS=WEB).ok

    severity, what = on_the_node(pods, "calls-failing")["calls-failing"]

    assert severity == "warning"
    assert "s ago: ADD default/web-1: istio/istio-cni: no ztunnel connection (error " in what
    assert "; 3 calls failed like this in the last " in what
    assert what.endswith("; no ADD has succeeded since, but only pods of namespace default have failed")
    other = WEB.replace("NAMESPACE=default", "NAMESPACE=shop")
    assert not pods.add("d3", CNI_ARGS=other).ok
    severity, what = on_the_node(pods, "calls-failing")["calls-failing"]
    assert severity == "error"
    assert what.endswith(", of default/web-1, shop/web-1; no ADD has succeeded since")
    pods.plugin("istio-cni").behaves("ADD")
    assert pods.add("d8", CNI_ARGS=other).ok
    assert pods.add("d9", CNI_ARGS=WEB).ok
    assert on_the_node(pods, "calls-failing") == {}


def test_the_node_is_not_all_right_while_every_add_fails(node: Node) -> None:
    begun = time.time()
    log(node, *failures(1, age=12))

    result = node.run("doctor")
    took = time.time() - begun

    assert result.status == 1
    told = " ".join(result.stdout.split())
    assert "error [calls-failing]" in told
    (age,) = re.findall(r"what (\d+)s ago: ADD default/web-0: cilium/cilium-cni: unable to attach", told)
    assert 12 <= int(age) <= 13 + took
    assert "No problem was found" not in told


def failed(pod: str, code: int = 100, verb: str = "ADD", age: float = 10, **keys: object) -> Json:
    return succeeded(pod, verb, age) | {"code": code, "msg": "cilium/cilium-cni: no agent", "containerID": "c9"} | keys


OF_CILIUM = [{"owner": "cilium", "type": "cilium-cni", "command": "ADD", "code": 100, "msg": "no agent"}]


@pytest.mark.parametrize(
    ("lines", "counted"),
    [
        (lambda: [failed("a/1"), succeeded("a/1")], []),
        (lambda: [failed("a/1"), succeeded("a/2")], ["warning"]),
        (lambda: [failed("a/1", age=200), succeeded("a/2")], []),
        (lambda: [failed("a/1", age=200)], ["error"]),
        (lambda: [failed("a/1", age=700)], ["warning"]),
        (lambda: [failed("a/1", age=90000)], []),
        (lambda: [failed("a/1"), succeeded("a/1", "DEL")], ["error"]),
        (lambda: [failed("a/1", 11), failed("a/1")], ["error"]),
        (lambda: [failed("a/1", 11), failed("a/2")], ["error", "error"]),
        (lambda: [failed("a/1"), failed("b/2", delegates=OF_CILIUM)], ["error", "error"]),
        (lambda: [failed("a/1"), failed("a/2", network="other")], ["error", "error"]),
        (lambda: [failed("a/1", delegates=OF_CILIUM), failed("a/2", delegates=OF_CILIUM)], ["warning"]),
        (lambda: [failed("a/1", delegates=OF_CILIUM), failed("b/2", delegates=OF_CILIUM)], ["error"]),
        (lambda: [failed("a/1", 7, delegates=OF_CILIUM), failed("b/2", delegates=OF_CILIUM)], ["error", "error"]),
        (lambda: [failed("a/1", delegates=OF_CILIUM), failed("b/2", network="x")], ["error", "warning"]),
        (lambda: [failed("b/2", age=90000), failed("a/1", delegates=OF_CILIUM)], ["warning"]),
        (lambda: [failed("", delegates=OF_CILIUM)], ["error"]),
        (lambda: [failed("a/1", 101, delegates=OF_CILIUM)], ["error"]),
        (lambda: [failed("", 50, "STATUS"), succeeded("a/1")], ["warning"]),
        (lambda: [failed("", 50, "STATUS"), succeeded("", "STATUS")], []),
    ],
    ids=[
        "the pod has its network by now",
        "only another pod has",
        "another pod has, and this one is gone",
        "nothing has succeeded for three minutes",
        "an old one",
        "of yesterday",
        "its DEL is no success of ADD",
        "one pod's last failure counts",
        "two codes",
        "cni-chain itself and a plugin",
        "two networks",
        "a plugin, and pods of one namespace",
        "a plugin, and pods of two namespaces",
        "two errors of a plugin, and two namespaces",
        "a plugin, and the other namespace's pod is of another network",
        "a plugin, and the other namespace's pod failed yesterday",
        "a plugin, and a runtime that names no pod",
        "a plugin that doesn't end",
        "a call without a pod",
        "a call without a pod, mended",
    ],
)
def test_a_failure_counts_until_a_success_of_its_kind(
    node: Node, lines: Callable[[], list[Json]], counted: list[str]
) -> None:
    """The lines are made in the test: their ages are counted from then, however long the suite has run."""
    log(node, *lines())

    assert [one["severity"] for one in findings(node) if one["id"] == "calls-failing"] == counted


def test_a_pod_with_a_record_of_a_later_add_has_its_network_whatever_the_log_lacks(node: Node) -> None:
    node.change_facade(logLevel="error")
    log(node, failed("a/b", age=60))
    assert [one["id"] for one in findings(node)] == ["calls-failing"]

    record(node, created=time.time() - 5)
    assert findings(node) == []


def test_where_the_log_has_no_successes_a_failure_counts_for_three_minutes(node: Node) -> None:
    node.change_facade(logLevel="error")
    log(node, failed("a/x", age=170))
    assert [one["id"] for one in findings(node)] == ["calls-failing"]

    log(node, failed("a/x", age=190))
    assert findings(node) == []


def test_a_del_that_waits_for_its_retry_is_found_once(node: Node) -> None:
    stranded(node, "c9")
    log(node, failed("a/b", verb="DEL"))

    assert [one["id"] for one in findings(node)] == ["record-stranded"]


@pytest.mark.parametrize("name", ["cni-chain.log.1", "cni-chain.log.1.gz", "cni-chain.log-20261129"])
def test_a_failure_in_the_rotated_file_is_found(node: Node, name: str) -> None:
    file = log(node, failed("a/1"))
    content = file.read_bytes()
    file.with_name(name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    file.write_text("")

    assert [(one["id"], one["path"]) for one in findings(node)] == [("calls-failing", LOG)]


def test_only_the_end_of_a_large_log_is_read_and_lines_of_others_are_left_out(node: Node) -> None:
    file = log(node, failed("a/old"))
    with file.open("ab") as lines:
        for _ in range(6000):
            lines.write(json.dumps(succeeded("", "STATUS")).encode() + b" " * 100 + b"\n")
        lines.write(b"not JSON\n[1]\n\xff\n" + json.dumps(failed("a/new")).encode() + b'\n{"half": ')

    (one,) = findings(node)
    assert "ADD a/new: " in one["what"]


def test_a_log_that_is_a_directory_or_has_odd_values_stops_nothing(node: Node) -> None:
    log(node, {"time": 3, "verb": [], "code": "x", "ms": "y", "pod": {}, "delegates": [1], "msg": None})
    assert findings(node) == []

    Path(node.root / LOG[1:]).unlink()
    os.mkdir(node.root / LOG[1:])
    assert [one["id"] for one in findings(node)] == ["log-unreadable"]


def test_a_log_that_is_a_pipe_stops_nothing_and_is_not_emptied(node: Node) -> None:
    file = node.root / LOG[1:]
    file.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(file)
    writer = os.open(file, os.O_RDWR | os.O_NONBLOCK)
    try:
        os.write(writer, json.dumps(failed("a/new")).encode() + b"\n")
        assert [(one["id"], one["what"]) for one in findings(node)] == [("log-unreadable", "is not a regular file")]
        assert b"a/new" in os.read(writer, 4096)
    finally:
        os.close(writer)
