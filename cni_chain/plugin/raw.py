"""System calls that no module of Python offers; of them the plugin needs bpf(2), and only for the facade's key `mesh`.

The frozen program makes them through a built-in module of its own (build/system_calls.c), because a static program
loads no library that ctypes could ask. The source uses ctypes.
"""

from __future__ import annotations

from cni_chain.plugin import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    Address = Callable[[bytearray], int]

    class SystemCall(Protocol):
        """Makes a system call by its number. Raises OSError."""

        def __call__(self, number: int, *arguments: int | bytes | bytearray) -> int: ...


IS_X86_64 = system.uname().machine == "x86_64"

# arch/x86/entry/syscalls/syscall_64.tbl; every later architecture has the numbers of include/uapi/asm-generic/unistd.h
_BPF = 321 if IS_X86_64 else 280


def bpf(command: int, attributes: bytearray) -> int:
    """Make a call of bpf(2); the kernel may write into its attributes. Raises OSError."""
    return system_call(_BPF, command, attributes, len(attributes))


def _by_ctypes() -> tuple[SystemCall, Address]:
    import ctypes

    function = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long

    def system_call(number: int, *arguments: int | bytes | bytearray) -> int:
        passed = [
            ctypes.c_long(argument)
            if isinstance(argument, int)
            else argument
            if isinstance(argument, bytes)
            else (ctypes.c_char * len(argument)).from_buffer(argument)
            for argument in arguments
        ]
        result = int(function(ctypes.c_long(number), *passed))
        if result == -1:
            error = ctypes.get_errno()
            raise OSError(error, system.strerror(error))
        return result

    return system_call, lambda buffer: ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))


def _built_in() -> tuple[SystemCall, Address] | None:
    try:
        import _system_calls  # type: ignore[import-not-found]
    except ImportError:
        return None
    return _system_calls.system_call, _system_calls.address


# `address` is where a buffer is, for a structure that points to it; the caller keeps the buffer, and its size.
system_call, address = _built_in() or _by_ctypes()
