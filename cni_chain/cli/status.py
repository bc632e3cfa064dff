"""`cni-chain status`: a node at a glance, for people and for scripts that wait. `glance` does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.cli import glance
from cni_chain.cli.options import BinDirs, Conf, DistroName, NetDirectory, Output, Root, StateDirs
from cni_chain.cli.output import Form
from cni_chain.cli.where import Where, age


def command(
    wait: Annotated[
        str,
        typer.Option(
            "--wait",
            metavar="TIME",
            show_default=False,
            help="Wait until a new pod gets the whole chain, but no longer than this (60s, 5m).",
        ),
    ] = "0s",
    output: Output = Form.TEXT,
    state_dir: StateDirs = None,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Show at a glance whether a new pod gets the whole chain: each owner with what it runs or waits for, the pods,
    what a mesh sees, what failed last, the runtime.

    The verdict is that of doctor, which runs the same rules and says what to do. Without a facade in the runtime's
    directory no new pod gets the chain, even where doctor only warns that one waits as '….ready'. Run it as root:
    agents' files may be readable by root only.

    \b
    Examples:
      cni-chain status
      cni-chain status --wait 60s && systemctl start my-workload
      cni-chain status -o json | jq .whole

    Exit status: 0 if a new pod gets the whole chain, 1 if not, 2 wrong usage, 3 if the node can't be read, for
    example without root's rights.
    """
    where = Where.given(root, distro, net_dir=net_dir, bin_dir=bin_dir, conf=conf, state_dir=state_dir)
    raise typer.Exit(glance.status(where, output, age(wait)))
