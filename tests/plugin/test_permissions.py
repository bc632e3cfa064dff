"""Section 3 of the contract: what others than root could have written is refused."""

import os

import pytest

from tests.support.files.node import Node

pytestmark = pytest.mark.root
UNSAFE = [
    pytest.param("file", 0o664, 0, id="file-writable-by-group"),
    pytest.param("file", 0o646, 0, id="file-writable-by-others"),
    pytest.param("file", 0o644, 65534, id="file-of-nobody"),
    pytest.param("directory", 0o775, 0, id="directory-writable-by-group"),
    pytest.param("directory", 0o1757, 0, id="directory-writable-by-others"),
    pytest.param("directory", 0o755, 65534, id="directory-of-nobody"),
    pytest.param("target", 0o666, 0, id="target-of-a-link"),
]


def make_unsafe(host: Node, what: str, mode: int, uid: int) -> None:
    folder = host.folder("istio")
    path = folder / "10-istio-cni.conf"
    if what == "target":
        path.rename(folder / "real")
        path.symlink_to("real")
    victim = folder if what == "directory" else path
    os.chown(victim, uid, 0)
    victim.chmod(mode)


@pytest.mark.parametrize(("what", "mode", "uid"), UNSAFE)
@pytest.mark.parametrize("required", [True, False], ids=["required", "not-required"])
def test_what_others_than_root_can_write_is_refused(host: Node, what: str, mode: int, uid: int, required: bool) -> None:
    """Directory and files: owned by root, not writable by group or others, else refused (not ignored)."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni", required=required)
    make_unsafe(host, what, mode, uid)

    outcome = host.add()

    assert (outcome.code, outcome.ran) == (7, [])
    assert str(host.folder("istio")) in outcome.msg


@pytest.mark.parametrize(("what", "mode", "uid"), UNSAFE)
def test_unsafe_permissions_can_be_allowed(node: Node, what: str, mode: int, uid: int) -> None:
    make_unsafe(node, what, mode, uid)

    assert node.add(allowUnsafePermissions=True).ran == ["ADD cilium-cni", "ADD istio-cni", "ADD portmap"]


def test_the_directories_above_are_the_administrators(node: Node) -> None:
    """The plugin doesn't look at chainDir itself."""
    node.chain_dir.chmod(0o777)

    assert node.add().ok


def test_a_file_that_would_be_ignored_may_have_any_permissions(node: Node) -> None:
    node.fragment("istio", "istio-cni-kubeconfig", b"").chmod(0o666)

    assert node.add().ok


def test_a_node_whose_state_others_may_write_is_not_ready(node: Node) -> None:
    node.add()
    node.state_dir.chmod(0o777)

    assert (node.status().code, node.add("c2").code) == (50, 5)


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_state_directory_and_what_is_above_it_are_nobody_elses(node: Node, slash: str) -> None:
    before = os.umask(0)
    try:
        node.add(stateDir=f"{node.root}/a/b/state{slash}")
    finally:
        os.umask(before)

    modes = [(node.root / path).stat().st_mode & 0o777 for path in ("a", "a/b", "a/b/state")]
    assert modes == [0o755, 0o755, 0o700]
