"""The commands about a facade's owners. `change.owners` does the work."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Annotated, Any

import typer

from cni_chain.change import draft, files, owners
from cni_chain.change.plan import Plan
from cni_chain.checks import registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Finding
from cni_chain.cli import completion
from cni_chain.cli.changes import carry_out
from cni_chain.cli.options import (
    BinDirs,
    ChangedRoot,
    Command,
    Conf,
    DistroName,
    DryRun,
    Force,
    NetDirectory,
    Output,
    Root,
)
from cni_chain.cli.output import Form, paint, paragraph, print_document, printable, table
from cni_chain.cli.where import Where
from cni_chain.node.errors import RefusedError
from cni_chain.node.survey import Survey, error_of

OwnerName = Annotated[
    str,
    typer.Argument(metavar="NAME", show_default=False, autocompletion=completion.of_owner, help="The owner's name."),
]

_OWNER = """List the owners of the chain, and change them on a live node.

    A runtime reads the facade again by itself. Only pods that start later are affected: the DEL of running pods uses
    their records. The facade is rewritten: all its keys stay, in their order, in the layout of `install`.

    Before you uninstall an agent, remove its owner, or new pods may not start: cni-chain owner remove NAME.
    """
app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True, help=_OWNER)


@app.command("list", cls=Command, short_help="List the owners in the order in which they run.")
def owner_list(
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """List the owners in the order in which they run, what each may run and runs, and the pods for which it is skipped.

    Exit status: 0 if a facade exists and has no invalid key, 1 if not.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    directory, surveys = where.surveys()
    if not surveys:
        raise RefusedError(registry.nothing(Node(where.tree, directory, surveys, where.bin_dirs)))
    listed = [(one, registry.of_chain(Node(where.tree, directory, [one], where.bin_dirs))) for one in surveys]
    if output.is_document:
        print_document(output, "owners", where.tree, _document(listed))
    else:
        print("\n\n".join("\n".join(_text(one, found)) for one, found in listed))
    raise typer.Exit(1 if any(one.file.faults for one in surveys) else 0)


@app.command("add", cls=Command, short_help="Add an owner.")
def owner_add(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:TYPE,…]",
            show_default=False,
            help="The owner, and the plugin types that it may contribute. Without types: a known mesh's, else any.",
        ),
    ],
    before: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            autocompletion=completion.of_owner,
            help="Run it before this owner.",
        ),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", show_default="last", autocompletion=completion.of_owner, help="Run it after this owner."
        ),
    ] = None,
    required: Annotated[
        bool | None,
        typer.Option("--required/--optional", show_default="required", help="Whether new pods wait for it."),
    ] = None,
    exempt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMESPACE/PREFIX",
            show_default="a mesh agent's own pods",
            help="Pods for which it is skipped. Repeatable.",
        ),
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: ChangedRoot = "/",
) -> None:
    """Add an owner, and create its directory. Refused if new pods would get no network, for example because a required
    owner has no fragment yet: add it with --optional, and require it when its agent has written.

    \b
    Examples:
      cni-chain owner add linkerd:linkerd-cni --after cilium --optional
      cni-chain owner require linkerd

    Exit status: 0 if it is an owner, 1 if that was refused or failed, 2 wrong usage.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    if before is not None and after is not None:
        raise typer.BadParameter("--before and --after exclude each other")
    entry = draft.owner(name, [draft.pods(text) for text in exempt or []])
    if required is not None:
        entry["required"] = required
    _change(
        where,
        lambda edit: edit.add(entry, before=before, after=after),
        force=force,
        dry_run=dry_run,
        output=output,
    )


@app.command("remove", cls=Command, short_help="Remove an owner, for example before its agent is uninstalled.")
def owner_remove(
    name: OwnerName,
    if_present: Annotated[
        bool, typer.Option("--if-present", help="Succeed if the facade has no such owner, instead of exit status 1.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: ChangedRoot = "/",
) -> None:
    """Remove an owner: new pods start without it. Its directory stays. Do this before you uninstall its agent.

    Refused if new pods would get no network.

    Exit status: 0 if it was removed, 1 if there is no such owner, or if it was refused or failed.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    _change(where, lambda edit: edit.remove(name, if_present=if_present), force=force, dry_run=dry_run, output=output)


@app.command("require", cls=Command, short_help="Let new pods wait for an owner.")
def owner_require(
    name: OwnerName,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: ChangedRoot = "/",
) -> None:
    """Let new pods wait until an owner has a usable fragment.

    Refused if new pods would get no network.

    Exit status: 0 if it is required, 1 if that was refused or failed.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    _change(where, lambda edit: edit.require(name, required=True), force=force, dry_run=dry_run, output=output)


@app.command("optional", cls=Command, short_help="Let new pods start without an owner.")
def owner_optional(
    name: OwnerName,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: ChangedRoot = "/",
) -> None:
    """Let new pods start without an owner while it has no usable fragment.

    Exit status: 0 if it is optional, 1 if that was refused or failed.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    _change(where, lambda edit: edit.require(name, required=False), force=force, dry_run=dry_run, output=output)


def _change(where: Where, plan: Callable[[owners.Edit], Plan], *, force: bool, dry_run: bool, output: Form) -> None:
    """Make the change that `plan` returns for the one facade, under a lock."""
    with files.locked(where.tree, os.path.dirname(where.conf) if where.conf else where.net_dir):
        directory, found = where.find()
        if not found:
            node = Node(where.tree, directory, [], where.bin_dirs)
            hint = "" if directory.unreadable or directory.misspelt else "name one with --conf, or put one in place"
            raise RefusedError(registry.nothing(node), hint)
        edit = owners.Edit(where.tree, owners.only(found), where.bin_dirs, force=force)
        carry_out(plan(edit), dry_run=dry_run, output=output)


def _document(listed: list[tuple[Survey, list[Finding]]]) -> dict[str, Any]:
    """Return the owners of every facade as a JSON document."""
    return {
        "facades": [
            {
                "file": survey.file.path,
                "network": survey.file.network,
                "problems": survey.file.faults,
                "owners": [
                    {
                        "name": part.owner.name,
                        "required": part.owner.required,
                        "types": None if part.owner.types is None else sorted(part.owner.types),
                        "exempt": [{"namespace": ns, "podNamePrefix": prefix} for ns, prefix in part.owner.exempt],
                        "directory": part.directory.path,
                        "usable": part.usable,
                        "plugins": [link.type for link in part.delegates],
                        "error": None if (error := error_of(part)) is None else error.msg,
                    }
                    for part in survey.parts
                ],
                "unlisted": survey.unlisted,
                "findings": [finding.document() for finding in found],
            }
            for survey, found in listed
        ],
    }


def _text(survey: Survey, found: list[Finding]) -> list[str]:
    """Return the owners of one facade as text."""
    rows = [["#", "OWNER", "", "MAY RUN", "RUNS", "NOT FOR"]]
    for number, part in enumerate(survey.parts, 1):
        rows.append(
            [
                str(number),
                part.owner.name,
                survey.standing(part.owner),
                "anything" if part.owner.types is None else ", ".join(sorted(part.owner.types)),
                ", ".join(link.type for link in part.delegates) or "nothing",
                ", ".join(f"{namespace}/{prefix}*" for namespace, prefix in part.owner.exempt),
            ]
        )
    heading = paint("bold", f"network {printable(survey.file.network)}") + f"  {printable(survey.file.path)}"
    lines = [heading, "", *table(rows, styles=["bold"], fold=5)]
    for finding in found:
        if finding.is_error:
            lines += [paint("red", line) for line in paragraph(f"{finding.place}: {finding.text()}", "")]
    for path in survey.unlisted:
        lines += paragraph(f"{path} isn't listed, so nothing in it is run.", "")
    return lines
