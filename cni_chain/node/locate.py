"""The places of the members in a JSON text, so that a message can name line and column. Pure.

Keys are written like `plugins[0].owners[1].name`, as in the problems of `cni_chain.plugin.facade`.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from cni_chain.node.errors import UnreadableError
from cni_chain.plugin import jsontext

# One token each: a string, a bracket, comma or colon, or a number or word. The text is known to be JSON.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


class Position(NamedTuple):
    """A place in a text as editors count it: line and column from 1, columns in characters."""

    line: int
    column: int


class Place(NamedTuple):
    """A file or directory and, if that is known, the line and column in it."""

    path: str
    at: Position | None = None

    def __str__(self) -> str:
        return self.path if self.at is None else f"{self.path}:{self.at.line}:{self.at.column}"


class _Open:
    """An object or list whose end is not read yet: its key, and its members so far."""

    def __init__(self, key: str, *, is_list: bool) -> None:
        self.key = key
        self.is_list = is_list
        self.length = 0
        self.names: set[str] = set()


class Locator:
    """The places of all members and elements of one JSON text."""

    def __init__(self, text: str) -> None:
        """Index `text`, which must be valid JSON."""
        self._text = text
        self._offsets: dict[str, int] = {}
        self.duplicates: list[str] = []  # keys that one object has twice; the last one is used, as in Go
        self._index()

    def __contains__(self, key: str) -> bool:
        return key in self._offsets

    def find(self, key: str) -> Position:
        """Return the place of the member or element `key`; if it doesn't exist, the place of what would contain it."""
        while key and key not in self._offsets:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return position(self._text, self._offsets.get(key, 0))

    def _index(self) -> None:
        around: list[_Open] = []
        key = ""  # of the value that comes next
        string = '""'  # the last one, which a colon makes a member's name
        start = 0
        for token in _TOKEN.finditer(self._text):
            match token[0]:
                case ",":
                    continue
                case ":":
                    key = self._member(around[-1], json.loads(string), start)
                    continue
                case "]" | "}":
                    around.pop()
                    continue
            start = token.start()
            if not around:
                self._offsets[""] = start
            elif around[-1].is_list:
                key = f"{around[-1].key}[{around[-1].length}]"
                around[-1].length += 1
                self._offsets[key] = start
            if token[0] in "[{":
                around.append(_Open(key, is_list=token[0] == "["))
            else:
                string = token[0]

    def _member(self, around: _Open, name: str, start: int) -> str:
        key = f"{around.key}.{name}" if around.key else name
        if name in around.names:
            self.duplicates.append(key)
        around.names.add(name)
        self._offsets[key] = start
        return key


def decode(content: bytes) -> tuple[dict[str, object], Locator]:
    """Return the JSON object in `content`, and the places of its members. Raises UnreadableError."""
    if not content.strip():
        raise UnreadableError("empty")
    try:
        document = jsontext.decode(content)
        if not isinstance(document, dict):
            raise UnreadableError("not a JSON object", Position(1, 1))
        return document, Locator(content.decode())
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at").removesuffix(" starting")  # the place follows
        raise UnreadableError(f"not JSON: {what}", Position(error.lineno, error.colno)) from None
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        raise UnreadableError(f"not JSON: not UTF-8: {error.reason}", position(before, len(before))) from None
    except ValueError as error:  # not in JSON: NaN, an infinite number; or a thousand nested brackets
        raise UnreadableError(f"not JSON: {error}") from None


def position(text: str, offset: int) -> Position:
    """Return the line and column of the character at `offset`."""
    return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))
