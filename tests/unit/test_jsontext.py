"""JSON as it came: on CPython's accelerators and on the json package alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cni_chain.plugin import jsontext

Ways = tuple[Callable[[str], Any], Callable[[object], str]]


@pytest.fixture(params=["accelerated", "portable"])
def ways(request: pytest.FixtureRequest) -> Ways:
    ways: Ways = getattr(jsontext, f"_{request.param}")()
    return ways


@pytest.mark.parametrize(
    "text",
    [
        '{"a":9007199254740993,"b":[1,2.5,true,false,null]}',
        '{"z":1,"a":2}',
        '{"text":"\\u00e9\\ud83d\\ude00\\ud800<>&"}',
        "123456789012345678901234567890",
        '""',
        "[]",
    ],
)
def test_a_value_survives_the_way_there_and_back(ways: Ways, text: str) -> None:
    decode, encode = ways

    assert text == encode(decode(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (' \t\r\n{"a": 1}\n', {"a": 1}),
        ('{"a":1,"a":2}', {"a": 2}),
        ("1e5", 100000.0),
        ('"\\u0041"', "A"),
    ],
)
def test_white_space_duplicates_and_escapes_are_read_as_go_reads_them(ways: Ways, text: str, value: object) -> None:
    assert value == ways[0](text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", '{"a":1', '{"a":1}x', "[1,]", "{'a':1}", "NaN", "-Infinity", "1e999", '"a\nb"', "01", "1" * 5000],
)
def test_what_is_not_json_is_refused(ways: Ways, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ways[0](text)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), object(), b"bytes", {1, 2}])
def test_what_has_no_json_form_is_not_written(ways: Ways, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        ways[1](value)


@pytest.mark.parametrize("text", [b"\xff", b"[" * 100_000, b"\xef\xbb\xbf{}"])
def test_bytes_that_are_no_text_or_nested_without_end_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        jsontext.decode(text)


def test_an_error_says_where(ways: Ways) -> None:
    with pytest.raises(ValueError, match=r"line 2 column 6"):
        ways[0]('{"a": 1,\n "b" 2}')
