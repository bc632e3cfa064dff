"""The installed program: a directory for each version, and one link to the version that runs.

A version's directory is never changed, because a running call still loads its modules from there. A build that differs
gets a directory of its own, and the link is replaced.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

from cni_chain import __version__
from cni_chain.change import files
from cni_chain.change.files import Undo
from cni_chain.change.plan import Plan
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree
from cni_chain.plugin import answer, delegate, jsontext
from cni_chain.plugin.errors import CNIError

NAME = "cni-chain"
_MODULES = "_internal"  # beside the executable: its modules and libraries
_SECONDS = 20.0


def running() -> str | None:
    """Return the directory of the frozen program that this process is, None if it runs from source."""
    return os.path.dirname(sys.executable) if getattr(sys, "frozen", False) else None


class Programs:
    """What is installed in one directory of plugins. `directory` and `bin_dir` are as this process sees them."""

    def __init__(self, tree: Tree, bin_dir: str, program_dir: str | None) -> None:
        self.tree = tree
        self.bin_dir = inside(tree, bin_dir)
        # Beside the real directory: a relative link is followed from there.
        beside = f"{os.path.dirname(self.bin_dir)}/{NAME}"
        self.directory = inside(tree, program_dir) if program_dir else beside
        self.link = f"{self.bin_dir}/{NAME}"

    def target(self, version: str) -> str:
        """Return what the link holds for a directory of `versions`."""
        return os.path.relpath(f"{self.directory}/{version}/{NAME}", self.bin_dir)

    def linked(self) -> str | None:
        """Return the name of the directory that the link leads to, None if it leads to none of these."""
        try:
            target = os.path.join(self.bin_dir, os.readlink(self.link))
        except OSError:
            return None
        directory = os.path.dirname(os.path.normpath(target))
        return os.path.basename(directory) if os.path.dirname(directory) == self.directory else None

    def versions(self) -> list[str]:
        """Return the names of the versions' directories."""
        try:
            names = sorted(os.listdir(self.directory))
        except FileNotFoundError:
            return []
        return [name for name in names if not name.startswith(".") and self._is_program(name)]

    def _is_program(self, name: str) -> bool:
        directory = f"{self.directory}/{name}"
        return os.path.isfile(f"{directory}/{NAME}") and os.path.isdir(f"{directory}/{_MODULES}")

    def seen(self, version: str) -> str:
        """Return the path of a version's directory as seen from inside the tree."""
        return self.tree.seen(f"{self.directory}/{version}")

    def choose(self, source: str, *, force: bool) -> str:
        """Return the name of the directory that holds, or is to hold, what `source` does. Raises RefusedError."""
        for name in _names():
            there = f"{self.directory}/{name}"
            if not os.path.lexists(there):
                if name != __version__ and not force:
                    break
                return name
            if os.path.realpath(there) == source or files.same(source, there):
                return name
        raise RefusedError(
            f"{self.seen(__version__)}: differs from {source}, another build of version {__version__}",
            "--force installs this one beside it",
        )

    def surplus(self, new: str) -> list[str]:
        """Return the versions to remove once `new` is linked: all but it, the one before it, and any that runs."""
        kept = {new, self.linked()}
        return [name for name in self.versions() if name not in kept and not self.users(name)]

    def users(self, version: str, *, but: int = 0) -> list[int]:
        """Return the processes of this system that run a version, other than `but`."""
        executable = os.path.realpath(f"{self.directory}/{version}/{NAME}")
        return [pid for pid, running in _executables() if running == executable and pid != but]


def inside(tree: Tree, path: str) -> str:
    """Return where `path`, seen from inside the tree, really is. Raises RefusedError if a link leads out of it."""
    real = os.path.realpath(tree.real(path))
    if not tree.is_this_system and not f"{real}/".startswith(f"{tree.root}/"):
        raise RefusedError(f"{path}: leads to {real}, which is not below {tree.root}", "name a directory below it")
    return real


def place(plan: Plan, programs: Programs, source: str, *, force: bool) -> str:
    """Plan what puts the program `source` in place, the link last, and return its version's name."""
    version = programs.choose(source, force=force)
    directory, link = f"{programs.directory}/{version}", programs.link
    if not os.path.lexists(directory):
        count = sum(len(names) for _, _, names in os.walk(source))

        def copy() -> Undo:
            made = files.directory(programs.directory)
            try:
                copied = files.copy(source, directory)
                if plan.tree.is_this_system:
                    _try(directory, copied)
            except BaseException:
                made()
                raise

            def undo() -> None:
                copied()
                made()

            return undo

        plan.add("create", f"{programs.seen(version)}/", copy, detail=f"{count} files of version {__version__}")
    if os.path.lexists(link) and not os.path.islink(link) and not force:
        raise RefusedError(
            f"{plan.tree.seen(link)}: is not a link, so cni-chain did not create it", "--force replaces it"
        )
    target = programs.target(version)
    if not os.path.islink(link) or os.readlink(link) != target:
        action = "replace" if os.path.lexists(link) else "create"
        plan.add(action, plan.tree.seen(link), lambda: files.link(link, target), detail=f"link to {target}")
    return version


def prune(plan: Plan, programs: Programs, version: str) -> None:
    """Plan the removal of old versions, if the link will point to another one."""
    if programs.linked() in {None, version}:
        return
    for name in programs.surplus(version):
        plan.add(
            "remove",
            f"{programs.seen(name)}/",
            removal(f"{programs.directory}/{name}"),
            detail="the last two versions stay",
        )


def removal(path: str) -> Callable[[], Undo]:
    """Return a function that removes a directory for good: such changes come last, after all that may fail."""

    def remove() -> Undo:
        files.remove_tree(path)
        return lambda: None

    return remove


def _names() -> Iterator[str]:
    yield __version__
    number = 2
    while True:
        yield f"{__version__}-{number}"
        number += 1


def _try(directory: str, undo: Undo) -> None:
    """Run the program in its place, before any runtime does. If it can't run, remove it and raise RefusedError."""
    file = f"{directory}/{NAME}"
    try:
        environ = {"CNI_COMMAND": "VERSION"}
        answer.versions(delegate.execute(file, environ, jsontext.encode({"cniVersion": "1.0.0"}), _SECONDS))
    except OSError as error:
        undo()
        denied = error.strerror == "Permission denied"
        why = "; is its file system mounted noexec? Pass another --program-dir" if denied else ""
        raise RefusedError(f"{file}: can't be run: {error.strerror}{why}") from None
    except CNIError as error:
        undo()
        details = f": {error.details}" if error.details else ""
        raise RefusedError(f"{file}: doesn't run: {error.msg}{details}") from None


def _executables() -> Iterator[tuple[int, str]]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield int(name), os.readlink(f"/proc/{name}/exe")
            except OSError:
                continue
