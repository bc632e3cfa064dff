"""`cni-chain uninstall`: remove cni-chain from a node."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.change import files, uninstall
from cni_chain.cli.changes import Places, carry_out, places
from cni_chain.cli.migrate_text import shell
from cni_chain.cli.options import (
    BinDir,
    ChangedRoot,
    DistroName,
    DryRun,
    Force,
    NetDirectory,
    OneConf,
    Output,
    ProgramDir,
)
from cni_chain.cli.output import Form
from cni_chain.migrate import roll_back


def command(
    bin_dir: BinDir = None,
    net_dir: NetDirectory = None,
    program_dir: ProgramDir = None,
    distro: DistroName = None,
    conf: OneConf = None,
    restore: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="First restore this configuration to --net-dir, without the suffix .cilium_bak or .before-cni-chain.",
        ),
    ] = None,
    keep_program: Annotated[
        bool,
        typer.Option("--keep-program", help="Remove only the facade: what the DEL of pods needs stays."),
    ] = False,
    leave: Annotated[
        bool,
        typer.Option("--leave-node-without-network", help="Go on although the runtime has no other configuration."),
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    output: Output = Form.TEXT,
    root: ChangedRoot = "/",
) -> None:
    """Remove cni-chain from a node; the runtime uses the previous configuration again.

    The facade is renamed, and the runtime takes the file behind it: one must exist, and the command warns of each
    plugin of the chain that it lacks. Move the agents back after that. While pods have records, only --keep-program
    goes on, because their DEL needs the program: uninstall again without it when the pods are gone. Fragments stay,
    because they belong to their owners. To uninstall an agent, not cni-chain: cni-chain owner remove NAME first.

    \b
    Examples:
      cni-chain uninstall --keep-program --dry-run
      cni-chain uninstall --keep-program \\
        --restore /etc/cni/net.d/05-cilium.conflist.cilium_bak
      cni-chain uninstall

    Exit status: 0 if it is removed, 1 if that was refused or failed, 2 wrong usage.
    """
    where = places(root, distro, bin_dir, net_dir, program_dir)
    options = uninstall.Options(
        bin_dir=where.bin_dir,
        net_dir=where.net_dir,
        program_dir=where.program_dir,
        conf=conf,
        restore=restore,
        keep_program=keep_program,
        without_network=leave,
        force=force,
    )
    with files.locked(where.tree, options.net_dir):
        plan = uninstall.plan(where.tree, options)
        plan.notes += where.notes
        plan.notes += _moves_back(where, conf)
        carry_out(plan, dry_run=dry_run, output=output)


def _moves_back(where: Places, conf: str | None) -> list[str]:
    """Return a note for each agent that moves back after that, with its commands to copy."""
    found = []
    for step in roll_back.moves(where.tree, where.net_dir, conf):
        commands = [line for command in step.commands for line in shell(command)]
        text = f"Then {step.text[:1].lower()}{step.text[1:]}"
        found.append("\n".join([text, *step.remarks, *commands]))
    return found
