"""What a command is about to change: printed first, made one after the other, and undone if one of them fails."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import NamedTuple

from cni_chain.change.files import Undo
from cni_chain.checks.rule import Finding
from cni_chain.node.errors import RefusedError, as_root
from cni_chain.node.progress import Step, unseen
from cni_chain.node.tree import Tree


class Change(NamedTuple):
    """What a command does to one file, link or directory. The path is as seen from inside the tree."""

    action: str  # create, replace, rename, remove
    path: str
    detail: str
    do: Callable[[], Undo]
    diff: str = ""  # of a text file
    final: bool = False  # it can't be undone, so what came before it isn't undone, either


class Plan:
    """All that one command changes, in this order, and what the operator should know about it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.changes: list[Change] = []
        self.warnings: list[str] = []
        self.findings: list[Finding] = []  # what the rules find in the planned facade; each is a warning too
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
        """Add a rule's finding about the planned state as a warning; it begins with `since`, or else with the file."""
        self.findings.append(finding)
        self.warnings.append(f"{since} {finding.text()}" if since else f"{finding.place.path}: {finding.text()}")

    def run(self, step: Step = unseen) -> None:
        """Make the changes; if one fails, undo those before it. Raises RefusedError."""
        undone: list[Undo] = []
        for change in self.changes:
            step(change.path)
            try:
                undone.append(change.do())
            except BaseException as error:
                trouble = [] if change.final else _take_back(undone)
                if not isinstance(error, (OSError, RefusedError)):
                    raise
                if isinstance(error, OSError):
                    error = RefusedError(f"{change.path}: {error.strerror or error}", as_root(error))
                message = str(error)
                if change.final:
                    message += "; the changes before it were made: run the command again for the rest"
                elif trouble:
                    message += f"; and the earlier changes could not be undone: {'; '.join(trouble)}"
                else:
                    message += "; nothing was changed"
                raise RefusedError(self.tree.seen(message)) from None


def diff(path: str, before: str | None, after: str | None) -> str:
    """Return a unified diff of a file; None: it doesn't exist."""
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
