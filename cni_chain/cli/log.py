"""`cni-chain log`: the calls of the runtime, from the plugin's log, readable."""

from __future__ import annotations

import collections
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import typer

from cni_chain.cli.options import DistroName, NetDirectory, Output, Root, pod
from cni_chain.cli.output import Form, paint, paragraph, print_document, printable, width
from cni_chain.cli.where import Where, age
from cni_chain.node import calls
from cni_chain.node.calls import Call
from cni_chain.node.errors import RefusedError, unreadable
from cni_chain.node.following import Follower
from cni_chain.node.tree import Tree
from cni_chain.plugin.facade import LOG_FILE

_LINES = 50  # calls that are printed without --lines
_OFTEN = 0.2  # seconds between two looks at a log that is followed
_INDENT = " " * 4
_SHORT = 13  # characters of a container's ID, as crictl prints it
_HEAD = f"{'TIME (UTC)':14}  {'VERB':6}  {'MS':>6}  {'RESULT':9}  POD"

Wanted = Callable[[Call], bool]


def command(
    pod_name: Annotated[
        str | None,
        typer.Option("--pod", metavar="NAMESPACE/NAME", show_default=False, help="Only the calls for this pod."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only the calls that failed.")] = False,
    since: Annotated[
        str | None,
        typer.Option(metavar="AGE", show_default=False, help="Only the calls since then (90s, 30m, 12h, 7d)."),
    ] = None,
    lines: Annotated[
        int | None,
        typer.Option(
            "--lines", "-n", metavar="N", min=0, show_default="50; all with --since", help="At most the last N calls."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print further calls as they come, until Ctrl-C.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            show_default=False,
            help="Read this log. By default those that the facades name, with their rotated files.",
        ),
    ] = None,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Print the calls that the runtime has made: when, which verb, how long, with which result, for which pod.

    A failure has its message below it, which begins with the plugin that failed (owner/type) unless cni-chain itself
    refused. In a pipe each call is one line. With --follow, --output json prints one object a line.

    \b
    Examples:
      cni-chain log --failed --since 1h
      cni-chain log -f --pod shop/web-1
      cni-chain log --json --since 12h | jq '.calls[] | select(.ms > 5000)'

    Exit status: 0; 1 if a log can't be read, the facades turn it off, or --file does not exist.
    """
    if follow and output is Form.YAML:
        raise typer.BadParameter("--follow goes with text and with --output json", param_hint="--output")
    where = Where.given(root, distro, net_dir=net_dir)
    paths = [where.tree.path(file)] if file else _paths(where)
    if file and not follow:  # one that is followed may still come
        _there(where.tree, paths[0])
    wanted = _wanted(pod_name, failed=failed, since=None if since is None else age(since))
    most = lines if lines is not None else None if since is not None else _LINES
    followers = [Follower(where.tree.real(path)) for path in paths] if follow else []
    found = _found(where.tree, paths, wanted, most, everything=since is not None or failed or pod_name is not None)
    if output.is_document and not follow:
        print_document(output, "log", where.tree, {"logs": paths, "calls": list(map(document, found))})
        raise typer.Exit(0)
    write = _writer(output)
    for call in found:
        write(call)
    if not found and not follow:
        print(f"No such call is logged in {', '.join(paths)}.", file=sys.stderr)
    if follow:
        _follow(followers, wanted, found, write)


def _follow(followers: list[Follower], wanted: Wanted, printed: list[Call], write: Callable[[Call], None]) -> None:
    """Print what comes until Ctrl-C, without what came while the log was read and is `printed`."""
    try:
        while True:
            sys.stdout.flush()
            for call in calls.parsed(line for follower in followers for line in follower.lines()):
                if wanted(call) and call not in printed:
                    write(call)
            printed = []
            sys.stdout.flush()
            time.sleep(_OFTEN)
    except KeyboardInterrupt:
        return


def _paths(where: Where) -> list[str]:
    """Return the logs of the facades, the default one if no facade exists. Raises RefusedError if they have none."""
    _, files = where.find()
    paths = sorted({one.facade.log_file for one in files if one.facade.log_file})
    if files and not paths:
        raise RefusedError(f'{files[0].path}: logFile is "", so cni-chain logs nothing')
    return paths or [LOG_FILE]


def _there(tree: Tree, path: str) -> None:
    """Refuse a log that was never written. Raises RefusedError."""
    if not os.path.exists(tree.real(path)) and not calls.rotated(tree, path):
        raise RefusedError(f"{path}: does not exist")


def _wanted(pod_name: str | None, *, failed: bool, since: float | None) -> Wanted:
    whose = "" if pod_name is None else "/".join(pod(pod_name))
    # The log's own form, which sorts by time.
    first = "" if since is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(max(0.0, time.time() - since)))

    def wanted(call: Call) -> bool:
        return (not whose or call.pod == whose) and (not failed or call.failed) and call.time >= first

    return wanted


def _found(tree: Tree, paths: list[str], wanted: Wanted, most: int | None, *, everything: bool) -> list[Call]:
    """Return the last calls that are wanted, in the order of their end. Raises RefusedError.

    Without `everything` only the end of each log is read: a log may be large.
    """
    kept: collections.deque[Call] = collections.deque(maxlen=most)
    for path in paths:
        try:
            kept.extend(filter(wanted, _read(tree, path, everything=everything)))
        except OSError as error:
            raise unreadable(path, error) from None
    return sorted(kept, key=lambda call: call.ended) if len(paths) > 1 else list(kept)


def _read(tree: Tree, path: str, *, everything: bool) -> Iterable[Call]:
    return calls.parsed(calls.every(tree, path)) if everything else calls.last(tree, path)


def document(call: Call) -> dict[str, Any]:
    """Return one call as the JSON document has it."""
    line = call.line
    notes, delegates = line.get("notes"), line.get("delegates")
    return {
        "time": call.time,
        "verb": call.verb,
        "network": call.network,
        "containerID": call.text("containerID"),
        "ifname": call.text("ifname"),
        "netns": call.text("netns"),
        "pod": call.pod or None,
        "ms": call.milliseconds,
        "failed": call.failed,
        "code": call.code if call.failed else None,
        "msg": call.message if call.failed else None,
        "details": call.text("details") or None,
        "plugin": call.culprit or None,
        "notes": [str(one) for one in notes] if isinstance(notes, list) else [],
        "delegates": [one for one in delegates if isinstance(one, dict)] if isinstance(delegates, list) else [],
    }


def _writer(output: Form) -> Callable[[Call], None]:
    """Return what prints one call."""
    if output is Form.JSON:
        return lambda call: print(json.dumps(document(call)))
    folded = output is not Form.WIDE and sys.stdout.isatty()
    head = [paint("bold", _HEAD)]

    def write(call: Call) -> None:
        while head:
            print(head.pop())
        print("\n".join(_folded(call) if folded else [_line(call)]))

    return write


def _row(call: Call) -> tuple[str, str]:
    """Return the columns of a call up to the pod, and the pod."""
    moment = f"{call.time[5:10]} {call.time[11:19]}"
    result = f"error {call.code}" if call.failed else "ok"
    whose = call.pod or call.text("containerID")[:_SHORT] or "-"
    return printable(f"{moment:14}  {call.verb:6}  {call.milliseconds:6.0f}  {result:9}"), printable(whose)


def _said(call: Call) -> Iterator[str]:
    """Yield what a call has to report beside its row."""
    if call.failed:
        yield call.message
        if call.text("details"):
            yield f"details: {call.text('details')}"
    notes = call.line.get("notes")
    for note in notes if isinstance(notes, list) else []:
        yield f"note: {note}"


def _line(call: Call) -> str:
    row, whose = _row(call)
    text = f"{row}  {'  '.join([whose, *map(printable, _said(call))])}"
    return paint("red", text) if call.failed else text


def _folded(call: Call) -> Iterator[str]:
    """Yield the lines of a call for a terminal: a name that doesn't fit has a line of its own, and is never broken."""
    row, whose = _row(call)
    style = "red" if call.failed else ""
    if len(row) + 2 + len(whose) <= width():
        yield paint(style, f"{row}  {whose}")
    else:
        yield paint(style, row)
        yield f"{_INDENT}{whose}"
    for text in _said(call):
        yield from paragraph(text, _INDENT)
