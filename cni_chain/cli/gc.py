"""The command gc: its options, its question and its text. `change.gc` and `change.forget` do the work."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cni_chain.change import forget, gc
from cni_chain.checks.wording import counted
from cni_chain.cli import completion
from cni_chain.cli.options import BinDirs, DistroName, NetDirectory, Output, StateDirs
from cni_chain.cli.output import Form, paint, print_document, printable, progress
from cni_chain.cli.where import Where, age
from cni_chain.node import attachments
from cni_chain.node.attachments import StateDir
from cni_chain.node.facades import NetDir
from cni_chain.plugin.errors import CNIError


def command(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask. Needed without a terminal.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            show_default=False,
            help="Also free attachments without a recorded namespace that are older than this (90s, 30m, 12h, 7d).",
        ),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            show_default=False,
            autocompletion=completion.of_attachment,
            help="Remove the record of this container (its ID or the beginning of it; ID:INTERFACE for one of many), "
            "run no plugin and do nothing else.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="With --forget: also if the pod runs or may run.")] = False,
    output: Output = Form.TEXT,
    state_dir: StateDirs = None,
    net_dir: NetDirectory = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
) -> None:
    """Free what pods have left behind: addresses, rules and endpoints of pods that are gone or whose deletion failed.

    An attachment is stale if the path of its network namespace doesn't exist, and stranded if its DEL failed. Their
    recorded plugins are run with DEL, under a lock; what fails stays recorded. Damaged records that were set aside are
    removed. No other attachment whose namespace exists is changed. Safe while pods start and end.

    --forget is for an attachment whose agent is gone for good, so that no DEL can succeed: it removes only the record,
    and what the plugins keep stays. Without --force it refuses a pod that runs. A later DEL of that container
    uses the chain of that time.

    \b
    Examples:
      cni-chain gc --dry-run
      cni-chain gc --yes
      cni-chain gc --older-than 7d
      cni-chain gc --forget 3f2a9

    Exit status: 0; 1 if something failed or was refused, 2 for wrong usage, or no terminal and no --yes.
    """
    where = Where.given("/", distro, state_dir=state_dir, net_dir=net_dir, bin_dir=bin_dir)
    if forget is not None and older_than is not None:
        raise typer.BadParameter("--forget and --older-than exclude each other")
    if force and forget is None:
        raise typer.BadParameter("goes with --forget", param_hint="--force")
    limit = None if older_than is None else age(older_than)
    directory, files = where.find()
    found = attachments.look(where.tree, files, where.state_dirs)
    if forget is not None:
        raise typer.Exit(_forget(where, found, directory, forget, yes=yes, dry_run=dry_run, force=force, output=output))
    made = gc.plan(found, limit)
    unseen = [f"{one.path}: {one.failure}" for one in found if one.failure]
    if not output.is_document:
        _print_plan(made, unseen)
    if not dry_run and not made.empty and not yes:
        _ask(made.question())
    outcomes: list[gc.Outcome] = []
    errors: list[CNIError] = []
    if not dry_run and not made.empty:
        outcomes, errors = _free(where, made, directory, limit, output=output)
    if output.is_document:
        failures = [*unseen, *(error.msg for error in errors)]
        print_document(output, "gc", where.tree, gc.document(made, outcomes, failures, dry_run=dry_run))
    for error in errors:
        print(f"cni-chain: {error.msg}", file=sys.stderr)
    raise typer.Exit(1 if unseen or errors or any(outcome.errors for outcome in outcomes) else 0)


def _free(
    where: Where, made: gc.Plan, directory: NetDir, limit: float | None, *, output: Form
) -> tuple[list[gc.Outcome], list[CNIError]]:
    """Carry the plan out, and without a document print each step; return the outcomes and the errors."""
    outcomes, errors = [], []
    with progress("freeing", len(made.left)) as step:
        for outcome in gc.carry_out(made, directory, limit, where.bin_dirs, step):
            outcomes.append(outcome)
            if not output.is_document:
                _print_outcome(outcome, "freed")
            for line in outcome.said.splitlines():
                print(f"  {printable(line)}", file=sys.stderr)
    for path, error in gc.remove(made):
        if error is not None:
            errors.append(error)
        elif not output.is_document:
            print(paint("green", f"removed: {printable(path)}"))
    return outcomes, errors


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        print("cni-chain: not a terminal; pass --yes (or --dry-run)", file=sys.stderr)
        raise typer.Exit(2)
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _print_plan(made: gc.Plan, unseen: list[str]) -> None:
    lines = [f"stale: {attachments.name(left.attachment, left.pod)}: {left.why}" for left in made.stale]
    lines += [f"stranded: {attachments.name(left.attachment, left.pod)}: {left.why}" for left in made.stranded]
    lines += [f"to remove: {path}" for path in made.removed]
    lines += [f"left alone: {attachments.name(entry.attachment, entry.pod)}: {why}" for entry, why in made.kept]
    for damaged in made.damaged:
        if not damaged.set_aside:
            then = (
                "fails with error 5 until this is repaired"
                if damaged.unreadable
                else "sets it aside (if the runtime sends no DEL: gc --forget ID --force)"
            )
            lines.append(f"left alone: {damaged.path}: {damaged.reason}: its DEL {then}")
    lines += [f"! {failed}" for failed in unseen]
    if made.empty:
        lines.append("Nothing to free.")
    print("\n".join(map(printable, lines)))


def _print_outcome(outcome: gc.Outcome, done: str) -> None:
    whose = printable(attachments.name(outcome.left.attachment, outcome.left.pod))
    if outcome.kept:
        print(f"left alone: {whose}: {outcome.kept}")
    elif outcome.is_done:
        print(paint("green", f"{done}: {whose}"))
    for error in outcome.errors:
        print(paint("red", f"failed: {whose}: {printable(error.msg)}"))


def _forget(
    where: Where,
    found: list[StateDir],
    directory: NetDir,
    asked: str,
    *,
    yes: bool,
    dry_run: bool,
    force: bool,
    output: Form,
) -> int:
    """Forget the attachments of one container; return the exit status."""
    chosen = forget.chosen(found, asked)
    if not force:
        forget.guard(chosen)
    if not output.is_document:
        for left in chosen:
            name = attachments.name(left.attachment, left.pod)
            print(printable(f"to forget: {name}: {forget.remains(left)}"))
    if not dry_run and not yes:
        _ask(f"Forget {counted(len(chosen), 'attachment')}, without any plugin's DEL?")
    outcomes = [] if dry_run else [forget.carry_out(left, directory, force=force) for left in chosen]
    if output.is_document:
        print_document(output, "gc-forget", where.tree, forget.document(chosen, outcomes, dry_run=dry_run))
    for outcome in outcomes if not output.is_document else ():
        _print_outcome(outcome, "forgotten")
    return 0 if all(outcome.is_done for outcome in outcomes) else 1
