"""The commands for a node in operation: cat, attachments, doctor. What they do is in the modules named so."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.checks.words import Node
from cni_chain.cli import attachments as listing
from cni_chain.cli import cat, completion, doctor, gc
from cni_chain.cli.options import Json, Where, failure, located, no_facade, pod
from cni_chain.cli.output import print_json, printable, progress
from cni_chain.node import attachments
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("cat", short_help="Print the chain's files, or what each plugin would get.")(cat_command)
    app.command("attachments", short_help="List what was run for each pod.")(attachments_command)
    app.command("doctor", short_help="Find out whether this node is all right.")(doctor_command)
    app.command("gc", short_help="Free what pods have left behind.")(gc.gc_command)


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
            autocompletion=completion.of_attachment,
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
    found = attachments.look(where.tree, files, where.state_dirs)
    if beginning:
        raise typer.Exit(_one(where.tree, found, beginning, json=json))
    if json:
        print_json(listing.document(where.tree, found))
    else:
        print("\n".join(listing.table(where.tree, found)))
    raise typer.Exit(1 if any(one.failure or one.damaged for one in found) else 0)


def _one(tree: Tree, found: list[attachments.StateDir], beginning: str, *, json: bool) -> int:
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
    states = attachments.look(where.tree, [survey.file for survey in surveys], where.state_dirs)
    node = Node(where.tree, directory, surveys, where.bin_dirs, states)
    with progress("looking at", doctor.STEPS) as step:
        diagnosis = doctor.Diagnosis(node, step)
    if json:
        print_json(diagnosis.document())
    else:
        print("\n".join(diagnosis.lines()))
    raise typer.Exit(1 if diagnosis.errors else 0)
