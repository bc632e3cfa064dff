"""bpf(2) as a load balancer's agent uses it: loads programs, and attaches them to cgroups and interfaces. By ctypes.

The structures are those of include/uapi/linux/bpf.h.
"""

import contextlib
import ctypes
import os
import platform
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Got = TypeVar("Got")

_NUMBER = {"x86_64": 321}.get(platform.machine(), 280)
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _OBJ_PIN, _OBJ_GET, _PROG_ATTACH, _PROG_DETACH = 0, 2, 5, 6, 7, 8, 9
_BTF_LOAD, _LINK_CREATE = 18, 28
_HASH, LRU_HASH, _SK_STORAGE = 1, 9, 24
_NO_PREALLOC = 1  # BPF_F_NO_PREALLOC
_EVERY_PROTOCOL = 3  # ETH_P_ALL
_SCHED_CLS, _CGROUP_SOCK_ADDR = 3, 18

HOOKS = {"connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15, "getpeername4": 29, "getpeername6": 30}
CLASSIFIER = "tc"  # of frames: for tc and tcx
TCX = {"tcx ingress": 46, "tcx egress": 47}
EXCLUSIVE, OVERRIDE, MULTI = 0, 1, 2


def bpf(command: int, attr: bytes) -> int:
    """Make a call. Raises OSError."""
    place = ctypes.create_string_buffer(attr, len(attr))
    result = ctypes.CDLL(None, use_errno=True).syscall(_NUMBER, command, place, len(attr))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)


def load(code: bytes, name: str, hook: str, *, whole_name: bool = False) -> int:
    """The descriptor of a loaded program, for a hook of cgroups or `CLASSIFIER`.

    The kernel cuts its name to 15 bytes; type information has the whole one.
    """
    instructions = ctypes.create_string_buffer(code, len(code))
    licence, log = ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(1 << 16)
    attr = struct.pack(
        "=IIQQIIQII16sII",
        *(
            _SCHED_CLS if hook == CLASSIFIER else _CGROUP_SOCK_ADDR,
            len(code) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(licence),
        ),
        *(1, len(log), ctypes.addressof(log), 0, 0, name.encode()[:15], 0, HOOKS.get(hook, 0)),
    )
    function = ctypes.create_string_buffer(struct.pack("=II", 0, 3))  # insn_off, type_id
    types = load_types(name) if whole_name else None
    if types is not None:  # prog_btf_fd, func_info_rec_size, func_info, func_info_cnt
        attr += struct.pack("=IIQI", types, 8, ctypes.addressof(function), 1)
    try:
        return bpf(_PROG_LOAD, attr + bytes(4))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {log.value.decode()[-800:]}") from None
    finally:
        if types is not None:
            os.close(types)


def load_types(name: str) -> int:
    """The descriptor of type information (BTF) that has one function, of the name."""
    types = struct.pack("=III", 0, 13 << 24, 1)  # 2: FUNC_PROTO that returns an integer
    types += struct.pack("=III", 5, 12 << 24, 2)  # 3: FUNC, static
    return _types(types, name.encode() + b"\0")


def _types(others: bytes, strings: bytes = b"") -> int:
    """The descriptor of type information that has an integer (1), and others; their strings begin at 5."""
    strings = b"\0int\0" + strings
    types = struct.pack("=IIII", 1, 1 << 24, 4, 1 << 24 | 32) + others  # 1: INT, signed, 32 bits
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    content = ctypes.create_string_buffer(header + types + strings, 24 + len(types) + len(strings))
    log = ctypes.create_string_buffer(1 << 12)
    attr = struct.pack("=QQIII", ctypes.addressof(content), ctypes.addressof(log), len(content), len(log), 1)
    try:
        return bpf(_BTF_LOAD, attr)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {log.value.decode()}") from None


@contextlib.contextmanager
def attached(cgroup: Path, program: int, hook: str, mode: int = MULTI) -> Iterator[None]:
    """A program that is attached to a cgroup while the block runs, and that is closed after it."""
    place = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    try:
        bpf(_PROG_ATTACH, struct.pack("=IIII", place, program, HOOKS[hook], mode))
        try:
            yield
        finally:
            bpf(_PROG_DETACH, struct.pack("=IIII", place, program, HOOKS[hook], 0))
    finally:
        os.close(place)
        os.close(program)


@contextlib.contextmanager
def linked(cgroup: Path, program: int, hook: str) -> Iterator[None]:
    """The same by a bpf_link, as Cilium since 1.14."""
    place = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    link = None
    try:
        link = bpf(_LINK_CREATE, struct.pack("=IIII48x", program, place, HOOKS[hook], 0))
        yield
    finally:
        for opened in filter(None, (link, place, program)):
            os.close(opened)


@contextlib.contextmanager
def at_interface(namespace: Path, index: int, program: int, hook: str) -> Iterator[None]:
    """A program on an interface's hook of tcx, by a link as Cilium since 1.16 has it, while the block runs."""
    link = None
    try:
        link = within(namespace, lambda: bpf(_LINK_CREATE, struct.pack("=IIII48x", program, index, TCX[hook], 0)))
        yield
    finally:
        for opened in filter(None, (link, program)):
            os.close(opened)


def listening(namespace: Path, interface: str) -> socket.socket:
    """A socket that gets the frames of an interface of a namespace, and doesn't wait for them."""

    def listen() -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
        opened.bind((interface, 0))
        opened.setblocking(False)
        return opened

    return within(namespace, listen)


def within(namespace: Path, call: Callable[[], Got]) -> Got:
    """Call in a thread that is in a network namespace, and ends there."""

    def enter() -> Got:
        with namespace.open() as opened:
            if ctypes.CDLL(None, use_errno=True).setns(opened.fileno(), 0):
                raise OSError(ctypes.get_errno(), "setns")
        return call()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


@contextlib.contextmanager
def pinned_program(path: Path, program: int) -> Iterator[None]:
    """A program that is pinned at a path of a BPF file system while the block runs, and closed after it."""
    try:
        _pin(path, program)
        yield
        path.unlink()
    finally:
        os.close(program)


def _pin(path: Path, opened: int) -> None:
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), opened, 0))


@contextlib.contextmanager
def pinned(path: Path, entries: dict[bytes, bytes]) -> Iterator[None]:
    """A hash map with these entries, pinned at a path of a BPF file system while the block runs."""
    key_size, value_size = (len(part) for part in next(iter(entries.items())))
    opened = bpf(_MAP_CREATE, struct.pack("=IIIII", _HASH, key_size, value_size, len(entries), 0))
    try:
        for key, value in entries.items():
            _update(opened, key, value)
        _pin(path, opened)
        yield
        path.unlink()
    finally:
        os.close(opened)


def _update(opened: int, key: bytes, value: bytes) -> None:
    held = [ctypes.create_string_buffer(part, len(part)) for part in (key, value)]
    bpf(_MAP_UPDATE, struct.pack("=I4xQQQ", opened, *map(ctypes.addressof, held), 0))


@contextlib.contextmanager
def kept_in_socket(path: Path, descriptor: int, value: bytes) -> Iterator[None]:
    """A map of values that are kept in sockets, pinned while the block runs; a socket of this process has a value."""
    types = _types(struct.pack("=IIIIII", 0, 3 << 24, 0, 1, 1, len(value) // 4))  # 2: ARRAY of the integer
    # map_type, key_size, value_size, max_entries, map_flags; btf_fd, btf_key_type_id, btf_value_type_id
    head = struct.pack("=IIIII28x", _SK_STORAGE, 4, len(value), 0, _NO_PREALLOC)
    opened = bpf(_MAP_CREATE, head + struct.pack("=III", types, 1, 2))
    try:
        _update(opened, struct.pack("=i", descriptor), value)
        _pin(path, opened)
        yield
        path.unlink()
    finally:
        os.close(types)
        os.close(opened)


@contextlib.contextmanager
def emptily_pinned(path: Path, kind: int, key_size: int, value_size: int) -> Iterator[int]:
    """A map that holds nothing yet, pinned at a path while the block runs: its descriptor."""
    opened = bpf(_MAP_CREATE, struct.pack("=IIIII", kind, key_size, value_size, 1 << 16, 0))
    try:
        _pin(path, opened)
        yield opened
    finally:
        path.unlink(missing_ok=True)
        os.close(opened)


def write(path: Path, key: bytes, value: bytes) -> None:
    """Write an entry of a map that is pinned at a path."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    opened = bpf(_OBJ_GET, struct.pack("=QII", ctypes.addressof(name), 0, 0))
    try:
        _update(opened, key, value)
    finally:
        os.close(opened)
