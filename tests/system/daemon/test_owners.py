"""`cni-chain agent`: other owners' types, or another order of them, reach a facade that is in place."""

import pytest

from tests.support.sandbox.daemon import CILIUM, ISTIO, OWNERS, Json, Node
from tests.support.sandbox.node import CHAIN, FACADE, NET, PORTMAP

PORTS = ("--owner", "ports:portmap")


@pytest.fixture
def born(node: Node) -> Node:
    """A node whose Cilium writes a list with a second plugin, and which has no list of the runtime's."""
    writes(node, CILIUM, PORTMAP)
    node.moves("istio")
    return node


def writes(node: Node, *plugins: Json) -> None:
    """What Cilium's agent has in its own directory."""
    path = f"{CHAIN}/cilium.d/05-cilium.conflist"
    node.write(path, {"cniVersion": "0.3.1", "name": "cilium", "plugins": list(plugins)})


def owners(node: Node) -> list[tuple[str, list[str] | None]]:
    """The facade's owners in their order, with their types."""
    [plugin] = node.read(f"{NET}/{FACADE}")["plugins"]
    return [(owner["name"], owner.get("types")) for owner in plugin["owners"]]


def names(node: Node) -> list[str]:
    return [name for name, _ in owners(node)]


def runs(node: Node) -> list[str]:
    """The plugins that a new pod gets, in their order."""
    return [line.split()[2] for line in node.chain("show")[1].splitlines() if line[:1].isdigit()]


def test_other_types_of_an_owner_reach_the_facade(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
    assert owners(born) == [("cilium", ["cilium-cni"]), ("istio", ["istio-cni"])]

    with born.agent("on", "--owner", "cilium:cilium-cni,portmap", *OWNERS[2:]) as agent:
        agent.wait_ready("on")
        assert f"{NET}/{FACADE}: cilium may run cilium-cni, portmap" in agent.did
    assert owners(born) == [("cilium", ["cilium-cni", "portmap"]), ("istio", ["istio-cni"])]

    with born.agent("on", "--owner", "cilium", *OWNERS[2:]) as agent:
        agent.wait_ready("on")
    assert owners(born) == [("cilium", None), ("istio", ["istio-cni"])]


def test_types_that_would_take_a_plugin_from_new_pods_are_refused_until_it_is_not_theirs(born: Node) -> None:
    with born.agent("on", "--owner", "cilium:cilium-cni,portmap", *OWNERS[2:]) as agent:
        agent.wait_ready("on")
    before = born.read(f"{NET}/{FACADE}")

    with born.agent("on", *OWNERS) as agent:
        agent.wait_refused("owner cilium is to run portmap no more")
        agent.wait_refused(f"take it out of {CHAIN}/cilium.d/05-cilium.conflist")
        assert (agent.last["refused"], born.read(f"{NET}/{FACADE}")) == (True, before)
        writes(born, CILIUM)
        agent.wait_ready("on")
    assert owners(born) == [("cilium", ["cilium-cni"]), ("istio", ["istio-cni"])]


def test_a_plugin_goes_from_one_owner_to_another(born: Node) -> None:
    with born.agent("on", "--owner", "cilium:cilium-cni,portmap", *OWNERS[2:]) as agent:
        agent.wait_ready("on")
    born.write(f"{CHAIN}/ports.d/10-portmap.conf", {"cniVersion": "1.0.0", "name": "ports", **PORTMAP})

    with born.agent("on", *OWNERS, *PORTS) as agent:
        agent.wait_ready("on")

    assert owners(born) == [("cilium", ["cilium-cni"]), ("istio", ["istio-cni"]), ("ports", ["portmap"])]
    assert runs(born) == ["cilium-cni", "istio-cni", "portmap"]


def test_another_order_reaches_the_facade_and_an_owner_that_is_not_named_keeps_its_place(born: Node) -> None:
    born.write(f"{CHAIN}/ports.d/10-portmap.conf", {"cniVersion": "1.0.0", "name": "ports", **PORTMAP})
    with born.agent("on", *OWNERS, *PORTS) as agent:
        agent.wait_ready("on")
    assert born.chain("owner", "add", "own", "--optional", "--after", "cilium")[0] == 0
    assert names(born) == ["cilium", "own", "istio", "ports"]

    with born.agent("on", *OWNERS[:2], *PORTS, *OWNERS[2:]) as agent:
        agent.wait_ready("on")
        assert f"{NET}/{FACADE}: owners in the order cilium, own, ports, istio" in agent.did

    assert names(born) == ["cilium", "own", "ports", "istio"]
    assert runs(born) == ["cilium-cni", "portmap", "istio-cni"]


def test_an_order_with_which_no_pod_starts_is_refused(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")

    with born.agent("on", *OWNERS[2:], *OWNERS[:2]) as agent:
        agent.wait_refused("istio-cni can't be first")
        assert names(born) == ["cilium", "istio"]


def test_a_chain_that_was_made_of_a_list_keeps_its_plugins_places_and_owners(node: Node) -> None:
    """Each preset has `local` as its last owner, and the plugins of a network's list as the network's."""
    node.share(CILIUM, PORTMAP, ISTIO)
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    writes(node, CILIUM, PORTMAP)

    with node.agent("on", "--owner", "cilium:cilium-cni,portmap", *OWNERS[2:], "--owner", "local") as agent:
        agent.wait_ready("on")

    assert owners(node) == [("cilium", ["cilium-cni"]), ("local", None), ("istio", ["istio-cni"])]
    assert runs(node) == ["cilium-cni", "portmap", "istio-cni"]


def test_who_changes_the_types_of_an_owner_that_is_wanted_finds_them_put_right(born: Node) -> None:
    with born.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        facade = born.read(f"{NET}/{FACADE}")
        facade["plugins"][0]["owners"][0].pop("types")

        born.write(f"{NET}/{FACADE}", facade)

        agent.wait_refused("owner cilium is to run portmap no more")
