"""What the commands that change a node have in common: their options, and how they tell what they do."""

from __future__ import annotations

import os
from typing import Any

from cni_chain.change.plan import Plan
from cni_chain.cli.options import distribution
from cni_chain.cli.output import paint, print_json, printable, progress, table
from cni_chain.node import distros
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree


def places(name: str | None, bin_dir: str | None, net_dir: str | None) -> tuple[distros.Distro, list[str]]:
    """Return where things are, and what is to be said of that."""
    known = distribution(name)
    notes = [f"{name}: plugins in {known.bin_dir}, configurations in {known.net_dir} ({known.source})."] if name else []
    if name and known.note:
        notes.append(f"{known.note}.")
    return known._replace(bin_dir=bin_dir or known.bin_dir, net_dir=net_dir or known.net_dir), notes


def tree_of(root: str) -> Tree:
    """Return the tree that is changed; a misspelt root is not made. Raises RefusedError."""
    if not os.path.isdir(root):
        raise RefusedError(f"--root {root}: no such directory")
    return Tree(root)


def carry_out(plan: Plan, *, dry_run: bool, json: bool) -> None:
    """Make the changes, unless `dry_run`, and tell them."""
    # In words first: a program that takes itself away can load no module of its own any more.
    text = "" if json else "\n".join(text_of(plan, dry_run=dry_run))
    if not dry_run:
        with progress("changing", len(plan.changes)) as step:
            plan.run(step)
    if json:
        print_json(document(plan, dry_run=dry_run))
    else:
        print(text)


def document(plan: Plan, *, dry_run: bool) -> dict[str, Any]:
    """Return the plan for a program."""
    return {
        "root": plan.tree.root,
        "dryRun": dry_run,
        "changes": [
            {"action": change.action, "path": change.path, "detail": change.detail, "diff": change.diff}
            for change in plan.changes
        ],
        "warnings": plan.warnings,
        "notes": plan.notes,
    }


def text_of(plan: Plan, *, dry_run: bool) -> list[str]:
    """Return the plan for a person; with `dry_run` also what would be in the files."""
    lines = table([(change.action, change.path, change.detail) for change in plan.changes], fold=2)
    if dry_run:
        for change in plan.changes:
            if change.diff:
                lines += ["", *map(_coloured, change.diff.splitlines())]
    lines += [f"{printable(note)}" for note in plan.notes]
    lines += [f"{paint('yellow', 'warning')}: {printable(warning)}" for warning in plan.warnings]
    return [*lines, _count(plan, dry_run=dry_run)]


def _count(plan: Plan, *, dry_run: bool) -> str:
    count = len(plan.changes)
    if not count:
        return "Nothing to change."
    changes = f"{count} change{'' if count == 1 else 's'}"
    return f"{changes}, none made (--dry-run)." if dry_run else paint("green", f"{changes} made.")


def _coloured(line: str) -> str:
    colours = {"+": "green", "-": "red", "@": "dim"}
    return paint(colours.get(line[:1], ""), printable(line)) if line[:1] in colours else printable(line)
