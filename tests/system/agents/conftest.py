"""A node with both agents for each program and version of Cilium, and a case on it for each test."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents.case import Case, Outcome
from tests.support.agents.node import AgentNode
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox.namespaces import Sandbox, SandboxUnavailableError

CILIUM = ("1.20", "1.18")
FACADES = ("1.0.0", "1.1.0")
# A test of both versions of Cilium.
both = pytest.mark.parametrize("cilium", CILIUM, indirect=True, scope="session")


@pytest.fixture(scope="session", params=["1.20"])
def cilium(request: pytest.FixtureRequest) -> str:
    """The version of Cilium; tests of both versions say so."""
    version: str = request.param
    return version


@pytest.fixture(scope="session")
def node(program: str, cilium: str, tools: Path) -> Iterator[AgentNode]:
    """Shared by all tests of a program and a version: the agents' programs are big, and take a moment to start."""
    with contextlib.ExitStack() as stack:
        try:
            sandbox = stack.enter_context(Sandbox())
            node = stack.enter_context(AgentNode.running(sandbox, Path(program), tools, cilium))
        except (SandboxUnavailableError, NotBuiltError) as e:
            pytest.skip(str(e))
        yield node


@pytest.fixture(params=FACADES)
def facade(request: pytest.FixtureRequest) -> str:
    """The version of the facade."""
    version: str = request.param
    return version


def title(test: str) -> str:
    """A test's name in words, with its parameters but for the program and the versions."""
    name, _, parameters = test.removeprefix("test_").removesuffix("]").partition("[")
    own = re.sub(r"(^|-)(source|cni-chain|1\.20|1\.18|1\.[01]\.0)(?=-|$)", "", parameters).strip("-")
    words = name.replace("_", " ")
    return f"{words}: {own}" if own else words


@pytest.fixture
def case(node: AgentNode, facade: str, request: pytest.FixtureRequest) -> Iterator[Case]:
    """A case, of which nothing may be left in the end."""
    node.restore()
    case = Case(node, facade, title(request.node.name))
    yield case
    node.restore()
    Outcome(case, case.left()).keep(request.node)
