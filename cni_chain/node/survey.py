"""One facade's chain as a call would find it now: owners, fragments, binaries, and what a new pod would get.

The plugin's own modules (`fragments`, `chain`, `delegate`) have the rules; this module only calls them. Reads only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from cni_chain.node.errors import RefusedError, as_root
from cni_chain.node.facades import FacadeFile
from cni_chain.node.tree import Tree
from cni_chain.plugin import chain, delegate, fragments
from cni_chain.plugin.chain import Delegate, OwnerChain
from cni_chain.plugin.errors import IO_FAILURE, TRY_AGAIN, CNIError, invalid_facade
from cni_chain.plugin.facade import Owner

BIN_DIR = "/opt/cni/bin"
_NO_POD = ("", "")  # no owner exempts this pod


class Survey:
    """What the node has for one facade. All paths are as seen from inside the tree."""

    def __init__(self, tree: Tree, file: FacadeFile, bin_dirs: list[str], beside: Iterable[FacadeFile] = ()) -> None:
        """`beside` are the node's facades: what one of them lists in the same directory is not `unlisted`."""
        self.tree = tree
        self.file = file
        self.facade = file.facade
        self.bin_dirs = bin_dirs
        self.failure: CNIError | None = None  # why `parts` is empty
        self.strangers: list[tuple[str, str]] = []  # entries of chainDir that are not owners' directories, and why
        names = self._directories()
        owners = chain.owners(self.facade, names)
        sharing = (one.facade for one in beside if one.facade.chain_dir == self.facade.chain_dir)
        listed = {owner.name for owner in (*owners, *(owner for one in sharing for owner in one.owners or ()))}
        unlisted = (f"{self.facade.chain_dir}/{name}.d" for name in names if name not in listed)
        self.unlisted = [path for path in unlisted if tree.names(path)]  # an empty one is ready for a later owner
        self.parts = chain.resolve(owners, map(self._read, owners), _NO_POD)

    def _directories(self) -> list[str]:
        try:
            names, self.strangers = fragments.owner_names(self.tree.real(self.facade.chain_dir))
        except OSError as error:
            if as_root(error):
                raise RefusedError(f"{self.facade.chain_dir}: {error.strerror}", as_root(error)) from None
            self.failure = CNIError(IO_FAILURE, f"{self.facade.chain_dir}: {error.strerror}")
            return []
        return names

    def _read(self, owner: Owner) -> fragments.Directory:
        directory = owner_directory(self.tree, self.facade.chain_dir, owner, allow_unsafe=self.facade.allow_unsafe)
        for fault in directory.faults:
            # Said of a file that root can read, "new pods don't start" would be false.
            if os.geteuid() != 0 and fault.kind == fragments.UNREADABLE:
                raise RefusedError(str(fault), "run this command as root (sudo)")
        return directory

    def standing(self, owner: Owner) -> str:
        """Return in one or two words whether a pod needs an owner."""
        if self.facade.owners is None:
            return "not listed"
        return "required" if owner.required else "optional"

    def content(self, path: str) -> bytes:
        """Return the content of a file of an owner's directory. Raises OSError.

        It doesn't follow a link out of the directory, as the plugin doesn't: its target is not a fragment, and may be a
        secret, or a file without end.
        """
        real = self.tree.real(path)
        target = os.path.realpath(real)
        if not target.startswith(f"{os.path.realpath(os.path.dirname(real))}/"):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if not os.path.isfile(target):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return self.tree.read(path)

    @property
    def links(self) -> list[Delegate]:
        """The chain as far as it can run."""
        return chain.usable_delegates(self.parts)

    @property
    def delegates(self) -> list[Delegate]:
        """Every delegate of the chain, also those of owners that can't be used now."""
        return [link for part in self.parts for link in part.delegates]

    @property
    def fragments(self) -> list[fragments.Fragment]:
        """Every fragment of the owners, also those of which nothing runs."""
        return [fragment for part in self.parts for fragment in part.directory.fragments]

    def binary(self, link: Delegate) -> str | CNIError:
        """Return the path of a delegate's file, or the error of a call that needs it."""
        return self.executable(link.type, link)

    def executable(self, name: str, link: Delegate) -> str | CNIError:
        """Return the path of the plugin `name`, which is or which `link` executes, or the error of a call for it."""
        try:
            return self.tree.seen(delegate.find(name, ":".join(map(self.tree.real, self.bin_dirs))))
        except delegate.NotFoundError as error:
            return CNIError(TRY_AGAIN, f"{link.owner.name}/{link.type}: {self.tree.seen(str(error))}")

    def installed(self, name: str) -> str:
        """Return the path of a plugin's file, executable or not; "" if none exists."""
        files = (f"{directory}/{name}" for directory in self.bin_dirs)
        return next((file for file in files if os.path.isfile(self.tree.real(file))), "")

    def refusal(self, parts: list[OwnerChain] | None = None) -> CNIError | None:
        """Return the error that a new pod gets instead of a network, None if its chain can run.

        `parts` is the chain of a particular pod; without it, of a pod that no owner exempts.
        """
        parts = self.parts if parts is None else parts
        if self.file.problems:
            return invalid_facade(self.file.network, self.file.problems)
        if self.failure is not None:
            return self.failure
        try:
            links = chain.required_delegates(parts)
        except CNIError as error:
            return error
        if not links and self.file.index == 0:
            return chain.no_delegate_error((part.owner for part in parts), self.facade.chain_dir)
        return next((found for found in map(self.binary, links) if isinstance(found, CNIError)), None)


def owner_directory(tree: Tree, chain_dir: str, owner: Owner, *, allow_unsafe: bool = False) -> fragments.Directory:
    """Return the content of an owner's directory, with paths as seen from inside the tree."""
    directory = fragments.read(owner.name, tree.real(chain_dir), allow_unsafe=allow_unsafe)
    directory.path = tree.seen(directory.path)
    for fragment in directory.fragments:
        fragment.path = tree.seen(fragment.path)
    for fault in directory.faults:
        fault.path, fault.text = tree.seen(fault.path), tree.seen(fault.text)
    return directory


def error_of(part: OwnerChain) -> CNIError | None:
    """Return the error that this owner causes for a new pod, None if it causes none."""
    try:
        chain.required_delegates([part])
    except CNIError as error:
        return error
    return None
