"""Where in a JSON text its members are, so that a message can name line and column. Pure.

Keys are written as people find them, and as `cni_chain.facade` words its problems: `plugins[0].owners[1].name`.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from cni_chain import jsontext

# One token each: a string, a bracket, comma or colon, or a number or word. The text is known to be JSON.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


class Position(NamedTuple):
    """A place in a text as editors count it: line and column from 1, columns in characters."""

    line: int
    column: int


class Locator:
    """The places of all members and elements of one JSON text."""

    def __init__(self, text: str) -> None:
        """Index `text`, which must be valid JSON."""
        self._text = text
        self._offsets: dict[str, int] = {}
        self.duplicates: list[str] = []  # keys that one object has twice; the last one counts, as in Go
        self._index()

    def find(self, key: str) -> Position:
        """Return where the member or element `key` begins; of one that isn't there, where what would hold it does."""
        while key and key not in self._offsets:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return position(self._text, self._offsets.get(key, 0))

    def _index(self) -> None:
        start = re.search(r"\S", self._text)
        self._offsets[""] = start.start() if start else 0
        # One entry for each open bracket: the key of its value, and its next index if it is a list, else None.
        open_: list[tuple[str, int | None]] = []
        key = ""  # of the value that comes next
        name: re.Match[str] | None = None  # a string in an object, before it is known to be a member's name
        for token in _TOKEN.finditer(self._text):
            text = token[0]
            if text == ",":
                continue
            if text == ":":
                assert name is not None
                key = self._member(open_[-1][0], name)
                continue
            if text in "]}":
                open_.pop()
                continue
            if open_ and open_[-1][1] is not None:
                parent, index = open_[-1]
                key = f"{parent}[{index}]"
                self._offsets[key] = token.start()
                open_[-1] = (parent, index + 1)
            if text in "[{":
                open_.append((key, 0 if text == "[" else None))
            else:
                name = token

    def _member(self, parent: str, name: re.Match[str]) -> str:
        key = f"{parent}.{json.loads(name[0])}" if parent else str(json.loads(name[0]))
        if key in self._offsets:
            self.duplicates.append(key)
        self._offsets[key] = name.start()
        return key


class Unreadable(ValueError):
    """A text that is no JSON object: what is wrong, and where if that is known."""

    def __init__(self, message: str, at: Position | None = None) -> None:
        super().__init__(message)
        self.at = at


def decode(content: bytes) -> tuple[dict[str, object], Locator]:
    """Return the JSON object in `content`, and where its members are. Raises Unreadable."""
    if not content.strip():
        raise Unreadable("empty")
    try:
        document = jsontext.decode(content)
        if not isinstance(document, dict):
            raise Unreadable("not a JSON object", Position(1, 1))
        return document, Locator(content.decode())
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error.msg}", Position(error.lineno, error.colno)) from None
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise Unreadable(f"not JSON: not UTF-8: {error.reason}", position(before, len(before))) from None
    except Unreadable:
        raise
    except ValueError as error:  # what JSON has no word for: NaN, an infinite number, a thousand brackets
        raise Unreadable(f"not JSON: {error}") from None


def position(text: str, offset: int) -> Position:
    """Return the line and column of the character at `offset`."""
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))
