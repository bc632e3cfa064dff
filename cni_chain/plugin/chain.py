"""Owners and their fragments make the chain: which delegates run, in which order, and why others don't. Pure."""

from __future__ import annotations

from cni_chain.plugin.errors import INVALID_CONFIG, IO_FAILURE, TRY_AGAIN, CNIError
from cni_chain.plugin.facade import Owner
from cni_chain.plugin.fragments import BROKEN, REFUSED, UNREADABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_chain.plugin.facade import Facade
    from cni_chain.plugin.fragments import Directory, Fault


class Link:
    """One delegate's place in the chain: whose it is, from which file, and its PluginConf as written there."""

    __slots__ = ("conf", "disable_check", "disable_gc", "owner", "path", "type", "versions")

    def __init__(self, owner: Owner, path: str, conf: dict[str, Any]) -> None:
        self.owner = owner
        self.path = path
        self.conf = conf
        self.type: str = conf["type"]
        self.disable_check = owner.disable_check
        self.disable_gc = owner.disable_gc
        self.versions: tuple[str, ...] = ()


class Dropped:
    """A plugin of a fragment that doesn't run, and why."""

    __slots__ = ("owner", "path", "reason", "type")

    def __init__(self, owner: str, path: str, type_: str, reason: str) -> None:
        self.owner = owner
        self.path = path
        self.type = type_
        self.reason = reason


class Part:
    """What one owner contributes: its links, and what keeps it from contributing."""

    __slots__ = ("directory", "dropped", "exempt", "links", "owner")

    def __init__(self, owner: Owner, directory: Directory) -> None:
        self.owner = owner
        self.directory = directory
        self.links: list[Link] = []
        self.dropped: list[Dropped] = []
        self.exempt = False

    def fault(self, *kinds: str) -> Fault | None:
        """Return the first fault of the directory that is of one of `kinds`."""
        return next((fault for fault in self.directory.faults if fault.kind in kinds), None)

    @property
    def usable(self) -> bool:
        """Tell whether this owner can run: it has a delegate, and nothing it wrote is at fault.

        Of an owner that is not required, a half-written file is left out and the others run.
        """
        tolerated = () if self.owner.required else (BROKEN,)
        return bool(self.links) and all(fault.kind in tolerated for fault in self.directory.faults)

    def why_unusable(self) -> CNIError:
        """Return the error for a call that needs this owner. The owner must not be usable."""
        name, path = self.owner.name, self.directory.path
        fault = self.fault(REFUSED)
        if fault:
            return CNIError(INVALID_CONFIG, f"owner {name}: fragment refused: {fault}")
        fault = self.fault(BROKEN)
        if fault:
            return CNIError(TRY_AGAIN, f"owner {name} is not usable yet: {fault}; its agent must write it again, whole")
        if self.directory.faults:
            return CNIError(IO_FAILURE, f"owner {name}: {self.directory.faults[0]}")
        if self.dropped:
            types = ", ".join(sorted({dropped.type for dropped in self.dropped}))
            found = f"{path} has only {types}, which the facade's types for {name} leave out"
        elif self.directory.missing:
            found = f"the directory {path} doesn't exist"
        elif self.directory.fragments:
            found = f"the files in {path} list no plugin"
        else:
            found = f"no .conf, .conflist or .json in {path}"
        return CNIError(
            TRY_AGAIN,
            f"owner {name} has no fragment yet: {found}; {name}'s agent writes it when it runs on this node "
            f"with its CNI configuration directory set to {path}: look at that agent's pod and settings",
        )


def owners(facade: Facade, directories: Iterable[str]) -> list[Owner]:
    """Return a facade's owners in order: those that it lists, else (its key is at fault) whoever has a directory."""
    return facade.owners if facade.owners is not None else [Owner(name) for name in directories]


def resolve(owners: Iterable[Owner], directories: Iterable[Directory], pod: tuple[str, str]) -> list[Part]:
    """Return each owner's part, in order. An owner that exempts the pod (namespace, name) contributes nothing."""
    parts = []
    for owner, directory in zip(owners, directories, strict=True):
        part = Part(owner, directory)
        if owner.exempts(pod):
            part.exempt = True
        else:
            _fill(part)
        parts.append(part)
    return parts


def _fill(part: Part) -> None:
    owner = part.owner
    first_file: dict[str, str] = {}
    for fragment in part.directory.fragments:
        for conf in fragment.plugins:
            kind = conf["type"]
            path = first_file.setdefault(kind, fragment.path)
            if owner.types is not None and kind not in owner.types:
                reason = f"not one of the types that {owner.name} may contribute"
            elif path != fragment.path and owner.duplicates == "first":
                reason = f"{path} has it first"
            else:
                link = Link(owner, fragment.path, conf)
                link.disable_check = owner.disable_check or fragment.disable_check
                link.disable_gc = owner.disable_gc or fragment.disable_gc
                link.versions = fragment.versions
                part.links.append(link)
                continue
            part.dropped.append(Dropped(owner.name, fragment.path, kind, reason))


def nobody(owners: Iterable[Owner], chain_dir: str) -> CNIError:
    """Return the error for a pod of which no owner has a delegate."""
    names = ", ".join(owner.name for owner in owners)
    return CNIError(
        TRY_AGAIN,
        f"no owner has a delegate for this pod: {names or 'there is none'} in {chain_dir}; "
        "`cni-chain show --all` tells why",
    )


def complete(parts: list[Part]) -> list[Link]:
    """Return the links of a chain in which every owner counts, as ADD needs it.

    Raises CNIError: 7 or 5 for any owner whose files are refused or can't be read, 11 for a required owner that is
    not usable. A half-written file of an owner that is not required is left out.
    """
    for part in parts:
        if part.exempt or part.usable:
            continue
        if part.owner.required or part.fault(REFUSED, UNREADABLE):
            raise part.why_unusable()
    return [link for part in parts for link in part.links]


def present(parts: list[Part]) -> list[Link]:
    """Return the links of the owners that are usable, as a CHECK without a record takes them."""
    return [link for part in parts if part.usable for link in part.links]
