"""The node of files, and the states that tests start from."""

import os
import shutil
from pathlib import Path

from tests.support.files.attachments import WEB, Attachments
from tests.support.files.double import Call, Json
from tests.support.files.outcome import Outcome, alive, wait_until
from tests.support.files.person import HIDDEN, Commands, Result, findings, run
from tests.support.files.runtime import ABSENT, ALL_VERSIONS
from tests.support.files.tree import (
    BEFORE,
    CASES,
    CHAIN,
    CHECKOUT,
    CILIUM,
    CONF,
    FACADE,
    ISTIO,
    LISTS,
    LOCAL,
    NET,
    ROOT,
    SPEAKS,
    TAKEN_AWAY,
    WAITING,
    at,
)

__all__ = [
    "ABSENT",
    "ALL_VERSIONS",
    "BEFORE",
    "CASES",
    "CHAIN",
    "CHECKOUT",
    "CILIUM",
    "CONF",
    "FACADE",
    "HIDDEN",
    "ISTIO",
    "LISTS",
    "LOCAL",
    "NET",
    "ROOT",
    "SPEAKS",
    "TAKEN_AWAY",
    "WAITING",
    "WEB",
    "Call",
    "Json",
    "Node",
    "Outcome",
    "Result",
    "alive",
    "at",
    "bare_node",
    "called_node",
    "findings",
    "list_of",
    "node_before",
    "run",
    "shipped_node",
    "wait_until",
    "with_pods",
]


class Node(Attachments, Commands):
    """A node's files in a temporary directory, a runtime's calls (`runtime`) and a person's commands (`person`)."""


def called_node(root: Path, program: str, double: Path | None = None) -> Node:
    """A node for a runtime's calls: cni-chain, and so far no owner."""
    node = Node(root, program, double)
    for directory in (node.chain_dir, node.state_dir.parent, node.log.parent):
        directory.mkdir(parents=True, exist_ok=True)
    node.chain_dir.chmod(0o755)
    return node


def with_pods(node: Node) -> Node:
    """A node for a runtime's calls, whose facade is in a file as well: a person's commands find it, and its state."""
    node.net_dir.chmod(0o755)
    node.where = {"--net-dir": str(node.net_dir), "--state-dir": str(node.state_dir)}  # and not this machine's own
    node.write_facade()
    return node


def shipped_node(root: Path, program: str) -> Node:
    """A node as `conf/` makes it, with scripts in the plugins' place."""
    node = Node(root, program)
    shutil.copytree(CONF / "chain.d", node.chain_dir)
    shutil.copy(CONF / node.facade.name, node.facade)
    if not ROOT:
        node.change_facade(allowUnsafePermissions=True)
    for name in ("cilium-cni", "istio-cni", "portmap"):
        node.install(name)
    return node


def bare_node(root: Path, program: str, *, network: bool = False) -> Node:
    """A node without cni-chain. With `network`, pods get one from Cilium's own conflist."""
    node = Node(root, program)
    (root / "etc/logrotate.d").mkdir()
    for name in ("cilium-cni", "istio-cni", "portmap"):
        node.install(name)
    if network:
        node.conflist(os.path.basename(BEFORE), "cilium", "cilium-cni")
    return node


def node_before(root: Path, program: str, case: str) -> Node:
    """A node before its migration: one list of tests/data/conflists, the plugins that it names, and cni-chain."""
    node = Node(root, program)
    source = list_of(case)
    node.list = f"{NET}/{source.name}"
    node.write(node.list, source.read_bytes())
    for name in ["cni-chain", *node.types()]:
        node.install(name)
    return node


def list_of(case: str) -> Path:
    """The file of a case, under the name that it has on a node."""
    (file,) = (LISTS / case).iterdir()
    return file
