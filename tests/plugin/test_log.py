"""Section 2 of the contract: the log, one JSON object a line, one line a verb."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.files.node import Node

SECRET = "s3cr3t-t0ken"  # noqa: S105  # what must not appear


def test_a_verb_is_one_line_that_says_for_whom_and_how_long(node: Node) -> None:
    node.add(CNI_ARGS="K8S_POD_NAMESPACE=default;K8S_POD_NAME=web")

    (line,) = node.log_lines

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d.*", line.pop("time"))
    assert line.pop("ms") >= 0
    assert {"verb", "network", "containerID", "ifname", "netns", "pod"} <= line.keys()
    assert (line["verb"], line["network"], line["containerID"], line["ifname"]) == ("ADD", "pods", "c1", "eth0")
    assert (line["netns"], line["pod"]) == (str(node.netns("c1")), "default/web")
    assert "code" not in line


def test_a_failure_says_what_the_answer_says(node: Node) -> None:
    node.plugin("istio-cni").fails("ADD", "no lease", 42, details="pool is full")

    outcome = node.add()

    (line,) = node.log_lines
    assert (line["code"], line["msg"], line["details"]) == (42, outcome.msg, "pool is full")


@pytest.mark.parametrize(
    ("level", "verbs"),
    [
        ("error", ["CHECK"]),
        ("info", ["ADD", "CHECK", "STATUS", "DEL", "GC"]),
        ("debug", ["ADD", "CHECK", "STATUS", "DEL", "GC"]),
    ],
)
def test_the_level_decides_which_verbs_are_told(node: Node, level: str, verbs: list[str]) -> None:
    node.plugin("istio-cni").fails("CHECK")
    node.keys["logLevel"] = level
    node.add()
    node.check_pod()
    node.status()
    node.delete()
    node.gc([])

    assert [line["verb"] for line in node.log_lines] == verbs


@pytest.mark.parametrize(
    ("level", "commands"),
    [
        ("info", ["ADD", "ADD", "ADD"]),
        ("debug", ["VERSION", "ADD", "VERSION", "ADD", "VERSION", "ADD"]),
    ],
)
def test_the_level_decides_which_calls_of_delegates_are_told_with_how_long_each_took(
    node: Node, level: str, commands: list[str]
) -> None:
    node.add(logLevel=level)

    (line,) = node.log_lines
    assert sorted(call["command"] for call in line["delegates"]) == sorted(commands)
    assert [call["type"] for call in line["delegates"] if call["command"] == "ADD"] == [
        "cilium-cni",
        "istio-cni",
        "portmap",
    ]
    assert [sorted(call) for call in line["delegates"]] == [["command", "ms", "owner", "type"]] * len(commands)
    assert all(call["ms"] >= 0 for call in line["delegates"])


def test_the_level_error_tells_the_delegates_that_failed_alone(node: Node) -> None:
    node.plugin("portmap").fails("ADD", "no port", 42)

    node.add(logLevel="error")

    (line,) = node.log_lines
    assert [(call["type"], call["code"]) for call in line["delegates"]] == [("portmap", 42)]


def test_the_default_level_tells_what_a_rollback_ran(node: Node) -> None:
    node.plugin("portmap").fails("ADD", "no port", 42)

    node.add()

    (line,) = node.log_lines
    calls = [(call["owner"], call["type"], call["command"], call.get("code")) for call in line["delegates"]]
    assert calls == [
        ("cilium", "cilium-cni", "ADD", None),
        ("istio", "istio-cni", "ADD", None),
        ("local", "portmap", "ADD", 42),
        ("local", "portmap", "DEL", None),
        ("istio", "istio-cni", "DEL", None),
        ("cilium", "cilium-cni", "DEL", None),
    ]


@pytest.mark.parametrize("level", ["error", "info", "debug"])
def test_what_a_failing_delegate_said_is_in_the_log_its_last_4_kib(node: Node, level: str) -> None:
    """And not in the answer: random IDs there make every event of a pod unique."""
    noise = [f"stderr line {number:04} {'x' * 90}" for number in range(100)]
    node.plugin("istio-cni").does("ADD", *noise, "exit 1", prints={"code": 7, "msg": "no"})

    outcome = node.add(logLevel=level)

    (line,) = node.log_lines
    (failed,) = [call for call in line["delegates"] if call.get("code")]
    assert "line 0099" in failed["stderr"]
    assert len(failed["stderr"].encode()) <= 4096
    assert "line 0099" not in outcome.stdout.decode()


def test_an_empty_log_file_turns_it_off(node: Node) -> None:
    assert node.add(logFile="").ok

    assert not node.log.exists()


@pytest.mark.parametrize("path", ["nowhere/cni-chain.log", "etc/cni/chain.d", "/dev/full", "etc/../opt"])
def test_a_log_that_cannot_be_written_never_fails_a_verb(node: Node, path: str) -> None:
    node.keys["logFile"] = str(node.root / path)

    assert node.add().ok
    assert node.check_pod().ok
    assert node.status().ok
    assert node.gc(["c1"]).ok
    assert node.delete().ok
    assert node.add("c2", name="").code == 7


@pytest.mark.parametrize("level", ["error", "info", "debug"])
def test_no_level_prints_a_configurations_secrets(node: Node, level: str) -> None:
    node.keys["logLevel"] = level
    node.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni", "token": SECRET, "auth": {"key": [SECRET]}})
    node.plugin("istio-cni").fails("CHECK")
    node.add()
    node.check_pod()
    node.delete()
    node.plugin("istio-cni").fails("ADD")
    node.add()
    node.fragment("istio", "10-istio-cni.conf", f'{{"type": "istio-cni", "token": "{SECRET}", {SECRET}'.encode())

    outcome = node.add()

    assert outcome.code == 11
    assert SECRET not in node.log.read_text() + outcome.stdout.decode() + outcome.stderr


def test_what_a_delegate_says_cannot_break_a_line(node: Node) -> None:
    words = 'a\nb"\u2028\x00{'
    node.plugin("istio-cni").does(
        "ADD",
        "stderr \udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
        "exit 1",
        prints={"code": 7, "msg": words.replace("\n", ""), "details": words},
    )

    node.add()

    assert len(node.log.read_bytes().splitlines()) == 1
    (line,) = node.log_lines
    assert line["code"] == 7


def test_lines_of_verbs_at_the_same_time_stay_whole(node: Node) -> None:
    """Appended in a single write."""
    padding: Any = {"K": "x" * 3000}
    node.plugin("istio-cni").fails("ADD", json.dumps(padding))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(node.add, [f"c{number}" for number in range(16)]))

    assert len(node.log_lines) == 16
