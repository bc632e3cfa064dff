"""Whatever `--json` prints is documented: a program may rely on the keys that the pages name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.files.migrating import Before
from tests.support.files.node import CHECKOUT, Json, Node
from tests.support.files.pods import Pods, pods

__all__ = ["pods"]

# What is somebody else's document, or has names for keys.
_OPAQUE = frozenset(
    ("after", "args", "before", "conf", "content", "facadeDocument", "result", "runtimeConfig", "stdin", "timeouts")
)

CHANGES = "install, uninstall, owner add, remove and require"


def keys(document: object) -> Iterator[str]:
    if isinstance(document, list):
        for one in document:
            yield from keys(one)
    elif isinstance(document, dict):
        for key, value in document.items():
            yield key
            if key not in _OPAQUE:
                yield from keys(value)


def undocumented(heading: str, document: Json) -> set[str]:
    """The keys that docs/reference/json.md names neither below this heading nor for all commands, above the first."""
    for_all, *parts = (CHECKOUT / "docs/reference/json.md").read_text().split("\n## ")
    (part,) = (one for one in parts if one.startswith(f"{heading}\n"))
    return set(keys(document)) - set(re.findall(r"`(\w+)`", for_all + part))


def spoil(node: Node) -> None:
    """Have a finding, an owner that can't be used, and something left out of each kind."""
    node.write("local.d/20-portmap.conf", {"type": "portmap"})
    node.write("local.d/30-bad.conf", "{")
    node.write("local.d/40.conf.bak", "")
    node.write("mesh.d/10.conf", {"type": "mesh"})
    node.clear("istio")


@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize(
    ("heading", "command"),
    [
        ("show", "show"),
        ("verify", "verify"),
        ("cat", "cat"),
        ("cat", "cat --effective"),
        ("doctor", "doctor"),
        ("owner list", "owner list"),
        (CHANGES, "owner remove local --dry-run"),
        (CHANGES, "uninstall --dry-run --leave-node-without-network"),
    ],
)
def test_what_a_command_prints_of_a_node(node: Node, heading: str, command: str, healthy: bool) -> None:
    if not healthy:
        spoil(node)

    document = json.loads(node.run(*command.split(), "--json").stdout)

    assert undocumented(heading, document) == set()


@pytest.mark.parametrize(
    "arguments",
    [["attachments"], ["attachments", "c1"], ["gc", "--dry-run"], ["gc", "--yes"], ["gc", "--forget", "c1", "--yes"]],
    ids=" ".join,
)
def test_what_is_printed_of_pods(pods: Pods, arguments: list[str]) -> None:
    pods.host.add("c2")
    pods.strands("c2")
    pods.host.state.joinpath(".damaged-x:c2:eth0").touch()
    if arguments[0] == "gc":
        pods.loses_its_namespace("c1")

    command, *more = arguments
    assert undocumented(command, pods.json(command, *more)) == set()


def test_what_migrate_prints_at_each_step(program: str, tmp_path: Path) -> None:
    before = Before(tmp_path / "node", program, "cilium-istio")

    steps = [before.document(), before.document("--write"), before.document("--switch"), before.document()]
    before.cilium_moves()
    steps += [before.document("--switch", "--despite", "istio-edits-first-file"), before.document("--undo")]

    assert steps[-1]["state"] == "written"
    assert [undocumented("migrate", one) for one in steps] == [set()] * len(steps)
