"""What a command is about to change: told before, made one after the other, and taken back if one of them fails."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import NamedTuple

from cni_chain.change.files import Undo
from cni_chain.checks.rule import Finding
from cni_chain.node.errors import RefusedError
from cni_chain.node.progress import Step, unseen
from cni_chain.node.tree import Tree


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
        self.findings: list[Finding] = []  # what the rules find in what is planned; each is a warning too
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

    def warn(self, finding: Finding, *, since: str = "") -> None:
        """Warn of what a rule finds in what is planned; `since` says from when on it is so, else the place is named."""
        self.findings.append(finding)
        self.warnings.append(f"{since} {finding.text()}" if since else f"{finding.place.path}: {finding.text()}")

    def run(self, step: Step = unseen) -> None:
        """Make the changes; if one fails, take back those before it. Raises RefusedError."""
        undone: list[Undo] = []
        for change in self.changes:
            step(change.path)
            try:
                undone.append(change.do())
            except BaseException as error:
                trouble = [] if change.final else _take_back(undone)
                if not isinstance(error, (OSError, RefusedError)):
                    raise
                told = str(error) if isinstance(error, RefusedError) else f"{change.path}: {error.strerror or error}"
                if change.final:
                    told += "; all before that is done: run it again for the rest"
                elif trouble:
                    told += f"; and could not be taken back: {'; '.join(trouble)}"
                else:
                    told += "; nothing was changed"
                raise RefusedError(self.tree.seen(told)) from None


def diff(path: str, before: str | None, after: str | None) -> str:
    """Return a unified diff of a file; None is one that isn't there."""
    lines = difflib.unified_diff(
        (before or "").splitlines(keepends=True),
        (after or "").splitlines(keepends=True),
        "/dev/null" if before is None else path,
        "/dev/null" if after is None else path,
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _take_back(undone: list[Undo]) -> list[str]:
    trouble = []
    for undo in reversed(undone):
        try:
            undo()
        except (OSError, RefusedError) as error:
            trouble.append(str(error))
    return trouble
