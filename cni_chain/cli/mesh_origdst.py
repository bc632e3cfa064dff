"""`cni-chain mesh origdst`: which service did a live connection ask for?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cni_chain.cli.options import Output
from cni_chain.cli.output import Form, paint, paragraph, print_document, printable
from cni_chain.cli.where import Where
from cni_chain.mesh import origdst
from cni_chain.mesh.origdst import Answer, Kind
from cni_chain.mesh.probe import Target
from cni_chain.node import attachments
from cni_chain.node.errors import UnknownError, UnreadableError, UsageError
from cni_chain.node.tree import Tree

_STATUS = {Kind.SERVICE: 0, Kind.CANDIDATES: 1, Kind.NONE: 1, Kind.UNKNOWN: 3}
_STYLE = {Kind.SERVICE: "green", Kind.CANDIDATES: "yellow", Kind.NONE: "bold", Kind.UNKNOWN: "yellow"}


def command(
    source: Annotated[
        str, typer.Argument(metavar="SRC", show_default=False, help="The pod's end of the connection, IP:PORT.")
    ],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DST",
            show_default=False,
            help="The other end as a packet or a log line has it, IP:PORT or IP:PORT/udp.",
        ),
    ],
    netns: Annotated[
        str | None,
        typer.Option(
            metavar="NETNS|PID",
            show_default="by the record that has the address of SRC",
            help="The pod whose socket it is: the path of its network namespace, or a process of it.",
        ),
    ] = None,
    output: Output = Form.TEXT,
) -> None:
    """Find out which service's address a live connection asked for, where only a pod's address is visible.

    A mesh's log, or a packet, shows a pod's address if Cilium has replaced the service's. Cilium's maps say which
    address that was: for a socket, if it was replaced at connect(), and for a connection, if it was replaced on the
    node's side of the pod's interface. What they don't say is not guessed: services that have this backend are named
    as candidates. Nothing is changed. Needs root.

    \b
    Examples:
      cni-chain mesh origdst 10.244.0.11:40912 10.244.0.21:8080
      cni-chain mesh origdst 10.244.0.11:40912 10.244.0.21:5353/udp
      cni-chain mesh origdst 10.244.0.11:40912 10.244.0.21:8080 --netns 4711

    Exit status: 0 if the service is certain, 1 if it asked for no service or for one of the candidates, 3 if that is
    not known, 2 wrong usage.
    """
    here, there = _target(source, "SRC"), _target(destination, "DST")
    if (":" in here.address) != (":" in there.address):
        raise UsageError(f"{source}, {destination}: must be of the same family, IPv4 or IPv6")
    namespace = _of_address(here.address) if netns is None else f"/proc/{netns}/ns/net" if netns.isdecimal() else netns
    try:
        answer = origdst.ask(here[:2], there, namespace)
    except UnreadableError as error:
        raise UnknownError(str(error)) from None
    if output.is_document:
        print_document(output, "mesh-origdst", Tree("/"), _document(here, there, answer))
    else:
        print("\n".join(_lines(there, answer)))
    raise typer.Exit(_STATUS[answer.kind])


def _target(text: str, name: str) -> Target:
    try:
        return Target.parse(text)
    except ValueError as error:
        raise UsageError(f"{name} {error}") from None


def _of_address(address: str) -> str:
    """Return the namespace of the pod that has a record with an address, "" if none has."""
    where = Where.given("/", None)
    entries = (
        entry
        for state in attachments.look(where.tree, where.find()[1], where.state_dirs)
        for entry in state.entries
        if address in [with_prefix.partition("/")[0] for with_prefix in entry.addresses]
    )
    newest = max(entries, key=lambda entry: entry.record.created, default=None)
    return newest.record.context["netns"] if newest else ""


def _lines(destination: Target, answer: Answer) -> list[str]:
    found = {
        Kind.SERVICE: f"it asked for {answer.service}",
        Kind.CANDIDATES: f"it may have asked for {' or '.join(map(str, (*answer.candidates, destination)))}",
        Kind.NONE: f"it asked for {destination} itself",
        Kind.UNKNOWN: answer.why,
    }[answer.kind]
    first, *others = paragraph(f"{answer.kind}: {found}", "")
    kind, rest = first.split(":", 1)
    lines = [f"{paint(_STYLE[answer.kind], kind)}:{rest}", *others]
    if answer.kind is not Kind.UNKNOWN:
        lines += ["", *paragraph(f"Why: {answer.why}", "")]
    if not answer.namespace:
        lines += ["", *paragraph("Note: no socket was looked at, because the pod is not known: --netns names it", "")]
    return lines


def _document(source: Target, destination: Target, answer: Answer) -> dict[str, Any]:
    found = answer.found
    return {
        "source": str(source._replace(protocol=destination.protocol)),
        "destination": str(destination),
        "answer": answer.kind,
        "service": printable(str(answer.service)) if answer.service else None,
        "candidates": [printable(str(one)) for one in answer.candidates],
        "why": answer.why,
        "netns": answer.namespace or None,
        "socket": {
            "peer": printable(str(Target(*found.peer, destination.protocol))),
            "cookie": found.cookie,
            "inode": found.inode,
        }
        if found
        else None,
    }
