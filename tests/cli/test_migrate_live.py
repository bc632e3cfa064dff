"""Which list a runtime uses: containerd's rules, CRI-O's, and what if they differ."""

from pathlib import Path

import pytest

from tests.support.files.node import NET, Json, Node, node_before

LIST = f"{NET}/10-flannel.conflist"
OTHER: Json = {"cniVersion": "1.0.0", "name": "other", "plugins": [{"type": "portmap"}]}


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    return node_before(tmp_path / "node", program, "flannel")


def live(node: Node, *arguments: str) -> str:
    return str(node.json("migrate", "plan", *arguments)["live"]["file"])


def test_both_take_the_first_by_name(node: Node) -> None:
    node.write(f"{NET}/20-other.conflist", OTHER)

    assert live(node) == LIST
    assert node.json("migrate", "plan")["live"]["runtime"] == "any"


@pytest.mark.parametrize("name", ["09-other.conflist", ".hidden.conflist", "1.json.conflist"])
def test_the_names_are_compared_bytewise(node: Node, name: str) -> None:
    node.write(f"{NET}/{name}", OTHER)

    assert live(node) == f"{NET}/{name}"


@pytest.mark.parametrize("name", ["00-a.conflist.bak", "00-a.conflist.cilium_bak", "00-kubeconfig", "00-dir.conf/x"])
def test_other_names_are_nobodys(node: Node, name: str) -> None:
    node.write(f"{NET}/{name}", OTHER)

    assert live(node) == LIST


def test_containerd_takes_nothing_but_the_first(node: Node) -> None:
    node.write(f"{NET}/00-broken.conflist", "{")

    status, _, stderr = node.migrate("plan", "--runtime", "containerd")

    assert status == 1
    assert stderr.startswith(f"cni-chain: {NET}/00-broken.conflist:1:2: not JSON")


def test_a_list_under_the_name_of_a_single_plugin_is_none(node: Node) -> None:
    node.write(f"{NET}/00-list.conf", OTHER)

    assert "key type: must be the name of a plugin" in node.migrate("plan", "--runtime", "containerd").stderr
    assert live(node, "--runtime", "crio") == LIST


def test_crio_takes_the_first_that_is_valid_with_its_plugins(node: Node) -> None:
    node.write(f"{NET}/00-broken.conflist", "{")
    node.write(f"{NET}/01-other.conflist", {**OTHER, "plugins": [{"type": "not-installed"}]})

    assert live(node, "--runtime", "crio") == LIST


@pytest.mark.parametrize("file", ["/etc/crio/crio.conf", "/etc/crio/crio.conf.d/10-network.conf"])
def test_crio_takes_the_network_that_it_is_told(node: Node, file: str) -> None:
    node.write(f"{NET}/20-other.conflist", OTHER)
    node.write("/etc/crio/crio.conf", '[crio.network]\ncni_default_network = "unknown"\n')
    node.write(file, '[crio.network]\ncni_default_network = "other"\n')

    document = node.json("migrate", "plan", "--runtime", "crio")

    assert document["live"]["file"] == f"{NET}/20-other.conflist"
    assert document["live"]["reason"] == "CRI-O takes it: it is the network other of cni_default_network"


def test_crio_without_the_network_that_it_is_told(node: Node) -> None:
    node.write("/etc/crio/crio.conf", '[crio.network]\ncni_default_network = "unknown"\n')

    status, _, stderr = node.migrate("plan", "--runtime", "crio")

    assert status == 1
    assert stderr == f"cni-chain: {NET}: no network unknown, which CRI-O's cni_default_network names,\n"


def test_a_configuration_of_crio_that_can_not_be_read(node: Node) -> None:
    node.write("/etc/crio/crio.conf", "[crio.network\n")

    assert node.migrate("plan", "--runtime", "crio").stderr.startswith("cni-chain: /etc/crio/crio.conf: can't be read")


def test_where_they_differ_the_one_that_runs_decides(node: Node) -> None:
    node.write(f"{NET}/00-other.conflist", {**OTHER, "plugins": [{"type": "not-installed"}]})

    status, _, stderr = node.migrate("plan")

    assert status == 1
    assert stderr == (
        f"cni-chain: {NET}: containerd takes {NET}/00-other.conflist, CRI-O {LIST}: pass --runtime with yours\n"
    )
    node.write("/run/crio/crio.sock", "")
    assert live(node) == LIST


def test_where_crio_takes_nothing_it_is_not_crios_node(node: Node) -> None:
    (node.root / "opt/cni/bin/flannel").unlink()

    assert node.json("migrate", "plan")["live"]["runtime"] == "containerd"


def test_other_directories_and_a_tree_of_ones_own(node: Node) -> None:
    node.path(NET).rename(node.root / "net")
    (node.root / "opt/cni/bin").rename(node.root / "bin")

    document = node.json("migrate", "plan", "--net-dir", "/net", "--bin-dir", "/bin", "--chain-dir", "/chain")

    assert document["live"]["file"] == "/net/10-flannel.conflist"
    assert document["live"]["runtime"] == "any"
    assert document["facadeDocument"]["plugins"][0]["chainDir"] == "/chain"
