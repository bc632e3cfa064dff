"""The installed program: a directory for each version, and one link to the version that runs.

A version's directory is never changed, because a running call still loads its modules from there. A build that differs
gets a directory of its own, and the link is replaced.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator

from cni_chain import __version__
from cni_chain.change import files
from cni_chain.change.files import Undo
from cni_chain.change.plan import Plan
from cni_chain.checks.wording import listed
from cni_chain.node.errors import RefusedError, unreadable
from cni_chain.node.tree import Tree
from cni_chain.plugin import answer, delegate, jsontext
from cni_chain.plugin.errors import CNIError

NAME = "cni-chain"
_MODULES = "_internal"  # beside the executable: its modules and libraries
_SECONDS = 20.0
_OF_EVERY_SYSTEM = ("/usr/bin/env", "/bin/sh", "/sbin/init")  # one of them is a program of the system itself
_NAMED = 5  # of the processes that run a version
_MACHINES = {62: "amd64", 183: "arm64"}


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
        """Return the names of the versions' directories. Raises RefusedError."""
        try:
            names = sorted(os.listdir(self.directory))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unreadable(self.tree.seen(self.directory), error) from None
        return [name for name in names if not name.startswith(".") and self._is_program(name)]

    def _is_program(self, name: str) -> bool:
        directory = f"{self.directory}/{name}"
        return os.path.isfile(f"{directory}/{NAME}") and os.path.isdir(f"{directory}/{_MODULES}")

    def seen(self, version: str) -> str:
        """Return the path of a version's directory as seen from inside the tree."""
        return self.tree.seen(f"{self.directory}/{version}")

    def choose(self, source: str, *, force: bool) -> str:
        """Return the name of the directory that holds, or is to hold, what `source` does. Raises RefusedError."""
        others = (f"{__version__}-{number}" for number in itertools.count(2))
        for name in itertools.chain([__version__], others):
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
        """Return the processes of this system that run a version, other than `but`, in ascending order."""
        try:
            executable = _file(f"{self.directory}/{version}/{NAME}")
        except OSError:
            return []
        return sorted(pid for pid, running in _executables() if running == executable and pid != but)


def inside(tree: Tree, path: str) -> str:
    """Return where `path`, seen from inside the tree, really is. Raises RefusedError if a link leads out of it."""
    real = os.path.realpath(tree.real(path))
    if not tree.is_this_system and not f"{real}/".startswith(f"{tree.root}/"):
        raise RefusedError(f"{path}: leads to {real}, which is not below {tree.root}", "name a directory below it")
    return real


def file_inside(tree: Tree, path: str) -> str:
    """Return where the file or link `path` really is, as `inside` does for its directory."""
    return f"{inside(tree, os.path.dirname(path))}/{os.path.basename(path)}"


def place(plan: Plan, programs: Programs, source: str, *, force: bool) -> str:
    """Plan what puts the program `source` in place, the link last, and return its version's name."""
    _refuse_foreign(plan.tree, source)
    _refuse_noexec(programs)
    version = programs.choose(source, force=force)
    directory, link = f"{programs.directory}/{version}", programs.link
    if not os.path.lexists(directory):
        count = sum(len(names) for _, _, names in os.walk(source))

        def copy() -> Undo:
            made = files.directory(programs.directory)
            try:
                copied = files.copy(source, directory)
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


def refuse_running(programs: Programs, version: str) -> None:
    """Raise RefusedError if another process runs a version: it still loads modules from there."""
    users = programs.users(version, but=os.getpid())
    if users:
        processes = f"process{'es' if len(users) > 1 else ''} {listed([*map(str, users)], _NAMED)}"
        raise RefusedError(f"{programs.seen(version)}: is running ({processes})", "try again when it has ended")


def removal_if_idle(programs: Programs, version: str) -> Callable[[], Undo]:
    """Return a function that removes a version for good, unless it runs. Without the link no new call begins."""
    remove = removal(f"{programs.directory}/{version}")

    def remove_if_idle() -> Undo:
        refuse_running(programs, version)
        return remove()

    return remove_if_idle


def _refuse_foreign(tree: Tree, source: str) -> None:
    """Raise RefusedError for another system's tree whose own programs are for another kind of machine.

    `_try` runs the program on this machine, which may be another one than the tree is for.
    """
    ours = "" if tree.is_this_system else _machine(f"{source}/{NAME}")
    for path in _OF_EVERY_SYSTEM if ours else ():
        real = os.path.realpath(tree.real(path))
        theirs = _machine(real) if real.startswith(f"{tree.root}/") else ""
        if theirs not in ("", ours):
            raise RefusedError(f"{path}: is for {theirs}, and this program is for {ours}", "take the other archive")


def _refuse_noexec(programs: Programs) -> None:
    """Raise RefusedError if the programs' file system is mounted so that none of them can run, also if one is there."""
    there = programs.directory
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    if os.statvfs(there).f_flag & os.ST_NOEXEC:
        raise RefusedError(
            f"{programs.tree.seen(programs.directory)}: is on a file system that is mounted noexec, so no program can "
            "run there",
            "mount it with exec, or pass another --program-dir",
        )


def _machine(file: str) -> str:
    """Return the kind of machine that a program is for, "" if its file doesn't say (elf(5))."""
    try:
        with open(file, "rb") as program:
            head = program.read(20)
    except OSError:
        return ""
    number = int.from_bytes(head[18:20], "little")
    return _MACHINES.get(number, f"ELF machine {number}") if head.startswith(b"\x7fELF") else ""


def _try(directory: str, undo: Undo) -> None:
    """Run the program in its place, before any runtime does. If it can't run, remove it and raise RefusedError."""
    file = f"{directory}/{NAME}"
    try:
        environ = {"CNI_COMMAND": "VERSION"}
        answer.versions(delegate.execute(file, environ, jsontext.encode({"cniVersion": "1.0.0"}), _SECONDS))
    except OSError as error:
        undo()
        raise RefusedError(f"{file}: can't be run: {error.strerror}") from None
    except CNIError as error:
        undo()
        details = f": {error.details}" if error.details else ""
        raise RefusedError(f"{file}: doesn't run: {error.msg}{details}") from None


def _executables() -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield each process, and the file that it runs.

    Not that file's path: in another mount namespace it may lead to another file, and this file have another one there.
    """
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                yield int(name), _file(f"/proc/{name}/exe")
            except OSError:
                continue


def _file(path: str) -> tuple[int, int]:
    """Return the device and the inode, which are a file's own in every mount namespace."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
