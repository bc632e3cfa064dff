"""A version is set by one command, and everything that shows it follows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cni_chain import __version__
from tests.support.published import checkout_in, commit, git, made, refused, write_changelog

NEW = "8.0.0"
PREPARED = f"## {NEW}, not released\n\n### Changed\n\n- More.\n\n## {__version__}, 2026-01-02\n\n- It is there.\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = checkout_in(tmp_path / "cni-chain")
    write_changelog(checkout, PREPARED)
    commit(checkout)
    return checkout


def test_the_program_the_changelog_and_the_pages_that_show_it_get_the_new_version(checkout: Path) -> None:
    made("version", NEW, checkout=checkout)

    script = "import cni_chain; print(cni_chain.__version__)"
    said = subprocess.run([sys.executable, "-c", script], cwd=checkout, capture_output=True, text=True, check=True)
    assert said.stdout == f"{NEW}\n"
    added = [line for line in git(checkout, "diff", "-U0").splitlines() if line.startswith("+") and NEW in line]
    assert f"+## {NEW}, 2023-11-14" in added
    assert f"+**Maturity**: version {NEW}." in added
    assert any(line.endswith(f"files of version {NEW}") for line in added)
    shown = re.compile(rf"cni-chain/{re.escape(__version__)}\b|files of version {re.escape(__version__)}\b")
    pages = [checkout / "README.md", *(checkout / "docs").rglob("*.md")]
    assert [page for page in pages if shown.search(page.read_text())] == []


def test_the_chart_and_what_is_made_of_it_get_the_new_version(checkout: Path) -> None:
    made("version", NEW, checkout=checkout)

    added = [
        line for line in git(checkout, "diff", "-U0", "deploy").splitlines() if line.startswith("+") and NEW in line
    ]
    assert sorted(line[1:].strip() for line in added) == [
        *[f'app.kubernetes.io/version: "{NEW}"'] * 2,  # of the DaemonSet, and of its pods
        f'appVersion: "{NEW}"',
        f'image: "localhost/cni-chain:{NEW}"',
        f"tag: {NEW}",
        f"targetRevision: {NEW}",
        f"version: {NEW}",
    ]


def test_what_is_written_of_the_past_and_of_cnis_versions_stays(checkout: Path) -> None:
    page = checkout / "docs/develop/page.md"
    text = f"CNI {__version__} has no lists. {__version__} was never tagged. cni-chain/{__version__}.1 is none.\n"
    page.write_text(f"{text}/opt/cni/cni-chain/{__version__}/\n")
    commit(checkout)

    made("version", NEW, checkout=checkout)

    assert page.read_text() == f"{text}/opt/cni/cni-chain/{NEW}/\n"


@pytest.mark.parametrize(
    ("version", "changelog", "reason"),
    [
        ("8.0", PREPARED, "'8.0' is not a version: MAJOR.MINOR.PATCH, as in docs/develop/compatibility.md"),
        ("0.0.1", PREPARED, f"0.0.1 does not come after {__version__}, which stands in cni_chain/__init__.py"),
        (
            "8.1.0",
            PREPARED,
            "CHANGELOG.md: begins with '8.0.0, not released', and 8.1.0 needs '## 8.1.0, not released' there",
        ),
        (NEW, PREPARED.replace("### Changed\n\n- More.\n\n", ""), f"CHANGELOG.md: nothing is written under {NEW}"),
        (NEW, "Nothing yet.\n", "CHANGELOG.md: no heading like '## 1.2.3, not released'"),
    ],
)
def test_a_version_that_was_not_prepared_is_refused_and_nothing_is_written(
    checkout: Path, version: str, changelog: str, reason: str
) -> None:
    write_changelog(checkout, changelog)
    before = git(checkout, "diff")

    assert refused("version", version, checkout=checkout) == f"version: {reason}"
    assert git(checkout, "diff") == before


def test_after_a_release_the_changelog_gets_the_section_of_the_next_one(checkout: Path) -> None:
    assert refused("next", "8.1.0", checkout=checkout) == (
        "next: CHANGELOG.md: 8.0.0 is being prepared; release it first, or change its number there"
    )
    made("version", NEW, checkout=checkout)
    released = (checkout / "CHANGELOG.md").read_text()
    assert refused("next", NEW, checkout=checkout) == f"next: CHANGELOG.md: {NEW} does not come after {NEW}"

    made("next", "8.1.0", checkout=checkout)

    text = (checkout / "CHANGELOG.md").read_text()
    assert text == released.replace(f"## {NEW}", f"## 8.1.0, not released\n\n## {NEW}", 1)
