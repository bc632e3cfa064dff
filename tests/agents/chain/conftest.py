"""A node with both agents for each program and version of Cilium, and a case on it for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.chain.case import Case
from tests.agents.chain.node import AgentNode
from tests.agents.war.writers import NotBuiltError
from tests.sandbox import node as sandbox_node
from tests.sandbox.namespaces import Sandbox, SandboxUnavailableError

CILIUM = ("1.20", "1.18")


@pytest.fixture(scope="session")
def tools() -> Path:
    """Our driver of libcni and the reference plugins."""
    built = sandbox_node.tools()
    if built is None:
        pytest.skip("cnidrv and the reference plugins are not built: make tools")
    return built


@pytest.fixture(scope="session", params=["1.20"])
def cilium(request: pytest.FixtureRequest) -> str:
    """The version of Cilium; tests of both versions say so."""
    version: str = request.param
    return version


@pytest.fixture(scope="session")
def node(program: str, cilium: str, tools: Path) -> Iterator[AgentNode]:
    """Shared by all tests of a program and a version: the agents' programs are big, and take a moment to start."""
    try:
        sandbox = Sandbox()
    except SandboxUnavailableError as e:
        pytest.skip(str(e))
    with sandbox:
        try:
            node = AgentNode(sandbox, Path(program), tools, cilium)
        except NotBuiltError as e:
            pytest.skip(f"{e} (or make agents)")
        yield node
        node.close()


@pytest.fixture(params=["1.0.0", "1.1.0"])
def facade(request: pytest.FixtureRequest) -> str:
    """The version of the facade."""
    version: str = request.param
    return version


@pytest.fixture
def case(node: AgentNode, facade: str, request: pytest.FixtureRequest) -> Iterator[Case]:
    """A case, of which nothing may be left in the end."""
    node.restore()
    title = getattr(request.node, "originalname", request.node.name).removeprefix("test_").replace("_", " ")
    case = Case(node, facade, title)
    yield case
    node.restore()
    left = case.left()
    request.node.user_properties.append(("case", (case, left)))
    assert not left, "left behind:\n" + "\n".join(left)
