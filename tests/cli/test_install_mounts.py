"""`cni-chain install` where file systems are mounted read-only or noexec: the archive's place, and the node's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_chain import __version__
from tests.support.files import mounts
from tests.support.files.node import CHECKOUT, Node, Result, bare_node, run
from tests.support.sandbox.node import is_frozen

pytestmark = pytest.mark.root

NOEXEC = "is on a file system that is mounted noexec, so no program can run there; mount it with exec"


@pytest.fixture
def live(program: str, tmp_path: Path) -> Iterator[Node]:
    """A node with a network, whose agents have written their fragments; its mounts end with the test."""
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    node = bare_node(tmp_path / "node", program, network=True)
    node.fragments(cilium="cilium-cni", istio="istio-cni")
    with mounts.private():
        yield node


@pytest.fixture
def unpacked(live: Node, tmp_path: Path) -> Path:
    """The archive's content in a directory of its own."""
    return Path(
        shutil.copytree(Path(live.program).resolve().parent.parent.parent, tmp_path / "unpacked", symlinks=True)
    )


def bind(directory: Path, options: str) -> None:
    """Mount a directory on itself, with options."""
    subprocess.run(["/usr/bin/mount", "--bind", directory, directory], check=True)
    subprocess.run(["/usr/bin/mount", "-o", f"remount,bind,{options}", directory], check=True)


def install(node: Node, *options: str, here: bool, program: Path | None = None) -> Result:
    """Install below --root, or as if the node's directories were this system's."""
    which = str(program or node.program)
    if here:
        return node.run_apart("install", "--chain-dir", str(node.chain_dir), *options, program=which)
    return node.run("install", *options, program=which)


def test_it_installs_what_lies_on_a_read_only_file_system(live: Node, unpacked: Path) -> None:
    bind(unpacked, "ro,nosuid,nodev")

    result = live.run("install", program=str(unpacked / "bin/cni-chain"))

    assert (result.status, result.stderr) == (0, "")
    assert run(str(live.link), "--version").stdout == f"cni-chain {__version__}\n"
    assert live.owner_names() == ["cilium", "istio", "local"]


def test_from_a_noexec_file_system_the_shell_refuses_in_the_guides_words(live: Node, unpacked: Path) -> None:
    """`/tmp` of many a hardened node."""
    bind(unpacked, "noexec")
    guide = (CHECKOUT / "docs/guides/by-hand.md").read_text()

    shell = subprocess.run(
        ["/bin/sh", "-c", "bin/cni-chain install"], cwd=unpacked, capture_output=True, text=True, check=False
    )

    assert shell.returncode == 126
    assert "bin/cni-chain: Permission denied" in shell.stderr
    assert "`Permission denied`" in guide
    elsewhere = shutil.copytree(unpacked, live.root / "opt/unpacked", symlinks=True)
    assert live.run("install", program=str(elsewhere / "bin/cni-chain")).status == 0


def test_it_installs_files_of_a_noexec_file_system_if_the_program_itself_may_run(
    live: Node, unpacked: Path, tmp_path: Path
) -> None:
    executable = (unpacked / "bin/cni-chain").resolve()
    runs = shutil.copy2(executable, tmp_path / "runs")
    bind(unpacked, "ro,noexec")
    subprocess.run(["/usr/bin/mount", "--bind", runs, executable], check=True)

    result = live.run("install", program=str(executable))

    assert (result.status, result.stderr) == (0, "")
    assert os.access(live.link, os.X_OK)
    assert run(str(live.link), "--version").stdout == f"cni-chain {__version__}\n"


@pytest.mark.parametrize("before", [False, True], ids=["a new node", "installed before"])
@pytest.mark.parametrize("here", [False, True], ids=["--root", "this system"])
def test_a_place_where_no_program_can_run_is_refused_before_there_is_a_facade(
    live: Node, here: bool, before: bool
) -> None:
    if before:
        assert install(live, "--no-facade", here=here).status == 0
    bind(live.root / "opt", "noexec")
    there = live.files()
    programs = str(live.programs) if here else "/opt/cni/cni-chain"

    for more in ([], ["--dry-run"], ["--force"]):
        result = install(live, *more, here=here)

        assert (result.status, result.stdout) == (1, "")
        assert result.stderr == f"cni-chain: {programs}: {NOEXEC}, or pass another --program-dir\n"
    assert live.files() == there


def test_the_programs_may_be_elsewhere_than_the_plugins(live: Node) -> None:
    """Container-Optimized OS mounts only the plugins' own directory with exec."""
    bind(live.root / "opt", "noexec")
    bind(live.bin_dir, "exec")

    result = live.run("install", "--program-dir", "/var/lib/cni-chain")

    assert (result.status, result.stderr) == (0, "")
    assert run(str(live.link), "--version").stdout == f"cni-chain {__version__}\n"


@pytest.mark.parametrize(
    ("read_only", "named"),
    [
        ("opt", "/opt/cni/cni-chain"),
        ("etc", "/etc/cni/chain.d/local.d"),
        ("etc/cni/net.d", "/etc/cni/net.d/00-cni-chain.conflist"),
    ],
)
def test_a_read_only_place_of_the_node_is_named_and_what_came_before_is_taken_back(
    live: Node, read_only: str, named: str
) -> None:
    bind(live.root / read_only, "ro")
    before = live.files()

    result = live.run("install")

    assert (result.status, result.stdout) == (1, "")
    assert result.stderr == f"cni-chain: {named}: Read-only file system; nothing was changed\n"
    assert live.files() == before


@pytest.mark.parametrize("here", [False, True], ids=["--root", "this system"])
def test_a_damaged_program_is_run_in_its_place_before_any_runtime_does(live: Node, unpacked: Path, here: bool) -> None:
    """One that `install` itself gets along with: only a call of the plugin needs what is damaged."""
    executable = (unpacked / "bin/cni-chain").resolve()
    whole = executable.read_bytes()
    assert b"parse_environment" in whole
    executable.write_bytes(whole.replace(b"parse_environment", b"parse_environmenX", 1))
    before = live.files()

    result = install(live, program=executable, here=here)

    assert (result.status, result.stdout) == (1, "")
    assert f"/cni-chain/{__version__}/cni-chain: doesn't run: " in result.stderr
    assert result.stderr.endswith("; nothing was changed\n")
    assert live.files() == before
