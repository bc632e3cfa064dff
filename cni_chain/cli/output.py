"""Output: columns, colour and progress on a terminal, the same plain text in a pipe, or a document for programs.

Only this module uses rich, and loads it when something is printed: completion and help don't need it.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import itertools
import json
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cni_chain import __version__
from cni_chain.checks.wording import printable as printable  # noqa: PLC0414  # for every command
from cni_chain.node.errors import RefusedError
from cni_chain.node.progress import Step, unseen
from cni_chain.node.tree import Tree

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA_VERSION = 1  # of all documents; docs/develop/compatibility.md says when it grows
WIDTH = 100  # of lines of text; a terminal may be narrower

_GAP = "  "  # between columns
_NARROW = 16  # the least width of a folded column
_PATIENCE = 0.5  # seconds before the progress bar appears
_STYLES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}  # ECMA-48, select graphic rendition


class _Lines:
    wide = False  # whether a line may be longer than the terminal


_lines = _Lines()


class Form(enum.StrEnum):
    """What a command prints."""

    TEXT = "text"
    WIDE = "wide"  # text whose lines may be longer than the terminal
    JSON = "json"
    YAML = "yaml"

    @property
    def is_document(self) -> bool:
        """Whether it is for programs."""
        return self in (Form.JSON, Form.YAML)


@functools.cache
def _console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return the terminal as rich sees it: no colour in a pipe, on a dumb terminal, or with https://no-color.org."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    return Console(
        stderr=stderr,
        width=width,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


def refused(error: RefusedError) -> int:
    """Print why a command doesn't do what it was asked, and return the exit status."""
    print(f"{error.details}cni-chain: {printable(str(error))}", file=sys.stderr)
    return error.status


def widen(form: Form) -> None:
    """Let lines be as long as they are, if the form is wide; break long ones otherwise."""
    _lines.wide = form is Form.WIDE


def width() -> int:
    """Return how long a line of text may be."""
    if _lines.wide:
        return sys.maxsize
    return min(WIDTH, _terminal().columns) if sys.stdout.isatty() else WIDTH


def _terminal() -> os.terminal_size:
    import shutil  # only a terminal needs it

    return shutil.get_terminal_size()


def paint(style: str, text: str) -> str:
    """Return `text` in a colour or style, if the output has colours. It doesn't load rich: each command paints."""
    if not text or not style or not _has_colours():
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _has_colours() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb", "unknown")
    return sys.stdout.isatty() and not plain


def paragraph(text: str, indent: str) -> list[str]:
    """Return `text` as lines, each after `indent`; no path is broken."""
    return _wrapped(text, indent, indent)


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        width(),
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def shortened(text: str, indent: str, *, hang: int = 0) -> list[str]:
    """Return `text` as at most two lines after `indent`, unless lines may be long; the second is indented by `hang`."""
    lines = _wrapped(text, indent, indent + " " * hang)
    if len(lines) <= 2:
        return lines
    first, second, *_ = lines
    return [first, f"{second if len(second) < width() - 1 else second.rpartition(' ')[0]} …"]


def table(rows: Sequence[Sequence[str]], *, styles: Sequence[str] = (), indent: str = "", fold: int = -1) -> list[str]:
    """Return `rows` as aligned lines, each in the style of its place in `styles` ("" is none).

    On a terminal that is too narrow the column `fold` is broken into lines, at spaces and after commas: no name is
    broken. In a pipe a row is always one line.
    """
    cells = [[[printable(cell)] for cell in row] for row in rows]
    widths = [max(_cells(cell[0]) for cell in column) for column in zip(*cells, strict=True)]
    if fold >= 0 and sys.stdout.isatty() and not _lines.wide:
        others = len(indent) + sum(widths) - widths[fold] + len(_GAP) * (len(widths) - 1)
        room = max(_NARROW, _terminal().columns - others)
        for row in cells:
            row[fold] = _folded(row[fold][0], room)
        widths[fold] = max((_cells(line) for row in cells for line in row[fold]), default=0)
    lines: list[str] = []
    every = itertools.zip_longest(cells, styles[: len(cells)])
    for columns, style in every:
        for parts in itertools.zip_longest(*columns, fillvalue=""):
            padded = [part + " " * (width - _cells(part)) for part, width in zip(parts, widths, strict=True)]
            lines.append(f"{indent}{paint(style or '', _GAP.join(padded).rstrip())}".rstrip())
    return lines


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _folded(text: str, room: int) -> list[str]:
    """Return a cell's text in lines of at most `room` columns, unless one word is longer."""
    lines = [""]
    for word in text.replace(",", ",\0").replace(" ", " \0").split("\0"):
        if lines[-1] and _cells(lines[-1] + word.rstrip()) > room:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def redraw(lines: Sequence[str]) -> None:
    """Print lines in the place of all that a terminal shows; those that it has no room for are counted."""
    room = _terminal().lines - 1
    if len(lines) > room:
        lines = [*lines[: room - 1], f"… and {len(lines) - room + 1} lines more"]
    print("\x1b[H\x1b[2J" + "".join(f"{line}\n" for line in lines), end="", flush=True)


@contextlib.contextmanager
def progress(label: str, steps: int) -> Iterator[Step]:
    """Yield what is to be called, with its name, as each step begins.

    On a terminal, a bar on standard error shows the progress of a long command, and disappears at its end.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield unseen
        return
    import threading

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=_console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # other output appears above the bar
    )
    task = bar.add_task(label, total=steps)
    begun = 0

    def step(name: str) -> None:
        nonlocal begun
        bar.update(task, completed=begun, description=f"{label} {printable(name)}"[: WIDTH // 2])
        begun += 1

    patience = threading.Timer(_PATIENCE, bar.start)
    patience.daemon = True
    patience.start()
    try:
        yield step
    finally:
        patience.cancel()
        patience.join()  # so that nothing starts the bar after it was stopped
        bar.stop()


def document_text(form: Form, kind: str, tree: Tree, members: dict[str, Any]) -> str:
    """Return a document for programs as text: `members`, below what every document has.

    Its `kind` is the name of its schema in docs/reference/schemas, and `tree` is what the command looked at.
    """
    document = {
        "schemaVersion": SCHEMA_VERSION,
        "kind": kind,
        "toolVersion": __version__,
        "host": tree.host(),
        "root": tree.root,
        **members,
    }
    if form is Form.YAML:
        from cni_chain.cli import yamltext

        return yamltext.text(document)
    return json.dumps(document, indent=2) + "\n"


def print_document(form: Form, kind: str, tree: Tree, members: dict[str, Any]) -> None:
    """Print a document for programs; `document_text` has the parameters."""
    print(document_text(form, kind, tree, members), end="")
