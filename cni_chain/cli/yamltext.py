"""A document as YAML, of what JSON can say: no tag, no anchor, no date.

A library would bring a parser, which a program that runs as root has no use for. What is written here is read alike by
YAML 1.1 and 1.2: a string stands without quotes only if no version takes it for something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

# It begins with a letter or a slash, and holds no sign that means something to YAML.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/._+-]*(?: [A-Za-z0-9/._+-]+)*")
# What some version of YAML takes for a boolean or for nothing. Numbers begin with none of the letters above.
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "null"))
# What a block of lines can hold as it is; json.dumps escapes all else.
_LINES = re.compile(r"[\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]+")
_BREAKS = ("\u2028", "\u2029")  # which YAML 1.1 takes for the end of a line
_BLOCK_END = {0: "|-", 1: "|"}  # how many line breaks end the text


def text(document: dict[str, Any]) -> str:
    """Return an object, made of what JSON can say, as YAML with a line break at its end."""
    return "\n".join(_lines(document, "")).removeprefix("\n") + "\n"


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of a value. The first one follows its key or dash; it is empty if the value is a block."""
    if isinstance(value, dict) and value:
        yield ""
        for key, member in value.items():
            first, *rest = _lines(member, f"{indent}  ")
            yield f"{indent}{_string(str(key))}:{first and ' '}{first}"
            yield from rest
    elif isinstance(value, list) and value:
        yield ""
        for item in value:
            first, *rest = _lines(item, f"{indent}  ")
            if not first and rest and isinstance(item, dict):
                first, *rest = rest
                first = first.lstrip(" ")
            yield f"{indent}- {first}" if first else f"{indent}-"
            yield from rest
    elif isinstance(value, str) and _is_block(value):
        yield from _block(value, indent)
    else:
        yield _scalar(value)


def _is_block(value: str) -> bool:
    """Return whether a string is easier to read line by line. Its first line must show where the text begins."""
    fits = _LINES.fullmatch(value) and not any(sign in value for sign in _BREAKS)
    return "\n" in value.rstrip("\n") and bool(fits) and value[0] not in " \t\n"


def _block(value: str, indent: str) -> Iterator[str]:
    lines = value.split("\n")
    ends = len(value) - len(value.rstrip("\n"))
    yield _BLOCK_END.get(ends, "|+")
    for line in lines if not ends else lines[:-1]:
        yield f"{indent}{line}" if line else ""


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    written = json.dumps(value)
    if isinstance(value, float) and "e" in written and "." not in written:
        return written.replace("e", ".0e")  # YAML 1.1 takes 1e+16 for a string
    return written


def _string(value: str) -> str:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    # The escapes of JSON are YAML's as well, but for those of a character in two halves.
    written = json.dumps(value, ensure_ascii=False)
    return "".join(char if _LINES.fullmatch(char) and char not in _BREAKS else _escaped(char) for char in written)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
