"""The names in BTF, the kernel's type information (include/uapi/linux/btf.h)."""

from __future__ import annotations

import struct

_HEADER = "=HBBIIIII"  # struct btf_header: magic, version, flags, hdr_len, type_off, type_len, str_off, str_len
_TYPE = "=III"  # struct btf_type: name_off, info, size or type

# Bytes behind a struct btf_type, by its kind: as many at once, and as many for each of its members.
_BEHIND = {
    1: (4, 0),  # INT
    3: (12, 0),  # ARRAY
    4: (0, 12),  # STRUCT
    5: (0, 12),  # UNION
    6: (0, 8),  # ENUM
    13: (0, 8),  # FUNC_PROTO
    14: (4, 0),  # VAR
    15: (0, 12),  # DATASEC
    17: (4, 0),  # DECL_TAG
    19: (0, 12),  # ENUM64
}


def names(content: bytes) -> dict[int, str]:
    """Return the name of each type by its ID. Raises struct.error for content that isn't BTF."""
    _, _, _, header, types, length, strings, strings_length = struct.unpack_from(_HEADER, content)
    texts = content[header + strings : header + strings + strings_length]
    found: dict[int, str] = {}
    at, end = header + types, header + types + length
    while at < end:
        name, info, _ = struct.unpack_from(_TYPE, content, at)
        found[len(found) + 1] = text(texts[name:])
        once, each = _BEHIND.get(info >> 24 & 0x1F, (0, 0))
        at += struct.calcsize(_TYPE) + once + each * (info & 0xFFFF)
    return found


def text(content: bytes) -> str:
    """Return a string of C, to its end."""
    return content.split(b"\0", 1)[0].decode(errors="replace")
