"""`cni-chain mesh shim`, an experiment: gives a mesh's proxy the service's address back.

The package that does it is imported by these commands alone, not by the others of `mesh`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cni_chain.cli.options import Command, Output
from cni_chain.cli.output import Form, paragraph, print_document, table
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree

if TYPE_CHECKING:
    from cni_chain.mesh.shim.state import PodState, ProxyState, State

EXPERIMENT = "This is an experiment: don't rely on it. cni-chain mesh shim off takes it away."

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="An experiment, off by default: give a mesh's proxy the service's address back.",
)


@app.command("on", cls=Command, short_help="Lay it in pods and on a proxy.")
def on(
    pod: Annotated[
        list[str],
        typer.Option(
            metavar="NETNS|PID",
            show_default=False,
            help="Lay it in this pod: the path of its network namespace, or a process of it. Repeatable.",
        ),
    ],
    proxy: Annotated[
        list[str],
        typer.Option(
            metavar="PID|CGROUP",
            show_default=False,
            help="Answer this proxy: its process, or the directory of its cgroup. Repeatable.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what would be answered: the proxy sees no difference.")
    ] = False,
) -> None:
    """Give a mesh's proxy the addresses of services back, which Cilium has replaced at connect(). An experiment.

    Where cni-chain mesh check says BROKEN, the proxy's SO_ORIGINAL_DST is a pod's address. This lays two BPF programs:
    one on lo of each pod learns the service's address of a connection that is redirected to the proxy, from Cilium's
    own map; one on the proxy's cgroup puts it into the answer. Where anything is missing, the kernel's answer stays.
    For TCP, over IPv4 and IPv6. It is no security boundary, and it depends on a private layout of Cilium's, which is
    checked. Pods and proxies that start later need the command again. Needs root.

    \b
    Examples:
      cni-chain mesh shim on --dry-run --pod /run/netns/POD --proxy PID
      cni-chain mesh shim on --pod /run/netns/POD --proxy $(pgrep -o ztunnel)

    Exit status: 0 laid, 1 refused (then nothing was laid).
    """
    for name, values in (("--pod", pod), ("--proxy", proxy)):
        if not all(values):
            raise typer.BadParameter(f"{name}: is empty; was a process looked for that doesn't run?")
    from cni_chain.mesh.shim import laying

    done = laying.on(pod, proxy, counts_only=dry_run)
    families = " and ".join(f"IPv{family}" for family in done.families)
    verb = "Counts" if dry_run else "Answers"
    print(f"{verb} for {_several(done.proxies, 'proxy', 'proxies')}, {families}, in:")
    print("\n".join(f"  {path}" for path in done.pods))
    print(EXPERIMENT)


@app.command("off", cls=Command, short_help="Take it from every pod and proxy of this node.")
def off() -> None:
    """Take the shim from every pod and proxy of this node; nothing of it stays. Needs root.

    \b
    Examples:
      cni-chain mesh shim off

    Exit status: 0 (also if there was nothing), 1 if something could not be removed.
    """
    from cni_chain.mesh.shim import laying

    _must_be_root()
    done = laying.off()
    pods, proxies = _several(len(done.pods), "pod", "pods"), _several(done.proxies, "proxy", "proxies")
    print(f"Taken from {pods} and {proxies}.")


@app.command("status", cls=Command, short_help="Show where it is, and what it has counted.")
def status(output: Output = Form.TEXT) -> None:
    """Show in which pods and on which proxies the shim is, and what it has counted since it was laid. Needs root.

    \b
    Examples:
      cni-chain mesh shim status
      cni-chain mesh shim status --json | jq '.proxies[].answered'

    Exit status: 0 if it is on a pod and on a proxy, 1 otherwise.
    """
    from cni_chain.mesh.shim import state

    _must_be_root()
    found = state.look()
    if output.is_document:
        print_document(output, "mesh-shim", Tree("/"), _document(found))
    else:
        print("\n".join(_lines(found)))
    raise typer.Exit(0 if found.is_on else 1)


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise RefusedError("other processes' namespaces can't be looked at", "run this command as root (sudo)")


def _several(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def _lines(found: State) -> list[str]:
    if not found.pods and not found.proxies:
        return ["The shim is off."]
    lines = [EXPERIMENT]
    if found.pods:
        rows = [["POD", "FAMILIES", "LEARNED", "DIRECT", "UNSEEN"], *map(_pod_row, found.pods)]
        lines += ["", *table(rows, indent="  ")]
    if found.proxies:
        rows = [["PROXY", "MODE", "ASKED", "ANSWERED", "COUNTED", "UNKNOWN", "DIFFERENT"]]
        lines += ["", *table([*rows, *map(_proxy_row, found.proxies)], indent="  ")]
    for note in _notes(found):
        lines += ["", *paragraph(f"Note: {note}", "")]
    return lines


def _pod_row(pod: PodState) -> list[str]:
    families = ", ".join(f"IPv{family}" for family in pod.families)
    counters = pod.counters
    numbers = [counters.learned, counters.direct, counters.unseen] if counters else ["?"] * 3
    return [pod.namespace, families, *map(str, numbers)]


def _proxy_row(proxy: ProxyState) -> list[str]:
    counters = proxy.counters
    if counters is None:
        return [proxy.cgroup, *["?"] * 6]
    mode = "counts" if counters.counts_only else "answers"
    return [proxy.cgroup or "(gone)", mode, *map(str, counters[1:])]


def _notes(found: State) -> list[str]:
    notes = [
        f"Cilium has replaced its map since: nothing is learned in {pod.namespace} until mesh shim on is run again"
        for pod in found.pods
        if pod.is_stale
    ]
    if any(not proxy.cgroup for proxy in found.proxies):
        notes.append("a proxy's cgroup is gone, as after its restart: run mesh shim on for the new one")
    if not found.is_on:
        notes.append("nothing is answered: it takes a pod and a proxy")
    return notes


def _document(found: State) -> dict[str, Any]:
    return {"experiment": True, "pods": [_pod(one) for one in found.pods], "proxies": list(map(_proxy, found.proxies))}


def _pod(pod: PodState) -> dict[str, Any]:
    counters = pod.counters
    return {
        "netns": pod.namespace,
        "families": pod.families,
        "stale": pod.is_stale,
        "learned": counters and counters.learned,
        "direct": counters and counters.direct,
        "unseen": counters and counters.unseen,
    }


def _proxy(proxy: ProxyState) -> dict[str, Any]:
    counters = proxy.counters
    return {
        "cgroup": proxy.cgroup or None,
        "countsOnly": counters and bool(counters.counts_only),
        "asked": counters and counters.asked,
        "answered": counters and counters.answered,
        "counted": counters and counters.counted,
        "unknown": counters and counters.unknown,
        "different": counters and counters.different,
    }
