"""`cni-chain install`: put cni-chain on a node."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.change import draft, files, install, installed
from cni_chain.cli.changes import carry_out, places
from cni_chain.cli.options import BinDir, ChangedRoot, DistroName, DryRun, Force, NetDirectory, Output, ProgramDir
from cni_chain.cli.output import Form
from cni_chain.node.errors import RefusedError


def command(
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
            show_default="the mesh agents' own pods, in their charts' namespaces",
            help="Pods for which an owner is skipped: its agent's own, if that needs the pod network. Repeatable.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            show_default="that of the configuration in use",
            help="The network's name: plugins keep addresses and rules under it. On a new node: the first owner's.",
        ),
    ] = None,
    cni_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            show_default="1.0.0, and cniVersions up to 1.1.0",
            help="The only version of the specification that runtimes may use.",
        ),
    ] = None,
    bin_dir: BinDir = None,
    net_dir: NetDirectory = None,
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
        bool, typer.Option("--no-facade", help="Install everything but the facade: nothing changes for pods.")
    ] = False,
    replace_facade: Annotated[
        bool, typer.Option("--replace-facade", help="Replace a present facade with the one of the options.")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Form.TEXT,
    root: ChangedRoot = "/",
) -> None:
    """Put the program, the owners' directories, the log's rotation and, last, the facade in place.

    Run it from the unpacked archive. Each file appears as a whole or not at all, and if one step fails, those before
    it are undone. A second run changes nothing. A newer version is put beside the old one, which stays. A present
    facade stays as it is, unless options ask for another one. On a node that has a network, a facade whose chain
    can't run yet is refused.

    \b
    Examples:
      bin/cni-chain install --dry-run
      bin/cni-chain install --no-facade   then move each agent, install again
      bin/cni-chain install --distro k3s --owner flannel:flannel --owner local
      bin/cni-chain install --root /host  in a container

    Exit status: 0 if all is in place, 1 if it was refused or failed, 2 wrong usage.
    """
    where = places(root, distro, bin_dir, net_dir, program_dir)
    source = installed.running()
    if source is None:
        raise RefusedError(install.FROM_SOURCE)
    if "/" in facade or not facade.endswith(".conflist") or facade.startswith("."):
        raise typer.BadParameter(f"{facade!r}: --facade must be a file's name that ends in .conflist")
    given = None if owner is None and exempt is None else draft.owners(owner or [*draft.OWNERS], exempt or [])
    options = install.Options(
        bin_dir=where.bin_dir,
        net_dir=where.net_dir,
        program_dir=where.program_dir,
        chain_dir=chain_dir,
        facade=facade,
        owners=given,
        name=name,
        cni_version=None if cni_version is None else draft.version(cni_version),
        with_facade=not no_facade,
        replace_facade=replace_facade,
        force=force,
    )
    with files.locked(where.tree, options.net_dir):
        plan = install.plan(where.tree, options, source)
        plan.notes += where.notes
        carry_out(plan, dry_run=dry_run, output=output)
