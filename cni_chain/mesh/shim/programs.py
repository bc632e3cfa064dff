"""The shim's programs, and the maps that they share: loaded for one call of `mesh shim on`."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NamedTuple

from cni_chain.mesh import maps
from cni_chain.mesh.bpf import Map
from cni_chain.mesh.shim import elf, kernel, layout
from cni_chain.node.errors import RefusedError, unreadable

_OBJECT = "shim.bpf.o"
_FROZEN = "_internal/cni_chain/mesh/shim"  # beside the frozen program (build/cni-chain.spec)

# Where what must outlive the command is pinned.
PINS = "/sys/fs/bpf/cni-chain-shim"
ORIGINS = f"{PINS}/origins"


def object_file() -> str:
    """Return the path of the object."""
    frozen = getattr(sys, "frozen", False)
    directory = os.path.join(os.path.dirname(sys.executable), _FROZEN) if frozen else os.path.dirname(__file__)
    return os.path.join(directory, _OBJECT)


class Learning(NamedTuple):
    """A pod's map, which is to be written before the programs are attached, and those by family: descriptors."""

    pod: int
    programs: dict[int, int]


class Programs:
    """What is loaded. `held` closes what it opens; a program that is attached then stays by itself."""

    def __init__(self, held: contextlib.ExitStack) -> None:
        """Open the load balancer's maps and the object. Raises RefusedError."""
        self._held = held
        self._reverse = _reverse_maps(held)
        path = object_file()
        try:
            with open(path, "rb") as file:
                found = elf.parse(file.read())
        except OSError as error:
            raise unreadable(path, error) from None
        except ValueError as error:
            raise RefusedError(f"{path}: {error}", "install cni-chain again") from None
        self._programs, self._licence = found.programs, found.data["license"].rstrip(b"\0")
        self._origins: int | None = None

    @property
    def families(self) -> list[int]:
        """The families of which the load balancer has a map."""
        return sorted(self._reverse)

    def origins(self) -> int:
        """Return the descriptor of the map in which the programs share what they learn. Raises OSError."""
        if self._origins is None:
            try:
                known = self._held.enter_context(Map(ORIGINS))
            except FileNotFoundError:
                self._origins = self._create(layout.ORIGINS)
            else:
                if known.info != layout.ORIGINS.info:
                    raise RefusedError(f"{ORIGINS}: is of another version", "run cni-chain mesh shim off first")
                self._origins = known.fileno()
        return self._origins

    def learning(self) -> Learning:
        """Load what a pod needs. Raises OSError."""
        own = self._create(layout.POD)
        given = {layout.POD.name: own}
        return Learning(
            own,
            {
                family: self._load(
                    layout.LEARN[family], kernel.SCHED_CLS, given | {layout.REVERSE[family]: reverse.fileno()}
                )
                for family, reverse in self._reverse.items()
            },
        )

    def answering(self, proxy: layout.Proxy) -> int:
        """Return the descriptor of a proxy's program. Raises OSError."""
        own = self._create(layout.PROXY)
        kernel.write_only(own, proxy.packed())
        return self._load(layout.ANSWER, kernel.CGROUP_SOCKOPT, {layout.PROXY.name: own}, kernel.CGROUP_GETSOCKOPT)

    def _create(self, wanted: layout.OwnMap) -> int:
        return self._close_later(kernel.create_map(wanted))

    def _load(self, name: str, kind: int, given: dict[str, int], attach_type: int = 0) -> int:
        code = self._programs[name].with_maps({layout.ORIGINS.name: self.origins(), **given})
        return self._close_later(kernel.load(name, code, self._licence, kind, attach_type))

    def _close_later(self, opened: int) -> int:
        self._held.callback(os.close, opened)
        return opened


def _reverse_maps(held: contextlib.ExitStack) -> dict[int, Map]:
    """Return the maps in which Cilium notes what it has replaced, by family. Raises RefusedError."""
    found: dict[int, Map] = {}
    for family, name in layout.REVERSE.items():
        path = os.path.join(maps.PINS, name)
        try:
            opened = held.enter_context(Map(path))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise unreadable(path, error) from None
        kind, *sizes = opened.info
        if tuple(sizes) != layout.REVERSE_SIZES[family] or kind not in layout.REVERSE_TYPES:
            raise RefusedError(
                f"{path}: its layout is unknown: type {kind}, keys of {sizes[0]} bytes, values of {sizes[1]}",
                "this version of Cilium is not supported",
            )
        found[family] = opened
    if not found:
        raise RefusedError(
            f"{maps.PINS}: has no {' and no '.join(layout.REVERSE.values())}",
            "Cilium's socket load balancing is off, or of a version that is not supported: there is nothing to repair",
        )
    return found
