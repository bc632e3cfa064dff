"""`cni-chain mesh check`: does a service's address survive until a mesh in the pod sees it?"""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.cli import mesh_answer
from cni_chain.cli.mesh_answer import Question
from cni_chain.cli.options import Output
from cni_chain.cli.output import Form
from cni_chain.mesh.probe import Target


def command(
    vip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IP:PORT[/udp]",
            show_default="a few of Cilium's services",
            help="Try this service's address. Repeatable.",
        ),
    ] = None,
    pod: Annotated[
        str | None,
        typer.Option(
            metavar="NETNS|PID",
            show_default="any pod",
            help="Try it as this pod: the path of its network namespace, or a process of it.",
        ),
    ] = None,
    cgroup: Annotated[
        str | None,
        typer.Option(metavar="PATH", show_default="the kubelet's, or that of --pod PID", help="The pod's cgroup."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|DIR",
            show_default=False,
            help="Compare with Cilium's ConfigMap: the output of kubectl --namespace kube-system get configmap "
            "cilium-config -o json, or a directory with a file for each key.",
        ),
    ] = None,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Whether connections are tried.")] = True,
    datapath: Annotated[
        bool,
        typer.Option(
            "--datapath",
            help="Also ask the programs at the node's side of the pod's interface, of --pod or of the newest pod that "
            "has a record. Each is run on a made-up first frame. No frame is sent, but the program does what it does "
            "for any: it may count it, report it, and note the connection in its tables until it forgets one that "
            "nobody answers.",
        ),
    ] = False,
    output: Output = Form.TEXT,
) -> None:
    """Find out whether a service's address survives until a mesh in the pod sees it.

    A load balancer that replaces the address at connect(), such as Cilium's, makes the mesh see a pod's address: its
    policies for the service then don't apply, and nothing reports an error. The verdict comes from the programs that
    the kernel runs for a pod, and from connections that are tried as a pod would and, for comparison, as the node's own
    processes. No packet is sent. Needs root.

    \b
    Examples:
      cni-chain mesh check
      cni-chain mesh check --vip 10.96.0.1:443 --vip 10.96.0.10:53/udp
      cni-chain mesh check --vip 10.96.0.1:443 --pod "$(pgrep -o nginx)"
      cni-chain mesh check --datapath --pod /run/netns/cni-4f21

    Exit status: 0 OK, 1 BROKEN, 3 UNKNOWN (it can't tell), 2 wrong usage.
    """
    targets = [vip_target(text) for text in vip or []]
    raise typer.Exit(mesh_answer.answer(Question(targets, pod, cgroup, config, probe, datapath), output))


def vip_target(text: str) -> Target:
    """Return what `--vip` names. Raises BadParameter."""
    try:
        return Target.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"--vip {error}") from None
