"""Owners and their fragments make the chain: which delegates run, in which order, and why others don't. Pure."""

from __future__ import annotations

from cni_chain.plugin.errors import INVALID_CONFIG, IO_FAILURE, TRY_AGAIN, CNIError
from cni_chain.plugin.facade import Owner, near
from cni_chain.plugin.fragments import BROKEN, REFUSED, UNREADABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni_chain.plugin.facade import Facade
    from cni_chain.plugin.fragments import Directory, Fault


class Delegate:
    """One delegate of the chain: its owner, its file, and its PluginConf as written there."""

    __slots__ = ("conf", "disable_check", "disable_gc", "owner", "path", "type", "versions")

    def __init__(self, owner: Owner, path: str, conf: dict[str, Any]) -> None:
        self.owner = owner
        self.path = path
        self.conf = conf
        self.type: str = conf["type"]
        self.disable_check = owner.disable_check
        self.disable_gc = owner.disable_gc
        self.versions: tuple[str, ...] = ()


class SkippedPlugin:
    """A plugin of a fragment that doesn't run, and why."""

    __slots__ = ("owner", "path", "reason", "type")

    def __init__(self, owner: str, path: str, type_: str, reason: str) -> None:
        self.owner = owner
        self.path = path
        self.type = type_
        self.reason = reason


class OwnerChain:
    """What one owner contributes: its delegates, and what keeps it from contributing."""

    __slots__ = ("delegates", "directory", "exempt", "owner", "skipped")

    def __init__(self, owner: Owner, directory: Directory) -> None:
        self.owner = owner
        self.directory = directory
        self.delegates: list[Delegate] = []
        self.skipped: list[SkippedPlugin] = []
        self.exempt = False

    def fault(self, *kinds: str) -> Fault | None:
        """Return the first fault of the directory that is of one of `kinds`."""
        return next((fault for fault in self.directory.faults if fault.kind in kinds), None)

    @property
    def usable(self) -> bool:
        """Return whether this owner can run: it has a delegate, and none of its files has a fault.

        Of an owner that is not required, a half-written file is left out and the others run.
        """
        tolerated = () if self.owner.required else (BROKEN,)
        return bool(self.delegates) and all(fault.kind in tolerated for fault in self.directory.faults)

    def why_unusable(self) -> CNIError:
        """Return the error for a call that needs this owner. The owner must not be usable.

        An application's developer reads it in the pod's events, so it has no word of cni-chain's own.
        """
        name = self.owner.name
        fault = self.fault(REFUSED)
        if fault:
            return CNIError(INVALID_CONFIG, f"{name}'s CNI configuration is refused: {fault}")
        fault = self.fault(BROKEN)
        if fault:
            return CNIError(
                TRY_AGAIN,
                f"{name}'s CNI configuration is not complete yet: {fault}; its agent must write the whole file again",
            )
        if self.directory.faults:
            return CNIError(IO_FAILURE, f"{name}'s CNI configuration: {self.directory.faults[0]}")
        agent = f"its agent ({self.owner.agent})" if self.owner.agent else "its agent"
        if not self.is_filtered:
            do = f"is {agent} running on this node?"
        elif any(near(type_, self._filtered) for type_ in self.owner.types or ()):
            do = "correct types"
        else:  # what is there may be an administrator's list, to which the agent still has to add its plugin
            do = f"correct types, unless {agent} has not written there yet"
        return CNIError(TRY_AGAIN, f"waiting for {self.what_is_missing()}; {do} (there: cni-chain status)")

    @property
    def _filtered(self) -> list[str]:
        return sorted({skipped.type for skipped in self.skipped})

    @property
    def is_filtered(self) -> bool:
        """Return whether the owner's files have plugins, and its `types` leave all of them out."""
        return bool(self.skipped) and not self.delegates

    def what_is_missing(self) -> str:
        """Return what a pod waits for, if this owner's files have no fault; for people who don't know cni-chain."""
        name, path = self.owner.name, self.directory.path
        if self.is_filtered:
            has = ", ".join(self._filtered)
            may = ", ".join(sorted(self.owner.types or ()))
            return (
                f"{name}'s CNI configuration: {path} has {has}, but only {may} may run from there (key "
                "types of cni-chain's own configuration)"
            )
        if self.directory.missing:
            return f"{name}'s CNI configuration: the directory {path} doesn't exist"
        if self.directory.fragments:
            return f"{name}'s CNI configuration: the files in {path} list no plugin"
        return f"{name}'s CNI configuration in {path}"


def owners(facade: Facade, directories: Iterable[str]) -> list[Owner]:
    """Return a facade's owners in order: those that it lists; if that key has a fault, each that has a directory."""
    return facade.owners if facade.owners is not None else [Owner(name) for name in directories]


def resolve(owners: Iterable[Owner], directories: Iterable[Directory], pod: tuple[str, str]) -> list[OwnerChain]:
    """Return each owner's chain, in order. An owner that exempts the pod (namespace, name) contributes nothing."""
    owner_chains = []
    for owner, directory in zip(owners, directories, strict=True):
        owner_chain = OwnerChain(owner, directory)
        if owner.exempts(pod):
            owner_chain.exempt = True
        else:
            _fill(owner_chain)
        owner_chains.append(owner_chain)
    return owner_chains


def _fill(owner_chain: OwnerChain) -> None:
    owner = owner_chain.owner
    first_file: dict[str, str] = {}
    for fragment in owner_chain.directory.fragments:
        for conf in fragment.plugins:
            kind = conf["type"]
            path = first_file.setdefault(kind, fragment.path)
            if owner.types is not None and kind not in owner.types:
                reason = f"not one of the types that {owner.name} may contribute"
            elif path != fragment.path and owner.duplicates == "first":
                reason = f"{path} has it first"
            else:
                delegate = Delegate(owner, fragment.path, conf)
                delegate.disable_check = owner.disable_check or fragment.disable_check
                delegate.disable_gc = owner.disable_gc or fragment.disable_gc
                delegate.versions = fragment.versions
                owner_chain.delegates.append(delegate)
                continue
            owner_chain.skipped.append(SkippedPlugin(owner.name, fragment.path, kind, reason))


def no_delegate_error(owners: Iterable[Owner], chain_dir: str) -> CNIError:
    """Return the error for a pod of which no owner has a delegate."""
    names = ", ".join(owner.name for owner in owners)
    return CNIError(
        TRY_AGAIN,
        f"no CNI plugin for this pod in {chain_dir}: neither the node's agents nor its administrator have configured "
        f"one ({names or 'nobody is listed'}); on the node, `cni-chain show --all` shows why",
    )


def required_delegates(owner_chains: list[OwnerChain]) -> list[Delegate]:
    """Return the delegates of a chain in which every owner counts, as ADD needs it.

    Raises CNIError: 7 or 5 for any owner whose files are refused or can't be read, 11 for a required owner that is
    not usable. A half-written file of an owner that is not required is left out.
    """
    for owner_chain in owner_chains:
        if owner_chain.exempt or owner_chain.usable:
            continue
        if owner_chain.owner.required or owner_chain.fault(REFUSED, UNREADABLE):
            raise owner_chain.why_unusable()
    return [delegate for owner_chain in owner_chains for delegate in owner_chain.delegates]


def usable_delegates(owner_chains: list[OwnerChain]) -> list[Delegate]:
    """Return the delegates of the owners that are usable, as a CHECK without a record takes them."""
    return [delegate for owner_chain in owner_chains if owner_chain.usable for delegate in owner_chain.delegates]
