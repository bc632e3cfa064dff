"""The manual page: `man cni-chain` finds it after `install`, where a system has a place for pages of its own."""

from __future__ import annotations

import os

from cni_chain.change import files, installed
from cni_chain.change.plan import Plan
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree

DIRECTORY = "/usr/local/share/man"
PAGE = f"{DIRECTORY}/man8/{installed.NAME}.8"

_BEGINNING = b".TH CNI-CHAIN 8 "  # of every page of ours, as build/commands.py writes it


def place(plan: Plan, source: str) -> None:
    """Plan what puts the page of the frozen program in `source` in place, if the system has a directory for it."""
    try:
        text = files.read(f"{source}/{os.path.basename(PAGE)}")
        base = installed.inside(plan.tree, DIRECTORY)
    except (FileNotFoundError, RefusedError):  # a link that leads out of the tree is no reason to install nothing
        return
    if not os.access(base, os.W_OK):  # it doesn't exist, or the file system is read-only
        return
    real = installed.file_inside(plan.tree, PAGE)
    if os.path.lexists(real) and not is_ours(plan.tree):
        plan.notes.append(f"{PAGE} stays as it is, because it is not cni-chain's.")
        return
    before = files.read(real) if os.path.lexists(real) else None
    if before == text:
        return
    directory = os.path.dirname(real)
    if not os.path.isdir(directory):
        plan.add("create", f"{os.path.dirname(PAGE)}/", lambda: files.directory(directory))
    how = "create" if before is None else "replace"
    plan.add(how, PAGE, lambda: files.put(real, text, 0o644, expected=before))


def is_ours(tree: Tree) -> bool:
    """Return whether the page in place is one of cni-chain."""
    try:
        return files.read(installed.file_inside(tree, PAGE)).startswith(_BEGINNING)
    except (OSError, RefusedError):
        return False
