"""The commands that put cni-chain on a node and take it away. What they do is in `install` and `uninstall`."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.change import draft, install, installed, uninstall
from cni_chain.cli import owner
from cni_chain.cli.apply import (
    ABinDir,
    AConf,
    ANetDir,
    DryRun,
    Force,
    ProgramDir,
    Root,
    carry_out,
    locked,
    places,
    told,
    tree_of,
)
from cni_chain.cli.options import DistroName, Json
from cni_chain.node.errors import RefusedError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("install", short_help="Put the program, the owners' directories and the facade in place.")(
        install_command
    )
    app.command("uninstall", short_help="Give the node back to the configuration before.")(uninstall_command)
    app.add_typer(owner.app, name="owner", short_help="List and change who contributes to the chain.")


def install_command(
    owner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:TYPE,…]",
            show_default=" ".join(draft.OWNERS),
            help="An owner, and the plugin types that it may contribute; repeat the option in the order in which the "
            "owners run. Each is required, but 'local' is optional (see `cni-chain owner require`).",
        ),
    ] = None,
    exempt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OWNER=NAMESPACE/PREFIX",
            show_default="the mesh agents' own, where their charts put them",
            help="Pods for which an owner is skipped: its agent's own, if that needs the pod network. Repeatable.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            show_default="that of the configuration in use",
            help="The network's name: plugins keep addresses and rules by it. On a new node: the first owner's.",
        ),
    ] = None,
    cni_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            show_default="1.0.0, and cniVersions up to 1.1.0",
            help="The only version of the specification that runtimes are to use.",
        ),
    ] = None,
    bin_dir: ABinDir = None,
    net_dir: ANetDir = None,
    chain_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", show_default="/etc/cni/chain.d", help="Holds the owners' directories."),
    ] = None,
    program_dir: ProgramDir = None,
    distro: DistroName = None,
    facade: Annotated[
        str, typer.Option(metavar="FILE", help="The facade's name in --net-dir; 01-… goes behind Multus.")
    ] = install.FACADE,
    no_facade: Annotated[
        bool, typer.Option("--no-facade", help="Everything but the facade: nothing changes for pods.")
    ] = False,
    replace_facade: Annotated[
        bool, typer.Option("--replace-facade", help="Replace a facade that is there by the one that the options make.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    root: Root = "/",
) -> None:
    """Put the program, the owners' directories, the log's rotation and, last, the facade in place.

    Run it from the unpacked archive. Each file appears as a whole or not at all, and if one step fails, those before
    it are taken back. A second run changes nothing. A newer version is put beside the old one, which stays. A facade
    that is there stays as it is, unless options ask for another one. On a node that has a network, a facade whose
    chain can't run yet is refused.

    \b
    Examples:
      bin/cni-chain install --dry-run
      bin/cni-chain install --no-facade       then send each agent to its directory, and install again
      bin/cni-chain install --distro k3s --owner flannel:flannel --owner linkerd:linkerd-cni --owner local
      bin/cni-chain install --root /host      in a container

    \b
    Exit status: 0 if all is in place, 1 if it was refused or failed, 2 wrong usage.
    """
    where, distro_note = places(distro, bin_dir, net_dir)
    with told():
        tree = tree_of(root)
        source = installed.running()
        if source is None:
            raise RefusedError(install.FROM_SOURCE)
        if "/" in facade or not facade.endswith(".conflist") or facade.startswith("."):
            raise typer.BadParameter(f"{facade!r}: --facade must be a file's name that ends in .conflist")
        given = None if owner is None and exempt is None else draft.owners(owner or [*draft.OWNERS], exempt or [])
        options = install.Options(
            bin_dir=tree.path(where.bin_dir),
            net_dir=tree.path(where.net_dir),
            program_dir=tree.path(program_dir) if program_dir else where.program_dir if bin_dir is None else None,
            chain_dir=chain_dir,
            facade=facade,
            owners=given,
            name=name,
            cni_version=None if cni_version is None else draft.version(cni_version),
            with_facade=not no_facade,
            replace_facade=replace_facade,
            force=force,
        )
        with locked(tree, options.net_dir):
            plan = install.plan(tree, options, source)
            plan.notes += distro_note
            carry_out(plan, dry_run=dry_run, json=json)


def uninstall_command(
    bin_dir: ABinDir = None,
    net_dir: ANetDir = None,
    program_dir: ProgramDir = None,
    distro: DistroName = None,
    conf: AConf = None,
    restore: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="First put this configuration into --net-dir; a name that Cilium gave it (.cilium_bak) is undone.",
        ),
    ] = None,
    keep_program: Annotated[
        bool,
        typer.Option("--keep-program", help="Take only the facade away: what pods' DEL still needs stays."),
    ] = False,
    leave: Annotated[
        bool,
        typer.Option(
            "--leave-node-without-network", help="Go on although the runtime has no configuration behind the facade."
        ),
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    root: Root = "/",
) -> None:
    """Give the node back to the configuration that was there before cni-chain.

    The facade is renamed, and the runtime takes the file behind it: there must be one, and it should have every plugin
    of the chain; what it lacks is warned of. Send the agents back after that. While pods have records, only
    --keep-program goes on, since their DEL needs the program; without it, uninstall again when they are gone. Fragments
    stay, they are their owners'. To uninstall an agent, not cni-chain: cni-chain owner remove NAME first.

    \b
    Examples:
      cni-chain uninstall --keep-program --dry-run
      cni-chain uninstall --restore /etc/cni/net.d/05-cilium.conflist.cilium_bak --keep-program
      cni-chain uninstall

    \b
    Exit status: 0 if it is gone, 1 if that was refused or failed, 2 wrong usage.
    """
    where, distro_note = places(distro, bin_dir, net_dir)
    with told():
        tree = tree_of(root)
        options = uninstall.Options(
            bin_dir=tree.path(where.bin_dir),
            net_dir=tree.path(where.net_dir),
            program_dir=tree.path(program_dir) if program_dir else where.program_dir if bin_dir is None else None,
            conf=conf,
            restore=restore,
            keep_program=keep_program,
            without_network=leave,
            force=force,
        )
        with locked(tree, options.net_dir):
            plan = uninstall.plan(tree, options)
            plan.notes += distro_note
            carry_out(plan, dry_run=dry_run, json=json)
