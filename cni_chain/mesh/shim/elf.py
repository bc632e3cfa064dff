"""Reads BPF programs from an object of clang (ELF), one in each section, whose only relocations are maps. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

# elf(5), and BPF's own numbers (Documentation/bpf/llvm_reloc.rst)
_LITTLE_ENDIAN_64 = b"\x7fELF\x02\x01\x01"
_RELOCATABLE, _BPF = 1, 247  # e_type, e_machine
_PROGRAM, _SYMBOLS, _RELOCATIONS = 1, 2, 9  # sh_type
_EXECUTABLE = 0x4  # sh_flags
_UNDEFINED = 0  # st_shndx
_MAP = 1  # R_BPF_64_64

_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, info, addralign, entsize
_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, shndx, value, size
_RELOCATION = struct.Struct("<QQ")  # offset, type and symbol

_INSTRUCTION = 8  # bytes
_LOAD_64 = 0x18  # BPF_LD | BPF_IMM | BPF_DW, which takes two instructions
_FROM_MAP = 1  # BPF_PSEUDO_MAP_FD, as the source register


class Program(NamedTuple):
    """A program's instructions, and the maps that it needs: their names by the offsets of what loads their address."""

    instructions: bytes
    maps: dict[int, str]

    def with_maps(self, opened: dict[str, int]) -> bytes:
        """Return the instructions with the maps' descriptors in them. Raises KeyError for a map that is missing."""
        code = bytearray(self.instructions)
        for offset, name in self.maps.items():
            code[offset + 1] |= _FROM_MAP << 4
            struct.pack_into("<i", code, offset + 4, opened[name])
        return bytes(code)


class Object(NamedTuple):
    """The programs of an object by the names of their sections, and the content of the sections that hold data."""

    programs: dict[str, Program]
    data: dict[str, bytes]


class _Section(NamedTuple):
    name: str
    type: int
    flags: int
    content: bytes
    link: int
    info: int


def parse(content: bytes) -> Object:
    """Return what an object holds. Raises ValueError for one that has, or refers to, anything else."""
    try:
        return _object(_sections(content))
    except (struct.error, IndexError):
        raise ValueError("the object is cut short") from None


def _sections(content: bytes) -> list[_Section]:
    kind, machine = struct.unpack_from("<HH", content, 16)
    if not content.startswith(_LITTLE_ENDIAN_64) or (kind, machine) != (_RELOCATABLE, _BPF):
        raise ValueError("it is not an object of BPF programs")
    start = struct.unpack_from("<Q", content, 40)[0]
    size, count, names = struct.unpack_from("<HHH", content, 58)
    rows = [_SECTION.unpack_from(content, start + size * number) for number in range(count)]
    parts = []
    for row in rows:
        offset, length = row[4:6]
        if offset + length > len(content):
            raise ValueError("the object is cut short")
        parts.append(content[offset : offset + length])
    return [
        _Section(_text(parts[names], row[0]), row[1], row[2], part, row[6], row[7])
        for row, part in zip(rows, parts, strict=True)
    ]


def _object(sections: list[_Section]) -> Object:
    code = {
        number: section
        for number, section in enumerate(sections)
        if section.type == _PROGRAM and section.flags & _EXECUTABLE and section.content
    }
    maps: dict[int, dict[int, str]] = {number: {} for number in code}
    for section in sections:
        if section.type == _RELOCATIONS:
            if section.info not in code:
                raise ValueError(f"{section.name}: something else than a program refers to something")
            maps[section.info] = _maps(section, code[section.info], sections)
    for section in code.values():
        if len(section.content) % _INSTRUCTION:
            raise ValueError(f"{section.name}: an instruction is cut short")
    data = {
        section.name: section.content
        for section in sections
        if section.type == _PROGRAM and not section.flags & _EXECUTABLE
    }
    return Object({section.name: Program(section.content, maps[number]) for number, section in code.items()}, data)


def _maps(relocations: _Section, program: _Section, sections: list[_Section]) -> dict[int, str]:
    """Return the names of the maps that a program's relocations are about. Raises ValueError for anything else."""
    symbols = sections[relocations.link]
    if symbols.type != _SYMBOLS:
        raise ValueError(f"{relocations.name}: it has no symbols")
    found: dict[int, str] = {}
    for offset, info in _RELOCATION.iter_unpack(relocations.content):
        name, _, _, place, _, _ = _SYMBOL.unpack_from(symbols.content, _SYMBOL.size * (info >> 32))
        is_load = offset % _INSTRUCTION == 0 and program.content[offset] == _LOAD_64
        if info & 0xFFFFFFFF != _MAP or place != _UNDEFINED or not is_load:
            raise ValueError(f"{program.name}: it refers to something else than a map")
        found[offset] = _text(sections[symbols.link].content, name)
    return found


def _text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode()
