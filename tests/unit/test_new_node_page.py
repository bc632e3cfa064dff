"""docs/guides/new-node.md shows the recipes of conf/new-node as they are: tests/system/test_new_node.py runs those."""

import re
from pathlib import Path

import pytest

from tests.support.sandbox.namespaces import CHECKOUT

RECIPES = sorted(path for path in (CHECKOUT / "conf/new-node").rglob("*") if path.is_file())
PAGE = (CHECKOUT / "docs/guides/new-node.md").read_text()


@pytest.mark.parametrize("recipe", RECIPES, ids=[path.name for path in RECIPES])
def test_the_page_shows_the_whole_file(recipe: Path) -> None:
    blocks = re.findall(r"^```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

    assert recipe.read_text() in blocks
