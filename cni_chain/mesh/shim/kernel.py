"""bpf(2), for the shim: maps are made, programs loaded, linked to a cgroup, and pinned.

The structures are those of include/uapi/linux/bpf.h; `cni_chain.mesh.bpf` has what only reads.
"""

from __future__ import annotations

import os
import struct
from array import array
from typing import NamedTuple

from cni_chain.mesh.bpf import Map
from cni_chain.mesh.shim.layout import OwnMap
from cni_chain.node import system_calls

# enum bpf_cmd
_MAP_CREATE = 0
_MAP_UPDATE_ELEM = 2
_PROG_LOAD = 5
_OBJ_PIN = 6
_OBJ_GET = 7
_PROG_GET_FD_BY_ID = 13
_OBJ_GET_INFO_BY_FD = 15
_LINK_CREATE = 28

# enum bpf_prog_type and bpf_attach_type
SCHED_CLS, CGROUP_SOCKOPT = 3, 25
CGROUP_GETSOCKOPT = 21

_ROOM = 160  # bytes for `union bpf_attr`, which is shorter: the kernel may write beyond what a caller gives
_LOG_SIZE = 1 << 18
_MOST_MAPS = 64  # MAX_USED_MAPS


class Link(NamedTuple):
    """A link that is pinned: its program, and the cgroup it is on, 0 if that is gone."""

    program: int
    cgroup: int


def create_map(wanted: OwnMap) -> int:
    """Return the descriptor of a new map. Raises OSError."""
    # map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name
    numbers = struct.pack("=IIIIIII", *wanted.info, wanted.entries, 0, 0, 0)
    return _call(_MAP_CREATE, numbers + struct.pack("=16s", wanted.name.encode()))


def write_only(opened: int, value: bytes) -> None:
    """Write the one value of an array. Raises OSError."""
    key, place = array("B", bytes(4)), array("B", value)
    # map_fd, key, value, flags
    _call(_MAP_UPDATE_ELEM, struct.pack("=I4xQQQ", opened, _address(key), _address(place), 0))


def read_only(opened: Map) -> bytes | None:
    """Return the one value of an array. Raises OSError."""
    return opened.get(bytes(4))


def load(name: str, instructions: bytes, licence: bytes, kind: int, attach_type: int = 0) -> int:
    """Return the descriptor of a program that the kernel has taken.

    Raises OSError, whose text has the verifier's reason.
    """
    try:
        return _load(name, instructions, licence, kind, attach_type, array("B"))
    except OSError as error:
        log = array("B", bytes(_LOG_SIZE))
        try:
            return _load(name, instructions, licence, kind, attach_type, log)
        except OSError:
            lines = [line for line in _text(log.tobytes()).splitlines() if line and not line.startswith("processed ")]
            reason = f" ({lines[-1]})" if lines else ""
            raise OSError(error.errno, f"{error.strerror}{reason}") from None


def _load(name: str, instructions: bytes, licence: bytes, kind: int, attach_type: int, log: array[int]) -> int:
    code, terms = array("B", instructions), array("B", licence + b"\0")
    # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name,
    # prog_ifindex, expected_attach_type
    return _call(
        _PROG_LOAD,
        struct.pack("=IIQQ", kind, len(instructions) // 8, _address(code), _address(terms))
        + struct.pack("=IIQ", 1 if log else 0, len(log), _address(log) if log else 0)
        + struct.pack("=II16sII", 0, 0, name.encode(), 0, attach_type),
    )


def link(program: int, cgroup: str) -> int:
    """Return the descriptor of a link that runs a program at getsockopt() in a cgroup, beside others. Raises OSError.

    It goes with its last descriptor or pin.
    """
    place = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # prog_fd, target_fd, attach_type, flags, and what is of other links
        return _call(_LINK_CREATE, struct.pack("=IIII16x", program, place, CGROUP_GETSOCKOPT, 0))
    finally:
        os.close(place)


def pin(opened: int, path: str) -> None:
    """Pin a map or a link at a path of a BPF file system. Raises OSError."""
    name = array("B", os.fsencode(path) + b"\0")
    _call(_OBJ_PIN, struct.pack("=QII", _address(name), opened, 0))  # pathname, bpf_fd, file_flags


def pinned_link(path: str) -> Link:
    """Return what is known of the link that is pinned at a path. Raises OSError."""
    name = array("B", os.fsencode(path) + b"\0")
    opened = _call(_OBJ_GET, struct.pack("=QII", _address(name), 0, 0))
    try:
        # struct bpf_link_info: type, id, prog_id; of a cgroup's, from 16 on: cgroup_id, attach_type
        known = _info(opened, bytes(32))
    finally:
        os.close(opened)
    return Link(struct.unpack_from("=I", known, 8)[0], struct.unpack_from("=Q", known, 16)[0])


def maps_of(program: int) -> list[int]:
    """Return the IDs of the maps that a loaded program has. Raises OSError; needs CAP_SYS_ADMIN."""
    opened = _call(_PROG_GET_FD_BY_ID, struct.pack("=III", program, 0, 0))
    try:
        ids = array("I", bytes(4 * _MOST_MAPS))
        wanted = bytearray(64)
        struct.pack_into("=IQ", wanted, 52, len(ids), _address(ids))  # struct bpf_prog_info: nr_map_ids, map_ids
        count = struct.unpack_from("=I", _info(opened, bytes(wanted)), 52)[0]
    finally:
        os.close(opened)
    return list(ids[:count])


def _info(opened: int, wanted: bytes) -> bytes:
    place = array("B", wanted)
    _call(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", opened, len(place), _address(place)))  # bpf_fd, info_len, info
    return place.tobytes()


def _call(command: int, attributes: bytes) -> int:
    return system_calls.bpf(command, bytearray(attributes.ljust(_ROOM, b"\0")))


def _address(buffer: array[int]) -> int:
    """Return where a buffer is. Its owner must keep it until the call has ended."""
    return buffer.buffer_info()[0]


def _text(content: bytes) -> str:
    return content.split(b"\0", 1)[0].decode(errors="replace")
