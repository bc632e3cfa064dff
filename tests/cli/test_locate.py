"""The places that messages name, against JSON texts as people and agents write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_chain.node import locate
from cni_chain.node.errors import UnreadableError
from cni_chain.node.locate import Locator, Position
from tests.support.generated import steady

TEXT = """
{
  "name": "pods",
  "plugins": [
    {"type": "a"}, {"type": "b",
      "owners": [ {"name": "x"},
        "y", 3, [true, null]]}
  ]
}"""


@pytest.mark.parametrize(
    ("key", "line", "column"),
    [
        ("", 2, 1),
        ("name", 3, 3),
        ("plugins", 4, 3),
        ("plugins[0]", 5, 5),
        ("plugins[0].type", 5, 6),
        ("plugins[1].type", 5, 21),
        ("plugins[1].owners[0].name", 6, 20),
        ("plugins[1].owners[1]", 7, 9),
        ("plugins[1].owners[2]", 7, 14),
        ("plugins[1].owners[3][1]", 7, 24),
    ],
)
def test_members_are_where_their_names_begin_and_elements_where_they_do(key: str, line: int, column: int) -> None:
    assert Locator(TEXT).find(key) == (line, column)


@pytest.mark.parametrize(
    ("missing", "holder"),
    [
        ("plugins[1].owners[0].types", "plugins[1].owners[0]"),
        ("plugins[1].owners[9].name", "plugins[1].owners"),
        ("capabilities.io.kubernetes.cri", ""),
    ],
)
def test_what_is_missing_is_where_it_should_be(missing: str, holder: str) -> None:
    assert Locator(TEXT).find(missing) == Locator(TEXT).find(holder)


def test_the_last_of_two_members_of_one_name_counts_and_both_are_told() -> None:
    locator = Locator('{"a": 1, "b": {"a": 2},\n "a": 3}')

    assert locator.find("a") == (2, 2)
    assert locator.duplicates == ["a"]


def test_names_with_dots_are_not_taken_for_objects_in_objects() -> None:
    locator = Locator('{"a": {"b": 1}, "a.b": 2}')

    assert locator.find("a.b") == (1, 17)
    assert locator.duplicates == []


@pytest.mark.parametrize(
    ("text", "key", "column"),
    [
        (r'{"a\"]}": "x:{", "b": 1}', "b", 18),
        (r'{"\u0061\\": 1, "b": 1}', "a\\", 2),
        ('{"é€😀": "é€😀", "b": 1}', "b", 16),
        ('{"a":[],"b":{},"c":"","d":-1.5e3,"e":1}', "e", 34),
    ],
)
def test_escapes_and_characters_of_any_width_count_as_an_editor_counts(text: str, key: str, column: int) -> None:
    assert Locator(text).find(key) == (1, column)


def test_a_scalar_is_a_document() -> None:
    assert Locator(" 17").find("") == (1, 2)


# A name with one of these may read like another member's key.
names = st.text(st.characters(codec="utf-8", exclude_characters=".[]"), min_size=1, max_size=4)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
)


@steady
@given(document=documents, indent=st.sampled_from([None, 1]), escape=st.booleans())
def test_whatever_the_text_each_member_begins_with_its_own_name(
    document: object, indent: int | None, escape: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=escape)
    locator = Locator(text)
    lines = text.split("\n")

    def follow(value: object, key: str) -> None:
        if isinstance(value, list):
            for index, element in enumerate(value):
                follow(element, f"{key}[{index}]")
        elif isinstance(value, dict):
            for name, member in value.items():
                inner = f"{key}.{name}" if key else name
                line, column = locator.find(inner)
                assert lines[line - 1][column - 1 :].startswith(json.dumps(name, ensure_ascii=escape))
                follow(member, inner)

    follow(document, "")


@pytest.mark.parametrize(
    ("content", "message", "at"),
    [
        (b"", "empty", None),
        (b" \n", "empty", None),
        (b'{\n "a": 1\n "b": 2}', "not JSON: Expecting ',' delimiter", Position(3, 2)),
        (b'{"a": "b\n"}', "not JSON: Invalid control character", Position(1, 9)),
        (b'{"a": "b', "not JSON: Unterminated string", Position(1, 7)),
        (b"[1]", "not a JSON object", Position(1, 1)),
        (b'{\n"\xc3\xa9": "\xff"}', "not JSON: not UTF-8: invalid start byte", Position(2, 7)),
        (b'{"a": NaN}', "not JSON: NaN is not JSON", None),
    ],
)
def test_what_is_no_object_says_where(content: bytes, message: str, at: Position | None) -> None:
    with pytest.raises(UnreadableError) as caught:
        locate.decode(content)

    assert (str(caught.value), caught.value.at) == (message, at)


def test_a_text_that_is_nested_as_deep_as_json_may_be_is_no_trouble() -> None:
    text = "[" * 900 + "]" * 900

    assert Locator(text).find("[0]" * 899) == (1, 900)
