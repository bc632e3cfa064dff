"""What the commands that change a node have in common: their options, and how they tell what they do."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cni_chain.change import files
from cni_chain.change.draft import SpellingError
from cni_chain.change.files import PlacingError
from cni_chain.change.plan import Plan
from cni_chain.cli.options import distribution, failure
from cni_chain.cli.output import paint, print_json, printable, progress, table
from cni_chain.node import distros, facades, survey
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree

Root = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="Change the file system tree below DIR instead of this system's. Every path given and printed is as "
        "seen from inside it, and nothing of it is run.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Tell what would be changed, with the text of files, and change nothing.")
]
Force = Annotated[bool, typer.Option("--force", help="Do what is refused for the reason that the message gives.")]
ABinDir = Annotated[
    str | None,
    typer.Option(
        "--bin-dir", metavar="DIR", show_default=survey.BIN_DIR, help="The runtime's directory of plugins (CNI_PATH)."
    ),
]
ANetDir = Annotated[
    str | None,
    typer.Option(
        "--net-dir", metavar="DIR", show_default=facades.NET_DIR, help="The runtime's configuration directory."
    ),
]
ProgramDir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        show_default="cni-chain beside --bin-dir",
        help="Holds one directory for each version of the program.",
    ),
]
AConf = Annotated[
    str | None,
    typer.Option("--conf", metavar="FILE", show_default=False, help="The facade, if there are several."),
]


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


@contextlib.contextmanager
def locked(tree: Tree, directory: str) -> Iterator[None]:
    """Keep every other command out that changes `directory`. Raises PlacingError, with paths as seen from the tree."""
    try:
        with files.locked(tree.real(directory)):
            yield
    except PlacingError as error:
        raise PlacingError(tree.seen(str(error))) from None


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Tell a person what was refused, or what failed, and end."""
    try:
        yield
    except SpellingError as error:
        raise typer.BadParameter(str(error)) from None
    except PlacingError as error:
        raise failure(str(error)) from None
    except RefusedError as error:
        print(error.shown, end="", file=sys.stderr)
        raise failure(str(error)) from None


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
        "findings": [finding.document() for finding in plan.findings],
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
