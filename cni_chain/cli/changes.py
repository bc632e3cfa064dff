"""What the commands that change a node have in common: their options, and how they print their changes."""

from __future__ import annotations

from typing import Any, NamedTuple

from cni_chain.change.plan import Plan
from cni_chain.checks.wording import counted
from cni_chain.cli.output import Form, document_text, paint, printable, progress, table
from cni_chain.cli.where import distribution, tree_at
from cni_chain.node.tree import Tree


class Places(NamedTuple):
    """The directories on the node that is changed, as seen from inside its tree; `notes` give their source."""

    tree: Tree
    bin_dir: str
    net_dir: str
    program_dir: str | None
    notes: list[str]


def places(root: str, distro: str | None, bin_dir: str | None, net_dir: str | None, program_dir: str | None) -> Places:
    """Return what the options of these names mean together. Raises RefusedError for a root that doesn't exist."""
    tree = tree_at(root)
    known = distribution(distro)
    notes = []
    if distro:
        notes.append(f"{distro}: plugins in {known.bin_dir}, configurations in {known.net_dir} ({known.source}).")
        notes += [f"{known.note}."] if known.note else []
    usual = known.program_dir if bin_dir is None else None
    return Places(
        tree,
        tree.path(bin_dir or known.bin_dir),
        tree.path(net_dir or known.net_dir),
        tree.path(program_dir) if program_dir else usual,
        notes,
    )


def carry_out(plan: Plan, *, dry_run: bool, output: Form) -> None:
    """Make the changes, unless `dry_run`, and print them."""
    # The text first: after `uninstall` the program can't load its own modules any more.
    if output.is_document:
        text = document_text(output, "changes", plan.tree, document(plan, dry_run=dry_run))
    else:
        text = "\n".join(text_of(plan, dry_run=dry_run)) + "\n"
    if not dry_run:
        with progress("changing", len(plan.changes)) as step:
            plan.run(step)
    print(text, end="")


def document(plan: Plan, *, dry_run: bool) -> dict[str, Any]:
    """Return the plan for a program."""
    return {
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
    """Return the plan as text; with `dry_run` also what would be in the files."""
    lines = table([(change.action, change.path, change.detail) for change in plan.changes], fold=2)
    if dry_run:
        for change in plan.changes:
            if change.diff:
                lines += ["", *map(_coloured, change.diff.splitlines())]
    lines += [printable(line) for note in plan.notes for line in note.splitlines()]
    lines += [f"{paint('yellow', 'warning')}: {printable(warning)}" for warning in plan.warnings]
    return [*lines, _count(plan, dry_run=dry_run)]


def _count(plan: Plan, *, dry_run: bool) -> str:
    if not plan.changes:
        return "Nothing to change."
    changes = counted(len(plan.changes), "change")
    return f"{changes}, none made (--dry-run)." if dry_run else paint("green", f"{changes} made.")


def _coloured(line: str) -> str:
    colours = {"+": "green", "-": "red", "@": "dim"}
    return paint(colours.get(line[:1], ""), printable(line)) if line[:1] in colours else printable(line)
