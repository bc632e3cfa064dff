"""The command gc: its options, its question and its words. What it does is in `gc` and `forgetting`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cni_chain.cli import attached, completing, forgetting, gc
from cni_chain.cli.attached import StateDir
from cni_chain.cli.facades import NetDir
from cni_chain.cli.forgetting import ForgetError
from cni_chain.cli.options import Json, Where, age, failure, located
from cni_chain.cli.terminal import paint, print_json, printable, progress
from cni_chain.errors import CNIError


@located("state_dir", "net_dir", "bin_dir", "distro")
def gc_command(
    where: Where,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask (without a terminal it can't).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            show_default=False,
            help="Also attachments of which no namespace is known, if they are older than this (90s, 30m, 12h, 7d).",
        ),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            show_default=False,
            autocompletion=completing.of_attachment,
            help="Drop the record of this container (its ID or the beginning of it; ID:INTERFACE for one of several), "
            "run no plugin and do nothing else.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --forget: also one whose pod runs, or of which that isn't known.")
    ] = False,
    json: Json = False,
) -> None:
    """Free what pods have left behind: addresses, rules and endpoints of those that are gone or could not be deleted.

    An attachment is stale if the path of its network namespace doesn't exist, and stranded if its DEL failed. Their
    plugins are run with DEL as they are recorded, under a lock; what fails stays recorded. Damaged records that were
    set aside are removed. Nothing else is touched whose namespace is there. Safe while pods come and go.

    --forget is for what can't be deleted any more, since whoever made it is gone for good: it drops the record alone,
    and whatever its plugins keep stays. Refused, without --force, for a pod that runs. Any later DEL of that
    container takes the chain as it is then.

    \b
    Examples:
      cni-chain gc --dry-run
      cni-chain gc --yes
      cni-chain gc --older-than 7d
      cni-chain gc --forget 3f2a9

    \b
    Exit status: 0; 1 if something failed or was refused, 2 if it can't ask.
    """
    if forget is not None and older_than is not None:
        raise typer.BadParameter("--forget and --older-than exclude each other")
    if force and forget is None:
        raise typer.BadParameter("goes with --forget", param_hint="--force")
    limit = None if older_than is None else age(older_than)
    directory, files = where.find()
    found = attached.look(where.tree, files, where.state_dirs)
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
    """Carry the plan out, and unless it is for a program tell each thing that is done; return what became of it."""
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
        print("cni-chain: this is no terminal, so nobody can be asked: say --yes (or --dry-run)", file=sys.stderr)
        raise typer.Exit(2)
    if not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _print_plan(made: gc.Plan, unseen: list[str]) -> None:
    lines = [f"stale: {gc.name(left.attachment, left.pod)}: {left.why}" for left in made.stale]
    lines += [f"stranded: {gc.name(left.attachment, left.pod)}: {left.why}" for left in made.stranded]
    lines += [f"to remove: {path}" for path in made.removed]
    lines += [f"left alone: {gc.name(entry.attachment, entry.pod)}: {why}" for entry, why in made.kept]
    for damaged in made.damaged:
        if not damaged.set_aside:
            then = (
                "fails with 5 until that is mended"
                if damaged.unreadable
                else "sets it aside (if none comes: gc --forget ID --force)"
            )
            lines.append(f"left alone: {damaged.path}: {damaged.reason}: its DEL {then}")
    lines += [f"! {failed}" for failed in unseen]
    if made.empty:
        lines.append("Nothing to free.")
    print("\n".join(map(printable, lines)))


def _print_outcome(outcome: gc.Outcome) -> None:
    whose = printable(gc.name(outcome.left.attachment, outcome.left.pod))
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
    try:
        targets = forgetting.chosen(found, asked)
        if not force:
            forgetting.guard(targets)
    except ForgetError as error:
        raise failure(str(error)) from None
    names = [gc.name(target.attachment, target.pod) for target in targets]
    if not json:
        told = [f"to forget: {name}: {target.remains()}" for name, target in zip(names, targets, strict=True)]
        print("\n".join(map(printable, told)))
    if not dry_run and not yes:
        _ask(f"Forget {gc.plural(len(targets), 'attachment')}, without any plugin's DEL?")
    outcomes = [] if dry_run else [forgetting.carry_out(target, directory, force=force) for target in targets]
    if json:
        print_json(forgetting.document(targets, outcomes, dry_run=dry_run))
    else:
        _print_forgotten(outcomes)
    return 1 if any(outcome.error or outcome.kept for outcome in outcomes) else 0


def _print_forgotten(outcomes: list[forgetting.Outcome]) -> None:
    for outcome in outcomes:
        whose = printable(gc.name(outcome.target.attachment, outcome.target.pod))
        if outcome.kept:
            print(f"left alone: {whose}: {outcome.kept}")
        elif outcome.error:
            print(paint("red", f"failed: {whose}: {printable(outcome.error.msg)}"))
        else:
            print(paint("green", f"forgotten: {whose}"))
