"""The walk of docs/evidence/walk.md, taken again: from the shared list to a directory for each agent, and back."""

from pathlib import Path

import pytest

from tests.conftest import available
from tests.lab.runtimes.walk import alike, shown, started, take, text
from tests.support.runtimes.agents import LIST
from tests.support.runtimes.daemons import Containerd24, Crio, Runtime
from tests.support.runtimes.kubelet import Kubelet
from tests.support.sandbox.inventory import settled
from tests.support.sandbox.node import NET, is_frozen
from tests.support.stand_ins.process import PLACE


def kept(kubelet: Kubelet) -> set[str]:
    """What is on the node, without what the stand-ins record."""
    return {thing for thing in kubelet.kept() if not thing.startswith(f"file {PLACE}/")}


@pytest.mark.parametrize("kind", [Containerd24, Crio], ids=["containerd-2.4", "CRI-O-1.34"])
def test_from_the_shared_list_to_a_directory_for_each_and_back(kind: type[Runtime], program: str, tools: Path) -> None:
    """No pod is harmed, nothing is left behind, and docs/evidence/walk.md shows what is printed."""
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    with available(), started(kind, program, tools) as walk:
        node, kubelet = walk.agents.node, walk.kubelet
        before, shared = kept(kubelet), (node.sandbox.path(f"{NET}/{LIST}")).read_bytes()

        stages = take(walk)
        walk.traffic.end_all()

        assert kubelet.client.sandboxes() == []
        assert walk.agents.endpoints() == []
        assert settled(lambda: kept(kubelet) - before, 60) == set()
        assert [file.name for file in node.sandbox.path(NET).iterdir()] == [LIST]
        assert node.sandbox.path(f"{NET}/{LIST}").read_bytes() == shared

    if kind is Containerd24:
        assert alike(shown()) == alike(text(stages)), "python -m tests.lab.runtimes.walk PROGRAM writes it anew"
