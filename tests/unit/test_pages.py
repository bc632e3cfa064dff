"""The pages for people: links lead somewhere, pages stay short, a sentence has its own line."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sandbox.namespaces import CHECKOUT

DOCS = CHECKOUT / "docs"
PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "conf").rglob("*.md"), *DOCS.rglob("*.md")])
# Reports are what programs printed, and these two pages are what the code says of itself.
GENERATED = {DOCS / "reference/commands.md", DOCS / "reference/checks.md"}
PROSE = [page for page in PAGES if DOCS / "evidence" not in page.parents and page not in GENERATED]

LINK = re.compile(r"\]\(([^)\s]+)\)|(?:href|src)=\"([^\"]+)\"")
TWO_SENTENCES = re.compile(r"[a-z)`’\"][.?!] +[A-Z`\[*(]")


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines of a page that are not code."""
    fence = ""
    for number, line in enumerate(page.read_text().split("\n"), 1):
        mark = line.strip()[:3]
        if mark == "```":
            fence = "" if fence else mark
        elif not fence:
            yield number, line


def anchors(page: Path) -> set[str]:
    """What a link into the page may name: its headings, as mkdocs and GitHub derive them."""
    headings = (line.lstrip("#") for _, line in prose(page) if re.match("#{1,6} ", line))
    return {slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)) for heading in headings}


def slug(heading: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower())


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(CHECKOUT)) for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for number, line in prose(page):
        for found in LINK.finditer(re.sub(r"`[^`]*`(?!\])", "", line)):
            target, _, anchor = (found[1] or found[2]).partition("#")
            if "://" in target:
                continue
            file = (page.parent / target).resolve() if target else page
            if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                broken.append(f"{page}:{number}: {found[0]}")

    assert broken == []


def test_every_page_and_every_file_of_conf_that_a_message_names_exists() -> None:
    named = {
        found[0]
        for module in (CHECKOUT / "cni_chain").rglob("*.py")
        for found in re.finditer(r"(?<![\w/])(?:docs|conf)/[\w/.-]*\w", module.read_text())
    }

    assert named, "no message names a page any more: remove this test"
    assert {one for one in named if not (CHECKOUT / one).exists()} == set()


@pytest.mark.parametrize("page", PROSE, ids=names(PROSE))
def test_each_sentence_has_a_line_of_its_own(page: Path) -> None:
    """A change of one sentence is then a change of one line. Tables' cells are exempt."""
    several = [
        f"{page}:{number}: {line.strip()}"
        for number, line in prose(page)
        if not line.startswith("|") and TWO_SENTENCES.search(line.replace("e.g. ", "").replace("i.e. ", ""))
    ]

    assert several == []


def test_the_site_has_every_page_in_its_navigation_once() -> None:
    listed = re.findall(r"^ +- (?:[^:\n]+: )?([\w/.-]+\.md)$", (CHECKOUT / "mkdocs.yml").read_text(), re.MULTILINE)

    there = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if DOCS / "evidence" not in page.parents]
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize(("pages", "lines"), [("README.md", 150), ("docs/agents/*.md", 100)])
def test_pages_that_people_read_first_are_short(pages: str, lines: int) -> None:
    long = {page.name for page in CHECKOUT.glob(pages) if len(page.read_text().splitlines()) >= lines}

    assert long == set()
