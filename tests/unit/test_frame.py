"""The frame that programs behind a pod's interface are asked about: well formed, and read back."""

import ipaddress
import struct

import pytest

from cni_chain.mesh import frame
from cni_chain.mesh.probe import Target

POD_MAC, NODE_MAC = bytes.fromhex("0a0000000001"), bytes.fromhex("0a0000000002")
TARGETS = pytest.mark.parametrize(
    ("target", "source"),
    [
        pytest.param(Target(address, port, protocol), source, id=f"{address}-{protocol}")
        for address, source in (("10.96.0.10", "10.244.0.11"), ("fd00:96::10", "fd00:244::11"))
        for port, protocol in ((80, "tcp"), (53, "udp"))
    ],
)


def made(target: Target, source: str) -> bytes:
    return frame.first(target, source, POD_MAC, NODE_MAC)


def summed(content: bytes) -> int:
    """The sum of RFC 1071, with the checksum in it: 0xFFFF if that is right."""
    total = sum(struct.unpack(f"!{len(content) // 2}H", content))
    return total % 0xFFFF or 0xFFFF


@TARGETS
def test_a_made_up_frame_leads_to_the_address_from_the_pod(target: Target, source: str) -> None:
    found = made(target, source)

    assert (found[:6], found[6:12], frame.destination(found)) == (NODE_MAC, POD_MAC, (target.address, target.port))
    assert ipaddress.ip_address(source).packed in found


@TARGETS
def test_its_checksums_and_lengths_are_right(target: Target, source: str) -> None:
    network = made(target, source)[14:]
    is_ipv4 = network[0] >> 4 == 4
    header, addresses = (20, network[12:20]) if is_ipv4 else (40, network[8:40])
    transport = network[header:]
    pseudo = addresses + struct.pack("!II", len(transport), network[9 if is_ipv4 else 6])

    assert summed(pseudo + transport) == 0xFFFF
    assert struct.unpack_from("!H", network, 2 if is_ipv4 else 4)[0] == (len(network) if is_ipv4 else len(transport))
    assert not is_ipv4 or summed(network[:20]) == 0xFFFF


@pytest.mark.parametrize("content", [b"", bytes(14), bytes(60), made(Target("10.0.0.1", 80, "tcp"), "10.0.0.2")[:30]])
def test_a_frame_that_is_cut_or_of_another_kind_leads_nowhere(content: bytes) -> None:
    assert (frame.destination(content), frame.refuses(content)) == (None, False)
