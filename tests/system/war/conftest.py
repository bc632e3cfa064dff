"""Nodes for the real writers; and the long run, which goes on beside all other tests of this package."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import available, programs
from tests.support.agents.split_node import SplitNode
from tests.support.agents.writers import built
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import is_frozen

MINUTES = 1  # ten by command


@pytest.fixture(scope="session")
def tools(tools: Path) -> Path:
    """The same; the agents' programs are built, and a sandbox can be made."""
    with available():
        for agent in ("cilium-1.20", "cilium-1.18", "istio"):
            built(agent)
        Sandbox().close()
    return tools


def frozen(config: pytest.Config) -> str | None:
    """The frozen program, if that is tested."""
    return next((program for program in programs(config) if is_frozen(program)), None)


@pytest.fixture
def node(program: str, tools: Path) -> Iterator[SplitNode]:
    """A node as the administrator has prepared it for both agents, none of which runs yet."""
    with Sandbox() as sandbox, SplitNode(sandbox, Path(program), tools) as node:
        yield node


class LongRun(NamedTuple):
    process: "subprocess.Popen[str]"
    seconds: float


@pytest.fixture(scope="package", autouse=True)
def started_long_run(request: pytest.FixtureRequest) -> Iterator[LongRun | None]:
    """Started before the first test of the package: it waits more than it works."""
    program = frozen(request.config)
    wanted = any("long_run" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if program is None or not wanted:
        yield None
        return
    command = [sys.executable, "-m", "tests.lab.war", "--program", str(Path(program).absolute())]
    command += ["--minutes", str(MINUTES), "split"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=CHECKOUT) as process:
        try:
            yield LongRun(process, MINUTES * 60)
        finally:
            process.kill()  # its sandbox ends with it


@pytest.fixture
def long_run(started_long_run: LongRun | None, request: pytest.FixtureRequest) -> LongRun:
    """The long run, which may still be on its way."""
    request.getfixturevalue("tools")  # without them it has ended at once
    if started_long_run is None:
        pytest.skip("by design: the long run is once, with the frozen program")
    return started_long_run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for the long run comes after all others of this package."""
    here = [n for n, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    last_first = sorted((items[n] for n in here), key=lambda item: "long_run" in getattr(item, "fixturenames", ()))
    for n, item in zip(here, last_first, strict=True):
        items[n] = item
