"""`cni-chain watch`: who writes what in the runtime's directory and in the owners' directories, as it happens."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Annotated, Any

import typer

from cni_chain.cli.options import DistroName, NetDirectory, Output
from cni_chain.cli.output import Form, document_text, paint, paragraph, printable, redraw
from cni_chain.cli.where import Where, age
from cni_chain.node import attachments, directory_events, watching
from cni_chain.node.processes import Writer
from cni_chain.node.tree import Tree
from cni_chain.node.war import Account, History, War
from cni_chain.node.watching import Change, Watching
from cni_chain.plugin.facade import CHAIN_DIR

_REFRESH = 1.0  # seconds between two pictures of the table


def command(
    seconds: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", show_default=False, help="End after so long (90s, 30m); else at Ctrl-C."),
    ] = None,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    distro: DistroName = None,
) -> None:
    """Watch who writes in the runtime's directory and in the owners' directories: which process, of which pod or unit.

    A file that two writers change back and forth is named as a rewrite war, with its rate. On a terminal a table is
    refreshed each second; in a pipe each change is a line, and with --output json an object. At the end a summary has
    each file and its writers. cni-chain's own changes are marked. Only changes from now on are seen, and nothing is
    changed.

    The kernel names the writers to root only (fanotify). Where it refuses, changes are printed without their writers.

    \b
    Examples:
      cni-chain watch
      cni-chain watch --for 60s --json | jq 'select(.path)'

    \b
    Exit status: 0; 1 if there was a rewrite war, or nothing can be watched.
    """
    if output is Form.YAML:
        raise typer.BadParameter("it prints text, or JSON", param_hint="--output")
    where = Where.given("/", distro, net_dir=net_dir)
    _, files = where.find()
    nested = sorted({file.facade.chain_dir for file in files})
    if not files and os.path.isdir(CHAIN_DIR):  # without a facade nothing says that it must exist
        nested = [CHAIN_DIR]
    limit = None if seconds is None else age(seconds)
    view = (_Objects if output is Form.JSON else _Table if sys.stdout.isatty() else _Lines)(
        Watching([where.net_dir], nested)
    )
    try:
        _run(view, limit)
    except KeyboardInterrupt:
        pass
    finally:
        view.watched.close()
    view.end()
    raise typer.Exit(1 if view.wars else 0)


def _run(view: _View, limit: float | None) -> None:
    """Print what comes until the time is over. A busy node starts processes all the time, and each start wakes this."""
    now = time.monotonic()
    end = None if limit is None else now + limit
    due = now
    view.begin()
    while end is None or now < end:
        if now >= due:
            view.tick()
            due = now + _REFRESH
        for change in view.watched.changes(min(due, end or due) - now):
            view.take(change)
        sys.stdout.flush()
        now = time.monotonic()
    view.tick()


class _View:
    """What is printed while the watch lasts, and at its end. `wars` has each war that was seen, by its file."""

    def __init__(self, watched: Watching) -> None:
        self.watched = watched
        self.account = Account(time.time(), watching.digest)
        self.wars: dict[str, War] = {}
        self.lost = False

    def begin(self) -> None:
        """Print what comes before the first change."""

    def take(self, change: Change) -> None:
        """Take a change."""
        if directory_events.LOST in change.event.kinds:
            self.lost = True
        if watching.is_write(change.event):
            self.account.take(change.event.path, change.at, change.writer)

    def tick(self) -> None:
        """Print what is due each second."""
        for war in self.account.wars(time.time()):
            is_new = war.path not in self.wars
            self.wars[war.path] = war
            if is_new:
                self.declare(war)

    def declare(self, war: War) -> None:
        """Print a war when it is seen first."""

    def end(self) -> None:
        """Print the summary."""

    def files(self) -> list[History]:
        """Return the files to name: not those that existed only meanwhile, as writers' temporary files do."""
        return [
            history
            for path, history in sorted(self.account.files.items())
            if path in self.watched.before or path in self.wars or watching.digest(path)
        ]

    def summary(self) -> list[str]:
        """Return each file with its writers, as lines."""
        now = time.time()
        lines = [*self.remarks(), _counted(self.watched.directories, now - self.account.begun)]
        for history in self.files():
            lines += ["", paint("bold", printable(history.path))]
            if history.path in self.wars:
                first, *others = paragraph(self.wars[history.path].text(), "    ")
                lines += [paint("red", line) for line in (f"  ! {first[4:]}", *others)]
            for identity, count in sorted(history.counts.items(), key=lambda item: -item[1]):
                write = history.latest[identity]
                last = f"{attachments.words(now - write.at)} ago"
                lines.append(f"  {count:5}  {printable(_named(write.writer))}, {last}")
        if not self.files():
            lines += ["", "Nothing was written."]
        return lines

    def remarks(self) -> list[str]:
        """Return what limits the watch, as lines."""
        lines = list(self.watched.unwatched)
        if self.watched.unnamed:
            lines.append(f"The kernel doesn't name the writers ({self.watched.unnamed}); run as root to see them.")
        if self.lost:
            lines.append("The kernel has lost changes: too many came at once.")
        return [paint("yellow", one) for line in lines for one in paragraph(line, "")]


class _Lines(_View):
    """One line for each change, and the summary at the end."""

    def begin(self) -> None:
        print("\n".join([*self.remarks(), f"watching {', '.join(self.watched.directories)}"]), flush=True)

    def take(self, change: Change) -> None:
        super().take(change)
        event = change.event
        if watching.is_passing(event):
            return
        moment = time.strftime("%H:%M:%S", time.localtime(change.at))
        process = f" {change.writer.process}" if change.writer else ""
        what = f"{', '.join(event.kinds)}{' (a directory)' if event.is_directory else ''}"
        by = _named(change.writer, process)
        print(printable(f"{moment}  {event.path}  {what}  by {by}"))

    def declare(self, war: War) -> None:
        moment = time.strftime("%H:%M:%S")
        print(printable(f"{moment}  {war.path}  ! {war.text()}"))

    def end(self) -> None:
        print("\n".join(["", *self.summary()]))


class _Table(_View):
    """The summary, drawn again each second."""

    def tick(self) -> None:
        super().tick()
        redraw([*self.summary(), "", "Ctrl-C ends the watch."])

    def end(self) -> None:
        redraw([])
        print("\n".join(self.summary()))


class _Objects(_View):
    """One JSON object at the beginning and for each change and each war, and a document at the end."""

    def begin(self) -> None:
        _print_object({"time": _time(self.account.begun), "watching": self.watched.directories})

    def take(self, change: Change) -> None:
        super().take(change)
        event = change.event
        _print_object(
            {
                "time": _time(change.at),
                "path": event.path,
                "changes": list(event.kinds),
                "isDirectory": event.is_directory,
                "writer": _writer(change.writer),
            }
        )

    def declare(self, war: War) -> None:
        _print_object({"time": _time(time.time()), "path": war.path, "war": _war(war)})

    def end(self) -> None:
        now = time.time()
        members = {
            "begun": _time(self.account.begun),
            "seconds": round(now - self.account.begun, 1),
            "directories": self.watched.directories,
            "unwatched": self.watched.unwatched,
            "writersUnknown": self.watched.unnamed or None,
            "lost": self.lost,
            "files": [
                {
                    "path": history.path,
                    "writers": [
                        {
                            "writes": count,
                            "last": _time(history.latest[identity].at),
                            "writer": _writer(history.latest[identity].writer),
                        }
                        for identity, count in history.counts.items()
                    ],
                    "war": _war(self.wars[history.path]) if history.path in self.wars else None,
                }
                for history in self.files()
            ],
        }
        _print_object(json.loads(document_text(Form.JSON, "watch", Tree(), members)))


def _print_object(members: dict[str, Any]) -> None:
    print(json.dumps(members), flush=True)


def _writer(writer: Writer | None) -> dict[str, Any] | None:
    """Return a writer as the JSON document has it."""
    if writer is None:
        return None
    return {
        "process": writer.process,
        "command": writer.command or None,
        "parent": writer.parent or None,
        "pod": writer.pod or None,
        "podUID": writer.place.pod_uid or None,
        "container": writer.place.container or None,
        "unit": writer.place.unit or None,
        "isCniChain": writer.is_own,
    }


def _war(war: War) -> dict[str, Any]:
    return {"writers": [_writer(one) for one in war.writers], "perMinute": round(war.per_minute, 1)}


def _named(writer: Writer | None, process: str = "") -> str:
    """Return who a writer is, in words."""
    if writer is None:
        return "an unknown process"
    own = " (cni-chain itself)" if writer.is_own else ""
    return ", ".join(filter(None, (f"{writer.text()}{process}{own}", writer.where)))


def _counted(directories: list[str], seconds: float) -> str:
    more = f" and {len(directories) - 1} more directories" if len(directories) > 2 else ""
    first = directories[0] if more else " and ".join(directories)
    return f"watched {first}{more} for {attachments.words(seconds)}"


def _time(seconds: float) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03d}Z"
