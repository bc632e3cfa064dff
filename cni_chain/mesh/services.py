"""The services of this node, from Cilium's maps: addresses to try when none is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from cni_chain.mesh.maps import PINS, Maps
from cni_chain.mesh.probe import Target
from cni_chain.node.errors import UnreadableError

_EACH = 2  # services of one family and protocol that are enough
_PROTOCOLS = 2


def some(pins: str = PINS) -> list[Target]:
    """Return a few services with backends, of each family and protocol. Maps that can't be read have none."""
    found: list[Target] = []
    for family in (4, 6):
        with contextlib.suppress(UnreadableError), Maps(family, pins) as maps:
            found += _few(service.target for service in maps.services() if service.backends)
    return found


def _few(services: Iterable[Target]) -> list[Target]:
    found: list[Target] = []
    for target in services:
        if sum(target.protocol == other.protocol for other in found) < _EACH:
            found.append(target)
        if len(found) == _EACH * _PROTOCOLS:
            break
    return found
