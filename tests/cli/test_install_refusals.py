"""`cni-chain install` refuses what would harm a node, says why, and has then changed nothing."""

import json
from pathlib import Path

import pytest

from tests.support.files.node import CONF, FACADE, Node, bare_node, run
from tests.support.sandbox.node import is_frozen


@pytest.fixture
def live(program: str, tmp_path: Path) -> Node:
    """A node with a network, whose agents have written their fragments."""
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    node = bare_node(tmp_path / "node", program, network=True)
    node.fragments(cilium="cilium-cni", istio="istio-cni")
    return node


def refused(node: Node, *arguments: str, status: int = 1) -> str:
    """Run `install`, which must change nothing; return its one error."""
    before = node.files()

    result = node.run("install", *arguments)
    assert (result.status, result.stdout) == (status, "")
    assert node.run("install", *arguments, "--dry-run") == result
    assert node.files() == before
    return result.stderr.splitlines()[-1]


def test_a_facade_whose_chain_can_t_run_on_a_node_that_has_a_network(live: Node) -> None:
    (live.chain_dir / "istio.d/10.conf").unlink()

    error = refused(live)

    assert error.startswith(f"cni-chain: {FACADE}: new pods of this node would get no network: ")
    assert "new pods wait for istio's CNI configuration" in error
    assert "[owner-without-fragment]" in error
    assert "install --no-facade creates them" in error
    assert live.run("install", "--force").status == 0
    assert live.facade.exists()


def test_another_facade_than_the_one_that_migrate_has_proved(live: Node) -> None:
    """Its agents may not have moved yet, which --switch looks at and install doesn't."""
    waiting = live.facade.with_name(live.facade.name + ".ready")
    waiting.write_text("{}")

    error = refused(live)

    assert error.startswith(f"cni-chain: {FACADE}.ready: migrate has written this facade, and it is not active yet")
    assert "cni-chain migrate" in error
    assert live.run("install", "--no-facade").status == 0
    assert live.run("install", "--force").status == 0
    assert waiting.exists()


def test_a_tree_for_another_kind_of_machine_gets_no_facade_for_a_program_that_can_t_start_there(live: Node) -> None:
    """`install --root /host`, or an image in the making, with the other archive."""
    head = Path(live.program).read_bytes()[:20]
    (live.root / "usr/bin").mkdir(parents=True, exist_ok=True)
    (live.root / "usr/bin/env").write_bytes(head[:18] + (183 if head[18] == 62 else 62).to_bytes(2, "little"))

    assert refused(live).endswith("; take the other archive")
    (live.root / "usr/bin/env").write_bytes(head)
    assert live.run("install").status == 0


def test_a_mesh_before_what_makes_the_network(live: Node) -> None:
    error = refused(live, "--owner", "istio:istio-cni", "--owner", "cilium:cilium-cni")

    assert "istio-cni can't be first" in error


def test_another_facade_than_the_one_that_is_there(live: Node) -> None:
    live.run("install")

    error = refused(live, "--owner", "cilium:cilium-cni")

    assert error == (
        f"cni-chain: {FACADE}: exists and differs; --replace-facade replaces it, `cni-chain owner` changes its owners"
    )
    shown = live.run("install", "--owner", "cilium:cilium-cni")
    assert '-          "name": "local",\n' in shown.stderr
    assert live.run("install", "--owner", "cilium:cilium-cni", "--replace-facade").status == 0
    assert live.owner_names() == ["cilium"]


def test_a_facade_s_name_survives_its_replacement(live: Node) -> None:
    live.run("install", "--name", "cni0")

    assert live.run("install", "--owner", "cilium:cilium-cni", "--replace-facade").status == 0
    assert live.read(FACADE)["name"] == "cni0"


def test_a_second_facade_of_the_same_network(live: Node) -> None:
    live.run("install")

    error = refused(live, "--facade", "01-other.conflist", "--owner", "cilium:cilium-cni")

    assert error == (
        f"cni-chain: {FACADE}: is already a facade of network cilium, and /etc/cni/net.d/01-other.conflist would be "
        "a second one"
    )


def test_a_file_of_that_name_that_is_somebody_else_s(live: Node) -> None:
    live.conflist("00-cni-chain.conflist", "theirs", "bridge")

    assert "00-cni-chain.conflist: exists and is not a facade, so it stays" in refused(live)


def test_a_configuration_whose_name_can_t_be_read(live: Node) -> None:
    (live.net_dir / "05-cilium.conflist").write_text("{")

    assert "05-cilium.conflist: its network name can't be read" in refused(live)


def test_a_configuration_whose_name_no_facade_may_have(live: Node) -> None:
    live.conflist("05-cilium.conflist", "our net", "cilium-cni")

    error = refused(live)

    assert error.startswith("cni-chain: /etc/cni/net.d/05-cilium.conflist: key name: ")
    assert "; it is our net; pass --name" in error


def test_a_place_before_multus(live: Node) -> None:
    live.conflist("00-multus.conf", "multus-cni-network", "multus-shim")

    assert "00-multus.conf: is Multus's, and 00-cni-chain.conflist before it would disable" in refused(live)

    result = live.run("install", "--facade", "01-cni-chain.conflist")
    assert (result.status, result.stderr) == (0, "")
    assert "warning" not in result.stdout
    assert '"name": "cilium"' in (live.net_dir / "01-cni-chain.conflist").read_text()


def test_a_file_that_sorts_before_the_facade_is_warned_of(live: Node) -> None:
    live.conflist("00-bridge.conflist", "podman", "bridge")

    result = live.run("install")

    assert (
        "warning: /etc/cni/net.d/00-bridge.conflist: sorts before 00-cni-chain.conflist (it has bridge)"
        in result.stdout
    )


def test_a_plugin_of_that_name_that_is_no_link(live: Node) -> None:
    live.install("cni-chain")

    assert refused(live) == (
        "cni-chain: /opt/cni/bin/cni-chain: is not a link, so cni-chain did not create it; --force replaces it"
    )
    assert live.run("install", "--force").status == 0
    assert live.link.is_symlink()


def test_a_file_where_a_directory_must_be(live: Node) -> None:
    (live.chain_dir / "local.d").write_text("")

    assert refused(live) == "cni-chain: /etc/cni/chain.d/local.d: is not a directory; move it elsewhere"


def test_a_root_that_is_not_there_is_not_made(live: Node, tmp_path: Path) -> None:
    for command in ("install", "uninstall"):
        result = run(live.program, command, "--root", str(tmp_path / "hots"))
        assert (result.status, result.stderr) == (2, f"cni-chain: --root {tmp_path}/hots: no such directory\n")
    assert not (tmp_path / "hots").exists()


def test_a_link_that_leads_out_of_the_tree(live: Node, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    live.chain_dir.rename(live.root / "old")
    live.chain_dir.symlink_to(tmp_path / "elsewhere")

    assert "which is not below" in refused(live, "--no-facade")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_rotation_that_somebody_has_changed_stays(live: Node) -> None:
    (live.root / "etc/logrotate.d/cni-chain").write_text("# mine\n")

    assert "/etc/logrotate.d/cni-chain stays as it is, because it was edited." in live.run("install").stdout
    assert (live.root / "etc/logrotate.d/cni-chain").read_text() == "# mine\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--owner", "Cilium"],
        ["--owner", "cilium:"],
        ["--owner", "cilium:a/b"],
        ["--owner", "a", "--owner", "a"],
        ["--exempt", "istio"],
        ["--exempt", "nobody=a/b"],
        ["--exempt", "istio=a/b/c"],
        ["--cni-version", "2.0.0"],
        ["--distro", "unknown"],
        ["--facade", "../x.conflist"],
        ["--facade", "facade.conf"],
        ["--frob"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(live: Node, arguments: list[str]) -> None:
    refused(live, *arguments, status=2)


def test_a_name_that_is_none(live: Node) -> None:
    assert "--name a/b: " in refused(live, "--name", "a/b")


def test_a_facade_that_is_there_is_never_touched_by_an_upgrade_even_if_it_is_wrong(live: Node) -> None:
    live.facade.write_text((CONF / "00-cni-chain.conflist").read_text().replace('"chainDir"', '"chaindir"'))
    before = live.facade.read_bytes()

    assert live.run("install").status == 0
    assert live.facade.read_bytes() == before


def test_a_version_that_refuses_the_facade_which_stays(live: Node) -> None:
    """A misspelt key that an older version let pass would stop every new pod of the node."""
    live.run("install")
    document = json.loads(live.facade.read_bytes())
    istio = document["plugins"][0]["owners"][1]
    istio["type"] = istio.pop("types")
    text = json.dumps(document)
    live.facade.write_text(text)

    error = refused(live)

    assert error.startswith(
        f"cni-chain: {FACADE}: new pods would get no network from this version: key owners[1].type: "
    )
    assert error.endswith("did you mean types?. Correct the facade first, or pass --force")
    assert live.run("install", "--force").status == 0
    assert live.facade.read_text() == text
