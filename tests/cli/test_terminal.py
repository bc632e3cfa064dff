"""How things look in a pipe and on a terminal: the same words, in columns that fit."""

import os
import pty
import re
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.support.files.node import CHECKOUT, SPEAKS, Node, run

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
PRELUDE = f"import sys, time; sys.path.insert(0, {str(CHECKOUT)!r}); from cni_chain.cli import output\n"
ROWS = [["POD", "", "PLUGINS", "ID"], ["default/網站", "", "bridge," * 20, "c1"], ["b", "", "", "c2"]]
TABLE = f"print('\\n'.join(output.table({ROWS!r}, styles=['bold', 'yellow'], fold=2, indent=' ')))"
SLOW = """
with output.progress("freeing", 2) as step:
    for name in ("one", "two"):
        step(name)
        time.sleep(0.8)
        print("freed", name)
print("done")
"""


def piped(script: str) -> str:
    return run(sys.executable, "-c", PRELUDE + script).stdout


def on_a_terminal(script: str, *, columns: int = 80, **environ: str) -> str:
    """What a script writes to a terminal of so many columns, escapes included."""
    return shown_by([sys.executable, "-c", PRELUDE + script], COLUMNS=str(columns), **environ)


class Upon(NamedTuple):
    """What is done, once, to a command's process when it has written some text so many times."""

    text: bytes
    times: int
    done: Callable[[int], object]


def shown_by(command: list[str], upon: Upon | None = None, /, **environ: str) -> str:
    """What a command writes to a terminal, escapes included."""
    child, terminal = pty.fork()
    if child == 0:
        kept = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "xterm", **environ}
        os.execve(command[0], command, kept)  # noqa: S606  # no shell is meant
    seen = b""
    try:
        while chunk := os.read(terminal, 4096):
            seen += chunk
            if upon and seen.count(upon.text) >= upon.times:
                upon.done(child)
                upon = None
    except OSError:  # the other end is closed
        pass
    os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0, seen
    return seen.decode().replace("\r\n", "\n")


def test_in_a_pipe_each_row_is_a_line_however_long() -> None:
    assert piped(TABLE).splitlines() == [
        f" POD             PLUGINS{' ' * 133}  ID",
        f" default/網站    {'bridge,' * 20}  c1",
        f" b               {' ' * 140}  c2",
    ]


def test_on_a_narrow_terminal_one_column_is_folded_and_nothing_is_lost() -> None:
    lines = ESCAPE.sub("", on_a_terminal(TABLE, columns=60)).splitlines()

    assert max(len(line) for line in lines) <= 60
    assert "".join(re.findall("[bridge,]{7,}", "".join(line[15:58] for line in lines[1:5]))) == "bridge," * 20
    assert lines[-1].split() == ["b", "c2"]


def test_no_name_is_broken_however_narrow_the_terminal_is() -> None:
    row = ["1", "istio-cni", "required, not for istio-system/istio-cni-node-*,portmap"]
    shown = on_a_terminal(f"print('\\n'.join(output.table({[row]!r}, fold=2)))", columns=20)

    assert [line.split() for line in ESCAPE.sub("", shown).splitlines()] == [
        ["1", "istio-cni", "required,", "not"],
        ["for"],
        ["istio-system/istio-cni-node-*,"],
        ["portmap"],
    ]


def test_what_has_a_style_has_it_as_a_whole_line_and_the_words_stay_the_same() -> None:
    shown = on_a_terminal(TABLE, columns=300)

    assert shown.startswith(" \x1b[1mPOD")
    assert " \x1b[33mdefault/網站" in shown
    assert [line.rstrip() for line in ESCAPE.sub("", shown).splitlines()] == piped(TABLE).splitlines()


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colour_gets_none(environ: dict[str, str]) -> None:
    assert "\x1b[1m" not in on_a_terminal(TABLE, columns=300, **environ)


def test_what_takes_long_shows_how_far_it_is_and_leaves_only_what_was_printed() -> None:
    shown = on_a_terminal(SLOW)

    assert "freeing two" in shown
    assert "1/2" in shown
    assert shown.index("freed one") < shown.index("freed two") < shown.index("done")
    assert ESCAPE.sub("", shown.rpartition("\r")[2]).splitlines()[-1] == "done"


def test_in_a_pipe_nobody_is_told_how_far_it_is() -> None:
    assert run(sys.executable, "-c", PRELUDE + SLOW) == (0, "freed one\nfreed two\ndone\n", "")


def test_what_is_soon_done_shows_nothing() -> None:
    soon = f"output._PATIENCE = 60\n{SLOW.replace('0.8', '0')}"  # as a busy machine knows "soon"

    assert ESCAPE.sub("", on_a_terminal(soon)) == "freed one\nfreed two\ndone\n"


@pytest.mark.root
def test_who_waits_for_a_plugin_sees_which(node: Node) -> None:
    node.install("istio-cni", SPEAKS.replace("read", f"until [ -e {node.root}/seen ]; do sleep 0.05; done\nread", 1))
    node.change_facade(chainDir=str(node.chain_dir), stateDir=str(node.root / "var"))
    where = ["--net-dir", str(node.net_dir), "--bin-dir", str(node.bin_dir)]

    shown = shown_by([node.program, "verify", *where], Upon(b"1/3", 1, lambda _: (node.root / "seen").touch()))

    assert "asking istio-cni" in ESCAPE.sub("", shown)
    assert "1/3" in ESCAPE.sub("", shown)
    assert shown.endswith("4 files checked: 0 errors, 0 warnings\n")
    assert run(node.program, "verify", *where).stderr == ""
