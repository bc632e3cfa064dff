"""Rules about who can change what root will run: the directories above the fragments, and the executables.

The plugin itself checks the owners' directories and their files (`fragments`), and refuses unsafe ones.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, Finding, Kind, of_node
from cni_chain.node.survey import Survey

UNSAFE = Kind(
    "permissions",
    ERROR,
    "users other than root can change the facade, a plugin or a directory above them",
    "Every user who can change this can run any program as root, with the next pod.",
    "chown root the path and chmod go-w it. If an agent sets the old mode again, change that agent's settings.",
)


@of_node(UNSAFE)
def unsafe(node: Node) -> Iterator[Finding]:
    """Yield the facades, directories and plugins that users other than root own or can write, and those above."""
    paths = {path for survey in node.surveys if not survey.facade.allow_unsafe for path in _trusted(survey)}
    for path in sorted({above for given in paths for above in _upward(given)}):
        try:
            status = os.stat(node.tree.real(path))
        except OSError:  # what doesn't exist is safe
            continue
        fault = _fault(status)
        if fault:
            yield UNSAFE.at(path, fault)


def _trusted(survey: Survey) -> Iterator[str]:
    """Yield the paths that only root may own and write."""
    yield survey.file.path
    yield survey.facade.chain_dir
    yield survey.facade.state_dir
    yield from survey.bin_dirs
    for part in survey.parts:
        yield from (found for found in map(survey.binary, part.delegates) if isinstance(found, str))


def _upward(path: str) -> Iterator[str]:
    yield "/"
    parts = [part for part in os.path.normpath(path).split("/") if part]
    for count in range(len(parts)):
        yield "/" + "/".join(parts[: count + 1])


def _fault(status: os.stat_result) -> str:
    if status.st_uid != 0:
        return f"owned by uid {status.st_uid}, who can replace what root runs (chown root)"
    # In a sticky directory, for instance /tmp, only root can replace what root has made.
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if others and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX):
        mode = stat.S_IMODE(status.st_mode)
        return f"mode {mode:04o}: users other than root can replace what root runs (chmod go-w)"
    return ""
