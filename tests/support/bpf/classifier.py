"""A load balancer on a pod's interface, as Cilium has it behind the pod: programs of tc that change frames."""

import ipaddress
import struct
from collections.abc import Sequence

from tests.support.bpf.balancer import R0, R1, R2, Service, instruction

# More registers; R10 is the stack's end
_R3, _R4, _R5, _R6, _R10 = 3, 4, 5, 6, 10
_STORE_BYTES, _LOAD_BYTES = 9, 26  # enum bpf_func_id
_ROOM = -16  # where on the stack bytes are compared

# Verdicts, include/uapi/linux/pkt_cls.h
NEXT, PASS, DROP, REDIRECT = -1, 0, 2, 7

# Where in a frame: the destination's address, the protocol, and the transport's header
_PLACES = {4: (30, 23, 34), 16: (38, 20, 54)}
_UNREACHABLE = {4: (1, 3), 16: (58, 1)}  # the protocol of ICMP, and its type


def translator(service: Service, verdict: int = REDIRECT) -> bytes:
    """A program that replaces the service's address in a frame by its backend's, and passes all others on."""
    address, _, transport = _PLACES[len(_packed(service.address))]
    changes = [(address, _packed(service.backend)), (transport + 2, struct.pack("!H", service.backend_port))]
    return _for(service, changes, verdict)


def refuser(service: Service) -> bytes:
    """A program that makes of a frame to the service's address a message of ICMP, as for one without backends."""
    size = len(_packed(service.address))
    _, protocol, transport = _PLACES[size]
    number, kind = _UNREACHABLE[size]
    return _for(service, [(protocol, bytes([number])), (transport, bytes([kind]))], REDIRECT)


def dropper(service: Service) -> bytes:
    """A program that drops frames to the service's address."""
    return _for(service, [], DROP)


def idler(verdict: int = PASS) -> bytes:
    """A program that looks at nothing."""
    return instruction(0xB4, R0, value=verdict) + instruction(0x95)


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def _for(service: Service, changes: Sequence[tuple[int, bytes]], verdict: int) -> bytes:
    """A program that makes changes (place and bytes) to frames to the service's address, and ends their way."""
    address, _, transport = _PLACES[len(_packed(service.address))]
    wanted = [(address, _packed(service.address)), (transport + 2, struct.pack("!H", service.port))]
    after = b"".join(_change(place, content) for place, content in changes)
    after += instruction(0xB4, R0, value=verdict) + instruction(0x95)
    for place, content in reversed(wanted):
        after = _condition(place, content, len(after) // 8) + after
    return instruction(0xBF, _R6, R1) + after + idler(NEXT)  # r6 = r1


def _condition(place: int, content: bytes, beyond: int) -> bytes:
    """Compare the frame's bytes; if they differ, go to the end, which is `beyond` instructions further."""
    words = [content[at : at + 4] for at in range(0, len(content), 4)]
    size = 2 * len(words)
    code = _call(_LOAD_BYTES, place, len(content)) + instruction(0x55, R0, 0, size + beyond)  # r0 != 0
    for number, word in enumerate(words):
        load, value = (0x61, struct.unpack("=i", word)[0]) if len(word) == 4 else (0x69, struct.unpack("=H", word)[0])
        code += instruction(load, R2, _R10, _ROOM + 4 * number)
        code += instruction(0x56, R2, 0, size - 2 * (number + 1) + beyond, value)  # w2 != value
    return code


def _change(place: int, content: bytes) -> bytes:
    code = b"".join(instruction(0x72, _R10, 0, _ROOM + at, byte) for at, byte in enumerate(content))  # *(u8 *) = byte
    return code + _call(_STORE_BYTES, place, len(content))


def _call(function: int, place: int, size: int) -> bytes:
    """r0 = function(r6, place, r10 + room, size, 0)"""
    return b"".join(
        (
            instruction(0xBF, R1, _R6),
            instruction(0xB7, R2, value=place),
            instruction(0xBF, _R3, _R10),
            instruction(0x07, _R3, value=_ROOM),
            instruction(0xB7, _R4, value=size),
            instruction(0xB7, _R5, value=0),
            instruction(0x85, value=function),
        )
    )
