"""`cni-chain agent`: the DaemonSet's process. `cni_chain.daemon` does the work, and is imported when it is asked."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cni_chain.change import draft
from cni_chain.cli import completion
from cni_chain.cli.changes import places
from cni_chain.cli.options import BinDir, DistroName, NetDirectory, ProgramDir
from cni_chain.cli.output import Form, document_text
from cni_chain.cli.where import age
from cni_chain.node.conflists import CONTAINERD, CRIO
from cni_chain.node.errors import UsageError
from cni_chain.node.tree import Tree


def command(
    state: Annotated[
        str,
        typer.Option(metavar="prepared|on|off", show_default=False, help="What this node is to become, and to stay."),
    ],
    owner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:TYPE,…]",
            show_default=False,
            help="An owner that the facade is to have, as for `install`; repeat the option in the order in which the "
            "owners run. A mesh that the list in use doesn't have is optional until its agent has written.",
        ),
    ] = None,
    optional: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", show_default=False, help="An owner for which no pod waits (repeatable)."),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", show_default=False, help="An owner that the facade is not to have any more (repeatable)."
        ),
    ] = None,
    exempt: Annotated[
        list[str] | None,
        typer.Option(metavar="OWNER=NAMESPACE/PREFIX", show_default=False, help="As for `install`; only with --owner."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", show_default="the first owner's", help="The network's name, on a new node."
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="|".join((CONTAINERD, CRIO)),
            show_default=False,
            autocompletion=completion.one_of((CONTAINERD, CRIO)),
            help="The runtime whose rules choose the list in use. By default the one that runs.",
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Where probes, scrapers and people ask, by HTTP.")
    ] = "127.0.0.1:9753",
    every: Annotated[
        str, typer.Option(metavar="TIME", help="Look at the node so often, although nothing has changed.")
    ] = "30s",
    gc_every: Annotated[
        str, typer.Option("--gc-every", metavar="TIME", help="Free what pods have left so often; 0s: never.")
    ] = "5m",
    net_dir: NetDirectory = None,
    bin_dir: BinDir = None,
    chain_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", show_default="/etc/cni/chain.d", help="Holds the owners' directories."),
    ] = None,
    program_dir: ProgramDir = None,
    distro: DistroName = None,
    image: Annotated[int | None, typer.Option("--image", hidden=True)] = None,
) -> None:
    """Keep this node prepared, on or off: what a DaemonSet runs on each node. It never asks the Kubernetes API.

    In a container it installs the program on the node, and goes on as that; this takes the node's processes
    (hostPID). Then it does what `install`, `migrate` and `gc` do, with their proofs and guards, and looks again when
    something changes. It is ready if the node is as it is wanted and a new pod gets the whole chain. No pod needs it:
    while it is away, calls go on.

    \b
    prepared  all is written and nothing is switched; a facade is undone
    on        the facade is in place; what others do to it is put right,
              three times in ten minutes
    off       the previous list is active; without one, the chain is
              written as one list

    \b
    It answers by HTTP:
      /healthz        200 while it works
      /livez          200 too, or a redirect whose body has the reasons: a
                      kubelet takes it for alive, and makes it the pod's event
      /readyz         200, or 503 with the reasons; /readyz/OWNER for one owner
      /metrics        for Prometheus
      /status         as `cni-chain status --json`, and the agent's report

    \b
    Examples:
      cni-chain agent --state prepared
      cni-chain agent --state on --owner cilium:cilium-cni --owner local

    Exit status: 0 after SIGTERM or SIGINT, which leave the node as it is; 1 if its port can't be had, 2 wrong usage.
    """
    from cni_chain.daemon import loop, wanted

    if runtime not in (None, CONTAINERD, CRIO):
        raise UsageError(f"--runtime {runtime}: must be {CONTAINERD} or {CRIO}")
    where = places("/", distro, bin_dir, net_dir, program_dir)
    entries = None if owner is None and exempt is None else draft.owners(owner or [*draft.OWNERS], exempt or [])
    listed = {entry["name"]: entry for entry in entries or ()}
    for other in optional or ():
        if other not in listed:
            raise UsageError(f"--optional {other}: is none of the owners that --owner names")
        listed[other]["required"] = False
    for other in without or ():
        draft.owners([other], [])
        if other in listed:
            raise UsageError(f"--without {other}: --owner names it as well")
    loop.main(
        wanted.Wanted(
            state=wanted.state(state),
            bin_dir=where.bin_dir,
            net_dir=where.net_dir,
            chain_dir=chain_dir,
            program_dir=where.program_dir,
            owners=entries,
            optional=frozenset(optional or []),
            without=tuple(without or ()),
            name=name,
            runtime=runtime,
        ),
        loop.Process(
            listen=wanted.address(listen),
            every=max(1.0, age(every)),
            collect=age(gc_every),
            words=sys.argv[1:],
            image=image,
            document=_document,
        ),
    )


def _document(kind: str, members: dict[str, Any]) -> str:
    return document_text(Form.JSON, kind, Tree(), members)
