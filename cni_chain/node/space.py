"""What a directory's file system has left: bytes, inodes, and whether it can be written at all. Reads only."""

from __future__ import annotations

import os
from typing import NamedTuple

from cni_chain.node.tree import Tree

# Below these a call may fail: a record takes one inode, and a few blocks for each owner.
FEW_BYTES = 256 << 10
FEW_INODES = 4
# Below these it is a matter of time. A small file system is not always "nearly full": at most this part of it counts.
LOW_BYTES = 64 << 20
LOW_INODES = 1000
LOW_PART = 20


class Space(NamedTuple):
    """What root can still write in one file system. `inodes`: None where they have no limit (btrfs)."""

    directory: str  # the directory that was asked for, or its nearest parent that exists
    read_only: bool
    bytes: int
    size: int
    inodes: int | None
    most_inodes: int

    @property
    def failing(self) -> str:
        """Why nothing can be written, "" if something can."""
        if self.read_only:
            return "its file system is read-only"
        if self.bytes < FEW_BYTES:
            return f"its file system is full ({self.bytes >> 10} KiB of {_amount(self.size)} left)"
        if self.inodes is not None and self.inodes < FEW_INODES:
            return f"its file system has no free inodes ({self.inodes} of {self.most_inodes} left)"
        return ""

    @property
    def low(self) -> str:
        """What will soon be used up, "" if nothing will."""
        if self.bytes < min(LOW_BYTES, self.size // LOW_PART):
            return f"its file system is nearly full ({_amount(self.bytes)} of {_amount(self.size)} left)"
        if self.inodes is not None and self.inodes < min(LOW_INODES, self.most_inodes // LOW_PART):
            return f"its file system has few free inodes ({self.inodes} of {self.most_inodes} left)"
        return ""


def left(tree: Tree, directory: str) -> Space | None:
    """Return what the file system of a directory has left, None if that can't be known.

    A directory that doesn't exist yet will be made in its parent. Another system's tree, mounted here, says nothing of
    how it is mounted there.
    """
    while tree.is_this_system:
        try:
            found = os.statvfs(tree.real(directory))
        except FileNotFoundError:
            directory = os.path.dirname(directory)
            continue
        except OSError:
            return None
        # Root may use the blocks that are kept for root, so it is f_bfree that counts for cni-chain.
        return Space(
            directory,
            bool(found.f_flag & os.ST_RDONLY),
            found.f_bfree * found.f_frsize,
            found.f_blocks * found.f_frsize,
            found.f_ffree if found.f_files else None,
            found.f_files,
        )
    return None


def _amount(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 10 << 20 else f"{size >> 10} KiB"
