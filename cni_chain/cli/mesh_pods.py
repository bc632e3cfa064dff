"""`cni-chain mesh pods`: are this node's pods captured by the mesh?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from cni_chain.cli.mesh_check import vip_target
from cni_chain.cli.options import DistroName, NetDirectory, Output, StateDirs
from cni_chain.cli.output import Form, paragraph, print_document, table
from cni_chain.cli.where import Where
from cni_chain.mesh import pods
from cni_chain.mesh.capture import Fate, State, redirected
from cni_chain.mesh.pods import MeshPod
from cni_chain.mesh.verdict import Verdict
from cni_chain.node import attachments


def command(
    counters: Annotated[
        bool,
        typer.Option("--counters", help="Also show how many connections the rules have redirected, out and in."),
    ] = False,
    services: Annotated[
        bool,
        typer.Option(
            "--services",
            help="Also find out for each pod whether services' addresses survive, as mesh check does for one.",
        ),
    ] = False,
    vip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IP:PORT[/udp]",
            show_default="a few of Cilium's services",
            help="With --services: try this service's address. Repeatable.",
        ),
    ] = None,
    output: Output = Form.TEXT,
    state_dir: StateDirs = None,
    net_dir: NetDirectory = None,
    distro: DistroName = None,
) -> None:
    """Find out which pods are captured by a mesh: of those whose chain has a mesh's plugin, each in its own namespace.

    A pod is captured if its rules redirect what leaves and what arrives to ports on which the mesh's proxy listens:
    ztunnel, or a sidecar of Istio, Linkerd, Kuma or Consul. The rules are read, and no packet is sent. A pod that its
    mesh does not enrol is not captured either: cni-chain does not ask the Kubernetes API. Needs root.

    \b
    Examples:
      cni-chain mesh pods
      cni-chain mesh pods --counters
      cni-chain mesh pods --services --vip 10.96.0.1:443
      cni-chain mesh pods --json | jq '.pods[] | .pod, .state'

    Exit status: 0 if all are captured, 1 if a pod is not, 3 if that is not known of a pod. With --services, also 1 if a
    service's address does not survive, and 3 if that is not known.
    """
    if vip and not services:
        raise typer.BadParameter("--vip needs --services")
    targets = [vip_target(text) for text in vip or []] if services else None
    where = Where.given("/", distro, state_dir=state_dir, net_dir=net_dir)
    _, files = where.find()
    found = list(pods.look(attachments.look(where.tree, files, where.state_dirs), targets))
    if output.is_document:
        print_document(output, "mesh-pods", where.tree, {"pods": [_pod(one) for one in found]})
    else:
        print("\n".join(_lines(found, counters=counters, services=services)))
    raise typer.Exit(_status(found))


def _status(found: Sequence[MeshPod]) -> int:
    states = {one.capture.state for one in found}
    verdicts = {one.services.verdict for one in found if one.services}
    if states & {State.NOT, State.PARTLY} or Verdict.BROKEN in verdicts:
        return 1
    return 3 if State.UNKNOWN in states or Verdict.UNKNOWN in verdicts else 0


def _lines(found: Sequence[MeshPod], *, counters: bool, services: bool) -> list[str]:
    if not found:
        return ["No pod of this node has a record of a mesh's plugin."]
    heading = ["POD", "AGE", "PLUGIN", "STATE", "BY"]
    heading += ["OUT", "IN"] if counters else []
    heading += ["SERVICES"] if services else []
    rows = [heading]
    for one in found:
        row = [_name(one), attachments.words(one.entry.age), ", ".join(one.plugins), str(one.capture.state), one.proxy]
        if counters:
            counts = (redirected(one.fates, direction) for direction in ("out", "in"))
            row += ["" if count is None else str(count) for count in counts]
        row += [str(one.services.verdict) if one.services else ""] if services else []
        rows.append(row)
    lines = table(rows)
    for one in found:
        for text in _remarks(one):
            lines += ["", *paragraph(f"{_name(one)}: {text}", "")]
    return lines


def _name(one: MeshPod) -> str:
    return one.entry.pod or one.entry.attachment.container_id[:13]


def _remarks(one: MeshPod) -> Iterator[str]:
    """Yield what is wrong with a pod, and what to do."""
    if one.capture.why:
        yield f"{one.capture.why}." + (f" Do: {one.capture.do}." if one.capture.do else "")
    if one.services and one.services.verdict is not Verdict.OK:
        do = "; then ".join(one.services.do)
        yield f"{one.services.why}." + (f" Do: {do}." if do else "")


def _pod(one: MeshPod) -> dict[str, Any]:
    return {
        "pod": one.entry.pod,
        "containerID": one.entry.attachment.container_id,
        "ifname": one.entry.attachment.ifname,
        "ageSeconds": int(one.entry.age),
        "netns": one.entry.record.context["netns"],
        "netnsAgeSeconds": None if one.made is None else int(max(0.0, time.time() - one.made)),
        "plugins": list(one.plugins),
        "state": one.capture.state,
        "why": one.capture.why or None,
        "proxy": one.proxy or None,
        "do": one.capture.do or None,
        "connections": [_connection(fate) for fate in one.fates],
        "services": one.services and {"verdict": one.services.verdict, "why": one.services.why, "do": one.services.do},
    }


def _connection(fate: Fate) -> dict[str, Any]:
    return {
        "direction": fate.direction,
        "family": fate.family,
        "port": fate.port or None,
        "redirected": fate.redirected,
        "listeners": [
            {"pid": listener.pid or None, "name": listener.name or None, "inPod": listener.in_pod}
            for listener in fate.listeners
        ],
    }
