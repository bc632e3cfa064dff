"""Sets the program's version: in the one place where it stands, and where a page shows it in output."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from build.release.changelog import ChangelogError, begin, cut, numbers

PLACE = "cni_chain/__init__.py"
CHANGELOG = "CHANGELOG.md"
# The chart, and what is rendered from it.
_IN_DEPLOY = (
    "\nversion: ",
    '\nappVersion: "',
    'app.kubernetes.io/version: "',
    "/cni-chain:",
    "targetRevision: ",
    "    tag: ",
)
_LINE = re.compile(r'^__version__ = "(?P<version>[^"]+)"$', re.MULTILINE)


def current(checkout: Path) -> str:
    """Return the version of a checkout. Raises ChangelogError."""
    found = _LINE.search((checkout / PLACE).read_text())
    if not found:
        raise ChangelogError(f'{PLACE}: no line __version__ = "…"')
    return found["version"]


def release(checkout: Path, version: str, date: str) -> list[str]:
    """Make `version` the program's, date its section of the CHANGELOG, and return the files that were written.

    Raises ChangelogError, and has then written nothing.
    """
    before = current(checkout)
    if numbers(version) <= numbers(before):
        raise ChangelogError(f"{version} does not come after {before}, which stands in {PLACE}")
    texts = {CHANGELOG: cut((checkout / CHANGELOG).read_text(), version, date)}
    texts[PLACE] = _LINE.sub(f'__version__ = "{version}"', (checkout / PLACE).read_text())
    for page in _pages(checkout):
        text = (checkout / page).read_text()
        shown = _shown(before).sub(version, text)
        if shown != text:
            texts[page] = shown
    return _write(checkout, texts)


def prepare(checkout: Path, version: str) -> list[str]:
    """Begin the section of the version that comes next, and return the files that were written.

    Raises ChangelogError.
    """
    return _write(checkout, {CHANGELOG: begin((checkout / CHANGELOG).read_text(), version)})


def _shown(version: str) -> re.Pattern[str]:
    """Match the version where it is this program's, and not CNI's or one of the past: in paths, and in output."""
    before = ("cni-chain/", "files of version ", r"**Maturity**: version ", *_IN_DEPLOY)
    return re.compile(
        rf"(?:{'|'.join(f'(?<={re.escape(words)})' for words in before)}){re.escape(version)}(?![\w.]*\d)"
    )


def _pages(checkout: Path) -> list[str]:
    command = ["git", "-C", str(checkout), "ls-files", "-z", "--", "README.md", "docs/*.md", "deploy/*.yaml"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in names if name]


def _write(checkout: Path, texts: dict[str, str]) -> list[str]:
    for name, text in texts.items():
        (checkout / name).write_text(text)
    return sorted(texts)
