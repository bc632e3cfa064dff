"""Protocol buffers by field number: as much of the encoding as the CRI needs, without generated code."""

from collections.abc import Iterator, Mapping, Sequence

Value = int | str | bytes | None | Mapping[int, "Value"] | Sequence["Value"]
Message = Mapping[int, Value]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def encode(message: Message) -> bytes:
    """A mapping is a nested message, a list a repeated field; what is empty or zero is left out, as protobuf has it."""
    out = b""
    for number, value in message.items():
        repeated = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        for one in repeated:
            out += _field(number, one)
    return out


def _field(number: int, value: Value) -> bytes:
    if value is None or value in (0, "", b""):
        return b""
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    if isinstance(value, Mapping):
        raw = encode(value)
    elif isinstance(value, str):
        raw = value.encode()
    elif isinstance(value, bytes):
        raw = value
    else:
        raise TypeError(f"field {number}: a list in a list")
    return _varint(number << 3 | BYTES) + _varint(len(raw)) + raw


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


class Decoded:
    """A message from the wire: what a field is, whoever asks for it says."""

    def __init__(self, raw: bytes = b"") -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for number, value in _fields(raw):
            self._fields.setdefault(number, []).append(value)

    def text(self, number: int) -> str:
        return self.texts(number)[-1] if number in self._fields else ""

    def texts(self, number: int) -> list[str]:
        return [value.decode() for value in self._fields.get(number, []) if isinstance(value, bytes)]

    def number(self, number: int) -> int:
        value = self._fields.get(number, [0])[-1]
        assert isinstance(value, int)
        return value

    def message(self, number: int) -> "Decoded":
        return ([Decoded(), *self.messages(number)])[-1]

    def messages(self, number: int) -> "list[Decoded]":
        return [Decoded(value) for value in self._fields.get(number, []) if isinstance(value, bytes)]

    def table(self, number: int) -> dict[str, str]:
        return {entry.text(1): entry.text(2) for entry in self.messages(number)}


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = raw[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return number

    while at < len(raw):
        key = varint()
        kind = key & 7
        if kind == VARINT:
            yield key >> 3, varint()
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind) or varint()
            yield key >> 3, raw[at : at + size]
            at += size
