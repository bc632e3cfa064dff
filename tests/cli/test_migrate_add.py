"""`migrate plan --add`: a mesh that is installed after the node has its facade."""

from pathlib import Path

import pytest

from tests.support.files.node import CHAIN, FACADE, NET, WAITING, Json, Node, node_before, run

pytestmark = pytest.mark.root

LIST = f"{NET}/05-cilium.conflist"
ISTIO = f"{CHAIN}/istio.d/10-istio.conf"
FRAGMENT: Json = {
    "cniVersion": "0.3.1",
    "name": "istio-cni",
    "type": "istio-cni",
    "plugin_log_level": "info",
    "ambient_enabled": True,
    "enable_ambient_detection_retry": True,
}
OWNER: Json = {
    "name": "istio",
    "types": ["istio-cni"],
    "required": False,
    "exempt": [{"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}],
}


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    return node_before(tmp_path / "node", program, "cilium-1.20")


def test_the_plan_has_the_owner_its_commands_and_what_cilium_needs_beside_a_mesh(node: Node) -> None:
    document = node.json("migrate", "plan", "--add", "istio")

    assert document["proof"]["same"] is True
    assert document["facadeDocument"]["plugins"][0]["owners"] == [{"name": "cilium", "types": ["cilium-cni"]}, OWNER]
    steps = {step["id"]: step for step in document["steps"]}
    assert list(steps) == [
        "write",
        "move-cilium",
        "switch",
        "install-istio",
        "require-istio",
        "check",
        "clean",
    ]
    assert steps["write"]["commands"] == ["cni-chain migrate write --add istio"]
    assert "--set socketLB.hostNamespaceOnly=true" in steps["move-cilium"]["commands"][0]
    (install,) = steps["install-istio"]["commands"]
    assert install.startswith("helm upgrade --install istio-cni istio/cni --namespace istio-system --create-namespace ")
    for value in (
        f"cniConfDir={CHAIN}/istio.d",
        "chained=false",
        "cniConfFileName=10-istio.conf",
        "ambient.enabled=true",
        "ambient.enableAmbientDetectionRetry=true",
    ):
        assert f"--set {value}" in install
    assert steps["require-istio"]["commands"] == ["cni-chain owner require istio"]
    assert (
        "+  istio-cni   istio   istio.d/                     comes later\n"
        in node.migrate("plan", "--add", "istio").stdout
    )


def test_the_whole_way_from_cilium_alone_to_cilium_and_istio(node: Node) -> None:
    def now() -> list[str]:
        return [step["id"] for step in node.json("migrate", "status")["steps"] if step["next"]]

    assert node.migrate("write", "--add", "istio").status == 0
    assert node.path(f"{CHAIN}/istio.d").is_dir()
    node.cilium_moves()
    assert node.migrate("switch").status == 0
    assert now() == ["install-istio"]
    assert run(node.program, "owner", "require", "istio", "--force", "--root", str(node.root)).status == 0
    assert now() == ["install-istio"]
    assert "require-istio" not in [step["id"] for step in node.json("migrate", "status")["steps"] if step["done"]]
    node.change_owner("istio", required=False)

    node.install("istio-cni")
    node.write(ISTIO, FRAGMENT)
    assert now() == ["require-istio"]

    assert run(node.program, "owner", "require", "istio", "--root", str(node.root)).status == 0
    assert now() == ["check", "clean"]
    assert node.read(FACADE)["plugins"][0]["owners"][1] == OWNER | {"required": True}


def test_a_mesh_that_is_not_there_yet_is_left_to_do_without_a_copy_of_the_list(node: Node) -> None:
    node.migrate("write", "--add", "istio")
    node.cilium_moves()
    node.migrate("switch")
    node.path(f"{LIST}.before-cni-chain").unlink()

    document = node.json("migrate", "status")

    assert document["state"] == "finished"
    assert [(step["id"], step["next"]) for step in document["steps"]] == [
        ("install-istio", True),
        ("require-istio", False),
    ]
    assert "no step is left" not in " ".join(node.migrate("status").stdout.split())


def test_a_second_write_keeps_the_mesh_that_the_first_one_added(node: Node) -> None:
    node.migrate("write", "--add", "istio")
    before = node.files()

    assert node.migrate("write").status == 0
    assert node.files() == before
    node.migrate("write", "--without", "istio")
    assert [owner["name"] for owner in node.read(WAITING)["plugins"][0]["owners"]] == ["cilium"]


def test_an_istio_that_has_written_before_the_switch_is_no_difference(node: Node) -> None:
    node.migrate("write", "--add", "istio")
    node.cilium_moves()
    node.install("istio-cni")
    node.write(ISTIO, FRAGMENT)

    status, stdout, _ = node.migrate("switch")

    assert status == 0
    assert "Proof  1 plugin gets the same configuration as before.\n  istio-cni, of the added owner istio, is" in stdout


@pytest.mark.parametrize(
    ("mesh", "seed"),
    [("linkerd", {"linkerd.d/10-seed.conflist": []}), ("consul", {"consul.d/10-seed.conflist": ["loopback"]})],
)
def test_a_mesh_that_only_edits_lists_gets_its_seed(node: Node, mesh: str, seed: dict[str, list[str]]) -> None:
    assert node.migrate("write", "--add", mesh).status == 0

    for file, types in seed.items():
        assert [plugin["type"] for plugin in node.read(f"{CHAIN}/{file}")["plugins"]] == types
    assert node.read(WAITING)["plugins"][0]["owners"][1]["required"] is False


def test_a_mesh_that_the_list_has(program: str, tmp_path: Path) -> None:
    node = node_before(tmp_path / "node", program, "cilium-istio")

    assert node.migrate("plan", "--add", "istio").stderr == (
        f"cni-chain: {LIST}: --add istio: the list has istio-cni already; leave the option out\n"
    )


def test_where_the_facade_is_in_place_the_way_is_another_and_is_named(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()
    node.migrate("switch")

    status, _, stderr = node.migrate("plan", "--add", "istio")

    assert status == 1
    assert "add the mesh with: cni-chain owner add istio:istio-cni --optional" in stderr


@pytest.mark.parametrize("installed", [False, True], ids=["not installed yet", "installed"])
def test_undo_moves_no_mesh_into_a_list_that_never_had_it(node: Node, installed: bool) -> None:
    node.migrate("write", "--add", "istio")
    node.cilium_moves()
    node.migrate("switch")
    if installed:
        node.install("istio-cni")
        node.write(ISTIO, FRAGMENT)

    back = {step["id"]: step for step in node.json("migrate", "undo")["steps"]}

    outside = ["outside-istio"] if installed else []
    assert list(back) == ["undo", *outside, "back-cilium", "uninstall", "clean"]
    assert [line for line in back["back-cilium"]["commands"] if "cordon" in line or "exclusive" in line] == []
    if installed:
        assert back["outside-istio"]["text"] == (
            "Uninstall Istio, which came later: the list never had its plugin, so new pods are outside its mesh."
        )
