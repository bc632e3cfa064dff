"""What `verify` finds: errors and warnings, each at its place. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from cni_chain.node.locate import Place, Position


class Finding(NamedTuple):
    """One problem: a pod fails or is not what its owners want (an error), or that may come (a warning)."""

    place: Place
    message: str
    warning: bool = False


class Report:
    """All findings, and how many files were looked at."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._findings: set[Finding] = set()

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings; the same one twice (two facades may share fragments) counts once."""
        self._findings.update(findings)

    def sorted(self) -> list[Finding]:
        """Return the findings: errors before warnings, then by place."""
        return sorted(
            self._findings,
            key=lambda finding: (
                finding.warning,
                finding.place.path,
                finding.place.at or Position(0, 0),
                finding.message,
            ),
        )

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(not finding.warning for finding in self._findings)

    @property
    def warnings(self) -> int:
        """The number of warnings."""
        return len(self._findings) - self.errors

    def count(self) -> str:
        """Return the last line of the report."""
        files = _plural(len(self.files), "file")
        return f"{files} checked: {_plural(self.errors, 'error')}, {_plural(self.warnings, 'warning')}"

    def document(self) -> dict[str, Any]:
        """Return the report for a program."""
        return {
            "findings": [
                {
                    "severity": "warning" if finding.warning else "error",
                    "path": finding.place.path,
                    "line": finding.place.at.line if finding.place.at else None,
                    "column": finding.place.at.column if finding.place.at else None,
                    "message": finding.message,
                }
                for finding in self.sorted()
            ],
            "files": len(self.files),
            "errors": self.errors,
            "warnings": self.warnings,
        }


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
