"""What a shell completes: by the scripts that `cni-chain completion` prints, in the shells themselves."""

import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.files.node import Node, Result, run

BASH = """\
source <("$1" completion bash)
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_cni_chain "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def completed(program: str, *words: str) -> list[str]:
    """What bash would offer for the last of `words`."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    done = run(bash, "--norc", "-c", BASH, "bash", program, *words)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["sh"], ["show"]),
        (["owner", ""], ["list", "add", "remove", "require", "optional"]),
        (["show", "--a"], ["--all"]),
        (["gc", "--d"], ["--dry-run", "--distro"]),
        (["show", "--distro", "k"], ["kubeadm", "k3s"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["migrate", "plan", "--runtime", "c"], ["containerd", "crio"]),
        (["migrate", ""], ["plan", "write", "switch", "undo", "status"]),
        (["migrate", "switch", "--override", "ist"], ["istio-edits-first-file"]),
        (["migrate", "plan", "--add", "k"], ["kuma"]),
        (["show", "--frob", ""], []),
        (["verify", ""], []),  # bash itself offers the files
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_commands_options_and_what_they_take(program: str, words: list[str], offered: list[str]) -> None:
    assert completed(program, *words) == offered


def test_what_is_for_scripts_alone_is_not_offered(program: str) -> None:
    assert [one for one in completed(program, "") if one.startswith("_")] == []
    assert "__complete" not in run(program, "--help").stdout


@pytest.mark.parametrize(
    "words", [["owner", "remove"], ["owner", "require"], ["owner", "optional"], ["owner", "add", "x", "--before"]]
)
def test_the_owners_of_the_node_that_is_meant(node: Node, words: list[str]) -> None:
    where = ["--root", str(node.root)] if words[-1].startswith("re") else ["--net-dir", str(node.net_dir)]

    assert completed(node.program, *words[:2], *where, *words[2:], "") == ["cilium", "istio", "local"]
    assert completed(node.program, *words[:2], *where, *words[2:], "is") == ["istio"]


def test_containers_by_the_beginning_of_their_id(pods: Node) -> None:
    pods.add("d4e5f6")
    where = ["--state-dir", str(pods.state_dir)]

    assert completed(pods.program, "attachments", *where, "") == ["c1", "d4e5f6"]
    assert completed(pods.program, "attachments", *where, "d") == ["d4e5f6"]
    assert completed(pods.program, "attachments", "--net-dir", str(pods.net_dir), "d") == ["d4e5f6"]


def test_where_nothing_can_be_read_nothing_is_offered(program: str, tmp_path: Path) -> None:
    (tmp_path / "net.d").write_text("")

    assert completed(program, "owner", "remove", "--net-dir", str(tmp_path / "net.d"), "") == []
    assert completed(program, "owner", "remove", "--distro", "none", "") == []


def test_a_person_presses_tab_in_bash(program: str) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    environ = {"PATH": f"{Path(program).parent}:/usr/bin:/bin", "TERM": "dumb", "PS1": "$ ", "HISTFILE": ""}
    child, terminal = pty.fork()
    if child == 0:
        os.execve(bash, ["bash", "--norc", "--noprofile", "-i"], environ)  # noqa: S606  # no shell is meant to be in it
    try:
        os.write(terminal, b"source <(cni-chain completion bash); echo rea''dy\n")
        read_until(terminal, b"ready")
        os.write(terminal, b"cni-chain attach\t")

        assert b"attachments " in read_until(terminal, b"attachments ")
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)


def read_until(terminal: int, awaited: bytes, seconds: float = 60) -> bytes:
    seen = b""
    until = time.monotonic() + seconds
    while awaited not in seen:
        assert time.monotonic() < until, seen
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 4096)
    return seen


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_can_read_their_scripts(program: str, shell: str, tmp_path: Path) -> None:
    executable = shutil.which(shell)
    if executable is None:
        pytest.skip(f"by design: {shell} is not installed here")
    script = tmp_path / "script"
    script.write_text(run(program, "completion", shell).stdout)

    done = subprocess.run([executable, "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_shell_that_there_is_no_script_for(program: str) -> None:
    status, stdout, stderr = run(program, "completion", "tcsh")

    assert (status, stdout) == (2, "")
    assert "'tcsh': must be one of bash, zsh, fish" in stderr


def test_completing_is_quiet_about_what_was_typed_wrong(program: str) -> None:
    assert run(program, "__complete", "--", "show", "--root", "/nowhere", "--conf", "x", "--j") == Result(
        0, "--json\tThe same as --output json.\n", ""
    )
