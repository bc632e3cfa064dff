"""bpf(2), for reading: which programs are attached where, their names, and what maps hold.

The structures are those of include/uapi/linux/bpf.h: each command's part of `union bpf_attr`, `struct bpf_prog_info`,
`struct bpf_map_info` and `struct bpf_btf_info`. The kernel takes a shorter or longer structure than its own, and reads
what a caller left out as zero.
"""

from __future__ import annotations

import errno
import functools
import os
import struct
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.mesh import btf
from cni_chain.node import system_calls
from cni_chain.plugin import attached

# enum bpf_cmd
_MAP_LOOKUP_ELEM = 1
_MAP_GET_NEXT_KEY = 4
_OBJ_GET = 7
_PROG_TEST_RUN = 10
_PROG_GET_NEXT_ID = 11
_PROG_GET_FD_BY_ID = 13
_MAP_GET_FD_BY_ID = 14
_OBJ_GET_INFO_BY_FD = 15
_BTF_GET_FD_BY_ID = 19

PROG_TYPE_CGROUP_SOCK_ADDR = 18  # enum bpf_prog_type
_READ_ONLY = 1 << 3  # BPF_F_RDONLY

# enum bpf_attach_type
ATTACH_TYPES = attached.REPLACING | {
    "recvmsg4": 19,
    "recvmsg6": 20,
    "getpeername4": 29,
    "getpeername6": 30,
    "tcx ingress": 46,
    "tcx egress": 47,
    "netkit primary": 54,
    "netkit peer": 55,
}

# How a program shares a hook with others (attach_flags of PROG_QUERY). A bpf_link attaches as "multi".
MODES = {0: "exclusive", 1: "override", 2: "multi"}


class Program(NamedTuple):
    """A loaded program. `name` is whole where the kernel has its type information: else it is cut to 15 bytes."""

    id: int
    type: int
    tag: str
    name: str


class Attached(NamedTuple):
    """The programs on one hook in the order in which they run, and the mode in which they were attached."""

    ids: list[int]
    mode: str


class MapInfo(NamedTuple):
    """What kind of map a descriptor is open on; sizes in bytes."""

    type: int
    key_size: int
    value_size: int


def query_cgroup(directory: str, hook: str, *, effective: bool = False) -> Attached:
    """Return what is attached to a hook of a cgroup, or what applies to its processes. Raises OSError.

    Needs CAP_NET_ADMIN. ENOENT or EINVAL mean that this kernel doesn't know the hook.
    """
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ids, mode = attached.query(opened, ATTACH_TYPES[hook], effective=effective)
    finally:
        os.close(opened)
    return Attached(ids, MODES.get(mode, str(mode)))


def query_interface(index: int, hook: str) -> list[int]:
    """Return the programs on a hook of an interface of this network namespace, in the order in which they run.

    Raises OSError; needs CAP_NET_ADMIN. ENOENT: nothing is attached. EINVAL: this kernel doesn't know the hook.
    """
    return attached.query(index, ATTACH_TYPES[hook], effective=False)[0]


def run(number: int, frame: bytes, interface: int) -> tuple[int, bytes]:
    """Return a program's verdict on a frame, and the frame after it, as if an interface of this namespace had it.

    For programs of tc, tcx and netkit. The frame is not sent. Raises OSError; needs CAP_SYS_ADMIN.
    """
    given, room = array("B", frame), array("B", bytes(len(frame) + 256))
    context = array("B", bytes(40) + struct.pack("=I", interface))  # struct __sk_buff, as far as `ifindex`
    opened = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))[0]
    try:
        # prog_fd, retval, data_size_in, data_size_out, data_in, data_out, repeat, duration, ctx_size_in, ctx_size_out,
        # ctx_in, ctx_out
        sizes = len(given), len(room)
        attr = struct.pack("=IIIIQQ", opened, 0, *sizes, _address(given), _address(room))
        attr += struct.pack("=IIIIQQ", 0, 0, len(context), 0, _address(context), 0)
        answer = _bpf(_PROG_TEST_RUN, attr)[1]
    finally:
        os.close(opened)
    verdict, _, size = struct.unpack_from("=III", answer, 4)
    return verdict, room.tobytes()[:size]


def programs(kind: int) -> Iterator[Program]:
    """Yield every loaded program of a type. Raises OSError; needs CAP_SYS_ADMIN."""
    last = 0
    while True:
        try:
            last = struct.unpack_from("=II", _bpf(_PROG_GET_NEXT_ID, struct.pack("=III", last, 0, 0))[1])[1]
        except FileNotFoundError:
            return
        try:
            found = program(last)
        except FileNotFoundError:  # it was unloaded meanwhile
            continue
        if found.type == kind:
            yield found


@functools.cache
def program(number: int) -> Program:
    """Return a loaded program by its ID. Raises OSError (ENOENT: there is none); needs CAP_SYS_ADMIN."""
    opened = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))[0]
    try:
        # struct bpf_prog_info: type, id, tag[8], …; name[16] at 64; btf_id at 128, then the functions' records
        known = _info(opened, bytes(160))
        kind, _, tag = struct.unpack_from("=II8s", known)
        name = btf.text(known[64:80])
        types, record_size = struct.unpack_from("=II", known, 128)
        functions = struct.unpack_from("=I", known, 144)[0]
        if types and functions and record_size >= 8:
            name = _whole_name(opened, types, record_size) or name
    finally:
        os.close(opened)
    return Program(number, kind, tag.hex(), name)


def _whole_name(opened: int, types: int, record_size: int) -> str | None:
    """Return the name of a program's first function. Its record is struct bpf_func_info: insn_off, type_id."""
    record = array("B", bytes(record_size))
    wanted = bytearray(160)
    struct.pack_into("=IQI", wanted, 132, record_size, _address(record), 1)  # room for one
    try:
        _info(opened, bytes(wanted))
        return btf.names(_types(types)).get(struct.unpack_from("=II", record.tobytes())[1])
    except OSError:
        return None


def _types(number: int) -> bytes:
    opened = _bpf(_BTF_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))[0]
    try:
        # struct bpf_btf_info: btf, btf_size, id
        size = struct.unpack_from("=QI", _info(opened, bytes(16)))[1]
        content = array("B", bytes(size))
        _info(opened, struct.pack("=QII", _address(content), size, 0))
        return content.tobytes()
    finally:
        os.close(opened)


class Map:
    """A map, open for reading. Use it as a context manager."""

    def __init__(self, place: str | int) -> None:
        """Open the map that is pinned at a path, or that has an ID. Raises OSError; by ID, needs CAP_SYS_ADMIN."""
        if isinstance(place, int):  # map_id, next_id, open_flags
            self._opened = _bpf(_MAP_GET_FD_BY_ID, struct.pack("=III", place, 0, _READ_ONLY))[0]
        else:  # pathname, bpf_fd, file_flags
            name = array("B", os.fsencode(place) + b"\0")
            self._opened = _bpf(_OBJ_GET, struct.pack("=QII", _address(name), 0, _READ_ONLY))[0]
        # struct bpf_map_info: type, id, key_size, value_size, max_entries, map_flags, name[16]
        known = _info(self._opened, bytes(80))
        kind, number, key_size, value_size = struct.unpack_from("=IIII", known)
        self.id: int = number
        self.info = MapInfo(kind, key_size, value_size)
        self.name = btf.text(known[24:40])

    def __enter__(self) -> Map:
        return self

    def fileno(self) -> int:
        """Return the descriptor that the map is open on."""
        return self._opened

    def __exit__(self, *_: object) -> None:
        os.close(self._opened)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None. Raises OSError."""
        place, value = array("B", key), array("B", bytes(self.info.value_size))
        try:
            # map_fd, key, value, flags
            _bpf(_MAP_LOOKUP_ELEM, struct.pack("=I4xQQQ", self._opened, _address(place), _address(value), 0))
        except FileNotFoundError:
            return None
        return value.tobytes()

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield what the map holds; entries that come or go meanwhile may be missing. Raises OSError."""
        before: array[int] | None = None
        after = array("B", bytes(self.info.key_size))
        while True:
            try:
                # map_fd, key, next_key
                first = _address(before) if before else 0
                _bpf(_MAP_GET_NEXT_KEY, struct.pack("=I4xQQQ", self._opened, first, _address(after), 0))
            except FileNotFoundError:
                return
            key = after.tobytes()
            value = self.get(key)
            if value is not None:
                yield key, value
            before = array("B", key)


def _info(opened: int, wanted: bytes) -> bytes:
    place = array("B", wanted)
    # bpf_fd, info_len, info
    _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", opened, len(place), _address(place)))
    return place.tobytes()


def _bpf(command: int, attr: bytes) -> tuple[int, bytes]:
    """Return bpf(2)'s answer, and the structure as the kernel left it."""
    place = bytearray(attr.ljust(attached.ROOM, b"\0"))
    try:
        return system_calls.bpf(command, place), bytes(place)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise OSError(errno.ENOSYS, "this kernel has no bpf(2)") from None
        raise


def _address(buffer: array[int]) -> int:
    """Return where a buffer is. Its owner must keep it until the call has ended."""
    return buffer.buffer_info()[0]
