"""The maps of the shim's programs: Cilium's, which are only read, and its own. shim.bpf.c has the same structures."""

from __future__ import annotations

import struct
from typing import NamedTuple

from cni_chain.mesh import maps
from cni_chain.mesh.bpf import MapInfo

# enum bpf_map_type
_HASH, _ARRAY, _LRU_HASH = 1, 2, 9

# Where Cilium's socket load balancing notes what it has replaced for a socket, by family. Another layout is refused.
_NOTES = "cilium_lb%d_reverse_sk"
REVERSE = {family: _NOTES % family for family in (4, 6)}
REVERSE_SIZES = maps.SIZES[_NOTES]
REVERSE_TYPES = (_HASH, _LRU_HASH)

# The programs, by their names in the object, which the kernel would cut to 15 bytes.
LEARN = {4: "cnichain_learn4", 6: "cnichain_learn6"}
ANSWER = "cnichain_answer"


class OwnMap(NamedTuple):
    """A map that the shim makes."""

    name: str
    info: MapInfo
    entries: int


# An entry is needed from the SYN until the proxy has accepted the connection; the oldest make room for new ones.
ORIGINS = OwnMap("cnichain_origin", MapInfo(_LRU_HASH, 32, 36), 1 << 14)
POD = OwnMap("cnichain_pod", MapInfo(_ARRAY, 4, 40), 1)
PROXY = OwnMap("cnichain_proxy", MapInfo(_ARRAY, 4, 48), 1)

_POD = struct.Struct("=QQQQQ")
_PROXY = struct.Struct("=QQQQQQ")


class Pod(NamedTuple):
    """The one value of a pod's map: what the loader set, then counters of the connections that were redirected."""

    namespace_cookie: int
    made_qdisc: int  # whether clsact was added to `lo` for the filters
    learned: int = 0  # to a service's address, which the load balancer has replaced
    direct: int = 0  # to an address that was not replaced
    unseen: int = 0  # whose socket the kernel doesn't show

    def packed(self) -> bytes:
        """Return the value as the program reads it."""
        return _POD.pack(*self)

    @classmethod
    def unpacked(cls, value: bytes) -> Pod:
        """Return what a value says. Raises struct.error for one of another size."""
        return cls(*_POD.unpack(value))


class Proxy(NamedTuple):
    """The one value of a proxy's map: what the loader set, then counters of the calls for SO_ORIGINAL_DST."""

    counts_only: int
    asked: int = 0  # all calls that the kernel has answered
    answered: int = 0  # with the service's address
    counted: int = 0  # would have been answered, if this were more than counting
    unknown: int = 0  # of a connection of which nothing was learned
    different: int = 0  # the kernel's answer was not the backend that was learned

    def packed(self) -> bytes:
        """Return the value as the program reads it."""
        return _PROXY.pack(*self)

    @classmethod
    def unpacked(cls, value: bytes) -> Proxy:
        """Return what a value says. Raises struct.error for one of another size."""
        return cls(*_PROXY.unpack(value))
