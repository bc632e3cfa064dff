"""The command gc: its options, its question and its text. `change.gc` and `change.forget` do the work."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cni_chain.change import forget, gc
from cni_chain.cli import completion
from cni_chain.cli.options import BinDirs, DistroName, Json, NetDirectory, StateDirs, Where, age
from cni_chain.cli.output import paint, print_json, printable, progress
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
    json: Json = False,
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

    \b
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
        raise typer.Exit(_forget(found, directory, forget, yes=yes, dry_run=dry_run, force=force, json=json))
    made = gc.plan(found, limit)
    unseen = [f"{one.path}: {one.failure}" for one in found if one.failure]
    if not json:
        _print_plan(made, unseen)
    if not dry_run and not made.empty and not yes:
        _ask(made.question())
    outcomes: list[gc.Outcome] = []
    errors: list[CNIError] = []
    if not dry_run and not made.empty:
        outcomes, errors = _free(where, made, directory, limit, json=json)
    if json:
        failures = [*unseen, *(error.msg for error in errors)]
        print_json(gc.document(made, outcomes, failures, dry_run=dry_run))
    for error in errors:
        print(f"cni-chain: {error.msg}", file=sys.stderr)
    raise typer.Exit(1 if unseen or errors or any(outcome.errors for outcome in outcomes) else 0)


def _free(
    where: Where, made: gc.Plan, directory: NetDir, limit: float | None, *, json: bool
) -> tuple[list[gc.Outcome], list[CNIError]]:
    """Carry the plan out, and without `json` print each step; return the outcomes and the errors."""
    outcomes, errors = [], []
    with progress("freeing", len(made.left)) as step:
        for outcome in gc.carry_out(made, directory, limit, where.bin_dirs, step):
            outcomes.append(outcome)
            if not json:
                _print_outcome(outcome)
    for path, error in gc.remove(made):
        if error is not None:
            errors.append(error)
        elif not json:
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


def _print_outcome(outcome: gc.Outcome) -> None:
    whose = printable(attachments.name(outcome.left.attachment, outcome.left.pod))
    if outcome.kept:
        print(f"left alone: {whose}: {outcome.kept}")
    elif not outcome.errors:
        print(paint("green", f"freed: {whose}"))
    for error in outcome.errors:
        print(paint("red", f"failed: {whose}: {printable(error.msg)}"))


def _forget(
    found: list[StateDir], directory: NetDir, asked: str, *, yes: bool, dry_run: bool, force: bool, json: bool
) -> int:
    """Forget the attachments of one container; return the exit status."""
    targets = forget.chosen(found, asked)
    if not force:
        forget.guard(targets)
    names = [attachments.name(target.attachment, target.pod) for target in targets]
    if not json:
        lines = [f"to forget: {name}: {target.remains()}" for name, target in zip(names, targets, strict=True)]
        print("\n".join(map(printable, lines)))
    if not dry_run and not yes:
        _ask(f"Forget {gc.plural(len(targets), 'attachment')}, without any plugin's DEL?")
    outcomes = [] if dry_run else [forget.carry_out(target, directory, force=force) for target in targets]
    if json:
        print_json(forget.document(targets, outcomes, dry_run=dry_run))
    else:
        _print_forgotten(outcomes)
    return 1 if any(outcome.error or outcome.kept for outcome in outcomes) else 0


def _print_forgotten(outcomes: list[forget.Outcome]) -> None:
    for outcome in outcomes:
        whose = printable(attachments.name(outcome.target.attachment, outcome.target.pod))
        if outcome.kept:
            print(f"left alone: {whose}: {outcome.kept}")
        elif outcome.error:
            print(paint("red", f"failed: {whose}: {printable(outcome.error.msg)}"))
        else:
            print(paint("green", f"forgotten: {whose}"))
