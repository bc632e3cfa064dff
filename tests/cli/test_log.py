"""`cni-chain log`: what the plugin has logged, readable, in a pipe and on a terminal; followed across a rotation."""

import gzip
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_terminal import ESCAPE, shown_by
from tests.support.files.node import WEB, Json, Node, wait_until

HEAD = "TIME (UTC)      VERB        MS  RESULT     POD"
LONG = "namespace-of-a-team/web-frontend-7d9c4b5f6-x2x9z-canary"


def line(verb: str, second: int, pod: str = "shop/web-1", **keys: object) -> Json:
    rest = {"network": "cilium", "containerID": "c0ffee0123456789", "ifname": "eth0", "netns": "/run/netns/c1"}
    time = f"2025-11-29T06:26:{second:02d}.250Z"
    return {"time": time, "level": "info", "verb": verb, **rest, "pod": pod, "ms": 31.4, **keys}


FAILED = line(
    "ADD", 2, "shop/web-2", ms=10034.2, code=100, msg="cilium/cilium-cni: no agent", details="dial unix: refused"
)
LINES = [
    line("ADD", 1),
    FAILED,
    line("STATUS", 3, "", containerID="", code=50, msg="owner istio: no fragment"),
    line("DEL", 4, notes=["the namespace is gone: counted as done"]),
]


@pytest.fixture(autouse=True)
def file(request: pytest.FixtureRequest) -> Path:
    """The log with these lines, where a test has a node."""
    if "node" not in request.fixturenames:
        return Path()
    root: Path = request.getfixturevalue("node").root
    made = root / "var/log/cni-chain.log"
    made.parent.mkdir(parents=True)
    write(made, *LINES)
    return made


def write(file: Path, *lines: Json, mode: str = "a") -> None:
    with file.open(mode) as log:
        log.writelines(json.dumps(one) + "\n" for one in lines)


def test_a_line_that_is_no_call_is_left_out(node: Node, file: Path) -> None:
    before = node.run("log")
    write(file, {"time": "2025-11-29T06:26:05.250Z", "verb": 5}, {"msg": "a line of another program"})
    with file.open("a") as log:
        log.write("[" * 5000 + "]" * 5000 + "\n")

    assert node.run("log") == before


@pytest.mark.parametrize("options", [[], ["--since", "1h"]], ids=["last", "since"])
def test_a_log_that_is_a_pipe_is_said_and_keeps_nobody_waiting(node: Node, file: Path, options: list[str]) -> None:
    file.unlink()
    os.mkfifo(file)

    result = node.run("log", *options)

    assert (result.status, result.stdout) == (1, "")
    assert "/var/log/cni-chain.log: can't be read: is not a regular file" in result.stderr


def test_in_a_pipe_each_call_is_one_line(node: Node) -> None:
    assert node.run("log") == (
        0,
        f"""\
{HEAD}
11-29 06:26:01  ADD         31  ok         shop/web-1
11-29 06:26:02  ADD      10034  error 100  shop/web-2  cilium/cilium-cni: no agent  details: dial unix: refused
11-29 06:26:03  STATUS      31  error 50   -  owner istio: no fragment
11-29 06:26:04  DEL         31  ok         shop/web-1  note: the namespace is gone: counted as done
""",
        "",
    )


def test_on_a_terminal_nothing_is_wider_than_it_and_no_name_is_broken(node: Node, file: Path) -> None:
    write(file, line("ADD", 5, LONG, code=100, msg=f"istio/istio-cni: {'no ztunnel connection ' * 5}"))

    shown = shown_by([node.program, "log", "--root", str(node.root)], COLUMNS="80")

    assert "\x1b[31m" in shown
    assert (
        ESCAPE.sub("", shown)
        == f"""\
{HEAD}
11-29 06:26:01  ADD         31  ok         shop/web-1
11-29 06:26:02  ADD      10034  error 100  shop/web-2
    cilium/cilium-cni: no agent
    details: dial unix: refused
11-29 06:26:03  STATUS      31  error 50   -
    owner istio: no fragment
11-29 06:26:04  DEL         31  ok         shop/web-1
    note: the namespace is gone: counted as done
11-29 06:26:05  ADD         31  error 100
    {LONG}
    istio/istio-cni: no ztunnel connection no ztunnel connection no ztunnel
    connection no ztunnel connection no ztunnel connection
"""
    )


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        (["--failed"], [2, 3]),
        (["--pod", "shop/web-1"], [1, 4]),
        (["--pod", "shop/web-2", "--failed"], [2]),
        (["--pod", "shop/web"], []),
        (["-n", "2"], [3, 4]),
        (["-n", "1", "--failed"], [3]),
        (["-n", "0"], []),
        (["--since", "1s"], []),
        (["--since", "36500d"], [1, 2, 3, 4]),
        (["--since", f"{10**21}d"], [1, 2, 3, 4]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_one_chooses_calls(node: Node, options: list[str], seconds: list[int]) -> None:
    found = json.loads(node.run("log", "--json", *options).stdout)["calls"]

    assert [int(one["time"][17:19]) for one in found] == seconds


def test_where_nothing_is_found_it_is_said_and_no_failure(node: Node) -> None:
    none = "No such call is logged in /var/log/cni-chain.log.\n"
    assert node.run("log", "--pod", "a/b") == (0, "", none)

    (node.root / "var/log/cni-chain.log").unlink()
    assert node.run("log") == (0, "", none)


def test_a_document_has_the_same_keys_for_each_call(node: Node) -> None:
    found = json.loads(node.run("log", "--json").stdout)

    assert found["logs"] == ["/var/log/cni-chain.log"]
    assert len({tuple(one) for one in found["calls"]}) == 1
    ok, failed, *_ = found["calls"]
    assert (ok["failed"], ok["code"], ok["msg"], ok["plugin"]) == (False, None, None, None)
    assert (failed["code"], failed["msg"]) == (100, "cilium/cilium-cni: no agent")


@pytest.mark.parametrize("options", [["--since", "36500d"], ["--failed"], []], ids=" ".join)
def test_rotated_files_are_read_too_the_oldest_first(node: Node, file: Path, options: list[str]) -> None:
    def moment(second: int) -> bytes:
        return json.dumps(line("ADD", second, code=7, msg="m")).encode() + b"\n"

    for seconds_ago, (name, content) in enumerate(
        [("cni-chain.log.1", moment(30)), ("cni-chain.log.2.gz", gzip.compress(moment(20)) + gzip.compress(moment(21)))]
    ):
        rotated = file.with_name(name)
        rotated.write_bytes(content)
        os.utime(rotated, (1e9 - seconds_ago,) * 2)
    file.with_name("cni-chain.log.bak").write_bytes(moment(50))
    write(file, line("ADD", 40, code=7, msg="m"), mode="w")

    found = json.loads(node.run("log", "--json", *options).stdout)["calls"]

    seconds = [int(one["time"][17:19]) for one in found]
    assert seconds == ([20, 21, 30, 40] if options else [30, 40])


def test_lines_that_are_not_the_plugins_are_left_out_and_what_they_hold_moves_no_cursor(node: Node, file: Path) -> None:
    file.write_bytes(
        b'not JSON\n[1]\n\xff\n{"half": \n{}\n{"verb": []}\n{"time": 3, "verb": "DEL", "ms": "y", "notes": 3, '
        b'"delegates": 1}\n'
    )
    write(file, line("ADD", 9, "a/\x1b[2Jb", code=7, msg="m\r\x1b[31m"))

    status, stdout, stderr = node.run("log")

    assert (status, stderr) == (0, "")
    assert stdout.splitlines()[-1] == "11-29 06:26:09  ADD         31  error 7    a/\\x1b[2Jb  m\\r\\x1b[31m"
    assert len(stdout.splitlines()) == 3


def test_any_file_can_be_read(node: Node, file: Path) -> None:
    file.rename(node.root / "old.log")

    assert len(node.run("log", "--file", "/old.log").stdout.splitlines()) == 5


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (["--pod", "web"], 2, "'web' is not NAMESPACE/NAME"),
        (["--since", "soon"], 2, "'soon' is not a time span"),
        (["-f", "-o", "yaml"], 2, "--follow goes with text and with --output json"),
        (["-n", "-1"], 2, "-1"),
        (["--file", "/nope"], 1, "/nope: does not exist"),
        (["--file", "/etc"], 1, "/etc: can't be read: Is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_done_is_said(node: Node, options: list[str], status: int, told: str) -> None:
    result = node.run("log", *options)

    assert (result.status, result.stdout) == (status, "")
    assert told in result.stderr


def test_a_log_that_is_turned_off_is_said(node: Node) -> None:
    node.change_facade(logFile="")

    result = node.run("log")

    assert (result.status, 'logFile is "", so cni-chain logs nothing' in result.stderr) == (1, True)


class Followed:
    """`cni-chain log -f` at work, and what it has printed."""

    def __init__(self, node: Node, out: Path, *options: str) -> None:
        self.out = out
        with out.open("wb") as stdout:
            command = [node.program, "log", "-f", "--root", str(node.root), *options]
            self.process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT)

    def prints(self, text: str) -> None:
        wait_until(lambda: text in self.out.read_text(), f"{text} in {self.out}")

    def times(self) -> list[int]:
        return [int(one[12:14]) for one in self.out.read_text().splitlines()[1:]]

    def ends(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


@pytest.fixture
def followed(node: Node, tmp_path: Path) -> Iterator[Followed]:
    made = Followed(node, tmp_path / "out")
    yield made
    made.process.kill()
    made.process.wait()


@pytest.mark.parametrize("how", ["moved", "copied and cut", "removed", "moved twice"])
def test_follow_goes_on_after_a_rotation_and_prints_each_call_once(followed: Followed, file: Path, how: str) -> None:
    followed.prints("06:26:04")
    write(file, line("ADD", 10))
    followed.prints("06:26:10")
    with file.open("a") as log:  # half a line
        text = json.dumps(line("ADD", 11)) + "\n"
        log.write(text[:40])
        log.flush()
        log.write(text[40:])
    followed.prints("06:26:11")
    if how == "moved":
        file.rename(file.with_name("cni-chain.log.1"))
        write(file.with_name("cni-chain.log.1"), line("ADD", 12))  # by a call that had opened it before
    elif how == "copied and cut":
        write(file, line("ADD", 12))
        followed.prints("06:26:12")
        os.truncate(file, 0)
    elif how == "removed":
        write(file, line("ADD", 12))
        file.unlink()
    else:
        write(file, line("ADD", 12))
        for number in (2, 1):
            file.rename(file.with_name(f"cni-chain.log.{number}"))
            file.touch()
    write(file, line("ADD", 13))
    followed.prints("06:26:13")

    assert followed.ends() == 0
    assert followed.times() == [1, 2, 3, 4, 10, 11, 12, 13]


def test_follow_waits_for_a_log_that_does_not_exist_yet(node: Node, file: Path, tmp_path: Path) -> None:
    file.unlink()
    waiting = Followed(node, tmp_path / "out", "--json", "--failed")
    try:
        write(file, *LINES)
        waiting.prints("no fragment")
        assert waiting.ends() == 0
    finally:
        waiting.process.kill()
        waiting.process.wait()
    printed = [json.loads(one) for one in waiting.out.read_text().splitlines()]
    assert [one["code"] for one in printed] == [100, 50]


@pytest.mark.root
def test_what_the_plugin_really_logs(pods: Node) -> None:
    pods.plugin("istio-cni").fails("ADD", "no ztunnel connection", 42)
    assert not pods.add("c2", CNI_ARGS=WEB).ok

    text = pods.run_without_state("log").stdout.splitlines()
    calls = json.loads(pods.run_without_state("log", "--json").stdout)["calls"]

    assert [(one["verb"], one["pod"], one["code"], one["plugin"]) for one in calls] == [
        ("ADD", "default/web-1", None, None),
        ("ADD", "default/web-1", 42, "istio/istio-cni"),
    ]
    assert text[-1].endswith("error 42   default/web-1  istio/istio-cni: no ztunnel connection")
