"""`cni-chain agent` from a container: it installs itself on the node and goes on there, or says what keeps it away."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.sandbox.daemon import OWNERS, Agent, Node
from tests.support.sandbox.node import BIN, FACADE, NET, is_frozen, wait_for

PROGRAMS = "/opt/cni/cni-chain"
# A container sees none of the node's files in these; its program is in /tmp/image.
CONTAINER = 'for path in /opt/cni /etc/cni /run /var/log; do mount -t tmpfs none $path; done; exec "$@"'


@pytest.fixture
def bare(node: Node) -> Node:
    """A node without cni-chain: its agents have written, and have moved."""
    if not is_frozen(node.program):
        pytest.skip("by design: only the frozen program can be installed")
    node.sandbox.path(f"{BIN}/cni-chain").unlink()
    shutil.rmtree(node.sandbox.path(PROGRAMS))
    for owner in ("cilium", "istio"):
        node.moves(owner)
    return node


@contextmanager
def contained(node: Node, *options: str) -> Iterator[Agent]:
    """An agent in a container with the node's processes and its network."""
    program = node.image() if not node.sandbox.path("/tmp/image").exists() else image(node)  # noqa: S108
    words = ["agent", "--state", "on", *OWNERS, *options]
    with node.running(["unshare", "--mount", "sh", "-c", CONTAINER, "sh", program, *words]) as agent:
        yield agent


def image(node: Node) -> str:
    [program] = node.sandbox.path("/tmp/image").glob("*/cni-chain")  # noqa: S108
    return str(Path("/tmp/image", program.parent.name, program.name))  # noqa: S108


def executable(agent: Agent) -> str:
    [pid] = agent.pids
    return os.readlink(f"/proc/{pid}/exe")


def test_it_installs_itself_and_goes_on_as_what_is_installed(bare: Node) -> None:
    with contained(bare) as agent:
        agent.wait_ready("on")

        assert executable(agent).startswith(f"{PROGRAMS}/")
        assert os.readlink(bare.sandbox.path(f"{BIN}/cni-chain")).startswith("../cni-chain/")
        assert bare.has_facade()
        assert agent.end() == 0
    assert bare.chain("status")[0] == 0


def test_a_program_that_is_wiped_comes_back_from_the_image(bare: Node) -> None:
    with contained(bare) as agent:
        agent.wait_ready("on")
        done = len(agent.did)

        bare.sandbox.run("sh", "-c", "rm -rf /opt/cni/cni-chain /opt/cni/bin/cni-chain")

        agent.wait_did(PROGRAMS, done)
        agent.wait_ready("on")
        assert bare.chain("status")[0] == 0
        assert agent.errors == ""


def test_another_build_of_the_same_version_is_named_and_it_neither_ends_nor_replaces_it(bare: Node) -> None:
    home = bare.sandbox.path(PROGRAMS) / Path(bare.program).resolve().parent.name
    shutil.copytree(Path(bare.program).resolve().parent, home)
    (home / "README").write_text("of another build\n")

    with contained(bare) as agent:
        agent.wait_refused("another build of version")
        assert agent.get("/healthz").status == 200
        assert not bare.has_facade()

        shutil.rmtree(home)

        agent.wait_ready("on")
        assert executable(agent).startswith(f"{PROGRAMS}/")


def test_a_version_that_refuses_the_facade_in_place_is_named_and_the_one_before_it_goes_on(bare: Node) -> None:
    with contained(bare) as agent:
        agent.wait_ready("on")
    programs = bare.sandbox.path(PROGRAMS)
    [home] = programs.iterdir()
    home.rename(programs / "0.0.9")
    link = bare.sandbox.path(f"{BIN}/cni-chain")
    link.unlink()
    link.symlink_to("../cni-chain/0.0.9/cni-chain")
    facade = bare.read(f"{NET}/{FACADE}")
    facade["plugins"][0]["logLevel"] = "ofAnother"
    bare.write(f"{NET}/{FACADE}", facade)

    with contained(bare) as agent:
        agent.wait_refused("new pods would get no network from this version")
        assert os.readlink(link) == "../cni-chain/0.0.9/cni-chain"

        del facade["plugins"][0]["logLevel"]
        bare.write(f"{NET}/{FACADE}", facade)

        agent.wait_ready("on")
    assert os.readlink(link) != "../cni-chain/0.0.9/cni-chain"


@pytest.mark.parametrize("directory", ["/opt/cni", "/etc/cni"])
def test_a_directory_that_is_read_only_is_named_and_nothing_is_left_half_done(bare: Node, directory: str) -> None:
    bare.sandbox.run("mount", "-o", "remount,ro", directory)

    with contained(bare) as agent:
        agent.wait_refused("Read-only file system")
        assert directory in agent.get("/readyz").text
        assert not bare.has_facade()

        bare.sandbox.run("mount", "-o", "remount,rw", directory)

        agent.wait_ready("on")


def test_a_full_disk_is_named_and_leaves_no_half_program(bare: Node) -> None:
    bare.sandbox.run("mount", "-o", "remount,size=2m", "/opt/cni")

    with contained(bare) as agent:
        agent.wait_refused("No space left on device")
        assert not bare.sandbox.path(f"{BIN}/cni-chain").exists()
        # It tries again and again, and each time something is there for a moment.
        wait_for(lambda: bare.sandbox.run("find", PROGRAMS, "-type", "f", check=False).stdout == "", "nothing is left")

        bare.sandbox.run("mount", "-o", "remount,size=100m", "/opt/cni")

        agent.wait_ready("on")


def test_without_the_node_s_processes_it_says_what_it_needs(bare: Node) -> None:
    program = bare.image()
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]

    with bare.running([*alone, program, "agent", "--state", "on"]) as agent:
        agent.wait_refused("set hostPID: true")
        assert not bare.has_facade()


def test_a_second_agent_of_the_node_is_named_and_does_nothing(bare: Node) -> None:
    with contained(bare) as agent:
        agent.wait_ready("on")

        with bare.agent("off", listen="127.0.0.1:9754") as other:
            other.wait_refused("another agent keeps this node, process")
            assert bare.has_facade()
