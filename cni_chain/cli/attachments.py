"""`cni-chain attachments`: the plugins that were run for each pod's interface, until their DEL."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from cni_chain.cli import completion
from cni_chain.cli.attachments_table import namespace, row, table
from cni_chain.cli.attachments_text import differences, moment, text
from cni_chain.cli.options import DistroName, NetDirectory, Output, Root, StateDirs
from cni_chain.cli.output import Form, print_document, printable, redraw
from cni_chain.cli.where import Where
from cni_chain.node import attachments
from cni_chain.node.attachments import Damaged, Entry, StateDir
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree

_OFTEN = 1.0  # seconds between two looks of --watch


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
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Print changes as they come, until Ctrl-C; on a terminal, the table.")
    ] = False,
    output: Output = Form.TEXT,
    state_dir: StateDirs = None,
    net_dir: NetDirectory = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """List the attachments: the pods' interfaces for which plugins were run with ADD, and not yet with DEL.

    With ID: all about one container, and how the interfaces, addresses and routes in its network namespace differ from
    the record. Its plugins' configurations may hold credentials: only --output json or yaml prints them.

    On a terminal that is too narrow, columns are left out; --output wide prints all of them. In a pipe, --watch prints
    a line for each attachment that is ADDED, CHANGED or GONE; with --output json it is an object.

    \b
    Examples:
      cni-chain attachments
      cni-chain attachments 3f2a9
      cni-chain attachments --watch
      cni-chain attachments --json | jq '.attachments[] | .pod, .addresses'

    Exit status: 0; 1 if a record is damaged or can't be read, or no attachment has that ID.
    """
    where = Where.given(root, distro, state_dir=state_dir, net_dir=net_dir)
    _, files = where.find()
    if watch:
        if beginning:
            raise typer.BadParameter("--watch and ID exclude each other")
        if output is Form.YAML:
            raise typer.BadParameter("--watch goes with text and with --output json", param_hint="--output")
        _watch(where.tree, lambda: attachments.look(where.tree, files, where.state_dirs), output)
        raise typer.Exit(0)
    found = attachments.look(where.tree, files, where.state_dirs)
    if beginning:
        raise typer.Exit(_one(where.tree, found, beginning, output))
    if output.is_document:
        print_document(output, "attachments", where.tree, document(found, where.tree))
    else:
        print("\n".join(table(where.tree, found, wide=output is Form.WIDE)))
    raise typer.Exit(1 if any(one.failure or one.damaged for one in found) else 0)


def _watch(tree: Tree, look: Callable[[], list[StateDir]], output: Form) -> None:
    """Print what changes, a line for each change; on a terminal, the table again each second. Ends at Ctrl-C."""
    before: dict[str, Entry] = {}
    try:
        while True:
            found = look()
            if not output.is_document and sys.stdout.isatty():
                redraw([*table(tree, found, wide=output is Form.WIDE), "", "Ctrl-C ends."])
            else:
                now = {entry.path: entry for one in found for entry in one.entries}
                for change, entry in _changes(before, now):
                    print(_change(tree, change, entry, output), flush=True)
                before = now
            time.sleep(_OFTEN)
    except KeyboardInterrupt:
        return


def _changes(before: dict[str, Entry], now: dict[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """Yield what became of the attachments between two looks, in the order of their ADD."""
    for path in sorted({*before, *now}, key=lambda path: (now.get(path) or before[path]).record.created):
        if path not in now:
            yield "GONE", before[path]
        elif path not in before or before[path].record.created != now[path].record.created:
            yield "ADDED", now[path]
        elif (before[path].written, before[path].marker) != (now[path].written, now[path].marker):
            yield "CHANGED", now[path]


def _change(tree: Tree, change: str, entry: Entry, output: Form) -> str:
    if output is Form.JSON:
        return json.dumps({"change": change, "attachment": summary(tree, entry)})
    return printable("  ".join([change.ljust(7), *row(tree, entry)]))


def _one(tree: Tree, found: list[attachments.StateDir], beginning: str, output: Form) -> int:
    entries, damaged = having(found, beginning), damaged_having(found, beginning)
    if not entries and not damaged:
        failures = "".join(f"; {one.path}: {one.failure}" for one in found if one.failure)
        raise RefusedError(f"no attachment of a container whose ID begins with {beginning!r}{failures}")
    if output.is_document:
        print_document(
            output,
            "attachment",
            tree,
            {
                "attachments": [everything(tree, entry) for entry in entries],
                "damaged": [one.document() for one in damaged],
            },
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


def document(found: list[StateDir], tree: Tree) -> dict[str, Any]:
    """Return the content of the state directories as a JSON document."""
    return {
        "stateDirs": [{"path": one.path, "error": one.failure or None} for one in found],
        "attachments": [summary(tree, entry) for one in found for entry in one.entries],
        "damaged": [damaged.document() for one in found for damaged in one.damaged],
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
        "created": moment(held.created),
        "ageSeconds": int(entry.age),
        "state": held.state,
        "error": held.error,
        "tries": entry.marker.tries,
        "lastTry": moment(entry.marker.last) if entry.marker.tries else None,
        "addresses": entry.addresses,
        "delegates": [_delegate(entry, index) for index in range(len(held.delegates))],
        "netns": held.context["netns"],
        "namespace": namespace(tree, entry)[0],
    }


def everything(tree: Tree, entry: Entry) -> dict[str, Any]:
    """Return all about one attachment, with the configurations of its delegates."""
    held = entry.record
    different, why = differences(tree, entry)
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
