"""Section 3 of the contract: which files of an owner count, and what is refused."""

import ctypes
import json
import os
import threading
import time
from pathlib import Path

import pytest

from tests.support.files.node import Node
from tests.support.files.outcome import PATIENCE

SINGLE = {"type": "cilium-cni"}
LIST = {"cniVersion": "1.0.0", "name": "cilium", "plugins": [SINGLE]}
HALF = b'{"type": "cilium-cni", "ipam":'


@pytest.fixture
def cilium(host: Node) -> Node:
    """A host whose only owner, cilium, is required and has no file yet."""
    host.owner("cilium")
    return host


@pytest.mark.parametrize("file", ["10-a.conf", "10-a.conflist", "10-a.json", "é.conf", "a b.conf", "~.json"])
def test_files_with_these_endings_count(cilium: Node, file: str) -> None:
    cilium.fragment("cilium", file, SINGLE)

    assert cilium.add().ran == ["ADD cilium-cni"]


@pytest.mark.parametrize(
    "file",
    [
        ".10-a.conf",
        ".conflist",
        "10-a.conf.tmp",
        "10-a.tmp.conf",
        "10-a.conflist.tmp123.json",
        "10-a.tmp-8842.conflist",
        "cilium-cni.install",
        "10-a.conf.install",
        "100-crio-bridge.conf.cilium_bak",
        "ZZZ-istio-cni-kubeconfig",
        "calico-kubeconfig.conf",
        "kubeconfig.json",
        "10-a.yaml",
        "10-a.CONF",
        "10-a.conf~",
        "10-a.conf.bak",
        "conf",
        "README",
    ],
)
def test_everything_else_is_ignored(cilium: Node, file: str) -> None:
    cilium.fragment("cilium", "10-good.conf", SINGLE)
    cilium.fragment("cilium", file, {"type": "never"})

    assert cilium.add().ran == ["ADD cilium-cni"]


@pytest.mark.parametrize("file", [".10-a.conf", "10-a.tmp.conf", "calico-kubeconfig.conf", "10-a.conf.cilium_bak"])
def test_an_ignored_file_is_no_fragment_of_a_required_owner(cilium: Node, file: str) -> None:
    cilium.fragment("cilium", file, SINGLE)

    assert cilium.add().code == 11


def test_sub_directories_and_what_is_no_file_are_ignored(cilium: Node) -> None:
    cilium.fragment("cilium", "10-good.conf", SINGLE)
    folder = cilium.folder("cilium")
    (folder / "sub.conf").mkdir()
    (folder / "sub.conf/10-a.conf").write_text('{"type": "never"}')
    os.mkfifo(folder / "pipe.conf")

    assert cilium.add().ran == ["ADD cilium-cni"]


def test_files_count_bytewise_by_name(cilium: Node) -> None:
    names = ["10-b.conf", "9-a.conf", "Z.conf", "a.conf", "a.conflist", "b-.json", "b.json", "é.conf"]
    for number, file in enumerate(reversed(names)):
        cilium.fragment("cilium", file, {"type": f"plugin-{len(names) - 1 - number}"})

    assert cilium.add().ran == [f"ADD plugin-{number}" for number in range(len(names))]


@pytest.mark.parametrize("form", [SINGLE, LIST], ids=["plugin", "list"])
@pytest.mark.parametrize("file", ["a.conf", "a.conflist", "a.json"])
def test_content_decides_the_form(cilium: Node, form: dict[str, object], file: str) -> None:
    cilium.fragment("cilium", file, form)

    assert cilium.add().ran == ["ADD cilium-cni"]


def test_a_list_is_run_in_its_order(cilium: Node) -> None:
    cilium.fragment("cilium", "a.conflist", {"plugins": [{"type": "b"}, {"type": "a"}, {"type": "c"}]})

    assert cilium.add().ran == ["ADD b", "ADD a", "ADD c"]


def test_an_empty_list_contributes_nothing(cilium: Node) -> None:
    """A required owner with nothing else is not usable."""
    cilium.fragment("cilium", "a.conflist", {"plugins": []})

    assert (cilium.add().code, cilium.ran) == (11, [])

    cilium.fragment("cilium", "b.conf", SINGLE)

    assert cilium.add().ran == ["ADD cilium-cni"]


def test_an_empty_list_of_an_owner_that_is_not_required_is_fine(cilium: Node) -> None:
    cilium.fragment("cilium", "a.conf", SINGLE)
    cilium.owner("local", required=False)
    cilium.fragment("local", "a.conflist", {"plugins": []})

    assert cilium.add().ran == ["ADD cilium-cni"]


# Links.


@pytest.mark.parametrize("target", ["real.txt", "sub/real.txt", "..data/real.txt"])
def test_a_link_to_a_file_below_the_owners_directory_counts(cilium: Node, target: str) -> None:
    """As Kubernetes mounts a ConfigMap: ..data is a link to a directory beside it."""
    folder = cilium.folder("cilium")
    (folder / "..2026_1").mkdir()
    (folder / "..data").symlink_to("..2026_1")
    (folder / "sub").mkdir()
    for path in (folder, folder / "sub", folder / "..2026_1"):
        (path / "real.txt").write_text('{"type": "cilium-cni"}')
    (folder / "10.conf").symlink_to(target)
    cilium.plugin("cilium-cni")

    assert cilium.add().ran == ["ADD cilium-cni"]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("../other.d/10.conf", id="another-owner"),
        pytest.param("../cilium.d-not/10.conf", id="a-name-that-begins-alike"),
        pytest.param("out/10.conf", id="through-a-linked-directory"),
        pytest.param("/dev/null", id="device"),
        pytest.param("sub", id="directory"),
        pytest.param("nowhere", id="dangling"),
        pytest.param("loop.conf", id="loop"),
    ],
)
@pytest.mark.parametrize("required", [True, False], ids=["required", "not-required"])
def test_a_link_to_anything_else_is_refused(host: Node, target: str, required: bool) -> None:
    host.owner("first", "cilium-cni")
    host.owner("cilium", required=required)
    for other in ("other.d", "cilium.d-not"):
        (host.chain_dir / other).mkdir()
        (host.chain_dir / other / "10.conf").write_text('{"type": "cilium-cni"}')
    folder = host.folder("cilium")
    (folder / "sub").mkdir()
    (folder / "out").symlink_to("../other.d")
    (folder / "loop.conf" if target == "loop.conf" else folder / "10.conf").symlink_to(target)

    outcome = host.add()

    assert (outcome.code, outcome.ran) == (7, [])
    assert str(folder) in outcome.msg


# Refused content.


@pytest.mark.parametrize("required", [True, False], ids=["required", "not-required"])
def test_a_file_that_is_too_large_for_a_configuration_is_refused(host: Node, required: bool) -> None:
    """Each call would hold it in memory."""
    host.owner("first", "cilium-cni")
    host.owner("cilium", required=required)
    path = host.fragment("cilium", "10.conf", b'{"type": "cilium-cni"}' + b" " * (4 << 20), install=False)

    for outcome in (host.add(), host.add("c2", allowUnsafePermissions=True)):
        assert (outcome.code, outcome.ran) == (7, [])
        assert f"{path}: has 4 MiB, and a configuration has at most 4 MiB" in outcome.msg


@pytest.mark.parametrize("form", ["plugin", "list"])
@pytest.mark.parametrize("kind", ["cni-chain", "/", "a/b", "../cilium-cni", "/bin/sh", ".", "..", "", 5, None, ["a"]])
def test_a_type_must_be_a_plain_file_name(host: Node, kind: object, form: str) -> None:
    host.owner("first", "cilium-cni")
    host.owner("cilium", required=False)
    plugin = {"type": kind}
    content = plugin if form == "plugin" else {"plugins": [SINGLE, plugin]}
    path = host.fragment("cilium", "10.conf", content, install=False)

    outcome = host.add()

    assert (outcome.code, outcome.ran) == (7, [])
    assert str(path) in outcome.msg


@pytest.mark.parametrize("content", [{}, {"plugins": {}}, {"plugins": ["x"]}, {"plugins": [{}]}, {"plugins": None}])
def test_an_object_that_is_neither_a_plugin_nor_a_list_is_refused(cilium: Node, content: object) -> None:
    path = cilium.fragment("cilium", "10.conf", content, install=False)

    outcome = cilium.add()

    assert (outcome.code, outcome.ran) == (7, [])
    assert str(path) in outcome.msg


# Half-written JSON.

BROKEN = [
    pytest.param(b"", id="empty"),
    pytest.param(HALF, id="half"),
    pytest.param(b'{"type": "cilium-cni"}}', id="text-after-it"),
    pytest.param(b'{"type": "cilium-cni", "mtu": NaN}', id="NaN"),
    pytest.param(b'{"type": "cilium-cni", "x": "\xff"}', id="not-UTF-8"),
    pytest.param(b'{"type": "cilium-cni", "x": "a\nb"}', id="newline-in-text"),
    pytest.param(b"\0" * 512, id="zeros-after-a-power-cut"),
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(b"[]", id="list"),
    pytest.param(b"null", id="null"),
    pytest.param(b'"cilium-cni"', id="text"),
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_required_owner_with_a_broken_fragment_is_unusable_as_a_whole(host: Node, content: bytes) -> None:
    host.owner("first", "loopback")
    host.owner("cilium", "cilium-cni")
    path = host.fragment("cilium", "20.conf", content)

    outcome = host.add()

    assert (outcome.code, outcome.ran) == (11, [])
    assert str(path) in outcome.msg


@pytest.mark.parametrize("content", BROKEN)
def test_of_an_owner_that_is_not_required_only_the_broken_fragment_is_left_out(host: Node, content: bytes) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("local", "portmap", required=False)
    host.fragment("local", "05.conf", content)

    assert host.add().ran == ["ADD cilium-cni", "ADD portmap"]


# Containers: where the other writer comes later than it is waited for, because it stood still, the next one is tried.
TIMES = [f"c{number}" for number in range(10)]


def closed_once(path: Path) -> threading.Event:
    """An event for the moment when somebody has read and closed the file (inotify, IN_CLOSE_NOWRITE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_CLOEXEC)
    assert libc.inotify_add_watch(watch, os.fsencode(path), 0x10) > 0
    closed = threading.Event()

    def wait() -> None:
        os.read(watch, 4096)
        os.close(watch)
        closed.set()

    threading.Thread(target=wait, daemon=True).start()
    return closed


def test_a_file_that_its_writer_completes_at_once_is_read_again(cilium: Node) -> None:
    """Some agents write without rename: read again for up to 200 ms."""
    cilium.plugin("cilium-cni")
    ran: list[str] = []
    for container in TIMES:
        path = cilium.fragment("cilium", "10.conf", HALF)
        read = closed_once(path)
        running = cilium.begin("ADD", container)
        assert read.wait(PATIENCE)
        with path.open("ab") as file:
            file.write(b" {}}")
        ran = running.ends().ran
        if ran:
            break

    assert ran == ["ADD cilium-cni"]


def test_a_link_that_is_being_exchanged_is_waited_for(host: Node) -> None:
    """As a ConfigMap's are: a name in the middle leads to another directory from one moment to the next."""
    host.owner("cilium")
    host.fragment("cilium", "10.conf", {"type": "cilium-cni"})
    folder = host.folder("cilium")
    (folder / "20.conf").symlink_to("..data/20.conf")
    new = folder / "..new"
    new.mkdir()
    (new / "20.conf").write_text(json.dumps({"type": "second"}))
    host.plugin("second")
    ran: list[str] = []
    for container in TIMES:
        read = closed_once(folder / "10.conf")  # comes before the link
        running = host.begin("ADD", container)
        assert read.wait(PATIENCE)
        time.sleep(0.03)  # and then the link is found to lead nowhere
        new.rename(folder / "..data")
        ran = running.ends().ran
        if ran:
            break
        (folder / "..data").rename(new)

    assert ran == ["ADD cilium-cni", "ADD second"]


def test_what_can_be_added_can_be_deleted_however_deep_it_is(host: Node) -> None:
    host.owner("cilium")
    for depth in (150, 199, 500, 985):
        text = b'{"type": "cilium-cni", "x": ' + b"[" * depth + b"]" * depth + b"}"
        host.fragment("cilium", "10.conf", text, install=False)
        host.plugin("cilium-cni")

        outcome = host.add()

        assert (outcome.code, outcome.ran) in [(0, ["ADD cilium-cni"]), (11, [])]
        assert host.delete().code == outcome.code
        assert host.damaged == []
