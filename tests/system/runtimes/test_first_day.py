"""The first day of docs/evidence/first-day.md, taken again: Istio comes to a node of Cilium's, and goes."""

from pathlib import Path

import pytest

from tests.conftest import available
from tests.lab.runtimes.first_day import alike, shown, started, take, text
from tests.support.runtimes.agents import LIST
from tests.support.runtimes.daemons import Containerd24
from tests.support.sandbox.node import NET, is_frozen


def test_a_mesh_comes_later_and_goes_again(program: str, tools: Path) -> None:
    """No request of any pod fails, nothing is left of cni-chain, and the page shows what is printed."""
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    with available(), started(Containerd24, program, tools, alone=True) as walk:
        stages = take(walk)
        walk.traffic.end_all()

        assert walk.agents.endpoints() == []
        assert [file.name for file in walk.agents.node.sandbox.path(NET).iterdir()] == [LIST]

    assert alike(shown()) == alike(text(stages)), "python -m tests.lab.runtimes.first_day PROGRAM writes it anew"
