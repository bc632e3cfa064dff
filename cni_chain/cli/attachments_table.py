"""The table of attachments: as many columns as fit, and no name broken; every column in a pipe and with -o wide."""

from __future__ import annotations

import os
import shutil
import sys

from cni_chain.cli.output import paint, printable
from cni_chain.cli.output import table as drawn
from cni_chain.node import attachments
from cni_chain.node.attachments import Entry, StateDir
from cni_chain.node.tree import Tree

_SHORT = 13  # characters of a container's ID, as crictl prints it
_HEAD = ("POD", "IFACE", "ADDRESSES", "PLUGINS", "AGE", "STATE", "CONTAINER")
_POD, _IFACE, _STATE = 0, 1, 5
# The columns that are left out, in this order, until a row fits; `attachments ID` has all of them.
_SPARE = ("PLUGINS", "IFACE", "CONTAINER")
_GAP = 2  # between columns


def table(tree: Tree, found: list[StateDir], *, wide: bool = False) -> list[str]:
    """Return the lines that list the attachments, the newest first, damaged records after them."""
    entries = [entry for one in found for entry in one.entries]
    lines: list[str] = []
    if entries:
        rows = [row(tree, entry) for entry in sorted(entries, key=lambda entry: -entry.record.created)]
        lines = _fitted(rows, None if wide or not sys.stdout.isatty() else shutil.get_terminal_size().columns)
    for one in found:
        if one.failure:
            lines.append(paint("red", f"! {printable(one.path)}: {one.failure}"))
        for damaged in one.damaged:
            aside = "set aside" if damaged.set_aside else "damaged"
            lines.append(paint("red", printable(f"! {damaged.path}: {aside}: {damaged.reason}")))
    if not entries:
        lines.append(f"No attachment is recorded in {', '.join(one.path for one in found)}.")
    return lines


def row(tree: Tree, entry: Entry) -> tuple[str, ...]:
    """Return an attachment's cells, one for each column."""
    held = entry.record
    state = attachments.state(entry)
    what = namespace(tree, entry)[0]
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


def namespace(tree: Tree, entry: Entry) -> tuple[str, str]:
    """Return what became of an attachment's network namespace, and a sentence if that isn't known."""
    if not tree.is_this_system:
        return attachments.UNKNOWN, f"{os.path.basename(tree.root)} is not this system"
    return attachments.namespace(entry.record.context["netns"], entry.record.created)


def _fitted(rows: list[tuple[str, ...]], room: int | None) -> list[str]:
    """Return the rows as lines of at most `room` cells (None: of any length).

    Spare columns are left out until a row fits on a line; where it never does, the pod has a line of its own.
    """
    places = list(range(len(_HEAD)))
    spare = [_HEAD.index(name) for name in _SPARE]
    if len({row[_IFACE] for row in rows}) > 1:  # a pod with several interfaces has several rows
        spare.remove(_IFACE)
    for place in spare:
        if room is None or _width(rows, places) <= room:
            break
        places.remove(place)
    if room is None or _width(rows, places) <= room:
        return _drawn(rows, places)
    places = list(range(1, len(_HEAD)))
    for place in spare:
        if _GAP + _width(rows, places) <= room:
            break
        places.remove(place)
    head, *others = _drawn(rows, places, indent=" " * _GAP)
    pods = [_styled(row, printable(row[_POD])) for row in rows]
    return [paint("bold", _HEAD[_POD]), head, *(line for pair in zip(pods, others, strict=True) for line in pair)]


def _width(rows: list[tuple[str, ...]], places: list[int]) -> int:
    widest = (max(len(printable(row[place])) for row in [_HEAD, *rows]) for place in places)
    return sum(widest) + _GAP * (len(places) - 1)


def _drawn(rows: list[tuple[str, ...]], places: list[int], indent: str = "") -> list[str]:
    styles = ["bold", *("" if row[_STATE] == "added" else "yellow" for row in rows)]
    return drawn([[row[place] for place in places] for row in [_HEAD, *rows]], styles=styles, indent=indent)


def _styled(row: tuple[str, ...], text: str) -> str:
    return paint("" if row[_STATE] == "added" else "yellow", text)
