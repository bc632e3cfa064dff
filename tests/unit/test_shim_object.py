"""The shim's object: it is of the source beside it, and nothing but maps is asked of whoever loads it."""

import hashlib
import struct
from pathlib import Path

import pytest

from cni_chain.mesh.shim import elf, layout, programs

OBJECT = Path(programs.object_file())
OWN = {layout.ORIGINS.name, layout.POD.name, layout.PROXY.name}
# struct Elf64_Ehdr and Elf64_Shdr
SECTIONS, SECTION_SIZE, SECTION_OFFSET = 40, 64, 24


def test_it_is_built_from_the_source_beside_it() -> None:
    source = OBJECT.with_name("shim.bpf.c").read_bytes()
    named = elf.parse(OBJECT.read_bytes()).data["sha256"].rstrip(b"\0").decode()

    assert named == hashlib.sha256(source).hexdigest(), "run make shim"


def test_its_programs_need_the_maps_that_are_made_or_opened_for_them() -> None:
    found = {name: set(program.maps.values()) for name, program in elf.parse(OBJECT.read_bytes()).programs.items()}

    assert found == {
        layout.LEARN[4]: {layout.ORIGINS.name, layout.POD.name, layout.REVERSE[4]},
        layout.LEARN[6]: {layout.ORIGINS.name, layout.POD.name, layout.REVERSE[6]},
        layout.ANSWER: {layout.ORIGINS.name, layout.PROXY.name},
    }
    assert all(len(name) < 16 for name in {*found, *OWN}), "the kernel cuts names"


def test_it_has_the_licence_of_the_project() -> None:
    assert elf.parse(OBJECT.read_bytes()).data["license"] == b"Apache-2.0\0"
    assert OBJECT.with_name("shim.bpf.c").read_text().startswith("// SPDX-License-Identifier: Apache-2.0\n")


def test_the_descriptors_of_maps_are_put_where_their_addresses_are_loaded() -> None:
    program = elf.Program(bytes([0x18, 0x01, 0, 0, 0, 0, 0, 0]) + bytes(8), {0: "one"})

    assert program.with_maps({"one": 7}) == bytes([0x18, 0x11, 0, 0, 7, 0, 0, 0]) + bytes(8)


def test_a_map_that_nobody_gives_is_missed() -> None:
    with pytest.raises(KeyError):
        elf.parse(OBJECT.read_bytes()).programs[layout.ANSWER].with_maps({})


def test_the_kernel_and_python_have_the_same_sizes() -> None:
    assert (len(layout.Pod(0, 0).packed()), len(layout.Proxy(0).packed())) == (
        layout.POD.info.value_size,
        layout.PROXY.info.value_size,
    )


def changed(offset: int, new: bytes) -> bytes:
    content = bytearray(OBJECT.read_bytes())
    content[offset : offset + len(new)] = new
    return bytes(content)


def section(name: str) -> tuple[int, int]:
    """Where a section's header and its content are in the object."""
    content = OBJECT.read_bytes()
    start, count, names = (
        struct.unpack_from("<Q", content, SECTIONS)[0],
        *struct.unpack_from("<HH", content, 60),
    )
    strings = struct.unpack_from("<Q", content, start + SECTION_SIZE * names + SECTION_OFFSET)[0]
    for number in range(count):
        header = start + SECTION_SIZE * number
        at = strings + struct.unpack_from("<I", content, header)[0]
        if content[at : content.index(b"\0", at)].decode() == name:
            return header, struct.unpack_from("<Q", content, header + SECTION_OFFSET)[0]
    raise AssertionError(name)


def first_relocation() -> int:
    return section(f".rel{layout.ANSWER}")[1]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        pytest.param(b"", "cut short", id="empty"),
        pytest.param(b"#!/bin/sh\n" * 20, "not an object of BPF programs", id="a script"),
        pytest.param(OBJECT.read_bytes()[:200], "cut short", id="half an object"),
        pytest.param(OBJECT.read_bytes()[:-100], "cut short", id="without the end"),
        pytest.param(changed(18, b"\x3e\x00"), "not an object of BPF programs", id="of x86"),
        pytest.param(changed(5, b"\x02"), "not an object of BPF programs", id="of big-endian machines"),
        pytest.param(changed(first_relocation() + 8, b"\x0a"), "something else than a map", id="a call"),
        pytest.param(changed(first_relocation(), b"\x00"), "something else than a map", id="another instruction"),
        pytest.param(changed(first_relocation(), b"\x01"), "something else than a map", id="between instructions"),
        pytest.param(changed(first_relocation(), b"\xf8\xff"), "cut short", id="beyond the program"),
        pytest.param(changed(first_relocation() + 12, b"\x02"), "something else than a map", id="a function"),
        pytest.param(changed(first_relocation() + 12, b"\xff"), "cut short", id="no such symbol"),
        pytest.param(
            changed(section(f".rel{layout.ANSWER}")[0] + 44, b"\x01"),
            "something else than a program refers",
            id="relocations of no program",
        ),
        pytest.param(
            changed(section(layout.ANSWER)[0] + 32, b"\x81"), "an instruction is cut short", id="half an instruction"
        ),
    ],
)
def test_an_object_that_is_not_as_ours_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        elf.parse(content)
