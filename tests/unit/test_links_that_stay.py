"""What somebody has put in the place of files that `install` writes and `uninstall` removes: links and pipes stay."""

import os
from pathlib import Path

import pytest

from cni_chain.change import install, installed, manual, uninstall
from cni_chain.change.plan import Plan
from cni_chain.node.tree import Tree
from tests.support.files.tree import BEFORE
from tests.support.files.tree import Tree as Node

ROTATION = "/etc/logrotate.d/cni-chain"
BINARIES, NET_DIR = "/opt/cni/bin", "/etc/cni/net.d"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    made = Node(tmp_path)
    made.install("cilium-cni")
    made.conflist(os.path.basename(BEFORE), "cilium", "cilium-cni")
    made.fragments(cilium="cilium-cni", istio="istio-cni")
    return made


def put(path: Path, what: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "link":
        (path.parent / "mine").write_text(install.LOGROTATE)
        path.symlink_to("mine")
    else:
        os.mkfifo(path)


def paths(plan: Plan) -> list[str]:
    return [change.path for change in plan.changes]


@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_manual_page_that_is_no_file_stays(node: Node, tmp_path: Path, what: str) -> None:
    source = tmp_path / "program"
    source.mkdir()
    (source / "cni-chain.8").write_text(".TH CNI-CHAIN 8 x\n")
    put(node.path(manual.PAGE), what)
    plan = Plan(Tree(str(node.root)))

    manual.place(plan, str(source))

    assert (paths(plan), plan.notes) == ([], [f"{manual.PAGE} stays as it is, because it is not cni-chain's."])


def test_a_rotation_that_is_a_link_stays_at_an_install(node: Node) -> None:
    put(node.path(ROTATION), "link")

    plan = install.plan(Tree(str(node.root)), install.Options(BINARIES, NET_DIR, with_facade=False), None)

    assert ROTATION not in paths(plan)
    assert f"{ROTATION} stays as it is, because it is a link." in plan.notes


def test_a_rotation_that_is_a_link_stays_at_an_uninstall(node: Node) -> None:
    put(node.path(ROTATION), "link")

    plan = uninstall.plan(Tree(str(node.root)), uninstall.Options(BINARIES, NET_DIR))

    assert ROTATION not in paths(plan)
    assert f"{ROTATION} stays, because it is a link." in plan.notes


def test_a_file_where_the_versions_directories_are_to_be_is_no_version(node: Node) -> None:
    node.write("/opt/cni/cni-chain", "a program that was copied alone\n")
    tree = Tree(str(node.root))

    assert installed.Programs(tree, BINARIES, None).versions() == []
    assert "/opt/cni/cni-chain/" not in paths(uninstall.plan(tree, uninstall.Options(BINARIES, NET_DIR)))
