"""The file system that commands read: this system's, or one below `--root`. Reads only."""

from __future__ import annotations

import errno
import os

from cni_chain.plugin.fragments import LARGEST


class Tree:
    """A file system tree. Paths are written as seen from inside it, also in messages.

    An absolute symbolic link inside the tree leads where it would lead on this system.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root)
        self._prefix = "" if self.root == "/" else self.root

    @property
    def is_this_system(self) -> bool:
        """Whether the tree is this system's, so that its programs can be run."""
        return not self._prefix

    def host(self) -> str | None:
        """Return the name of the host whose tree it is, None if it isn't known."""
        if self.is_this_system:
            return os.uname().nodename
        if not os.path.isfile(self.real("/etc/hostname")):  # a pipe there would hold every document up
            return None
        try:
            return self.read("/etc/hostname").decode().strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def path(self, given: str) -> str:
        """Return the path `given` on the command line as an absolute path inside the tree."""
        return os.path.normpath("/" + given.lstrip("/")) if self._prefix else os.path.abspath(given)

    def real(self, path: str) -> str:
        """Return where `path` is for this process."""
        return self._prefix + path

    def seen(self, text: str) -> str:
        """Return `text`, a path or a message with paths, as seen from inside the tree."""
        return text.replace(f"{self._prefix}/", "/") if self._prefix else text

    def names(self, path: str) -> list[str]:
        """Return the names in a directory in bytewise order; none if it doesn't exist or can't be read."""
        try:
            return sorted(os.listdir(self.real(path)), key=os.fsencode)
        except OSError:
            return []

    def read(self, path: str) -> bytes:
        """Return the content of a configuration. Raises OSError, also for one that is too large to be one."""
        with open(self.real(path), "rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise OSError(errno.EFBIG, f"more than {LARGEST >> 20} MiB", path)
        return content
