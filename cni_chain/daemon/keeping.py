"""The facade as it was when all was well with it: what it is to be again, whatever others have done to it."""

from __future__ import annotations

import contextlib
import os

from cni_chain.change import files, kept
from cni_chain.checks import trial
from cni_chain.daemon import appended
from cni_chain.daemon.wanted import ON, Wanted
from cni_chain.node import facades, locate, usage
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.facades import PENDING, UNDONE, FacadeFile
from cni_chain.node.tree import Tree

_RENAMED = ".cilium_bak"  # what an exclusive Cilium makes of the facade's name


class Keeping:
    """One node's facade, at `path`."""

    def __init__(self, tree: Tree, wanted: Wanted, path: str) -> None:
        self._tree = tree
        self._wanted = wanted
        self._path = path
        self._known: bytes | None = None  # as this agent has seen it
        self._kept = kept.content(tree, wanted.net_dir)  # as one has seen it before

    def facade(self) -> FacadeFile | None:
        """Return the facade that is in place, None if there is none or it can't be used."""
        with contextlib.suppress(UnreadableError):
            return facades.read(self._tree, self._path)
        return None

    def is_sound(self) -> bool:
        """Return whether a facade is in place that only cni-chain's commands or an administrator can have written.

        It is remembered, on a node that is to have it also for an agent that starts later.
        """
        file = self.facade()
        if file is None or file.faults or file.neighbours:
            return False
        self._known = self._tree.read(file.path)
        if self._wanted.state == ON and self._known != self._kept:
            kept.keep(self._tree, self._wanted.net_dir, self._known)
            self._kept = self._known
        return True

    def lost(self) -> bytes | None:
        """Return what the facade was, None if it is so or nobody knows. What an administrator changes in it stays."""
        if self.is_sound():
            return None
        file = self.facade()
        if file is None or file.faults:
            return self._known or (self._kept if self._kept and self._fits(self._kept) else None)
        if appended.foreign(self._tree, file, [self._wanted.bin_dir]):
            return None
        return self._known or appended.without(file)

    def _fits(self, content: bytes) -> bool:
        """Return whether nobody gives new pods their network but a facade that was kept, or it gives them the chain.

        It may be old: where another one waits, or is there already, that one counts.
        """
        directory = facades.look(self._tree, self._wanted.net_dir)
        waits = any(os.path.lexists(self._tree.real(self._path + end)) for end in (PENDING, UNDONE))
        if waits or any(file.path != self._path for file in directory.facades):  # under another name
            return False
        try:
            document, locator = locate.decode(content)
        except UnreadableError:
            return False
        if not facades.is_facade(document) or FacadeFile(self._path, document, locator).faults:
            return False
        if not [path for path in usage.others(directory) if path != self._path]:
            return True
        return not trial.facade(self._tree, directory, self._path, content.decode(), [self._wanted.bin_dir]).errors

    def restore(self, content: bytes) -> None:
        """Put the facade back. Raises RefusedError."""
        files.directory(self._tree.real(self._wanted.net_dir))
        files.put(self._tree.real(self._path), content, 0o644)
        renamed = self._tree.real(self._path + _RENAMED)
        with contextlib.suppress(OSError):
            if files.read(renamed) == content:
                os.unlink(renamed)

    def refuse_unknown(self) -> None:
        """Raises RefusedError if something is in the facade's place that is none, and nobody knows what it was."""
        if not os.path.lexists(self._tree.real(self._path)) or self.facade() is not None:
            return
        try:
            facades.read(self._tree, self._path)
            why = "is not a facade"
        except UnreadableError as error:
            why = str(error)
        raise RefusedError(
            f"{self._path}: {why}, and no copy of a facade is kept that could take its place",
            "correct it (cni-chain verify says where), or move it away, and this agent goes on",
        )
