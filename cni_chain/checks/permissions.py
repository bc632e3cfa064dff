"""Can anybody but root change what root will run: the directories above the fragments, and the executables.

The owners' directories and their files are the plugin's own business (`fragments`): it refuses what is unsafe there.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from cni_chain.checks.findings import Finding
from cni_chain.node.locate import Place
from cni_chain.node.tree import Tree


def check(tree: Tree, paths: Iterable[str]) -> Iterator[Finding]:
    """Yield what is unsafe about `paths` and the directories above them; what doesn't exist is safe."""
    for path in sorted({above for given in paths for above in _upward(given)}):
        try:
            status = os.stat(tree.real(path))
        except OSError:
            continue
        fault = _fault(status)
        if fault:
            yield Finding(Place(path), fault)


def _upward(path: str) -> Iterator[str]:
    yield "/"
    parts = [part for part in os.path.normpath(path).split("/") if part]
    for count in range(len(parts)):
        yield "/" + "/".join(parts[: count + 1])


def _fault(status: os.stat_result) -> str:
    if status.st_uid != 0:
        return f"owned by uid {status.st_uid}, who can replace what root runs (chown root)"
    # In a sticky directory, as /tmp is, what root has made can be replaced by root alone.
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        mode = stat.S_IMODE(status.st_mode)
        return f"mode {mode:04o} lets others than root replace what root runs (chmod go-w)"
    return ""
