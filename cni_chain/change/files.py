"""Writes files, links and directories atomically: no reader sees half of one. Every command writes with this module.

A file is first written in the same directory, under a name that no runtime reads as a configuration. It gets its mode,
is synced to the disk, and is then renamed. containerd doesn't notice a file that is renamed from another directory.
Every function returns a function that undoes its change, and raises RefusedError, which names the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest

from cni_chain.node.errors import RefusedError, as_root
from cni_chain.node.tree import Tree

Undo = Callable[[], None]

_OTHERS = 0o022
_PIECE = 1 << 18  # bytes of a file that are in memory at once


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Name the file in an error: the system's own message may name the temporary file."""
    try:
        yield
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror or error}", as_root(error)) from None


@contextlib.contextmanager
def locked(tree: Tree, directory: str) -> Iterator[None]:
    """Lock `directory` against other cni-chain commands; if it doesn't exist, lock its nearest parent that does."""
    real = tree.real(directory)
    while not os.path.isdir(real):
        real = os.path.dirname(real)
    with _named(directory):
        opened = os.open(real, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RefusedError(f"{directory}: another cni-chain command is changing it", "try again") from None
        yield
    finally:
        os.close(opened)


def put(path: str, content: bytes, mode: int, *, expected: bytes | None = None) -> Undo:
    """Create or replace the file `path`. With `expected`, refuse if its content is different now."""
    with _named(path):
        undo = _restorer(path, links=False)
        if expected is not None and (not os.path.lexists(path) or read(path) != expected):
            raise RefusedError(f"{path}: another process has just changed this file", "try again")
        _replace(path, lambda new: _write(new, [content], mode))
    with _named(path):
        if read(path) != content or stat.S_IMODE(os.stat(path).st_mode) != mode:
            undo()
            raise RefusedError(
                f"{path}: differs from what was written", "check the disk, and which other process writes this file"
            )
    return undo


def link(path: str, target: str) -> Undo:
    """Create or replace the symbolic link `path`."""
    with _named(path):
        undo = _restorer(path)
        _replace(path, lambda new: os.symlink(target, new))
        if os.readlink(path) != target:
            raise RefusedError(f"{path}: doesn't point to {target}", "check which other process writes this link")
    return undo


def directory(path: str) -> Undo:
    """Create a directory and its missing parents, with mode 0755 for any umask."""
    made: list[str] = []
    with _named(path):
        _make(path, made)

    def undo() -> None:
        for each in reversed(made):
            with contextlib.suppress(OSError):  # another process has put a file into it: keep it
                os.rmdir(each)

    return undo


def _make(path: str, made: list[str]) -> None:
    if os.path.isdir(path):
        return
    _make(os.path.dirname(path), made)
    os.mkdir(path)
    made.append(path)
    os.chmod(path, 0o755)  # noqa: S103  # agents and runtimes read it, not all of them as root
    sync(os.path.dirname(path))


def copy(source: str, target: str) -> Undo:
    """Copy the directory `source` to `target`, which doesn't exist yet."""
    new = _temporary(target)
    with _named(target):
        remove_tree(new)  # left by a process that was killed
        try:
            _copy(source, new)
            os.rename(new, target)
        except BaseException:
            remove_tree(new)
            raise
        sync(os.path.dirname(target))
        if not same(source, target):
            remove_tree(target)
            raise RefusedError(f"{target}: differs from {source}, of which it is a copy", "check the disk")
    return lambda: remove_tree(target)


def move(path: str, target: str) -> Undo:
    """Rename a file within its directory."""
    with _named(path):
        os.rename(path, target)
        sync(os.path.dirname(path))

    def undo() -> None:
        os.rename(target, path)
        sync(os.path.dirname(path))

    return undo


def remove(path: str) -> Undo:
    """Remove a file, a link or an empty directory."""
    with _named(path):
        if os.path.isdir(path) and not os.path.islink(path):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            os.rmdir(path)
            sync(os.path.dirname(path))
            return lambda: os.mkdir(path, mode)
        undo = _restorer(path)
        _unlink(path)
    return undo


def remove_tree(path: str) -> None:
    """Remove a directory with its content; under its own name it exists completely or not at all."""
    old = path if os.path.basename(path).startswith(".") else f"{os.path.dirname(path)}/.{os.path.basename(path)}.old"
    if old != path:
        _remove_all(old)
        if not os.path.lexists(path):
            return
        os.rename(path, old)
    _remove_all(old)


def same(one: str, other: str) -> bool:
    """Return whether two directories have the same content, and `other` is writable by its owner only."""
    left, right = os.lstat(one), os.lstat(other)
    if stat.S_IFMT(left.st_mode) != stat.S_IFMT(right.st_mode):
        return False
    if stat.S_ISLNK(left.st_mode):
        return os.readlink(one) == os.readlink(other)
    if right.st_mode & _OTHERS:
        return False
    if stat.S_ISDIR(left.st_mode):
        names = sorted(os.listdir(one))
        return names == sorted(os.listdir(other)) and all(same(f"{one}/{name}", f"{other}/{name}") for name in names)
    executable = left.st_mode & 0o111 != 0
    if executable != (right.st_mode & 0o111 != 0) or left.st_size != right.st_size:
        return False
    return all(piece == beside for piece, beside in zip_longest(_pieces(one), _pieces(other)))


def _pieces(path: str) -> Iterator[bytes]:
    """Yield a file's content: the program has megabytes, and the agent little memory. A link is not followed."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:
        while piece := file.read(_PIECE):
            yield piece


def read(path: str) -> bytes:
    """Return a file's content; a link is not followed, and a pipe not waited for. Raises OSError."""
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(opened, "rb") as file:
        return file.read()


def sync(path: str) -> None:
    """Sync a directory's entries to the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _restorer(path: str, *, links: bool = True) -> Undo:
    """Return a function that restores what is at `path` now: nothing, a file, or with `links` a link."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return lambda: _unlink(path)
    if links and stat.S_ISLNK(status.st_mode):
        target = os.readlink(path)
        return lambda: _replace(path, lambda new: os.symlink(target, new))
    if not stat.S_ISREG(status.st_mode):
        raise RefusedError(f"{path}: is not a regular file, so it is not changed")
    content, mode = read(path), stat.S_IMODE(status.st_mode)
    return lambda: _replace(path, lambda new: _write(new, [content], mode))


def _temporary(path: str) -> str:
    # Always the same name, so the next process replaces what a killed one left; `locked` allows one at a time.
    return f"{os.path.dirname(path)}/.{os.path.basename(path)}.new"


def _replace(path: str, make: Callable[[str], None]) -> None:
    new = _temporary(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    try:
        make(new)
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    sync(os.path.dirname(path))


def _write(path: str, content: Iterable[bytes], mode: int) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(opened, "wb") as file:
        file.writelines(content)
        file.flush()
        if os.geteuid() == 0:
            os.fchown(opened, 0, 0)  # in a setgid directory it would get that group
        os.fchmod(opened, mode)
        os.fsync(opened)


def _copy(source: str, target: str) -> None:
    status = os.lstat(source)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISDIR(status.st_mode):
        os.mkdir(target)
        for name in sorted(os.listdir(source)):
            _copy(f"{source}/{name}", f"{target}/{name}")
        os.chmod(target, 0o755)  # noqa: S103  # as the archive has it
        sync(target)
    else:
        _write(target, _pieces(source), 0o755 if status.st_mode & 0o111 else 0o644)


def _remove_all(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _unlink(path: str) -> None:
    os.unlink(path)
    sync(os.path.dirname(path))
