"""The command line as a whole: what is printed where, and the exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cni_chain import __version__
from tests.support.files.node import CHECKOUT, Node, Result, node_before, run

VERSIONS = "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0\n"


def test_without_arguments_it_prints_its_help_and_says_like_any_plugin_what_it_is(program: str) -> None:
    status, stdout, stderr = run(program)

    assert (status, stderr) == (0, f"CNI plugin cni-chain v{__version__}\n{VERSIONS}")
    assert stdout == run(program, "--help").stdout
    assert stdout.startswith("Usage: cni-chain [OPTIONS] COMMAND [ARGS]...\n")
    listed = [" ".join(line.split()) for line in stdout.splitlines()]
    for told in ("show Show the effective chain.", "verify Find every problem at once.", "Examples:"):
        assert told in listed


@pytest.mark.parametrize("command", ["show", "verify"])
def test_the_help_of_a_command_has_examples_every_option_and_the_exit_status(program: str, command: str) -> None:
    status, stdout, stderr = run(program, command, "--help")

    assert (status, stderr) == (0, "")
    for told in ("Examples:", "Exit status:", "--json", "--net-dir", "--conf", "--bin-dir", "--root"):
        assert told in stdout
    assert max(map(len, stdout.splitlines())) <= 110
    assert "\x1b" not in stdout


def test_it_says_its_version(program: str) -> None:
    assert run(program, "--version") == Result(0, f"cni-chain {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [["frob"], ["show", "--frob"], ["show", "extra"], ["verify", "--conf"]], ids=" ".join
)
def test_wrong_usage_is_status_2_with_one_error_on_stderr(program: str, arguments: list[str]) -> None:
    status, stdout, stderr = run(program, *arguments)

    assert (status, stdout) == (2, "")
    assert stderr.count("Error: ") == 1


def test_who_has_cni_path_exported_for_cnitool_still_gets_the_command_line(program: str, node: Node) -> None:
    environ = {"CNI_PATH": "/opt/cni/bin", "NETCONFPATH": "/etc/cni/net.d"}

    assert run(program, "show", "--root", str(node.root), environ=environ) == node.run("show")


def test_a_runtime_gets_the_plugin_whatever_the_arguments_are(program: str) -> None:
    status, stdout, _ = run(program, "show", environ={"CNI_COMMAND": "VERSION"})

    assert status == 0
    assert stdout.startswith('{"cniVersion":"1.1.0","supportedVersions":')


@pytest.mark.parametrize("command", ["show", "verify"])
def test_nothing_is_coloured_where_no_person_reads(node: Node, command: str) -> None:
    node.clear("istio")

    assert "\x1b" not in node.run(command).stdout


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_on_a_terminal_there_is_colour_unless_somebody_wants_none(
    node: Node, environ: dict[str, str], coloured: bool
) -> None:
    command = [node.program, "show", "--root", str(node.root)]
    on_a_terminal = f"import pty; pty.spawn({command!r})"

    shown = run(sys.executable, "-c", on_a_terminal, environ={"TERM": "xterm", **environ}).stdout

    assert "cilium-cni" in shown
    assert ("\x1b[" in shown) is coloured


@pytest.mark.parametrize(
    "arguments", [["--help"], ["show", "--help"], ["frob"], ["__complete", "--", "sh"]], ids=" ".join
)
def test_what_takes_long_to_import_waits_until_something_is_printed(arguments: list[str]) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); sys.argv[1:] = {arguments}\n"
        "from cni_chain.cli import main; main()\n"
        "print([name for name in ('rich', 'pyroute2', 'asyncio') if name in sys.modules])"
    )

    assert run(sys.executable, "-c", script).stdout.splitlines()[-1] == "[]"


@pytest.mark.root
@pytest.mark.parametrize("command", ["show", "verify", "cat", "doctor", "owner list", "cat --effective"])
def test_every_command_knows_where_a_distribution_has_its_files(node: Node, command: str) -> None:
    (node.root / "var/log").mkdir(parents=True)
    usual = node.run(*command.split())
    k3s = node.root / "var/lib/rancher/k3s"
    for directory, there in ((node.net_dir, k3s / "agent/etc/cni/net.d"), (node.bin_dir, k3s / "data/cni")):
        there.parent.mkdir(parents=True, exist_ok=True)
        directory.rename(there)

    found = node.run(*command.split(), "--distro", "k3s")

    moved = found.stdout.replace("/var/lib/rancher/k3s/agent", "")
    assert (found.status, found.stderr, moved.split()) == (0, "", usual.stdout.split())
    assert node.run(*command.split()).status == 1
    where = ["--net-dir", "/var/lib/rancher/k3s/agent/etc/cni/net.d", "--bin-dir", "/var/lib/rancher/k3s/data/cni"]
    assert node.run(*command.split(), "--distro", "gke", *where) == found  # what is given counts


@pytest.mark.root
@pytest.mark.parametrize("command", ["show", "doctor", "install --dry-run"])
def test_the_root_of_another_mount_namespace_is_refused(program: str, tmp_path: Path, command: str) -> None:
    """A container's /proc/1/root is the node's to the kernel, and the container's own to whoever follows the link."""
    script = 'mount -t tmpfs none "$1" && mkdir "$1/etc" && cd "$1" && echo ready && read -r end'
    other = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh", str(tmp_path)]
    with subprocess.Popen(other, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        root = f"/proc/{process.pid}/cwd"

        found = run(program, *command.split(), "--root", root)

        process.communicate("end\n")
    assert (found.status, found.stdout) == (2, "")
    assert found.stderr.startswith(f"cni-chain: --root {root}: is in another mount namespace")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "show",
        "verify",
        "cat",
        "attachments",
        "doctor",
        "log",
        "migrate plan",
        "owner list",
        "owner remove istio",
    ],
)
def test_a_tree_that_is_not_there_is_told_before_all_else(program: str, tmp_path: Path, command: str) -> None:
    root = tmp_path / "nod"

    error = f"cni-chain: --root {root}: no such directory\n"
    assert run(program, *command.split(), "--root", str(root)) == (2, "", error)


@pytest.mark.parametrize(
    "command",
    ["show", "verify", "cat", "attachments", "doctor", "gc", "migrate status", "owner list", "install", "uninstall"],
)
def test_a_distribution_that_nobody_knows_is_wrong_usage(program: str, command: str) -> None:
    status, _, stderr = run(program, *command.split(), "--distro", "k9s")

    assert status == 2
    assert "--distro k9s: must be one of kubeadm, k3s, rke2" in stderr


@pytest.mark.parametrize("command", ["status", "migrate plan"])
def test_a_locale_that_lacks_a_character_gets_an_escape(tmp_path: Path, command: str) -> None:
    node = node_before(tmp_path / "node", sys.executable, "cilium-istio")

    status, stdout, stderr = run(
        sys.executable,
        *("-m", "cni_chain", *command.split(), "--root", str(node.root)),
        environ={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
        cwd=CHECKOUT,
    )

    assert (status == 2, stdout.isascii(), "\\u2" in stdout, stderr) == (False, True, True, "")


def test_the_plugin_never_imports_it() -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from cni_chain.plugin import add, delete, gc, protocol, sweep\n"
        "print([name for name in sys.modules if name.startswith(('cni_chain.cli', 'typer', 'rich'))])"
    )

    assert run(sys.executable, "-I", "-c", script).stdout == "[]\n"


def ends_writing_to(descriptor: int, program: str) -> tuple[int, str]:
    """How a command ends whose standard output is that descriptor, and what it says."""
    try:
        done = subprocess.run(
            [program, "completion", "bash"],
            stdout=descriptor,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin"},
            text=True,
            check=False,
        )
    finally:
        os.close(descriptor)
    return done.returncode, done.stderr


def test_a_reader_who_has_enough_is_told_nothing(program: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    assert ends_writing_to(writer, program) == (1, "")


def test_a_full_disk_is_told_in_one_line(program: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)

    assert ends_writing_to(full, program) == (1, "cni-chain: standard output: No space left on device\n")
