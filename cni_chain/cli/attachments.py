"""`cni-chain attachments`: the plugins that were run for each pod's interface, until their DEL."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from cni_chain.cli import completion
from cni_chain.cli.options import DistroName, Json, NetDirectory, Root, StateDirs, Where
from cni_chain.cli.output import paint, paragraph, print_json, printable
from cni_chain.cli.output import table as drawn
from cni_chain.node import attachments, kernel
from cni_chain.node.attachments import Damaged, Entry, StateDir
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.tree import Tree
from cni_chain.plugin.record import RecordedDelegate

_SHORT = 13  # characters of a container's ID, as crictl prints it
_PLUGINS, _STATE = 3, 5  # columns of the table


def command(
    beginning: Annotated[
        str,
        typer.Argument(
            metavar="[ID]",
            show_default=False,
            autocompletion=completion.of_attachment,
            help="A container's ID, or its beginning: print all about it.",
        ),
    ] = "",
    json: Json = False,
    state_dir: StateDirs = None,
    net_dir: NetDirectory = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """List the attachments: the pods' interfaces for which plugins were run with ADD, and not yet with DEL.

    With ID: all about one container, and how the interfaces, addresses and routes in its network namespace differ from
    the record. The configurations of its plugins are printed with --json only: they may hold credentials.

    \b
    Examples:
      cni-chain attachments
      cni-chain attachments 3f2a9
      cni-chain attachments --json | jq -r '.attachments[] | [.pod, .addresses[]] | @tsv'

    \b
    Exit status: 0; 1 if a record is damaged or can't be read, or no attachment has that ID.
    """
    where = Where.given(root, distro, state_dir=state_dir, net_dir=net_dir)
    _, files = where.find()
    found = attachments.look(where.tree, files, where.state_dirs)
    if beginning:
        raise typer.Exit(_one(where.tree, found, beginning, json=json))
    if json:
        print_json(document(where.tree, found))
    else:
        print("\n".join(table(where.tree, found)))
    raise typer.Exit(1 if any(one.failure or one.damaged for one in found) else 0)


def _one(tree: Tree, found: list[attachments.StateDir], beginning: str, *, json: bool) -> int:
    entries, damaged = having(found, beginning), damaged_having(found, beginning)
    if not entries and not damaged:
        failures = "".join(f"; {one.path}: {one.failure}" for one in found if one.failure)
        raise RefusedError(f"no attachment of a container whose ID begins with {beginning!r}{failures}")
    if json:
        print_json(
            {
                "attachments": [everything(tree, entry) for entry in entries],
                "damaged": [{"file": one.path, "reason": one.reason, "setAside": one.set_aside} for one in damaged],
            }
        )
    else:
        texts = [text(tree, entry) for entry in entries]
        texts += [[printable(f"! {one.path}: damaged: {one.reason}")] for one in damaged]
        print("\n\n".join("\n".join(lines) for lines in texts))
    return 1 if damaged else 0


def having(found: list[StateDir], beginning: str) -> list[Entry]:
    """Return the attachments of the containers whose ID begins with `beginning`."""
    return [entry for one in found for entry in one.entries if entry.attachment.container_id.startswith(beginning)]


def damaged_having(found: list[StateDir], beginning: str) -> list[Damaged]:
    """Return the damaged records whose name has such a container."""
    return [
        damaged
        for one in found
        for damaged in one.damaged
        if damaged.attachment is not None and damaged.attachment.container_id.startswith(beginning)
    ]


def document(tree: Tree, found: list[StateDir]) -> dict[str, Any]:
    """Return the content of the state directories as a JSON document."""
    return {
        "root": tree.root,
        "stateDirs": [{"path": one.path, "error": one.failure or None} for one in found],
        "attachments": [summary(tree, entry) for one in found for entry in one.entries],
        "damaged": [
            {"file": damaged.path, "reason": damaged.reason, "setAside": damaged.set_aside}
            for one in found
            for damaged in one.damaged
        ],
    }


def summary(tree: Tree, entry: Entry) -> dict[str, Any]:
    """Return one attachment as the JSON list has it."""
    held = entry.record
    return {
        "file": entry.path,
        "network": entry.attachment.network,
        "containerID": entry.attachment.container_id,
        "ifname": entry.attachment.ifname,
        "pod": entry.pod,
        "created": _time(held.created),
        "ageSeconds": int(entry.age),
        "state": held.state,
        "error": held.error,
        "tries": entry.marker.tries,
        "lastTry": _time(entry.marker.last) if entry.marker.tries else None,
        "addresses": entry.addresses,
        "delegates": [_delegate(entry, index) for index in range(len(held.delegates))],
        "netns": held.context["netns"],
        "namespace": _namespace(tree, entry)[0],
    }


def everything(tree: Tree, entry: Entry) -> dict[str, Any]:
    """Return all about one attachment, with the configurations of its delegates."""
    held = entry.record
    different, why = _kernel(tree, entry)
    delegates = [
        _delegate(entry, index)
        | {
            "capabilities": step.capabilities,
            "disableCheck": step.disable_check,
            "onDelError": step.on_del_error,
            "conf": step.conf,
        }
        for index, step in enumerate(held.delegates)
    ]
    return summary(tree, entry) | {
        "delegates": delegates,
        "path": held.context["path"],
        "cniArgs": held.context["cniArgs"],
        "runtimeConfig": held.context.get("runtimeConfig"),
        "args": held.context.get("args"),
        "result": held.result,
        "differences": different,
        "differencesUnknown": why or None,
    }


def _delegate(entry: Entry, index: int) -> dict[str, Any]:
    step = entry.record.delegates[index]
    return {
        "owner": step.owner,
        "type": step.type,
        "file": step.path,
        "cniVersion": step.version,
        "pending": index in entry.record.pending,
    }


def table(tree: Tree, found: list[StateDir]) -> list[str]:
    """Return the lines that list the attachments, damaged records after them."""
    entries = [entry for one in found for entry in one.entries]
    lines: list[str] = []
    if entries:
        rows: list[tuple[str, ...]] = [("POD", "IFACE", "ADDRESSES", "PLUGINS", "AGE", "STATE", "CONTAINER")]
        rows += [_row(tree, entry) for entry in sorted(entries, key=lambda entry: -entry.record.created)]
        styles = ["bold", *("" if row[_STATE] == "added" else "yellow" for row in rows[1:])]
        lines = drawn(rows, styles=styles, fold=_PLUGINS)
    for one in found:
        if one.failure:
            lines.append(paint("red", f"! {printable(one.path)}: {one.failure}"))
        for damaged in one.damaged:
            aside = "set aside" if damaged.set_aside else "damaged"
            lines.append(paint("red", printable(f"! {damaged.path}: {aside}: {damaged.reason}")))
    if not entries:
        lines.append(f"No attachment is recorded in {', '.join(one.path for one in found)}.")
    return lines


def _row(tree: Tree, entry: Entry) -> tuple[str, ...]:
    held = entry.record
    state = attachments.state(entry)
    what = _namespace(tree, entry)[0]
    if what == attachments.GONE:
        state += ", namespace gone"
    elif what == attachments.NONE:
        state += ", no namespace"
    return (
        entry.pod or "-",
        entry.attachment.ifname,
        ",".join(entry.addresses) or "-",
        ",".join(step.type for step in held.delegates),
        attachments.words(entry.age),
        state,
        entry.attachment.container_id[:_SHORT],
    )


def text(tree: Tree, entry: Entry) -> list[str]:
    """Return the lines about one attachment; the configurations may hold credentials, so only --json has them."""
    held = entry.record
    what, why = _namespace(tree, entry)
    netns = held.context["netns"] or "-"
    if what in (attachments.GONE, attachments.UNKNOWN):
        netns += f"  ({why or 'gone'})"
    rows = [
        ("container", entry.attachment.container_id),
        ("interface", entry.attachment.ifname),
        ("network", entry.attachment.network),
        ("namespace", netns),
        ("created", f"{_time(held.created)}  ({attachments.words(entry.age)} ago)"),
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
    different, why = _kernel(tree, entry)
    if why:
        return ["", *paragraph(f"Its namespace can't be read: {why}.", "  ")]
    if not different:
        return ["", paint("green", "  Its namespace agrees with the record.")]
    lines = [line for difference in different or [] for line in paragraph(difference, "    ")]
    return ["", paint("yellow", "  Its namespace differs from the record:"), *lines]


def _kernel(tree: Tree, entry: Entry) -> tuple[list[str] | None, str]:
    """Return the differences of an attachment's namespace from its record, or why they are unknown."""
    held = entry.record
    what, why = _namespace(tree, entry)
    if what != attachments.THERE:
        reasons = {attachments.GONE: "it is gone", attachments.NONE: "none is recorded"}
        return None, reasons.get(what, why)
    if held.result is None:
        return None, "no result is recorded"
    try:
        return kernel.differences(held.context["netns"], held.result), ""
    except UnreadableError as error:
        return None, str(error)


def _namespace(tree: Tree, entry: Entry) -> tuple[str, str]:
    if not tree.is_this_system:
        return attachments.UNKNOWN, f"{os.path.basename(tree.root)} is not this system"
    return attachments.namespace(entry.record.context["netns"], entry.record.created)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
