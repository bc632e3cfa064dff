"""Changes the owners in a facade's text, and not one byte around them. Pure.

A person's facade has their own layout, and keys that this version knows nothing of. So the text is cut at an owner's
borders instead of being written anew, and what comes out is proved to say what was meant.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

from cni_chain.change import draft
from cni_chain.node import locate
from cni_chain.node.facades import FacadeFile
from cni_chain.node.locate import Position

Owners = list[dict[str, Any]]

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\r\n]*")


class SpliceError(ValueError):
    """A text that can't be changed at one place only; the message says what to do."""


class OwnersText:
    """The list `owners` of a facade, as it is written."""

    def __init__(self, text: str, file: FacadeFile) -> None:
        """`file` must be what `text` means, and list an owner at least. Raises SpliceError."""
        self.text = text
        self.file = file
        self.key = f"{file.where}owners"
        twice = next((key for key in file.locator.duplicates if key.startswith(self.key)), None)
        if twice:
            raise SpliceError(f"{file.path}: key {twice} is there twice; remove one of them first")
        self.owners: Owners = file.conf["owners"]
        self.start = self._value(self.key)
        starts = [self._offset(f"{self.key}[{index}]") for index in range(len(self.owners))]
        self.spans = [(start, _end(text, start)) for start in starts]

    def insert(self, index: int, entry: dict[str, Any]) -> str:
        """Return the text with one more owner, as the `index`th."""
        count = len(self.spans)
        gap = self.text[self.start + 1 : self.spans[0][0]]
        between = self.text[self.spans[0][1] : self.spans[1][0]] if count > 1 else f",{gap or ' '}"
        new = self._entry(entry)
        if index < count:
            text = self._cut(self.spans[index][0], self.spans[index][0], new + between)
        else:
            text = self._cut(self.spans[-1][1], self.spans[-1][1], between + new)
        return self._proved(text, lambda owners: owners.insert(index, entry))

    def remove(self, index: int) -> str:
        """Return the text without the `index`th owner, which must not be the only one."""
        if index == 0:
            text = self._cut(self.spans[0][0], self.spans[1][0], "")
        else:
            text = self._cut(self.spans[index - 1][1], self.spans[index][1], "")
        return self._proved(text, lambda owners: owners.pop(index))

    def set(self, index: int, key: str, value: object) -> str:
        """Return the text in which the `index`th owner's `key` is `value`."""
        where = f"{self.key}[{index}].{key}"
        new = json.dumps(value)
        if key in self.owners[index]:
            start = self._value(where)
            text = self._cut(start, _end(self.text, start), new)
        else:
            name = self._offset(f"{self.key}[{index}].name")
            end = _end(self.text, self._value(f"{self.key}[{index}].name"))
            # After the name, on a line of its own if the name has one.
            before = self.text[self.spans[index][0] + 1 : name]
            gap = before if "\n" in before else " "
            text = self._cut(end, end, f',{gap}"{key}": {new}')
        return self._proved(text, lambda owners: owners[index].update({key: value}))

    def _cut(self, start: int, end: int, new: str) -> str:
        return self.text[:start] + new + self.text[end:]

    def _entry(self, entry: dict[str, Any]) -> str:
        """Return a new owner's text in the layout of the others."""
        indent = self._indent(self.spans[0][0])
        one = self.text[self.spans[0][0] : self.spans[0][1]]
        if "\n" not in one:
            return draft.render(entry, indent)
        inner = _SPACE.match(one, 1)
        deeper = inner[0].rpartition("\n")[2] if inner else ""
        step = deeper.removeprefix(indent) or "  "
        return json.dumps(entry, indent=step, ensure_ascii=False).replace("\n", f"\n{indent}")

    def _indent(self, offset: int) -> str:
        line = self.text[self.text.rfind("\n", 0, offset) + 1 : offset]
        space = _SPACE.match(line)
        return space[0] if space else ""

    def _value(self, key: str) -> int:
        """Return where the value of a member begins."""
        colon = self.text.index(":", _end(self.text, self._offset(key)))
        space = _SPACE.match(self.text, colon + 1)
        return space.end() if space else colon + 1

    def _offset(self, key: str) -> int:
        return _offset(self.text, self.file.locator.find(key))

    def _proved(self, text: str, change: Callable[[Owners], object]) -> str:
        wanted = copy.deepcopy(self.file.document)
        plugin = wanted["plugins"][self.file.index] if self.file.is_list else wanted
        change(plugin["owners"])
        got, _ = locate.decode(text.encode())
        if json.dumps(got, sort_keys=True) != json.dumps(wanted, sort_keys=True):
            raise SpliceError(f"{self.file.path}: is written in a way that can't be changed safely; edit it by hand")
        return text


def _offset(text: str, at: Position) -> int:
    start = 0
    for _ in range(at.line - 1):
        start = text.index("\n", start) + 1
    return start + at.column - 1


def _end(text: str, start: int) -> int:
    return _DECODER.raw_decode(text, start)[1]
