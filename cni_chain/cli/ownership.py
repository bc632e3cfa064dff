"""The commands about a facade's owners. What they do is in `owner`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from cni_chain.cli import drafting, facades, owner, placing
from cni_chain.cli.changing import ABinDir, AConf, ANetDir, DistroName, DryRun, Force, Root, carry_out, places, told
from cni_chain.cli.options import Json, directories, failure, find
from cni_chain.cli.survey import Survey
from cni_chain.cli.terminal import print_json
from cni_chain.cli.tree import Tree

OwnerName = Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The owner's name.")]

_OWNER = """Look at the owners of the chain, and change them on a live node.

    A runtime reads the facade again by itself. Only pods that start later are concerned: those that run get their DEL
    from their records. All other bytes of the facade stay as they are.

    An agent that is to be uninstalled must leave the facade first, or no new pod starts without it:
    cni-chain owner remove NAME, and then uninstall the agent.
    """
app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help=_OWNER)


@app.command("list", short_help="List the owners in the order in which they run.")
def owner_list(
    net_dir: ANetDir = None,
    bin_dir: ABinDir = None,
    distro: DistroName = None,
    conf: AConf = None,
    json: Json = False,
    root: Root = "/",
) -> None:
    """List the owners in the order in which they run, what each may run and does, and the pods that it is not for.

    \b
    Exit status: 0 if there is a facade, 1 if not.
    """
    tree = Tree(root)
    where, _ = places(distro, bin_dir, net_dir)
    directory, files = find(tree, where.net_dir, conf)
    if not files:
        raise failure(f"{directory.path}: no facade here: no file has a plugin of type {facades.TYPE}")
    surveys = [Survey(tree, file, directories(tree, [where.bin_dir])) for file in files]
    if json:
        print_json(owner.document(tree, surveys))
    else:
        print("\n\n".join("\n".join(owner.text(one)) for one in surveys))


@app.command("add", short_help="Add an owner.")
def owner_add(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME[:TYPE,…]", show_default=False, help="The owner, and the plugin types that it may contribute."
        ),
    ],
    before: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Run it before this owner.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="NAME", show_default="last", help="Run it after this owner.")
    ] = None,
    required: Annotated[
        bool | None,
        typer.Option("--required/--optional", show_default="required", help="Whether new pods wait for it."),
    ] = None,
    exempt: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMESPACE/PREFIX", show_default=False, help="Pods for which it is skipped. Repeatable."),
    ] = None,
    net_dir: ANetDir = None,
    bin_dir: ABinDir = None,
    distro: DistroName = None,
    conf: AConf = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    root: Root = "/",
) -> None:
    """Add an owner, and make its directory. Refused if no new pod would get a network then, as it is while a required
    owner has no fragment: add it with --optional, and require it when its agent has written.

    \b
    Examples:
      cni-chain owner add linkerd:linkerd-cni --after cilium --exempt linkerd-cni/linkerd-cni- --optional
      cni-chain owner require linkerd

    \b
    Exit status: 0 if it is an owner, 1 if that was refused or failed, 2 wrong usage.
    """
    if before is not None and after is not None:
        raise typer.BadParameter("--before and --after exclude each other")
    with _edit(net_dir, bin_dir, distro, conf, root=root, force=force) as edit:
        entry = drafting.owner(name, [drafting.pods(text) for text in exempt or []])
        if required is not None:
            entry["required"] = required
        carry_out(edit.add(entry, before=before, after=after), dry_run=dry_run, json=json)


@app.command("remove", short_help="Take an owner out, for instance before its agent is uninstalled.")
def owner_remove(
    name: OwnerName,
    net_dir: ANetDir = None,
    bin_dir: ABinDir = None,
    distro: DistroName = None,
    conf: AConf = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    root: Root = "/",
) -> None:
    """Take an owner out: new pods start without it. Its directory stays. Do it before its agent is uninstalled.

    Refused if no new pod would get a network then.

    \b
    Exit status: 0 if it is no owner any more, 1 if that was refused or failed.
    """
    with _edit(net_dir, bin_dir, distro, conf, root=root, force=force) as edit:
        carry_out(edit.remove(name), dry_run=dry_run, json=json)


@app.command("require", short_help="Let new pods wait for an owner, or not.")
def owner_require(
    name: OwnerName,
    no: Annotated[bool, typer.Option("--no", help="Let new pods start without it.")] = False,
    net_dir: ANetDir = None,
    bin_dir: ABinDir = None,
    distro: DistroName = None,
    conf: AConf = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    root: Root = "/",
) -> None:
    """Let new pods wait until an owner has a usable fragment; with --no, let them start without it.

    Refused if no new pod would get a network then.

    \b
    Exit status: 0 if it is so, 1 if that was refused or failed.
    """
    with _edit(net_dir, bin_dir, distro, conf, root=root, force=force) as edit:
        carry_out(edit.require(name, required=not no), dry_run=dry_run, json=json)


@contextlib.contextmanager
def _edit(
    net_dir: str | None, bin_dir: str | None, distro: str | None, conf: str | None, *, root: str, force: bool
) -> Iterator[owner.Edit]:
    """Yield an edit of the facade that is meant, while nobody else changes it."""
    tree = Tree(root)
    where, _ = places(distro, bin_dir, net_dir)
    directory, files = find(tree, where.net_dir, conf)
    with told():
        file = owner.only(files, directory.path)
        with placing.locked(tree.real(file.path.rpartition("/")[0])):
            (fresh,) = find(tree, where.net_dir, file.path)[1]  # nobody changes it from here on
            yield owner.Edit(tree, fresh, directories(tree, [where.bin_dir]), force=force)
