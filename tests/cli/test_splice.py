"""A facade's owners are changed in its text, and nothing else of it."""

import json

import pytest

from cni_chain.change.splice import OwnersText, SpliceError
from cni_chain.node import locate
from cni_chain.node.facades import FacadeFile
from tests.cli.node import CONF

SHIPPED = (CONF / "00-cni-chain.conflist").read_text()
DOCUMENT = json.loads(SHIPPED)
NEW = {"name": "new", "types": ["new-cni"]}

LAYOUTS = {
    "shipped": SHIPPED,
    "one line": json.dumps(DOCUMENT),
    "compact": json.dumps(DOCUMENT, separators=(",", ":")),
    "two spaces": json.dumps(DOCUMENT, indent=2) + "\n",
    "tabs": json.dumps(DOCUMENT, indent="\t"),
    "windows": json.dumps(DOCUMENT, indent=4).replace("\n", "\r\n"),
    "a single plugin": json.dumps({"name": "cilium", **DOCUMENT["plugins"][0]}, indent=2),
    "strange": SHIPPED.replace('"owners": [', '"owners"  :\n\n [ ').replace('"name": "istio",', '"name"\t:"istio" ,'),
}


def owners_in(text: str) -> OwnersText:
    return OwnersText(text, FacadeFile("/f", *locate.decode(text.encode())))


def names(text: str) -> list[str]:
    return [owner["name"] for owner in owners_in(text).owners]


@pytest.fixture(params=LAYOUTS.values(), ids=list(LAYOUTS))
def layout(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_an_owner_that_is_put_in_and_taken_out_again_leaves_every_byte(layout: str, index: int) -> None:
    more = owners_in(layout).insert(index, NEW)

    expected = ["cilium", "istio", "local"]
    expected.insert(index, "new")
    assert names(more) == expected
    assert owners_in(more).owners[index] == NEW
    assert owners_in(more).remove(index) == layout


@pytest.mark.parametrize("index", [0, 1, 2])
def test_an_owner_that_is_taken_out_is_all_that_is_missing(layout: str, index: int) -> None:
    less = owners_in(layout).remove(index)

    assert names(less) == [name for place, name in enumerate(["cilium", "istio", "local"]) if place != index]
    kept = [line for line in layout.splitlines() if "owner" not in line and '"name"' not in line]
    assert [line for line in less.splitlines() if line in kept][:6] == kept[:6]


def test_all_but_one_are_taken_out_and_another_put_in(layout: str) -> None:
    one = owners_in(owners_in(layout).remove(2)).remove(0)
    assert names(one) == ["istio"]

    assert names(owners_in(one).insert(0, NEW)) == ["new", "istio"]
    assert names(owners_in(one).insert(1, NEW)) == ["istio", "new"]


def test_a_new_entry_looks_like_the_others() -> None:
    assert '    {"name": "new", "types": ["new-cni"]},\n' in owners_in(LAYOUTS["shipped"]).insert(1, NEW)
    assert (
        '\t\t\t\t{\n\t\t\t\t\t"name": "new",\n\t\t\t\t\t"types": [\n\t\t\t\t\t\t"new-cni"\n\t\t\t\t\t]\n\t\t\t\t},\n'
    ) in owners_in(LAYOUTS["tabs"]).insert(1, NEW)


def test_a_value_is_replaced_where_it_is_and_a_new_key_comes_after_the_name(layout: str) -> None:
    optional = owners_in(layout).set(1, "required", False)
    required = owners_in(optional).set(1, "required", True)

    assert owners_in(optional).owners[1]["required"] is False
    assert required == optional.replace("false", "true", 1)


def test_unknown_keys_large_numbers_and_fractions_are_the_same_bytes() -> None:
    text = SHIPPED.replace(
        '"chainDir"', '"future": {"a": [1, 18446744073709551617, 1.10, 1e2, "\\u00e9\\/"]},\n    "chainDir"'
    )

    changed = owners_in(text).insert(3, NEW)

    assert text[: text.index('"name": "local"')] == changed[: changed.index('"name": "local"')]
    assert '[1, 18446744073709551617, 1.10, 1e2, "\\u00e9\\/"]' in changed


def test_what_can_t_be_changed_safely_is_refused() -> None:
    twice = SHIPPED.replace('{"name": "istio",', '{"name": "mesh", "name": "istio",')

    with pytest.raises(SpliceError, match=r"owners\[1\]\.name is there twice"):
        owners_in(twice)


def test_a_key_that_looks_like_a_place_is_not_taken_for_it() -> None:
    text = SHIPPED.replace('"cniVersion": "1.0.0"', '"plugins[0].owners[1]": "x", "cniVersion": "1.0.0"', 1)

    changed = owners_in(text).remove(1)

    assert names(changed) == ["cilium", "local"]
    assert '"plugins[0].owners[1]": "x"' in changed
