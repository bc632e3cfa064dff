"""`cni-chain agent`: what a node becomes by each state, from each other one, and when it is ready."""

import pytest

from tests.support.sandbox.daemon import CILIUM, ISTIO, LIST, OWNERS, Node
from tests.support.sandbox.node import CHAIN, FACADE, NET

READY, UNDONE, COPY = f"{FACADE}.ready", f"{FACADE}.undone", "05-cilium.conflist.before-cni-chain"
ONE_LIST = "99-cni-chain-off.conflist"


def is_switched(node: Node) -> None:
    """Bring a node with a list to `on`, as the guide does."""
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    node.moves("cilium")
    with node.agent("on") as agent:
        agent.wait_ready("on")


def is_born_with_it(node: Node) -> None:
    """Have a node get the facade because it has no other configuration."""
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")


def test_prepared_writes_all_and_switches_nothing(node: Node) -> None:
    node.share()
    before = node.sandbox.path(LIST).stat()

    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")

    assert (node.active(), node.names()) == ("05-cilium.conflist", [READY, "05-cilium.conflist", COPY])
    assert node.sandbox.path(LIST).stat().st_ino == before.st_ino
    assert node.names(f"{CHAIN}/cilium.d") == ["05-cilium.conflist"]
    assert node.names(f"{CHAIN}/istio.d") == ["10-istio.conf"]


def test_prepared_follows_the_list_that_its_agents_change_as_long_as_nothing_is_switched(node: Node) -> None:
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
        done = len(agent.did)

        node.share(CILIUM | {"enable-debug": True}, ISTIO, {"type": "portmap"})

        agent.wait_did(f"{CHAIN}/local.d/10-portmap.conf", done)
        agent.wait_ready("prepared")
    assert node.read(f"{CHAIN}/cilium.d/05-cilium.conflist")["plugins"] == [CILIUM | {"enable-debug": True}]
    assert node.names(f"{CHAIN}/local.d") == ["10-portmap.conf"]
    assert (node.active(), node.names()) == ("05-cilium.conflist", [READY, "05-cilium.conflist", COPY])


def test_prepared_copies_a_changed_list_anew_and_leaves_what_an_agent_wrote(node: Node) -> None:
    node.share()
    fragments = [f"{CHAIN}/cilium.d/05-cilium.conflist", f"{CHAIN}/istio.d/10-istio.conf"]
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
        node.moves("cilium")
        written = node.sandbox.path(fragments[0]).read_bytes()

        done = len(agent.did)
        node.share(CILIUM, ISTIO | {"ambient_enabled": False})

        agent.wait_did(fragments[1], done)
        agent.wait_ready("prepared")
    assert '"ambient_enabled": false' in node.text(fragments[1])
    assert node.sandbox.path(fragments[0]).read_bytes() == written


def test_prepared_copies_a_changed_list_anew_and_leaves_what_somebody_edited(node: Node) -> None:
    ports, path = {"type": "portmap", "snat": True}, f"{CHAIN}/local.d/10-portmap.conf"
    node.share(CILIUM, ISTIO, ports)
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
        edited = node.sandbox.path(path).read_bytes().replace(b"true", b"false")
        node.write(path, edited)

        node.share(CILIUM, ISTIO | {"ambient_enabled": False}, ports)

        agent.wait_refused("portmap: snat")
    assert node.sandbox.path(path).read_bytes() == edited


def test_prepared_keeps_the_copy_of_a_plugin_that_is_gone_from_the_list(node: Node) -> None:
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
        node.share(CILIUM)
        agent.wait_refused("istio-cni")

    assert node.names(f"{CHAIN}/istio.d") == ["10-istio.conf"]


def test_a_list_s_plugins_that_no_agent_is_known_for_are_the_owners_that_are_wanted(node: Node) -> None:
    node.plugin("edge-cni")
    node.share({"type": "edge-cni"}, ISTIO, {"type": "portmap"})
    owners = ("--owner", "edge:edge-cni", "--owner", "istio:istio-cni", "--owner", "ports:portmap")
    with node.agent("prepared", *owners) as agent:
        agent.wait_ready("prepared")
    assert node.names(CHAIN) == ["edge.d", "istio.d", "ports.d"]

    with node.agent("on", *owners) as agent:
        agent.wait_ready("on")

    assert node.owners() == {"edge": True, "istio": True, "ports": True}


def test_on_waits_until_the_agents_have_moved_and_then_switches_by_itself(node: Node) -> None:
    node.share()

    with node.agent("on") as agent:
        agent.wait_refused("set cni.confPath to /etc/cni/chain.d/cilium.d first")
        assert node.active() == "05-cilium.conflist"
        node.moves("cilium")
        agent.wait_ready("on")

    assert node.active() == FACADE
    assert node.chain("status")[0] == 0


def test_on_refuses_a_fragment_that_differs_from_the_list_and_names_it(node: Node) -> None:
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    node.moves("cilium")
    tampered = f"{CHAIN}/istio.d/10-istio.conf"
    node.write(tampered, node.sandbox.path(tampered).read_bytes().replace(b"istio-cni", b"istio-cnii"))

    with node.agent("on") as agent:
        agent.wait_refused('istio-cni: type: before "istio-cni", after nothing')
        assert node.active() == "05-cilium.conflist"


@pytest.mark.parametrize("had", [False, True], ids=["never", "before"])
def test_a_mesh_that_is_not_wanted_any_more_keeps_no_node_from_its_facade(node: Node, *, had: bool) -> None:
    """Its agent still runs; and the list may have had its plugin when it was copied."""
    if had:
        node.share()
        with node.agent("prepared") as agent:
            agent.wait_ready("prepared")
    node.share(CILIUM)

    with node.agent("prepared", *OWNERS[:2], "--without", "istio") as agent:
        agent.wait_ready("prepared")
    node.moves("cilium")
    with node.agent("on", *OWNERS[:2], "--without", "istio") as agent:
        agent.wait_ready("on")

    assert node.owners() == {"cilium": True}


def test_on_follows_a_list_that_has_changed_since_the_node_was_prepared(node: Node) -> None:
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    node.share(CILIUM, ISTIO | {"ambient_enabled": False})
    node.moves("cilium")

    with node.agent("on") as agent:
        agent.wait_ready("on")

    assert node.read(f"{CHAIN}/istio.d/10-istio.conf")["ambient_enabled"] is False


@pytest.mark.parametrize("gone", [f"{CHAIN}/istio.d/10-istio.conf", f"{NET}/{COPY}"])
def test_on_goes_on_where_a_prepared_agent_was_ended_while_it_followed_the_list(node: Node, gone: str) -> None:
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    if gone.endswith(".conf"):  # the copy is of the list before, else there is none yet
        node.share(CILIUM, ISTIO | {"ambient_enabled": False})
    node.sandbox.path(gone).unlink()
    node.moves("cilium")

    with node.agent("on") as agent:
        agent.wait_ready("on")


def test_a_mesh_that_is_wanted_after_the_node_was_prepared_is_in_the_facade_that_waits(node: Node) -> None:
    node.stops("istio")
    node.share(CILIUM)
    with node.agent("prepared", *OWNERS[:2]) as agent:
        agent.wait_ready("prepared")

    with node.agent("prepared", *OWNERS) as agent:
        agent.wait_ready("prepared")

    node.runs("istio")
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS, "--every", "1h") as agent:
        agent.wait_ready("on")
        assert node.owners() == {"cilium": True, "istio": True}, "as soon as it is ready"


def test_it_is_ready_only_when_the_facade_has_every_owner_that_is_wanted(node: Node) -> None:
    node.plugin("edge-cni")
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    node.moves("cilium")
    node.write(f"{CHAIN}/edge.d/10-edge.conf", {"cniVersion": "1.0.0", "name": "edge", "type": "edge-cni"})

    with node.agent("on", *OWNERS, "--owner", "edge:edge-cni", "--every", "1h") as agent:
        agent.wait_ready("on")
        assert node.owners() == {"cilium": True, "istio": True, "edge": True}, "as soon as it is ready"


def test_a_fragment_that_is_mended_lets_on_go_on(node: Node) -> None:
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    node.moves("cilium")
    path = f"{CHAIN}/istio.d/10-istio.conf"
    good = node.sandbox.path(path).read_bytes()
    node.write(path, b"{")

    with node.agent("on") as agent:
        agent.wait_refused("/etc/cni/chain.d/istio.d has no fragment with it")
        assert node.active() == "05-cilium.conflist"
        node.write(path, good)
        agent.wait_ready("on")


@pytest.mark.parametrize("state", ["off", "prepared"])
def test_going_back_makes_the_list_active_again_and_on_goes_there_again(node: Node, state: str) -> None:
    is_switched(node)

    with node.agent(state) as agent:
        agent.wait_ready(state)
    assert (node.active(), UNDONE in node.names()) == ("05-cilium.conflist", True)

    with node.agent("on") as agent:
        agent.wait_ready("on")
    assert node.active() == FACADE


@pytest.mark.parametrize("state", ["off", "prepared"])
def test_going_back_is_refused_where_it_would_take_a_required_owner_s_plugin_away(node: Node, state: str) -> None:
    is_switched(node)
    node.share(CILIUM)  # as Istio's agent leaves it when it moves

    with node.agent(state) as agent:
        agent.wait_refused("has no istio-cni, so without the facade new pods would start outside what owner istio does")

    assert node.active() == FACADE


@pytest.mark.parametrize("state", ["off", "prepared"])
def test_going_back_is_refused_while_pods_wait_for_an_owner_that_the_list_lacks(node: Node, state: str) -> None:
    """Pods are refused now; with the list they would start, outside the mesh."""
    is_switched(node)
    node.share(CILIUM)
    node.sandbox.path(f"{CHAIN}/istio.d/10-istio.conf").unlink()

    with node.agent(state) as agent:
        agent.wait_refused("has no istio-cni")

    assert node.active() == FACADE


def test_off_of_a_node_without_cni_chain_in_use_changes_nothing(node: Node) -> None:
    node.share()

    with node.agent("off") as agent:
        agent.wait_ready("off")

    assert node.names() == ["05-cilium.conflist"]


def test_off_of_a_prepared_node_leaves_the_list_active(node: Node) -> None:
    node.share()
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")

    with node.agent("off") as agent:
        agent.wait_ready("off")

    assert node.active() == "05-cilium.conflist"


def test_a_new_node_gets_the_facade_and_is_ready_when_its_agents_have_written(node: Node) -> None:
    with node.agent("on", *OWNERS) as agent:
        agent.wait_refused("cilium")
        assert node.active() == FACADE
        assert agent.get("/readyz/cilium").status == 503
        node.moves("cilium")
        agent.wait_until(lambda: agent.get("/readyz/cilium").status == 200, "cilium is ready")
        assert agent.get("/readyz/istio").status == 503
        node.moves("istio")
        agent.wait_ready("on")
        assert agent.get("/readyz/istio").status == 200

    assert node.owners() == {"cilium": True, "istio": True}


def test_a_new_node_that_is_prepared_gets_the_facade_only_when_its_first_agent_has_moved(node: Node) -> None:
    """A list will come as long as the agents have not moved; after that, none ever comes."""
    with node.agent("prepared", *OWNERS) as agent:
        agent.wait_refused(f"{NET}: is empty: no agent has written a configuration yet")
        assert node.names() == []
        node.moves("istio")
        node.moves("cilium")
        agent.wait_ready("on")

    assert node.active() == FACADE


def test_a_new_node_that_is_prepared_takes_the_list_that_comes(node: Node) -> None:
    with node.agent("prepared", *OWNERS) as agent:
        agent.wait_refused("is empty")
        node.share()
        agent.wait_ready("prepared")

    assert node.active() == "05-cilium.conflist"


@pytest.mark.parametrize("state", ["prepared", "on"])
def test_a_list_of_another_network_is_no_beginning_of_the_chain(node: Node, state: str) -> None:
    """Packages bring such lists, CRI-O's and podman's: with them pods would start outside the network and the mesh."""
    other = "100-crio-bridge.conflist"
    node.write(f"{NET}/{other}", {"cniVersion": "1.0.0", "name": "crio", "plugins": [{"type": "bridge"}]})
    before = node.names()
    with node.agent(state, *OWNERS) as agent:
        agent.wait_refused(f"{NET}/{other}: has no cilium-cni, which owner cilium is wanted for")
        assert (node.names(), node.has_facade()) == (before, False)

        for owner in ("cilium", "istio"):
            node.moves(owner)

        agent.wait_ready("on")
    assert (node.active(), node.owners()) == (FACADE, {"cilium": True, "istio": True})
    with node.agent("off", *OWNERS) as agent:
        agent.wait_refused(f"{other}: has no cilium-cni, so without the facade new pods would start outside")


def test_a_node_that_was_born_with_the_facade_goes_off_with_its_chain_as_one_list(node: Node) -> None:
    is_born_with_it(node)

    with node.agent("off") as agent:
        agent.wait_ready("off")

    assert node.active() == ONE_LIST
    assert node.read(f"{NET}/{ONE_LIST}") == {
        "cniVersion": "1.0.0",
        "name": "cilium",
        "loadOnlyInlinedPlugins": True,
        "plugins": [CILIUM, ISTIO],
    }


def test_one_list_has_the_newest_version_that_all_its_plugins_speak(node: Node) -> None:
    node.plugin("istio-cni", ("0.3.1", "0.4.0"))
    is_born_with_it(node)

    with node.agent("off") as agent:
        agent.wait_ready("off")

    assert node.read(f"{NET}/{ONE_LIST}")["cniVersion"] == "0.4.0"


def test_off_is_refused_if_no_version_suits_all_plugins(node: Node) -> None:
    node.plugin("istio-cni", ("0.3.1",))
    node.plugin("cilium-cni", ("1.0.0",))
    is_born_with_it(node)

    with node.agent("off") as agent:
        agent.wait_refused("speaks no version that all the others speak")

    assert node.names() == [FACADE]


def test_off_of_a_node_that_was_born_with_the_facade_is_refused_while_a_required_owner_has_nothing(node: Node) -> None:
    is_born_with_it(node)
    node.sandbox.path(f"{CHAIN}/istio.d/10-istio.conf").unlink()

    with node.agent("off") as agent:
        agent.wait_refused("without a required owner's plugin new pods would start without it")

    assert node.names() == [FACADE]


def test_a_node_that_was_born_with_the_facade_goes_off_and_on_and_keeps_it_when_it_is_prepared(node: Node) -> None:
    is_born_with_it(node)
    with node.agent("off") as agent:
        agent.wait_ready("off")
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
    assert node.active() == FACADE
    node.sandbox.path(f"{NET}/{ONE_LIST}").unlink()
    node.sandbox.path(f"{NET}/{ONE_LIST}.before-cni-chain").unlink()

    with node.agent("prepared", *OWNERS) as agent:
        agent.wait_ready("on")

    assert node.active() == FACADE


@pytest.mark.parametrize("state", ["prepared", "off"])
def test_the_one_list_of_an_earlier_off_is_written_anew_before_it_is_active_again(node: Node, state: str) -> None:
    is_born_with_it(node)
    with node.agent("off") as agent:
        agent.wait_ready("off")
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
    newer = CILIUM | {"enable-debug": True}
    node.write(f"{CHAIN}/cilium.d/05-cilium.conflist", {"cniVersion": "0.3.1", "name": "cilium", "plugins": [newer]})

    with node.agent(state) as agent:
        agent.wait_ready(state)

    assert (node.active(), node.read(f"{NET}/{ONE_LIST}")["plugins"]) == (ONE_LIST, [newer, ISTIO])
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")


@pytest.mark.parametrize("state", ["prepared", "on"])
def test_a_facade_that_reads_another_directory_than_the_wanted_one_is_named(node: Node, state: str) -> None:
    is_born_with_it(node)

    with node.agent(state, *OWNERS, "--chain-dir", "/etc/cni/other.d") as agent:
        agent.wait_refused(f"reads the owners' directories in {CHAIN}, and /etc/cni/other.d is wanted")


def test_a_mesh_that_is_wanted_later_is_optional_until_its_agent_has_written(node: Node) -> None:
    node.stops("istio")
    node.share(CILIUM)
    with node.agent("prepared", "--owner", "cilium:cilium-cni") as agent:
        agent.wait_ready("prepared")
    node.moves("cilium")
    with node.agent("on", "--owner", "cilium:cilium-cni") as agent:
        agent.wait_ready("on")
    assert node.owners() == {"cilium": True}

    with node.agent("on", *OWNERS) as agent:
        agent.wait_until(lambda: node.owners() == {"cilium": True, "istio": False}, "istio is an owner")
        agent.wait_ready("on")
        node.runs("istio")
        node.moves("istio")
        agent.wait_until(lambda: node.owners() == {"cilium": True, "istio": True}, "istio is required")
        agent.wait_ready("on")


def test_going_back_says_what_new_pods_lose_of_an_owner_that_none_waits_for(node: Node) -> None:
    node.stops("istio")
    node.share(CILIUM)
    with node.agent("prepared", *OWNERS[:2]) as agent:
        agent.wait_ready("prepared")
    node.runs("istio")
    for owner in ("cilium", "istio"):
        node.moves(owner)
    wanted = (*OWNERS, "--optional", "istio")
    with node.agent("on", *wanted) as agent:
        agent.wait_ready("on")

    with node.agent("off", *wanted) as agent:
        agent.wait_ready("off")
        assert "istio-cni" in agent.did[-1], "that new pods are outside the mesh"


def test_an_owner_is_skipped_for_the_pods_that_are_wanted_now(node: Node) -> None:
    """Whoever has exempted a namespace by mistake must not have to look on each node for it."""

    def exempt() -> list[str]:
        [plugin] = node.read(f"{NET}/{FACADE}")["plugins"]
        istio = next(owner for owner in plugin["owners"] if owner["name"] == "istio")
        return [f"{one['namespace']}/{one['podNamePrefix']}" for one in istio.get("exempt", [])]

    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS, "--exempt", "istio=shop/web-") as agent:
        agent.wait_ready("on")
    assert exempt() == ["shop/web-"]

    with node.agent("on", *OWNERS, "--every", "1h") as agent:
        agent.wait_ready("on")
        assert exempt() == ["istio-system/istio-cni-node-"]


def test_an_owner_that_is_wanted_as_optional_stays_so(node: Node) -> None:
    for owner in ("cilium", "istio"):
        node.moves(owner)

    with node.agent("on", *OWNERS, "--optional", "istio") as agent:
        agent.wait_ready("on")

    assert node.owners() == {"cilium": True, "istio": False}


def test_an_owner_that_is_wanted_as_optional_becomes_so(node: Node) -> None:
    is_born_with_it(node)
    with node.agent("on", *OWNERS, "--optional", "istio") as agent:
        agent.wait_until(lambda: node.owners() == {"cilium": True, "istio": False}, "istio is optional")
        agent.wait_ready("on")


def test_an_owner_that_is_not_wanted_any_more_is_taken_out_and_its_directory_stays(node: Node) -> None:
    is_born_with_it(node)
    with node.agent("on", "--owner", "cilium:cilium-cni", "--without", "istio") as agent:
        agent.wait_until(lambda: node.owners() == {"cilium": True}, "istio is out")
        agent.wait_ready("on")
        assert node.names(f"{CHAIN}/istio.d") == ["10-istio.conf"]


def test_an_owner_without_a_fragment_is_taken_out_so_that_pods_start_again(node: Node) -> None:
    is_born_with_it(node)
    node.sandbox.path(f"{CHAIN}/istio.d/10-istio.conf").unlink()
    with node.agent("on", "--owner", "cilium:cilium-cni", "--without", "istio") as agent:
        agent.wait_until(lambda: node.owners() == {"cilium": True}, "istio is out")
        agent.wait_ready("on")


def test_the_owner_that_makes_the_network_is_not_taken_out(node: Node) -> None:
    is_born_with_it(node)
    with node.agent("on", "--owner", "istio:istio-cni", "--without", "cilium") as agent:
        agent.wait_refused("istio-cni can't be first")
        assert node.owners() == {"cilium": True, "istio": True}


def test_going_back_is_refused_where_it_would_bring_a_plugin_back_that_is_not_wanted_any_more(node: Node) -> None:
    is_switched(node)
    with node.agent("on", "--owner", "cilium:cilium-cni", "--without", "istio") as agent:
        agent.wait_until(lambda: node.owners() == {"cilium": True}, "istio is out")
        agent.wait_ready("on")

    with node.agent("off", "--owner", "cilium:cilium-cni", "--without", "istio") as agent:
        agent.wait_refused("has istio-cni, and this node is to be without owner istio")
        node.sandbox.path(LIST).unlink()
        node.sandbox.path(f"{LIST}.before-cni-chain").unlink()
        agent.wait_ready("off")
    assert [plugin["type"] for plugin in node.read(f"{NET}/{node.active()}")["plugins"]] == ["cilium-cni"]


def test_a_second_facade_is_named_and_the_node_is_not_ready_until_it_is_gone(node: Node) -> None:
    is_born_with_it(node)
    second = f"{NET}/01-second.conflist"
    node.write(second, node.sandbox.path(f"{NET}/{FACADE}").read_bytes())

    with node.agent("on", *OWNERS) as agent:
        agent.wait_refused("[facade-second]")
        node.sandbox.path(second).unlink()
        agent.wait_ready("on")


def test_a_facade_under_another_name_is_named_and_nothing_is_put_beside_it(node: Node) -> None:
    is_born_with_it(node)
    other = f"{NET}/01-other.conflist"
    node.sandbox.path(f"{NET}/{FACADE}").rename(node.sandbox.path(other))

    with node.agent("on", *OWNERS) as agent:
        agent.wait_refused(f"{other}: is a facade, so this node uses cni-chain already")

    assert node.names() == ["01-other.conflist"]


def test_a_node_whose_first_list_is_multus_is_named_and_stays_as_it_is(node: Node) -> None:
    node.share()
    node.write(f"{NET}/00-multus.conf", {"cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus-shim"})

    with node.agent("on", "--runtime", "containerd") as agent:
        agent.wait_refused("Multus is first")

    assert node.names() == ["00-multus.conf", "05-cilium.conflist"]
