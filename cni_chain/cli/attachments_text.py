"""What `cni-chain attachments ID` prints: all about one attachment, and how its namespace differs from the record."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from cni_chain.cli.attachments_table import namespace
from cni_chain.cli.output import paint, paragraph, printable
from cni_chain.cli.output import table as drawn
from cni_chain.node import attachments, kernel
from cni_chain.node.attachments import Entry
from cni_chain.node.errors import UnreadableError
from cni_chain.node.tree import Tree
from cni_chain.plugin.record import RecordedDelegate


def text(tree: Tree, entry: Entry) -> list[str]:
    """Return the lines about one attachment; the configurations may hold credentials, so only a document has them."""
    held = entry.record
    what, why = namespace(tree, entry)
    netns = held.context["netns"] or "-"
    if what in (attachments.GONE, attachments.UNKNOWN):
        netns += f"  ({why or 'gone'})"
    rows = [
        ("container", entry.attachment.container_id),
        ("interface", entry.attachment.ifname),
        ("network", entry.attachment.network),
        ("namespace", netns),
        ("created", f"{moment(held.created)}  ({attachments.words(entry.age)} ago)"),
        ("state", _state(entry)),
        ("addresses", ", ".join(entry.addresses) or "-"),
        ("record", entry.path),
    ]
    lines = [paint("bold", printable(entry.pod or "a container without a pod"))]
    lines += [f"  {name.ljust(9)}  {printable(value)}" for name, value in rows]
    return [*lines, "", *_delegates(held.delegates, held.pending), "", *_result(held.result), *_compared(tree, entry)]


def _state(entry: Entry) -> str:
    state = attachments.state(entry)
    return f"{state}; {attachments.failure(entry)}" if entry.is_stranded else state


def _delegates(steps: list[RecordedDelegate], pending: Iterable[int]) -> list[str]:
    left = set(pending)
    rows = [("#", "OWNER", "PLUGIN", "CNI", "FILE", "")]
    for index, step in enumerate(steps):
        rows.append(
            (str(index + 1), step.owner, step.type, step.version, step.path, "" if index in left else "deleted")
        )
    return drawn(rows, styles=["bold"], indent="  ", fold=4)


def _result(result: dict[str, Any] | None) -> list[str]:
    if result is None:
        return ["  No delegate has returned a result."]
    lines = ["  Recorded result:"]
    for interface in result.get("interfaces") or []:
        where = "in the container" if interface.get("sandbox") else "on the node"
        mtu = f"  mtu {interface['mtu']}" if interface.get("mtu") else ""
        lines.append(f"    interface  {interface.get('name')}  {interface.get('mac') or '-'}{mtu}  {where}")
    for ip in result.get("ips") or []:
        gateway = f"  gateway {ip['gateway']}" if ip.get("gateway") else ""
        lines.append(f"    address    {ip['address']}{gateway}")
    for route in result.get("routes") or []:
        gateway = f"  via {route['gw']}" if route.get("gw") else ""
        lines.append(f"    route      {route['dst']}{gateway}")
    return list(map(printable, lines))


def _compared(tree: Tree, entry: Entry) -> list[str]:
    different, why = differences(tree, entry)
    if why:
        return ["", *paragraph(f"Its namespace can't be read: {why}.", "  ")]
    if not different:
        return ["", paint("green", "  Its namespace agrees with the record.")]
    lines = [line for difference in different or [] for line in paragraph(difference, "    ")]
    return ["", paint("yellow", "  Its namespace differs from the record:"), *lines]


def differences(tree: Tree, entry: Entry) -> tuple[list[str] | None, str]:
    """Return the differences of an attachment's namespace from its record, or why they are unknown."""
    held = entry.record
    what, why = namespace(tree, entry)
    if what != attachments.THERE:
        reasons = {attachments.GONE: "it is gone", attachments.NONE: "none is recorded"}
        return None, reasons.get(what, why)
    if held.result is None:
        return None, "no result is recorded"
    try:
        return kernel.differences(held.context["netns"], held.result), ""
    except UnreadableError as error:
        return None, str(error)


def moment(seconds: float) -> str:
    """Return a time of the epoch as every document has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
