"""`cni-chain migrate`: splits the list that agents share into a directory for each, with a proof and one rename."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cni_chain.agents.registry import BY_OWNER
from cni_chain.cli import completion, migrate_text
from cni_chain.cli.migrate_site import Add, ChainDir, FacadeName, Owners, Runtime, Site, Without, meshes
from cni_chain.cli.migrate_text import head, plan_document, proof_document, proof_text
from cni_chain.cli.options import BinDirs, Command, DistroName, NetDirectory, Output, Root
from cni_chain.cli.output import Form, paint, printable
from cni_chain.migrate import guards, moves
from cni_chain.migrate.plan import FACADE, FINISHED, LIVE, SWITCHED, UNDONE, WRITTEN
from cni_chain.migrate.standing import Standing
from cni_chain.node.errors import RefusedError
from cni_chain.plugin import facade as facade_keys

_HELP = """Split the list that the runtime uses now into a directory for each agent, and prove that nothing changes.

    `plan` changes nothing: it prints each plugin's owner, the proof that each plugin gets the same configuration in the
    same order as before, and the steps for a node with running pods. `write` writes the fragments. `switch` proves it
    again for the files on the disk, refuses an order of steps that would harm pods, and puts the facade in place by one
    rename. `undo` takes it away by one rename. `status` prints which steps are done, and the commands for the next.

    Values of the list are printed unchanged, credentials too.

    \b
    Examples:
      cni-chain migrate plan               what would be done; changes nothing
      cni-chain migrate plan --add istio   with a mesh that is installed later
      cni-chain migrate write              then move agents, in the steps' order
      cni-chain migrate switch
      cni-chain migrate status             what is done, and what comes next
      cni-chain migrate undo               the previous list is active again
    """
app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True, help=_HELP)


@app.command("plan", cls=Command, short_help="Print the split, the proof and the steps; change nothing.")
def plan(
    owner: Owners = None,
    add: Add = None,
    without: Without = None,
    runtime: Runtime = None,
    facade: FacadeName = FACADE,
    output: Output = Form.TEXT,
    chain_dir: ChainDir = facade_keys.CHAIN_DIR,
    net_dir: NetDirectory = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Print each plugin's owner, the proof that nothing changes for it, and the steps. Change nothing.

    When the facade is in place, it prints the steps that are left, as `status` does.

    \b
    Examples:
      cni-chain migrate plan
      cni-chain migrate plan --add istio
      cni-chain migrate plan --owner edge:portmap,bandwidth

    Exit status: 0 if the node can be migrated or is, 1 if not (the reason is printed), 2 for wrong usage.
    """
    site = Site.at(runtime, facade, chain_dir, net_dir, bin_dir, distro, root, output=output)
    if site.state in (SWITCHED, FINISHED):
        _in_place(site, add)
        _print_standing(site, site.standing(), [])
        return
    made, one = site.planned(owner, add, without)
    way = site.in_the_way(without)
    if output.is_document:
        site.show(plan_document(site.paths, made, one) | {"refusals": way})
    else:
        print("\n".join([*migrate_text.plan_text(site.paths, made, one), *migrate_text.refusals_text(way)]))
    behind = guards.sorts_behind(site.paths, made.live)
    if behind:
        raise RefusedError(behind.message)
    if made.left_out:
        raise RefusedError(made.left_out[0].message(made.live))
    raise typer.Exit(0 if made.proof.holds and made.unusable is None else 1)


def _in_place(site: Site, add: list[str] | None) -> None:
    """Refuse --add where the facade is in place: its owners are changed there. Raises RefusedError."""
    for name in meshes("--add", add):
        raise RefusedError(
            f"{site.paths.facade}: is in place already",
            f"add the mesh with: cni-chain owner add {name}:{BY_OWNER[name].type} --optional "
            "(docs/guides/add-a-mesh-later.md)",
        )


@app.command("write", cls=Command, short_help="Write the fragments, and the facade under a name that no runtime reads.")
def write(
    owner: Owners = None,
    add: Add = None,
    without: Without = None,
    runtime: Runtime = None,
    facade: FacadeName = FACADE,
    output: Output = Form.TEXT,
    chain_dir: ChainDir = facade_keys.CHAIN_DIR,
    net_dir: NetDirectory = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Write the fragments, a copy of the list, and the facade under a name that no runtime reads.

    A file that exists is left alone. A second run changes nothing.

    Exit status: 0 if all is written, 1 if not (nothing is then changed), 2 for wrong usage.
    """
    site = Site.at(runtime, facade, chain_dir, net_dir, bin_dir, distro, root, output=output)
    if site.state in (SWITCHED, FINISHED):
        _in_place(site, add)
        _nothing(site, f"{site.paths.facade} is in place already: nothing to write")
        return
    made, one = site.planned(owner, add, without)
    if not made.proof.holds:
        if output.is_document:
            site.show(plan_document(site.paths, made, one) | {"changed": []})
        else:
            print("\n".join(proof_text(made.proof)), file=sys.stderr)
    changed = moves.write(site.tree, site.paths, made, without or [])
    one = site.standing(WRITTEN, meshes("--without", without))
    if output.is_document:
        site.show(plan_document(site.paths, made, one) | {"changed": changed})
        return
    for path in changed:
        print(f"written  {printable(path)}")
    if not changed:
        print("Nothing to change: every file exists.")
    print("\n".join([*proof_text(made.proof), *migrate_text.next_text(one)]))


@app.command("switch", cls=Command, short_help="Put the facade in place, by one rename.")
def switch(
    override: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            show_default=False,
            autocompletion=completion.one_of(guards.OVERRIDABLE),
            help="Overrule a refusal that is only a guess; its message gives the ID (repeatable).",
        ),
    ] = None,
    without: Without = None,
    runtime: Runtime = None,
    facade: FacadeName = FACADE,
    output: Output = Form.TEXT,
    chain_dir: ChainDir = facade_keys.CHAIN_DIR,
    net_dir: NetDirectory = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Put the facade in place, by one rename, if the proof holds for the files on the disk and nothing is in the way.

    It uses what `write` wrote, with the changes that you made to it since. The facade is watched for a moment: an agent
    that still owns the directory renames or edits it at once.

    Exit status: 0 if the facade is in place, 1 if not (the reason is printed), 2 for wrong usage.
    """
    unknown = [name for name in override or [] if name not in guards.OVERRIDABLE]
    if unknown:
        raise typer.BadParameter(f"--override {unknown[0]}: must be one of {', '.join(guards.OVERRIDABLE)}")
    site = Site.at(runtime, facade, chain_dir, net_dir, bin_dir, distro, root, output=output)
    if site.state in (SWITCHED, FINISHED):
        _nothing(site, f"{site.paths.facade} is in place already")
        return
    one = site.switch(meshes("--without", without))
    refused = one.standing(override or [])
    done = not refused
    changed = one.do() if done else []
    after = site.standing(SWITCHED if done else None)
    if output.is_document:
        document = {
            "proof": proof_document(one.proof),
            "refusals": migrate_text.refusal_documents(refused),
            "changed": changed,
        }
        site.show(head(site.paths, after.state) | document | migrate_text.steps_document(after))
    elif done:
        print("\n".join([*proof_text(one.proof), after.summary, *migrate_text.next_text(after)]))
    _complain(migrate_text.difference_lines(one.waiting, one.proof))
    _complain(migrate_text.refusal_lines(refused))
    if not done:
        _complain(["not switched; nothing was changed"])
        raise typer.Exit(1)


@app.command("undo", cls=Command, short_help="Make the previous list active again, by one rename.")
def undo(
    runtime: Runtime = None,
    facade: FacadeName = FACADE,
    output: Output = Form.TEXT,
    chain_dir: ChainDir = facade_keys.CHAIN_DIR,
    net_dir: NetDirectory = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Rename the facade away, so that the previous list is active again, and print the steps that roll back.

    The fragments and the facade stay, under a name that no runtime reads.

    Exit status: 0 if the previous list is active, 1 if not (the reason is printed), 2 for wrong usage.
    """
    site = Site.at(runtime, facade, chain_dir, net_dir, bin_dir, distro, root, output=output)
    if site.state not in (SWITCHED, FINISHED):
        _nothing(site, f"{site.paths.facade} is not in place: nothing to undo")
        return
    choice = moves.previous(site.tree, site.paths, site.directory, site.runtime, site.bin_dirs)
    changed, warnings = moves.undo(site.tree, site.paths, site.directory, choice)
    after = site.standing(UNDONE)
    if output.is_document:
        document: dict[str, Any] = {"changed": changed, "warnings": warnings}
        site.show(head(site.paths, UNDONE) | document | migrate_text.steps_document(after))
        return
    print(f"{choice.live.path} is active again; the facade waits as {site.paths.undone}")
    for warning in warnings:
        print(f"{paint('yellow', 'warning')}: {printable(warning)}")
    print("\n".join(migrate_text.steps_text(after)))


@app.command("status", cls=Command, short_help="Print which steps are done, and the commands for the next.")
def status(
    without: Without = None,
    runtime: Runtime = None,
    facade: FacadeName = FACADE,
    output: Output = Form.TEXT,
    chain_dir: ChainDir = facade_keys.CHAIN_DIR,
    net_dir: NetDirectory = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Print how far this node's migration is: which steps are done (✓), which come next (→), and their commands.

    After `undo` these are the steps that roll back.

    Exit status: 0 if that could be found out, 1 if not, 2 for wrong usage.
    """
    site = Site.at(runtime, facade, chain_dir, net_dir, bin_dir, distro, root, output=output)
    if site.state == LIVE:
        _, one = site.planned(None, None, without)
    else:
        one = site.standing(without=meshes("--without", without))
    _print_standing(site, one, site.in_the_way(without))


def _print_standing(site: Site, one: Standing, way: list[Any]) -> None:
    if site.output.is_document:
        document = head(site.paths, one.state) | migrate_text.steps_document(one)
        site.show(document | {"refusals": way})
        return
    print("\n".join([*migrate_text.standing_text(one), *migrate_text.refusals_text(way)]))


def _nothing(site: Site, message: str) -> None:
    if site.output.is_document:
        site.show(head(site.paths, site.state) | {"changed": []})
    else:
        print(printable(message))


def _complain(lines: list[str]) -> None:
    for line in lines:
        print(f"cni-chain: {printable(line)}", file=sys.stderr)
