"""A caller that has closed a standard stream (`>&-`), as some service managers do: no command stumbles over it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_chain.cli.table import table
from tests.support.files.node import Node, node_before

# What a command needs so that it does its work.
ARGUMENTS = {
    "completion": ["bash"],
    "gc": ["--yes"],
    "mesh check": ["--no-probe"],
    # They would change this machine.
    "mesh shim on": ["--help"],
    "mesh shim off": ["--help"],
    "owner add": ["frr", "--optional"],
    "owner optional": ["istio"],
    "owner remove": ["istio"],
    "owner require": ["istio"],
    "watch": ["--for", "0s"],
}
CLOSED = "cni-chain: standard output: is closed\n"


def commands(entry: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Every command, and the names of its options."""
    if not entry["commands"]:
        yield " ".join(path), {name for option in entry["options"] for name in option["names"]}
    for name, below in entry["commands"].items():
        yield from commands(below, (*path, name))


def run_without(streams: str, program: str, *arguments: str) -> tuple[int, str, str]:
    """How a command ends without some of its streams, and what it prints to the others."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {streams}', "sh", program, *arguments],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "options"), list(commands(table())), ids=lambda one: one if isinstance(one, str) else ""
)
def test_without_standard_output_no_command_fails_in_its_middle(
    program: str, node: Node, command: str, options: set[str]
) -> None:
    there = {"--root": node.root} if "--root" in options else {"--net-dir": node.net_dir, "--state-dir": node.state_dir}
    where = [str(word) for name, value in there.items() if name in options for word in (name, value)]
    words = [*command.split(), *ARGUMENTS.get(command, ()), *where]

    status, _, stderr = run_without(">&-", program, *words)

    assert (status, stderr.startswith(CLOSED), "Traceback" in stderr) == (1, True, False)
    status, _, stderr = run_without("<&- >&- 2>&-", program, *words)
    assert (status, stderr) == (1, "")


def test_undo_without_standard_output_says_that_it_is_done(program: str, tmp_path: Path) -> None:
    node = node_before(tmp_path / "node", program, "cilium-istio")
    for command in ("write", "switch --override cilium-not-moved --override istio-edits-first-file"):
        assert node.migrate(*command.split()).status == 0

    status, _, stderr = run_without(">&-", program, "migrate", "undo", "--root", str(node.root))

    assert (status, stderr) == (1, CLOSED)
    assert node.json("migrate", "status")["state"] == "undone"


@pytest.mark.parametrize(("streams", "expected"), [("2>&-", 0), ("<&-", 0), ("<&- 2>&-", 0)])
def test_without_the_other_streams_a_command_does_its_work(
    program: str, node: Node, streams: str, expected: int
) -> None:
    status, stdout, stderr = run_without(streams, program, "status", "--root", str(node.root))

    assert (status, stderr) == (expected, "")
    assert stdout
