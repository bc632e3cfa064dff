"""docs/reference/checks.md is the registry of rules, and nothing else."""

import subprocess
import sys

from cni_chain.checks import registry
from tests.support.files.node import CHECKOUT

PAGE = CHECKOUT / "docs/reference/checks.md"


def test_the_page_is_up_to_date() -> None:
    script = "import sys; sys.path.insert(0, 'build'); import checks; sys.stdout.write(checks.page())"
    written = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout

    assert PAGE.read_text() == written, "a rule has changed: python build/checks.py writes the page again"


def test_every_id_has_a_paragraph() -> None:
    text = PAGE.read_text()

    assert [id_ for id_ in registry.KINDS if f"\n## {id_}\n" not in text] == []
