"""Reads and cuts CHANGELOG.md: text in, text out."""

from __future__ import annotations

import re

UNRELEASED = "not released"
_HEADING = re.compile(r"^## (?P<version>\d+\.\d+\.\d+), (?P<state>.+)$", re.MULTILINE)
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


class ChangelogError(Exception):
    """The CHANGELOG, or a version, is not as a release needs it; the message says what to do."""


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's three numbers. Raises ChangelogError."""
    if not _VERSION.fullmatch(version):
        raise ChangelogError(f"{version!r} is not a version: MAJOR.MINOR.PATCH, as in docs/develop/compatibility.md")
    return tuple(map(int, version.split(".")))


def sections(text: str) -> list[tuple[str, str, str]]:
    """Return version, state (a date, or UNRELEASED) and text of each section, the newest first."""
    found = list(_HEADING.finditer(text))
    ends = [*(one.start() for one in found), len(text)][1:]
    return [(one["version"], one["state"], text[one.end() : end].strip()) for one, end in zip(found, ends, strict=True)]


def newest(text: str) -> tuple[str, str, str]:
    """Return the first section. Raises ChangelogError."""
    found = sections(text)
    if not found:
        raise ChangelogError("CHANGELOG.md: no heading like '## 1.2.3, not released'")
    return found[0]


def cut(text: str, version: str, date: str) -> str:
    """Return the text with the section that was prepared for this version dated. Raises ChangelogError."""
    prepared, state, changes = newest(text)
    if (prepared, state) != (version, UNRELEASED):
        raise ChangelogError(
            f"CHANGELOG.md: begins with '{prepared}, {state}', and {version} needs '## {version}, {UNRELEASED}' there"
        )
    if not changes:
        raise ChangelogError(f"CHANGELOG.md: nothing is written under {version}")
    return text.replace(f"## {version}, {UNRELEASED}\n", f"## {version}, {date}\n", 1)


def begin(text: str, version: str) -> str:
    """Return the text with an empty section for the version that comes next. Raises ChangelogError."""
    released, state, _ = newest(text)
    if state == UNRELEASED:
        raise ChangelogError(
            f"CHANGELOG.md: {released} is being prepared; release it first, or change its number there"
        )
    if numbers(version) <= numbers(released):
        raise ChangelogError(f"CHANGELOG.md: {version} does not come after {released}")
    return text.replace(f"## {released}, {state}\n", f"## {version}, {UNRELEASED}\n\n## {released}, {state}\n", 1)


def notes(text: str, version: str) -> str:
    """Return what the CHANGELOG says of a version that is to be released. Raises ChangelogError."""
    found, state, changes = newest(text)
    if found != version or state == UNRELEASED:
        raise ChangelogError(
            f"CHANGELOG.md: begins with '{found}, {state}', and the program's version is {version}; "
            f"`make version NEW={version}` dates it"
        )
    return changes + "\n"
