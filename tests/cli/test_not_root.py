"""Who is not root is sent to sudo: what a command can't read it would otherwise report as missing."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_chain.mesh import cgroups
from tests.support.files.node import FACADE, NET, WAITING, Node, Result, shipped_node
from tests.support.sandbox.node import is_frozen

pytestmark = pytest.mark.root

NOBODY = 65534
LIST = f"{NET}/05-cilium.conflist"


@pytest.fixture
def node(program: str) -> Iterator[Node]:
    """A node as agents and the plugin leave it: a fragment and the records are root's alone."""
    root = Path(tempfile.mkdtemp(prefix="cni-chain-", dir="/tmp"))
    try:
        root.chmod(0o755)
        # pytest's own directories, in which the source's launcher is, are root's alone.
        runs = program if is_frozen(program) else shutil.copy2(program, root)
        if subprocess.run([runs, "--version"], user=NOBODY, capture_output=True, check=False).returncode:
            pytest.skip(f"by design: {runs} is in a directory that only root can enter")
        made = shipped_node(root / "node", str(runs))
        (made.chain_dir / "cilium.d/05-cilium.conflist").chmod(0o600)
        (made.root / "var/lib/cni/chain").mkdir(parents=True, mode=0o700)
        (made.root / "var/log").mkdir()
        (made.root / "var/log/cni-chain.log").touch(0o600)
        yield made
    finally:
        shutil.rmtree(root)


@pytest.mark.parametrize(
    ("command", "unreadable"),
    [
        ("doctor", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
        ("verify", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
        ("show", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
        ("cat", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
        ("owner list", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
        ("attachments", "/var/lib/cni/chain"),
        ("log", "/var/log/cni-chain.log"),
        ("uninstall", LIST),
        ("uninstall --restore /saved.conflist", "/saved.conflist"),
        ("uninstall --leave-node-without-network", "/var/lib/cni/chain"),
        ("migrate plan", f"{LIST}.before-cni-chain"),
        ("migrate status", f"{LIST}.before-cni-chain"),
        ("migrate undo", f"{LIST}.before-cni-chain"),
        ("owner add linkerd:linkerd-cni --optional", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
        ("owner remove istio", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
        ("owner optional istio", "/etc/cni/chain.d/cilium.d/05-cilium.conflist"),
    ],
)
def test_it_says_so_and_nothing_else(node: Node, command: str, unreadable: str) -> None:
    if not node.path(unreadable).exists():
        shutil.copy2(node.path("/etc/cni/chain.d/cilium.d/05-cilium.conflist"), node.path(unreadable))

    done = run_as_nobody(node.program, *command.split(), "--root", str(node.root))

    expected = f"cni-chain: {unreadable}: can't be read: Permission denied; run this command as root (sudo)\n"
    assert done == Result(1, "", expected)


@pytest.mark.parametrize(
    ("command", "unreadable"),
    [
        ("migrate plan", FACADE),
        ("migrate status", WAITING),
        (f"show --conf {FACADE}", FACADE),
        ("show", FACADE),
        ("owner list", FACADE),
    ],
)
def test_a_facade_that_only_root_can_read_is_not_called_something_else(
    node: Node, command: str, unreadable: str
) -> None:
    node.conflist("05-cilium.conflist", "cilium", "cilium-cni", "istio-cni")
    shutil.copy2(node.path(LIST), node.path(f"{LIST}.before-cni-chain"))
    node.facade.rename(node.path(unreadable))
    node.path(unreadable).chmod(0o600)

    done = run_as_nobody(node.program, *command.split(), "--root", str(node.root))

    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.endswith(f"{unreadable}: can't be read: Permission denied; run this command as root (sudo)\n")


def test_gc_says_so_too(node: Node) -> None:
    records = node.root / "var/lib/cni/chain"

    done = run_as_nobody(node.program, "gc", "--net-dir", str(node.net_dir), "--state-dir", str(records))

    expected = f"cni-chain: {records}: can't be read: Permission denied; run this command as root (sudo)\n"
    assert done == Result(1, "", expected)


def test_a_mesh_check_that_can_t_tell_says_so_too(node: Node) -> None:
    if cgroups.root() is None:
        pytest.skip("by design: this machine has no cgroups of version 2")

    done = run_as_nobody(node.program, "mesh", "check")

    assert (done.status, done.stderr) == (3, "")
    told = " ".join(done.stdout.split())
    assert told.startswith(f"UNKNOWN: programs of {cgroups.root()}")
    assert told.endswith(": Operation not permitted; run this command as root (sudo)")


@pytest.mark.parametrize("command", ["owner optional istio", "migrate undo", "uninstall --keep-program"])
def test_a_change_that_only_root_may_make_is_not_begun(node: Node, command: str) -> None:
    for path in node.root.rglob("*"):
        path.chmod(0o755)
    node.conflist("05-cilium.conflist", "cilium", "cilium-cni", "istio-cni")

    done = run_as_nobody(node.program, *command.split(), "--root", str(node.root))

    denied = "Permission denied; run this command as root (sudo); nothing was changed\n"
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == f"cni-chain: {FACADE}: {denied}"


def run_as_nobody(program: str, *arguments: str) -> Result:
    done = subprocess.run(
        [program, *arguments],
        user=NOBODY,
        env={"PATH": os.environ["PATH"], "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
