"""JSON text to values and back, exactly: integers of any size, no NaN, keys in the order they came.

The plugin path runs for every pod, and `import json` costs more than half of a bare interpreter's start because it
compiles regular expressions. CPython's own C scanner and encoder don't need them, so they are used directly;
where an interpreter doesn't have them as expected, the json package does the same work (tests run both).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

# How deep a value may be nested, so that what was read can always be written, and read again, inside of something else.
DEPTH = 200

_WHITESPACE = " \t\n\r"


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0.0:  # infinity: Python reads it, but JSON for a delegate can't hold it
        raise ValueError(f"number out of range: {text[:40]}")
    return value


class _ScannerContext:
    """What CPython's `_json.make_scanner` asks its caller for (Modules/_json.c, scanner_new)."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(_float)
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


def _accelerated() -> tuple[Callable[[str], Any], Callable[[object], str]]:
    """Return decode and encode on CPython's C accelerators; any exception means they are not as expected."""
    import _json

    scan = _json.make_scanner(_ScannerContext())  # type: ignore[arg-type]  # any object with these attributes will do

    def decode(text: str) -> Any:
        start = len(text) - len(text.lstrip(_WHITESPACE))
        try:
            value, end = scan(text, start)
        except (StopIteration, SystemError):  # it can't raise its error before json.decoder is loaded
            return _portable()[0](text)
        return value if not text[end:].strip(_WHITESPACE) else _portable()[0](text)

    def refuse(value: object) -> NoReturn:
        raise TypeError(f"{type(value).__name__} is not JSON")

    iterate = _json.make_encoder(
        {}, refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False
    )  # markers, default, string encoder, indent, separators, sort_keys, skipkeys, allow_nan

    def encode(value: object) -> str:
        return "".join(iterate(value, 0))

    if encode(decode(' {"a": [1, "\\u00e9", null]} ')) != '{"a":[1,"\\u00e9",null]}':
        raise RuntimeError("unexpected accelerator")
    return decode, encode


def _portable() -> tuple[Callable[[str], Any], Callable[[object], str]]:
    """Return decode and encode on the json package."""
    import json

    decoder = json.JSONDecoder(parse_float=_float, parse_constant=_refuse_constant)
    encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
    return decoder.decode, encoder.encode


try:
    _decode, _encode = _accelerated()
except Exception:  # noqa: BLE001  # whatever a future interpreter does differently, the portable way serves
    _decode, _encode = _portable()


def decode(text: bytes, depth: int = DEPTH) -> Any:
    """Return the value of one JSON text in UTF-8, nested at most `depth` times.

    Raises ValueError, with line and column, for anything else.
    """
    try:
        value = _decode(text.decode())
    except RecursionError:
        value = None
    else:
        if text.count(b"{") + text.count(b"[") <= depth or _depth(value) <= depth:
            return value
    raise ValueError(f"nested more than {depth} times")


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level:
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        depth += bool(inner)
        level = [item for items in inner for item in items]
    return depth


def encode(value: object) -> bytes:
    """Return `value` as compact ASCII JSON. Raises ValueError or RecursionError if it has no JSON form."""
    return _encode(value).encode()
