"""The habits that others carry on: what is linted, how decisions are written, what stands in one place."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from cni_chain import __version__
from tests.conftest import CHECKOUT

# Made by a build, by a test or by a tool, or git's own.
NOT_SOURCE = re.compile(r"\.git|\.venv|out|__pycache__|.*_cache|\.hypothesis|.*\.egg-info")

DECISIONS = CHECKOUT / "docs/develop/decisions"
HEADINGS = ["Context", "Decision", "Consequences", "Measured"]


def sources() -> list[str]:
    """Every file that a person wrote, below the checkout."""
    found: list[str] = []
    for folder, folders, files in os.walk(CHECKOUT):
        folders[:] = [name for name in folders if not NOT_SOURCE.fullmatch(name)]
        paths = (os.path.relpath(os.path.join(folder, name), CHECKOUT) for name in files)
        found += [path for path in paths if not NOT_SOURCE.fullmatch(path)]
    return sorted(found)


def is_shell_script(path: str) -> bool:
    """By its name, or by the program that its first line names."""
    with (CHECKOUT / path).open("rb") as file:
        first = file.readline(100)
    return path.endswith((".sh", ".bash")) or re.match(rb"#!.*\b(ba|da)?sh\b", first) is not None


def sourced(script: str) -> set[str]:
    """What a script reads by `.`, which shellcheck follows."""
    names = re.findall(r"^\. (\S+)$", (CHECKOUT / script).read_text(), re.MULTILINE)
    return {os.path.normpath(os.path.join(os.path.dirname(script), name)) for name in names}


def test_every_shell_script_is_linted() -> None:
    command = ["make", "--silent", "--no-print-directory", "scripts"]
    printed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split()
    linted = {os.path.normpath(path) for path in printed}
    linted |= {path for script in linted for path in sourced(script)}

    assert linted == {path for path in sources() if is_shell_script(path)}


def test_c_is_compiled_in_two_places_and_a_warning_is_an_error_in_both() -> None:
    texts = {path: (CHECKOUT / path).read_text() for path in sources() if path.endswith(".py")}
    compilers = {
        path: text for path, text in texts.items() if re.search(r'(= \[|which\(|"CC", )"(gcc|cc|clang)"', text)
    }

    assert set(compilers) == {"build/program.py", "tests/support/compiler.py"}
    assert all('"-Wall", "-Wextra", ' in text and '"-Werror")' in text for text in compilers.values())


def decisions() -> list[Path]:
    return sorted(page for page in DECISIONS.glob("*.md") if page.name != "README.md")


def test_every_decision_is_in_the_index_with_its_title_and_status() -> None:
    rows = []
    for page in decisions():
        head = re.match(r"# (\d{4}): (.+)\n\nStatus: (accepted|replaced)\b", page.read_text())
        assert head, f"{page.name}: no title with its number, or no status"
        number, title, status = head.groups()
        assert page.name.startswith(f"{number}-")
        rows.append(f"| [{number}]({page.name}) | {title} | {status} |")

    assert [line for line in (DECISIONS / "README.md").read_text().splitlines() if line.startswith("| [")] == rows
    assert [page.name[:4] for page in decisions()] == [f"{number:04}" for number in range(1, len(rows) + 1)]


@pytest.mark.parametrize("page", decisions(), ids=lambda page: page.stem)
def test_a_decision_has_the_headings_of_the_others_and_fits_on_a_page(page: Path) -> None:
    text = page.read_text()

    assert re.findall(r"^#+ (.+)$", text, re.MULTILINE)[1:] == HEADINGS
    assert len(text.splitlines()) <= 60


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    texts = {path: (CHECKOUT / path).read_text() for path in sources() if path.endswith((".py", ".toml", "Makefile"))}
    texts |= {path: (CHECKOUT / path).read_text() for path in sources() if path.startswith("build/")}
    literal = re.compile(rf"^__version__ = |\bcni-chain\W+v?{re.escape(__version__)}\b", re.MULTILINE)

    assert [path for path, text in texts.items() if literal.search(text)] == ["cni_chain/__init__.py"]
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "cni_chain.__version__"}


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_the_changelog_begins_with_the_version_that_is_prepared_or_with_this_one() -> None:
    text = (CHECKOUT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## .+$", text, re.MULTILINE)
    written = re.findall(r"^## (\d+\.\d+\.\d+), (not released|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    versions = [numbers(version) for version, _ in written]
    prepared = [numbers(version) for version, date in written if date == "not released"]

    assert len(written) == len(headings), f"a heading is VERSION, DATE or VERSION, not released: {headings}"
    assert versions == sorted(set(versions), reverse=True)
    assert numbers(__version__) == versions[len(prepared)]
    assert prepared in ([], versions[:1])


@pytest.mark.parametrize(
    "path", [path for path in sources() if path.endswith((".yml", ".yaml")) and "/templates/" not in path]
)
def test_yaml_is_read(path: str) -> None:
    """Forms and hooks: nothing here runs them, and GitHub drops a form with a mistake without a word.

    A chart's templates are YAML only when Helm has rendered them: tests/release/test_chart.py.
    """
    assert list(yaml.safe_load_all((CHECKOUT / path).read_text()))


def test_a_report_asks_for_what_is_needed_to_answer_it() -> None:
    form = yaml.safe_load((CHECKOUT / ".github/ISSUE_TEMPLATE/bug.yml").read_text())
    fields = {field.get("id"): field for field in form["body"]}
    required = {name for name, field in fields.items() if field.get("validations", {}).get("required")}

    assert required == {"seen", "steps", "doctor", "versions", "facade"}
    assert fields["doctor"]["attributes"]["label"] == "cni-chain doctor --json"
    assert all(word in fields["versions"]["attributes"]["value"] for word in ("cni-chain", "runtime", "agents"))


def test_a_wheel_has_whatever_lies_beside_the_modules() -> None:
    """Python's packaging takes modules by itself, and other files only if they are named."""
    named = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = {f"{package.replace('.', '/')}/{name}" for package, names in named.items() for name in names}

    assert files == {path for path in sources() if path.startswith("cni_chain/") and not path.endswith(".py")}
