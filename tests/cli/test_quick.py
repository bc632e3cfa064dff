"""Version, help and completion load next to nothing; what they print is what the whole command line would."""

import json
import marshal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cni_chain.cli.table import table
from tests.support.files.node import CHECKOUT, Node, Result, run

# All but the plugin path's own: each of these costs as much as an interpreter's start.
SLOW = ("typer", "rich", "re", "enum", "typing", "json", "functools", "collections", "subprocess", "inspect", "logging")

CALLED = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); sys.frozen = True; sys.executable = 'DIR/cni-chain'\n"
REPORT = """
import sys
from cni_chain.cli import main
status = main()
print(status, sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)
"""


def paths(entry: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command as its words, the program itself as none."""
    yield words
    for name, below in entry["commands"].items():
        yield from paths(below, (*words, name))


COMMANDS = list(paths(table()))


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands beside the frozen program."""
    directory = tmp_path_factory.mktemp("program")
    (directory / "commands.marshal").write_bytes(marshal.dumps(table()))
    return directory


def quick(beside: Path, *words: str, columns: str = "100") -> tuple[str, set[str]]:
    """What the program prints if it is frozen, and the modules that it has loaded then."""
    script = CALLED.replace("DIR", str(beside)) + f"sys.argv[1:] = {list(words)!r}{REPORT}"
    done = run(sys.executable, "-I", "-S", "-c", script, environ={"COLUMNS": columns})
    *_, last = done.stderr.splitlines()
    status, _, loaded = last.partition(" ")
    assert status in ("0", "1", "3")
    return done.stdout, set(json.loads(loaded.replace("'", '"')))


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["-h"],
        ["help"],
        ["--version"],
        ["version"],
        ["show", "--help"],
        ["owner", "add", "-h"],
        ["help", "owner", "add"],
        ["__complete", "--", "sh"],
        ["__complete", "--", "show", "--o"],
        ["__complete", "--", "owner", "remove", "--root", "/nowhere", ""],
        ["__complete", "--", "attachments", "--state-dir", "/nowhere", ""],
    ],
    ids=" ".join,
)
def test_what_takes_no_command_loads_nothing_that_is_slow(beside: Path, words: list[str]) -> None:
    _, loaded = quick(beside, *words)

    assert loaded & set(SLOW) == set()


# What `status` does without; each takes as long as several of its rules.
NOT_OF_STATUS = ("typer", "rich", "dataclasses", "inspect", "concurrent", "logging", "difflib", "tomllib", "shutil")


def test_status_loads_only_what_its_rules_need(beside: Path, node: Node) -> None:
    stdout, loaded = quick(beside, "status", "--root", str(node.root))

    assert stdout == node.run("status").stdout
    assert loaded & set(NOT_OF_STATUS) == set()


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "json"],
        ["--json"],
        ["--output=wide", "--wait=0s"],
        ["-o", "xml"],
        ["--json", "-o", "yaml"],
        ["--frob"],
        ["extra"],
        ["--wait"],
        ["--wait", "soon"],
        ["--distro", "k9s"],
        ["--help"],
        ["--conf", "/nowhere"],
        ["--root", "/nowhere"],
    ],
    ids=" ".join,
)
def test_status_is_the_same_with_and_without_typer(beside: Path, node: Node, options: list[str]) -> None:
    where = ["--root", str(node.root)]
    script = CALLED.replace("DIR", str(beside)) + f"sys.argv[1:] = {['status', *where, *options]!r}\n"
    script += "from cni_chain.cli import main; sys.exit(main())"

    assert run(sys.executable, "-c", script) == run(
        sys.executable, "-m", "cni_chain", "status", *where, *options, cwd=CHECKOUT
    )


# What `mesh check` does without. Its programs, namespaces and sockets need `re`, `json` and the like.
NOT_OF_CHECK = (*NOT_OF_STATUS, "subprocess", "tempfile", "pathlib")


def test_mesh_check_loads_only_what_its_verdict_needs(beside: Path) -> None:
    stdout, loaded = quick(beside, "mesh", "check", "--vip", "192.0.2.1:80")

    assert stdout.startswith(("OK: ", "BROKEN: ", "UNKNOWN: "))
    assert loaded & set(NOT_OF_CHECK) == set()


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--json"],
        ["-o", "yaml", "--vip", "192.0.2.1:80", "--vip=192.0.2.1:53/udp"],
        ["-o", "xml"],
        ["--vip", "192.0.2.1"],
        ["--vip"],
        ["--frob"],
        ["extra"],
        ["--no-probe"],
        ["--probe", "--no-probe"],
        ["--pod", "/nowhere"],
        ["--pod", "4194305"],
        ["--cgroup", "/nowhere"],
        ["--config", "/nowhere"],
        ["--datapath", "--pod", "/nowhere"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_mesh_check_is_asked_the_same_with_and_without_typer(beside: Path, options: list[str]) -> None:
    """What it is asked, for what it answers depends on what runs on this machine at that moment."""
    asked = f"""
sys.path.insert(0, {str(CHECKOUT)!r}); sys.argv[1:] = {["mesh", "check", *options]!r}
from cni_chain.cli import main, mesh_answer
mesh_answer.answer = lambda question, form: print(question, form) or 3
sys.exit(main())
"""

    assert run(sys.executable, "-c", CALLED.replace("DIR", str(beside)) + asked) == run(
        sys.executable, "-c", f"import sys{asked}"
    )


@pytest.mark.parametrize("columns", ["80", "100", "300"])
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "cni-chain")
def test_the_help_in_the_table_is_the_help_of_the_command(beside: Path, words: tuple[str, ...], columns: str) -> None:
    from_source = run(sys.executable, "-m", "cni_chain", *words, "--help", environ={"COLUMNS": columns}, cwd=CHECKOUT)

    assert quick(beside, *words, "--help", columns=columns)[0] == from_source.stdout
    assert from_source.status == 0


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words) or "cni-chain")
def test_no_line_of_help_is_longer_than_a_terminal(words: tuple[str, ...]) -> None:
    entry = table()
    for word in words:
        entry = entry["commands"][word]

    assert [line for line in entry["help"].splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("words", [(), ("show",), ("owner", "add")], ids=" ".join)
def test_a_program_prints_the_same_help_however_it_is_asked(program: str, words: tuple[str, ...]) -> None:
    by_option = run(program, *words, "--help")

    assert run(program, *words, "-h") == by_option
    assert run(program, "help", *words) == by_option
    assert by_option.stdout.startswith(f"Usage: {' '.join(('cni-chain', *words))} [OPTIONS]")


def test_on_a_narrow_terminal_help_is_narrow(program: str) -> None:
    lines = run(program, "show", "--help", environ={"COLUMNS": "60"}).stdout.splitlines()

    prose = lines[: lines.index("  Examples:")]
    assert max(map(len, prose)) <= 60


def test_no_option_is_broken_at_its_hyphens(program: str) -> None:
    stdout = run(program, "show", "--help").stdout

    assert "--net-dir: " in stdout
    assert not any(line.endswith("-") for line in stdout.splitlines())


@pytest.mark.parametrize("words", [["help", "shwo"], ["help", "owner", "ad"], ["help", "show", "all"]], ids=" ".join)
def test_the_help_of_no_command_is_wrong_usage(program: str, words: list[str]) -> None:
    status, stdout, stderr = run(program, *words)

    assert (status, stdout) == (2, "")
    assert f"has no command '{words[-1]}'" in stderr


def test_without_its_table_a_frozen_program_takes_longer_and_says_the_same(beside: Path, tmp_path: Path) -> None:
    (tmp_path / "commands.marshal").write_bytes(b"half a ta")

    for words in (["show", "--help"], ["__complete", "--", "sh"]):
        script = CALLED.replace("DIR", str(tmp_path)) + f"sys.argv[1:] = {words!r}{REPORT}"
        done = run(sys.executable, "-c", script, environ={"COLUMNS": "100"})
        assert done.stdout == quick(beside, *words)[0]


def test_each_command_is_imported_when_it_is_asked(node: Node) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); "
        f"sys.argv[1:] = ['owner', 'list', '--root', {str(node.root)!r}]\n"
        "from cni_chain.cli import main; main()\n"
        "print(sorted(name for name in sys.modules if name.startswith(('cni_chain.cli.', 'cni_chain.migrate.'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    loaded = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))
    assert "cni_chain.cli.owner" in loaded
    assert loaded & {f"cni_chain.cli.{name}" for name in ("show", "doctor", "migrate", "gc", "install")} == set()


def test_the_version_is_a_command_too(program: str) -> None:
    assert run(program, "version") == run(program, "--version")
    assert run(program, "version", "-o", "json").status == 0
    assert run(program, "version", "--json").stdout == run(program, "version", "-o", "json").stdout


def test_who_closes_the_pipe_is_told_nothing(program: str) -> None:
    assert run("/bin/sh", "-c", f"{program} --help | head -1") == Result(
        0, "Usage: cni-chain [OPTIONS] COMMAND [ARGS]...\n", ""
    )
