"""What a command is about to change: told before, made one after the other, and taken back if one of them fails."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

from cni_chain.change.files import PlacingError, Undo
from cni_chain.cli.output import Step, paint, printable, table, unseen
from cni_chain.node.tree import Tree


class RefusedError(Exception):
    """What the command doesn't do, and why; `shown` is text that belongs to it, in lines."""

    def __init__(self, message: str, shown: str = "") -> None:
        super().__init__(message)
        self.shown = shown


class Change(NamedTuple):
    """One file, link or directory: what becomes of it. The path is as seen from inside the tree."""

    action: str  # create, replace, rename, remove
    path: str
    detail: str
    do: Callable[[], Undo]
    diff: str = ""  # of a text file
    final: bool = False  # it can't be taken back, so nothing before it is, either


class Plan:
    """All that one command changes, in this order, and what a person should know about it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.changes: list[Change] = []
        self.warnings: list[str] = []
        self.notes: list[str] = []  # what stays as it is, and why

    def add(
        self,
        action: str,
        path: str,
        do: Callable[[], Undo],
        *,
        detail: str = "",
        diff: str = "",
        final: bool = False,
    ) -> None:
        """Append a change; those that are final come last."""
        self.changes.append(Change(action, path, detail, do, diff, final))

    def run(self, step: Step = unseen) -> None:
        """Make the changes; if one fails, take back those before it. Raises RefusedError."""
        undone: list[Undo] = []
        for change in self.changes:
            step(change.path)
            try:
                undone.append(change.do())
            except BaseException as error:
                trouble = [] if change.final else _take_back(undone)
                if not isinstance(error, (OSError, PlacingError)):
                    raise
                told = str(error) if isinstance(error, PlacingError) else f"{change.path}: {error.strerror or error}"
                if change.final:
                    told += "; all before that is done: run it again for the rest"
                elif trouble:
                    told += f"; and could not be taken back: {'; '.join(trouble)}"
                else:
                    told += "; nothing was changed"
                raise RefusedError(self.tree.seen(told)) from None

    def document(self, *, dry_run: bool) -> dict[str, Any]:
        """Return the plan for a program."""
        return {
            "root": self.tree.root,
            "dryRun": dry_run,
            "changes": [
                {"action": change.action, "path": change.path, "detail": change.detail, "diff": change.diff}
                for change in self.changes
            ],
            "warnings": self.warnings,
            "notes": self.notes,
        }

    def text(self, *, dry_run: bool) -> list[str]:
        """Return the plan for a person; with `dry_run` also what would be in the files."""
        lines = table([(change.action, change.path, change.detail) for change in self.changes], fold=2)
        if dry_run:
            for change in self.changes:
                if change.diff:
                    lines += ["", *map(_coloured, change.diff.splitlines())]
        lines += [f"{printable(note)}" for note in self.notes]
        lines += [f"{paint('yellow', 'warning')}: {printable(warning)}" for warning in self.warnings]
        return [*lines, self._count(dry_run=dry_run)]

    def _count(self, *, dry_run: bool) -> str:
        count = len(self.changes)
        if not count:
            return "Nothing to change."
        changes = f"{count} change{'' if count == 1 else 's'}"
        return f"{changes}, none made (--dry-run)." if dry_run else paint("green", f"{changes} made.")


def diff(path: str, before: str | None, after: str | None) -> str:
    """Return a unified diff of a file; None is one that isn't there."""
    lines = difflib.unified_diff(
        (before or "").splitlines(keepends=True),
        (after or "").splitlines(keepends=True),
        "/dev/null" if before is None else path,
        "/dev/null" if after is None else path,
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _coloured(line: str) -> str:
    colours = {"+": "green", "-": "red", "@": "dim"}
    return paint(colours.get(line[:1], ""), printable(line)) if line[:1] in colours else printable(line)


def _take_back(undone: list[Undo]) -> list[str]:
    trouble = []
    for undo in reversed(undone):
        try:
            undo()
        except (OSError, PlacingError) as error:
            trouble.append(str(error))
    return trouble
