"""Writes docs/reference/commands.md from the commands' own help: python build/commands.py.

With --man it prints the manual page, with --table what the frozen program has beside it so as not to import Typer for
its help. It writes only what the help says, so that they can't differ; tests check that.
"""

from __future__ import annotations

import marshal
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

import typer  # noqa: E402  # the checkout's own modules are found from here on

from cni_chain import __version__  # noqa: E402
from cni_chain.cli.app import app  # noqa: E402
from cni_chain.cli.table import table  # noqa: E402

PAGE = CHECKOUT / "docs/reference/commands.md"
NAME = "cni-chain"
VERBATIM = "\b"  # begins a block whose lines the help leaves as they are


class Described(NamedTuple):
    """One command: its name with those before it, its usage, its help in blocks, and what it takes."""

    name: str
    usage: str
    blocks: list[str]
    arguments: list[tuple[str, str]]
    options: list[tuple[str, str]]


def described(command: Any, name: str = NAME, parent: typer.Context | None = None) -> Iterator[Described]:
    """Yield a command and those below it, in the order in which the help lists them."""
    context = typer.Context(command, info_name=name.rpartition(" ")[2], parent=parent, **command.context_settings)
    parameters = [(one.param_type_name, one.get_help_record(context)) for one in command.get_params(context)]
    yield Described(
        name,
        f"{name} {' '.join(command.collect_usage_pieces(context))}",
        [block.strip("\n") for block in re.split(r"\n[ \t]*\n", command.help or "")],
        [record for kind, record in parameters if kind == "argument" and record],
        [record for kind, record in parameters if kind == "option" and record],
    )
    for below, one in getattr(command, "commands", {}).items():
        if not one.hidden:
            yield from described(one, f"{name} {below}", context)


def page() -> str:
    """Return docs/reference/commands.md."""
    commands = list(described(typer.main.get_command(app)))
    lines = [
        "# Commands",
        "",
        f"Every command of `{NAME}`, as `--help` prints it. Written by `python build/commands.py`.",
        "The guides show what the commands print: [operate](../guides/operate.md),",
        "[upgrade and uninstall](../guides/upgrade-and-uninstall.md), [migrate](../guides/migrate.md).",
        "",
        *(f"* [`{one.name}`](#{one.name.replace(' ', '-')})" for one in commands),
    ]
    for one in commands:
        lines += ["", f"## {one.name}", "", "```", one.usage, "```"]
        for block in one.blocks:
            lines += ["", *_markdown(block)]
        for heading, rows in (("argument", one.arguments), ("option", one.options)):
            if rows:
                lines += ["", f"| {heading} | |", "|---|---|"]
                lines += [f"| `{_cell(name)}` | {_cell(text)} |" for name, text in rows]
    return "\n".join(lines) + "\n"


def _markdown(block: str) -> list[str]:
    if not block.startswith(VERBATIM):
        return [_prose(" ".join(block.split()))]
    first, *rest = block.removeprefix(VERBATIM).strip("\n").split("\n")
    return [first, "", "```sh", *(line.removeprefix("  ") for line in rest), "```"] if rest else [_prose(first)]


def _prose(text: str) -> str:
    """Mark options and what stands in angle brackets: Markdown would take them for dashes and HTML."""
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*|<[^>]*>)", r"`\1`", text)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def man() -> str:
    """Return the manual page, as groff's man macros have it."""
    whole, *commands = described(typer.main.get_command(app))
    lines = [f'.TH CNI-CHAIN 8 "" "{NAME} {__version__}" "System administration"', ".SH NAME"]
    lines += [f"{NAME} \\- run CNI plugins, each from a directory that its own agent writes", ".SH SYNOPSIS"]
    lines += [f".B {_roff(NAME)}", "[OPTIONS] COMMAND [ARGS]...", ".SH DESCRIPTION", *_blocks(whole.blocks)]
    lines += [".SH OPTIONS", *_rows(whole.options), ".SH COMMANDS"]
    for one in commands:
        lines += [f".SS {_roff(one.usage)}", *_blocks(one.blocks), *_rows([*one.arguments, *one.options])]
    return "\n".join(lines) + "\n"


def _blocks(blocks: list[str]) -> Iterator[str]:
    for block in blocks:
        if block.startswith(VERBATIM):
            yield from (".PP", ".nf", *map(_roff, block.removeprefix(VERBATIM).strip("\n").split("\n")), ".fi")
        else:
            yield from (".PP", _roff(" ".join(block.split())))


def _rows(rows: list[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        yield from (".TP", f"\\fB{_roff(name)}\\fR", _roff(" ".join(text.split())))


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    if sys.argv[1:] == ["--man"]:
        sys.stdout.write(man())
    elif sys.argv[1:] == ["--table"]:
        sys.stdout.buffer.write(marshal.dumps(table()))
    else:
        PAGE.write_text(page())
