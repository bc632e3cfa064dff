"""The table of `cni-chain attachments`: a row is a line where it fits, no name is broken, and changes as they come."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cni_chain.plugin.record import Attachment, parse
from tests.cli.test_terminal import ESCAPE, Upon, shown_by
from tests.support.files import schemas
from tests.support.files.node import Node
from tests.support.files.outcome import wait_until

POD = "namespace-of-a-team/web-frontend-7d9c4b5f6-x2x9z-c"  # 50 characters
DUAL = ("10.244.11.231/32", "fd00:10:244:1::a2b3/128")
CONTAINER = "3f2a9c0d1e2f4a5b6c7d8e9f"


@pytest.fixture
def long(pods: Node) -> Node:
    """A pod with a long name and two addresses, beside default/web-1."""
    answer = pods.result()
    answer["ips"] = [{"address": one, "interface": 0} for one in DUAL]
    pods.plugin("cilium-cni").does("ADD", prints=answer)
    namespace, name = POD.split("/")
    assert pods.add(CONTAINER, CNI_ARGS=f"K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}").ok
    pods.ages(CONTAINER, 7300)
    pods.ages("c1", 90000)
    return pods


def shown(node: Node, columns: int, *options: str) -> list[str]:
    """The lines of the table on a terminal of so many columns."""
    where = ["--net-dir", str(node.net_dir), "--state-dir", str(node.state_dir)]
    text = shown_by([node.program, "attachments", *where, *options], COLUMNS=str(columns))
    return [line.rstrip() for line in ESCAPE.sub("", text).splitlines()]


BOTH = ",".join(DUAL)


def test_on_a_wide_terminal_a_row_has_every_column(long: Node) -> None:
    assert shown(long, 160) == [
        f"{'POD':50}  IFACE  {'ADDRESSES':40}  {'PLUGINS':28}  AGE  STATE  CONTAINER",
        f"{POD}  eth0   {BOTH}  cilium-cni,istio-cni,portmap  2h   added  3f2a9c0d1e2f4",
        f"{'default/web-1':50}  eth0   {'10.1.0.5/24':40}  cilium-cni,istio-cni,portmap  1d   added  c1",
    ]


def test_on_a_narrower_one_plugins_and_interfaces_are_left_out(long: Node) -> None:
    assert shown(long, 122) == [
        f"{'POD':50}  {'ADDRESSES':40}  AGE  STATE  CONTAINER",
        f"{POD}  {BOTH}  2h   added  3f2a9c0d1e2f4",
        f"{'default/web-1':50}  {'10.1.0.5/24':40}  1d   added  c1",
    ]


def test_on_80_columns_a_pod_whose_row_does_not_fit_has_a_line_of_its_own(long: Node) -> None:
    lines = shown(long, 80)

    assert lines == [
        "POD",
        f"  IFACE  {'ADDRESSES':40}  AGE  STATE  CONTAINER",
        POD,
        f"  eth0   {BOTH}  2h   added  3f2a9c0d1e2f4",
        "default/web-1",
        f"  eth0   {'10.1.0.5/24':40}  1d   added  c1",
    ]
    assert max(map(len, lines)) <= 80


def test_on_80_columns_usual_pods_have_one_line_each(pods: Node) -> None:
    pods.ages("c1", 7300)

    (head, line) = shown(pods, 80)

    assert head.split() == ["POD", "IFACE", "ADDRESSES", "AGE", "STATE", "CONTAINER"]
    assert line == "default/web-1  eth0   10.1.0.5/24  2h   added  c1"


def test_wide_has_every_column_however_narrow_the_terminal_is(long: Node) -> None:
    assert shown(long, 40, "-o", "wide") == shown(long, 160)


def test_no_name_is_broken_on_any_terminal(long: Node) -> None:
    for columns in (30, 60, 90, 100, 110):
        text = "\n".join(shown(long, columns))
        for word in (POD, BOTH, "default/web-1", "added"):
            assert word in text, (columns, text)


def test_a_pod_with_two_interfaces_keeps_the_column_that_tells_them_apart(long: Node) -> None:
    second = parse(long.record("c1").read_bytes())
    second.attachment = Attachment(second.attachment.network, "c1", "net1")
    long.record("c1", "net1").write_bytes(second.text())

    assert "IFACE" in shown(long, 100)[1]


@pytest.fixture
def watching(pods: Node, tmp_path: Path) -> Iterator[tuple[Node, subprocess.Popen[bytes], Path]]:
    out = tmp_path / "out"
    where = ["--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]
    with out.open("wb") as stdout:
        process = subprocess.Popen([pods.program, "attachments", "--watch", "--json", *where], stdout=stdout)
    yield pods, process, out
    process.kill()
    process.wait()


def test_changes_are_printed_as_they_come(watching: tuple[Node, subprocess.Popen[bytes], Path]) -> None:
    pods, process, out = watching

    def comes(change: str, container: str) -> None:
        text = f'"containerID": "{container}"'
        wait_until(
            lambda: any(f'"change": "{change}"' in line and text in line for line in out.read_text().splitlines()),
            f"{change} of {container}",
        )

    comes("ADDED", "c1")
    assert pods.add("c2").ok
    comes("ADDED", "c2")
    pods.strands("c1")
    comes("CHANGED", "c1")
    pods.plugin("istio-cni").behaves("DEL")
    assert pods.delete("c1").ok
    comes("GONE", "c1")
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 0
    definitions = schemas.schema("attachments")["$defs"] | {"error": schemas.schema("common")["$defs"]["error"]}
    text = json.dumps(definitions).replace("common.json#", "#")
    validator = Draft202012Validator({"$ref": "#/$defs/change", "$defs": json.loads(text)})
    for line in out.read_text().splitlines():
        validator.validate(json.loads(line))


def drawn_again(end: bytes) -> Upon:
    """Ctrl-C when the table has been drawn for the second time, to its end."""
    return Upon(end, 2, lambda process: os.kill(process, signal.SIGINT))


def test_on_a_terminal_the_table_is_drawn_again(pods: Node) -> None:
    where = ["--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]

    text = shown_by(
        [pods.program, "attachments", "-w", *where], drawn_again(b"Ctrl-C ends."), COLUMNS="100", LINES="24"
    )

    assert text.count("\x1b[H\x1b[2J") >= 2
    assert "default/web-1  eth0   10.1.0.5/24" in ESCAPE.sub("", text)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["c1", "--watch"], "--watch and ID exclude each other"),
        (["--watch", "-o", "yaml"], "--watch goes with text and with --output json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_watched_is_said(pods: Node, options: list[str], told: str) -> None:
    result = pods.run("attachments", *options)

    assert (result.status, told in result.stderr) == (2, True)


def test_the_screen_has_room_for_what_is_drawn(pods: Node) -> None:
    for number in range(12):
        assert pods.add(f"d{number}").ok
    where = ["--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]
    command = [pods.program, "attachments", "-w", *where]

    shown = shown_by(command, drawn_again(b" lines more"), COLUMNS="100", LINES="10")

    last = ESCAPE.sub("", shown.rpartition("\x1b[2J")[2]).splitlines()
    assert len(last) <= 10
    assert last[-1].endswith(" lines more") or last[-2].endswith(" lines more")
