"""The commands for a node in operation: cat, attachments, gc, doctor. What they do is in the modules named so."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cni_chain.cli import attached, cat, completing, doctor, gc
from cni_chain.cli import attachments as listing
from cni_chain.cli.doctor_words import Node
from cni_chain.cli.facades import NetDir
from cni_chain.cli.options import Json, Where, age, failure, located, no_facade, pod
from cni_chain.cli.survey import Survey
from cni_chain.cli.terminal import paint, print_json, printable, progress
from cni_chain.cli.tree import Tree
from cni_chain.errors import CNIError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("cat", short_help="Print the chain's files, or what each plugin would get.")(cat_command)
    app.command("attachments", short_help="List what was run for each pod.")(attachments_command)
    app.command("doctor", short_help="Find out whether this node is all right.")(doctor_command)
    app.command("gc", short_help="Free what no namespace holds any more.")(gc_command)


@located("net_dir", "conf", "bin_dir", "distro", "root")
def cat_command(
    where: Where,
    effective: Annotated[
        bool, typer.Option("--effective", help="Print what each plugin would get on its standard input instead.")
    ] = False,
    for_pod: Annotated[
        str | None,
        typer.Option(
            "--pod",
            metavar="NAMESPACE/NAME",
            show_default=False,
            help="With --effective: for this pod, without the owners that exempt it.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print the facade and every owner's files in the order in which they count, each below '# path'.

    What is ignored or left out has its reason there. With --effective: what each plugin would get for a new pod;
    <angle brackets> stand for what only a call has. Files may hold credentials, and are printed as they are.

    \b
    Examples:
      cni-chain cat
      cni-chain cat --effective --pod istio-system/istio-cni-node-x7k2p
      cni-chain cat --effective --json | jq '.facades[0].delegates[].stdin'

    \b
    Exit status: 0; 1 if a file can't be used, with --effective if the pod gets no network, or without a facade.
    """
    if for_pod is not None and not effective:
        raise typer.BadParameter("goes with --effective", param_hint="--pod")
    whose = ("", "") if for_pod is None else pod(for_pod)
    directory, surveys = where.surveys()
    if not surveys and not json:
        raise no_facade(directory)
    if effective:
        told = [cat.Effective(one, whose) for one in surveys]
        documents = [cat.effective_document(one) for one in told] if json else []
        texts = [] if json else [cat.effective_text(one) for one in told]
        fine = all(one.error is None for one in told)
    else:
        documents = [cat.files_document(one) for one in surveys] if json else []
        texts = [] if json else [_files(one) for one in surveys]
        fine = all(not part.directory.faults for one in surveys for part in one.parts)
    if json:
        print_json({"root": where.tree.root, "facades": documents})
    else:
        print("\n\n".join("\n".join(lines) for lines in texts))
    raise typer.Exit(0 if surveys and fine else 1)


def _files(one: Survey) -> list[str]:
    lines: list[str] = []
    for shown in cat.files(one):
        lines += [*([""] if lines else []), *cat.text(shown)]
    return lines


@located("state_dir", "net_dir", "distro", "root")
def attachments_command(
    where: Where,
    beginning: Annotated[
        str,
        typer.Argument(
            metavar="[ID]",
            show_default=False,
            autocompletion=completing.of_attachment,
            help="A container's ID, or its beginning: print everything of it.",
        ),
    ] = "",
    json: Json = False,
) -> None:
    """List the attachments: the pods' interfaces for which plugins were run, and that are not undone yet.

    With ID: everything of one container, and how the interfaces, addresses and routes in its network namespace differ
    from what is recorded. The configurations that its plugins got are in --json only: they may hold credentials.

    \b
    Examples:
      cni-chain attachments
      cni-chain attachments 3f2a9
      cni-chain attachments --json | jq -r '.attachments[] | [.pod, .addresses[]] | @tsv'

    \b
    Exit status: 0; 1 if a record is damaged or can't be read, or there is no attachment of that ID.
    """
    _, files = where.find()
    found = attached.look(where.tree, files, where.state_dirs)
    if beginning:
        raise typer.Exit(_one(where.tree, found, beginning, json=json))
    if json:
        print_json(listing.document(where.tree, found))
    else:
        print("\n".join(listing.table(where.tree, found)))
    raise typer.Exit(1 if any(one.failure or one.damaged for one in found) else 0)


def _one(tree: Tree, found: list[attached.StateDir], beginning: str, *, json: bool) -> int:
    entries, damaged = listing.having(found, beginning), listing.damaged_having(found, beginning)
    if not entries and not damaged:
        told = "".join(f"; {one.path}: {one.failure}" for one in found if one.failure)
        raise failure(f"no attachment of a container whose ID begins with {beginning!r}{told}")
    if json:
        print_json(
            {
                "attachments": [listing.everything(tree, entry) for entry in entries],
                "damaged": [{"file": one.path, "reason": one.reason, "setAside": one.set_aside} for one in damaged],
            }
        )
    else:
        texts = [listing.text(tree, entry) for entry in entries]
        texts += [[printable(f"! {one.path}: damaged: {one.reason}")] for one in damaged]
        print("\n\n".join("\n".join(lines) for lines in texts))
    return 1 if damaged else 0


@located("state_dir", "net_dir", "bin_dir", "distro")
def gc_command(
    where: Where,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            show_default=False,
            help="Also attachments of which no namespace is known, if they are older than this (90s, 30m, 12h, 7d).",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Free what no namespace holds any more: addresses, rules and endpoints of pods that are gone without their DEL.

    An attachment is stale if the path of its network namespace doesn't exist. Its plugins are run with DEL as they
    are recorded, under its lock; what fails stays recorded. Damaged records that were set aside are removed.
    Nothing is touched whose namespace is there. Safe while pods come and go.

    \b
    Examples:
      cni-chain gc --dry-run
      cni-chain gc --yes
      cni-chain gc --older-than 7d

    \b
    Exit status: 0 if nothing is left to free, 1 if a DEL failed, 2 if it can't ask (no terminal, no --yes).
    """
    limit = None if older_than is None else age(older_than)
    directory, files = where.find()
    found = attached.look(where.tree, files, where.state_dirs)
    made = gc.plan(found, limit)
    unseen = [f"{one.path}: {one.failure}" for one in found if one.failure]
    if not json:
        _print_plan(made, unseen)
    if not dry_run and not made.empty and not yes:
        _ask(made)
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
    with progress("freeing", len(made.stale)) as step:
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


def _ask(made: gc.Plan) -> None:
    if not sys.stdin.isatty():
        print("cni-chain: this is no terminal, so nobody can be asked: say --yes (or --dry-run)", file=sys.stderr)
        raise typer.Exit(2)
    if not typer.confirm(made.question(), err=True):
        raise typer.Exit(1)


def _print_plan(made: gc.Plan, unseen: list[str]) -> None:
    lines = [f"stale: {gc.name(stale.attachment, stale.pod)}: {stale.why}" for stale in made.stale]
    lines += [f"to remove: {path}" for path in made.removed]
    lines += [f"left alone: {gc.name(entry.attachment, entry.pod)}: {why}" for entry, why in made.kept]
    left = [damaged for damaged in made.damaged if not damaged.set_aside]
    lines += [f"left alone: {damaged.path}: {damaged.reason}: its DEL sets it aside" for damaged in left]
    lines += [f"! {failed}" for failed in unseen]
    if made.empty:
        lines.append("Nothing to free.")
    print("\n".join(map(printable, lines)))


def _print_outcome(outcome: gc.Outcome) -> None:
    whose = printable(gc.name(outcome.stale.attachment, outcome.stale.pod))
    if outcome.kept:
        print(f"left alone: {whose}: {outcome.kept}")
    elif not outcome.errors:
        print(paint("green", f"freed: {whose}"))
    for error in outcome.errors:
        print(paint("red", f"failed: {whose}: {printable(error.msg)}"))


@located("state_dir", "net_dir", "conf", "bin_dir", "distro", "root")
def doctor_command(where: Where, json: Json = False) -> None:
    """Find out whether this node is all right: which file the runtime takes, who fights over it, what is left behind.

    Each finding says what is so, why it matters and what to do. Everything that verify finds is among them. Plugins
    and runtimes are asked for their versions, and agents' sockets are tried, unless --root is given; nothing changes.

    \b
    Examples:
      cni-chain doctor
      cni-chain doctor --json | jq -r '.findings[] | select(.severity == "error") | .what'
      cni-chain doctor --root /mnt/node

    \b
    Exit status: 0 if there is no error (there may be warnings), 1 if there is.
    """
    directory, surveys = where.surveys()
    states = attached.look(where.tree, [survey.file for survey in surveys], where.state_dirs)
    node = Node(where.tree, directory, surveys, where.bin_dirs, states)
    with progress("looking at", doctor.STEPS) as step:
        diagnosis = doctor.Diagnosis(node, step)
    if json:
        print_json(diagnosis.document())
    else:
        print("\n".join(diagnosis.lines()))
    raise typer.Exit(1 if diagnosis.errors else 0)
