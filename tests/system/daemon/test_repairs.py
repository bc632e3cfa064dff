"""`cni-chain agent --state on`: what others do to its node is put right, three times in ten minutes, and then said."""

import sys
import time

import pytest

from tests.support.sandbox.daemon import CILIUM, ISTIO, OWNERS, Agent, Node
from tests.support.sandbox.node import CHAIN, FACADE, NET, STATE, wait_for

PATH = f"{NET}/{FACADE}"
KEPT = f"{STATE}/.facade-etc-cni-net.d"
# A process with a name of its own that stays, as an agent does.
WRITER = """
import os, sys
open("/proc/self/comm", "w").write("cilium-agent")
for line in sys.stdin:
    os.rename(*line.split())
    print("done", flush=True)
"""


@pytest.fixture
def born(node: Node) -> Node:
    """A node on which both agents have written, and which has no list."""
    for owner in ("cilium", "istio"):
        node.moves(owner)
    return node


def repaired(agent: Agent, count: int) -> None:
    agent.wait_until(lambda: sum("restored" in text for text in agent.did) == count, f"repair {count}")


@pytest.mark.parametrize("renamed", [f"{PATH}.cilium_bak", f"{NET}/away"])
def test_a_facade_that_is_renamed_comes_back(born: Node, renamed: str) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        content = born.sandbox.path(PATH).read_bytes()

        born.sandbox.path(PATH).rename(born.sandbox.path(renamed))

        repaired(agent, 1)
        agent.wait_ready("on")
        assert born.sandbox.path(PATH).read_bytes() == content
        agent.wait_until(lambda: "cni_chain_repairs_total 1\n" in agent.get("/metrics").text, "it is counted")


def test_a_plugin_that_an_agent_appends_to_the_facade_is_taken_out_again(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        before = born.read(PATH)

        born.write(PATH, before | {"plugins": [*before["plugins"], ISTIO]})

        repaired(agent, 1)
        agent.wait_ready("on")
        assert born.read(PATH) == before


def test_a_plugin_that_was_appended_while_the_agent_was_away_is_taken_out_too(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
    before = born.read(PATH)
    born.write(PATH, before | {"plugins": [*before["plugins"], ISTIO]})

    with born.agent("on", *OWNERS) as agent:
        repaired(agent, 1)
        agent.wait_ready("on")

    assert born.read(PATH) == before


@pytest.mark.parametrize("damage", [b"{", b"", b'{"plugins": [{"type": "cilium-cni"}]}', None], ids=str)
def test_a_facade_that_was_damaged_or_removed_while_the_agent_was_away_comes_back_as_it_was(
    born: Node, damage: bytes | None
) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        assert born.chain("owner", "add", "local")[0] == 0
        agent.wait_until(lambda: "local" in born.text(KEPT), "what an administrator has changed is kept")
    content = born.sandbox.path(PATH).read_bytes()
    born.share(CILIUM)  # a list that was left: Istio's agent has moved
    if damage is None:
        born.sandbox.path(PATH).unlink()
    else:
        born.write(PATH, damage)

    with born.agent("on", *OWNERS) as agent:
        repaired(agent, 1)
        agent.wait_ready("on")
        agent.wait_until(lambda: "cni_chain_repairs_total 1\n" in agent.get("/metrics").text, "it is counted")

    assert born.sandbox.path(PATH).read_bytes() == content


@pytest.mark.parametrize("copy", [None, b"{", b"{}"], ids=str)
def test_a_damaged_facade_of_which_nothing_is_kept_is_named_with_what_helps(born: Node, copy: bytes | None) -> None:
    born.write(PATH, b"{")
    if copy is not None:
        born.write(KEPT, copy)

    with born.agent("on", *OWNERS) as agent:
        agent.wait_refused(f"{PATH}: not JSON")
        assert "or move it away, and this agent goes on" in agent.last["reasons"][0]
        born.sandbox.path(PATH).unlink()
        agent.wait_ready("on")


def test_a_copy_of_a_chain_that_is_gone_takes_no_list_s_place(born: Node) -> None:
    """As on a node from which everything was taken by hand, long ago."""
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
    born.sandbox.run("sh", "-c", "rm -rf /etc/cni/*/*")
    born.share(CILIUM | {"enable-debug": True}, ISTIO)

    with born.agent("on") as agent:
        agent.wait_refused("set cni.confPath to /etc/cni/chain.d/cilium.d first")

    assert (born.active(), agent.did[0].partition(":")[0]) == ("05-cilium.conflist", "installed")


def test_a_copy_does_not_take_the_place_of_a_facade_that_waits(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
    born.sandbox.run("sh", "-c", f"rm -rf {NET}/*")
    born.share(CILIUM, ISTIO)
    with born.agent("prepared", *OWNERS) as agent:
        agent.wait_ready("prepared")

    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")

    assert [text.partition(":")[0] for text in agent.did] == ["switched"]


@pytest.mark.parametrize("by", ["the agent", "migrate", "uninstall"])
def test_nothing_is_kept_of_a_facade_that_was_taken_out_of_use(born: Node, by: str) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
    assert born.sandbox.path(KEPT).stat().st_mode & 0o777 == 0o600
    assert born.sandbox.path(STATE).stat().st_mode & 0o777 == 0o700

    born.share(CILIUM, ISTIO)
    if by == "the agent":
        with born.agent("off", *OWNERS) as agent:
            agent.wait_ready("off")
    elif by == "migrate":
        assert born.chain("migrate", "undo")[0] == 0
    else:
        assert born.chain("uninstall", "--keep-program")[0] == 0

    assert (born.has_facade(), born.sandbox.path(KEPT).exists()) == (False, False)


def test_an_appended_plugin_that_the_chain_does_not_have_stays_until_its_owner_has_it(node: Node) -> None:
    """Without it new pods would start outside the mesh."""
    node.stops("istio")
    node.moves("cilium")
    with node.agent("on", *OWNERS[:2]) as agent:
        agent.wait_ready("on")
        node.runs("istio")
        before = node.read(PATH)

        node.write(PATH, before | {"plugins": [*before["plugins"], ISTIO]})

        agent.wait_refused("istio-cni beside cni-chain stays, because no owner has it")
        assert len(node.read(PATH)["plugins"]) == 2

    with node.agent("on", *OWNERS) as agent:
        agent.wait_refused("istio-cni beside cni-chain stays")
        assert len(node.read(PATH)["plugins"]) == 2
        node.moves("istio")
        agent.wait_ready("on")

    assert (len(node.read(PATH)["plugins"]), node.owners()) == (1, {"cilium": True, "istio": True})


def test_what_an_administrator_changes_in_the_facade_stays(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        done = list(agent.did)

        assert born.chain("owner", "add", "local")[0] == 0
        time.sleep(3)  # longer than a repair takes

        assert (born.owners(), agent.did) == ({"cilium": True, "istio": True, "local": False}, done)


def test_after_three_repairs_it_stops_and_names_the_writer_and_a_restart_begins_again(born: Node) -> None:
    writer = born.sandbox.start("bash", "-c", f'exec -a cilium-agent {sys.executable} -IS -c "$0"', WRITER)
    assert writer.stdin
    assert writer.stdout
    with writer, born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        for repair in range(4):
            wait_for(born.has_facade, "the facade is in place")
            writer.stdin.write(f"{PATH} {PATH}.cilium_bak\n")
            writer.stdin.flush()
            assert writer.stdout.readline() == "done\n"
            if repair < 3:
                repaired(agent, repair + 1)

        agent.wait_refused("would be the repair number 4 in 10 minutes")
        process = _inner(agent, "os.rename")
        agent.wait_refused(f"cilium-agent, process {process}: {PATH}")
        time.sleep(3)
        assert not born.has_facade()
        report = agent.get("/status").json["agent"]
        assert (report["reached"], report["repairs"], report["stopped"]) == ("none", 3, True)
        assert "cni_chain_repairs_stopped 1" in agent.get("/metrics").text.splitlines()
        writer.stdin.close()

    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")


def _inner(agent: Agent, words: str) -> str:
    """The number that a process has in the sandbox."""
    return agent.sandbox.run("pgrep", "-f", words).stdout.split()[0]


def test_a_fragment_that_goes_is_the_agent_s_to_write_and_the_node_says_so(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        done = list(agent.did)

        born.sandbox.path(f"{CHAIN}/istio.d/10-istio.conf").unlink()

        agent.wait_refused(f"{CHAIN}/istio.d")
        assert [agent.get(f"/readyz/{name}").status for name in ("cilium", "istio", "nobody")] == [200, 503, 404]
        born.moves("istio")
        agent.wait_ready("on")
        assert agent.did == done


def test_all_of_etc_cni_that_goes_comes_back_but_for_what_the_agents_write(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        before = born.read(PATH)

        agent.signal("STOP")  # or it would put back what is yet to be removed
        born.sandbox.run("sh", "-c", "rm -rf /etc/cni/*")
        agent.signal("CONT")

        agent.wait_until(born.has_facade, "the facade is back")
        assert born.read(PATH) == before
        agent.wait_refused(f"{CHAIN}/cilium.d")  # and no longer ready as it was
        for owner in ("cilium", "istio"):
            born.moves(owner)
        agent.wait_ready("on")


def test_a_list_that_is_left_is_not_taken_while_the_facade_is_away(node: Node) -> None:
    """A facade from the stale list would leave Istio out, whose agent has moved."""
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on") as agent:
        agent.wait_ready("on")
        node.share(CILIUM)
        before = node.read(PATH)

        node.sandbox.path(PATH).unlink()

        repaired(agent, 1)
        assert node.read(PATH) == before
