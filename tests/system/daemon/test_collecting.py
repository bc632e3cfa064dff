"""`cni-chain agent` frees what pods have left, for runtimes that send no GC; and no call needs it."""

from tests.support.sandbox.daemon import OWNERS, Node
from tests.support.sandbox.node import STATE


def records(node: Node) -> list[str]:
    return [name for name in node.names(STATE) if ":" in name] if node.sandbox.path(STATE).exists() else []


def test_attachments_whose_namespace_is_gone_are_freed_and_live_ones_stay(node: Node) -> None:
    for owner in ("cilium", "istio"):
        node.moves(owner)
    for name in ("gone", "live"):
        node.sandbox.run("ip", "netns", "add", name)
    with node.agent("on", *OWNERS, "--gc-every", "1s", "--every", "1s") as agent:
        agent.wait_ready("on")
        for name in ("gone", "live"):
            assert node.call("ADD", name, f"/run/netns/{name}")[0] == 0
        assert len(records(node)) == 2

        node.sandbox.run("ip", "netns", "delete", "gone")

        agent.wait_until(lambda: "freed 1 attachments" in agent.did, "freed")
        assert records(node) == ["cilium:live:eth0"]
        deleted = node.sandbox.path("/var/log/deleted.cilium-cni").read_text().split()
        assert deleted == ["gone"]
        assert "cni_chain_gc_freed_total 1" in agent.get("/metrics").text.splitlines()


def test_calls_go_on_while_it_is_stopped_killed_or_away(node: Node) -> None:
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        agent.signal("STOP")
        assert (node.call("ADD", "c1", "/run/netns/c1")[0], node.call("DEL", "c1", "/run/netns/c1")[0]) == (0, 0)
        agent.signal("KILL")
        agent.process.wait(30)

    assert (node.call("ADD", "c2", "/run/netns/c2")[0], node.call("DEL", "c2", "/run/netns/c2")[0]) == (0, 0)
    assert records(node) == []
