"""The plugin's log for people and commands: its last calls, also across a rotation. Reads only.

Only the end of the log is read, at most `bound` bytes: a log may have gigabytes.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from cni_chain.node.tree import Tree

BOUND = 512 << 10  # bytes: about 2000 calls
_CHUNK = 1 << 18
_LONGEST_ARCHIVE = 32 << 20  # compressed bytes of a rotated file; a larger one is not read
_GZIP = zlib.MAX_WBITS | 16


class Call(NamedTuple):
    """One line of the log: one verb, as the plugin has carried it out."""

    line: dict[str, Any]

    def text(self, key: str) -> str:
        """Return the text of a key, "" if the line has none."""
        value = self.line.get(key)
        return value if isinstance(value, str) else ""

    @property
    def verb(self) -> str:
        """ADD, DEL, CHECK, GC or STATUS."""
        return self.text("verb")

    @property
    def network(self) -> str:
        """The name of the network."""
        return self.text("network")

    @property
    def pod(self) -> str:
        """The pod as namespace/name, "" if the runtime named none."""
        return self.text("pod")

    @property
    def time(self) -> str:
        """When the call began, as the log has it: UTC, `2026-11-29T06:26:40.123Z`."""
        return self.text("time")

    @property
    def message(self) -> str:
        """Why it failed."""
        return self.text("msg")

    @property
    def failed(self) -> bool:
        """Whether the call failed."""
        return "code" in self.line

    @property
    def code(self) -> int:
        """The code of the error, 0 if the call succeeded."""
        code = self.line.get("code", 0)
        return code if isinstance(code, int) else 0

    @property
    def milliseconds(self) -> float:
        """How long the call took."""
        taken = self.line.get("ms", 0)
        return float(taken) if isinstance(taken, int | float) else 0.0

    @property
    def began(self) -> float:
        """When the call began (seconds since the epoch), 0 if the line doesn't say."""
        try:
            import datetime  # only a log with failures needs it

            return datetime.datetime.fromisoformat(self.time).timestamp()
        except ValueError:
            return 0.0

    @property
    def ended(self) -> float:
        """When the call ended."""
        return self.began + self.milliseconds / 1000

    @property
    def culprits(self) -> list[str]:
        """The plugins that failed in this call, as owner/type; none if cni-chain itself refused."""
        calls = self.line.get("delegates")
        failed = [one for one in calls if isinstance(one, dict) and "code" in one] if isinstance(calls, list) else []
        return list(dict.fromkeys(f"{one.get('owner', '')}/{one.get('type', '')}" for one in failed))

    @property
    def culprit(self) -> str:
        """The plugin whose error the call reports, as owner/type, "" if it is cni-chain's own."""
        return next((one for one in self.culprits if self.message.startswith(f"{one}:")), "")


def last(tree: Tree, path: str, bound: int = BOUND) -> list[Call]:
    """Return the last calls in the log, the oldest first; of the rotated file too, if the log is shorter than `bound`.

    A log that doesn't exist has none. Raises OSError if it can't be read.
    """
    content = _tail(tree.real(path), bound)
    missing = bound - len(content)
    older = rotated(tree, path) if missing > 0 else []
    if older:
        content = _end_of(tree.real(older[-1]), missing) + content
    return list(parsed(content.splitlines()))


def every(tree: Tree, path: str) -> Iterator[bytes]:
    """Yield the lines of the log and of all its rotated files, the oldest first. Raises OSError."""
    for file in rotated(tree, path):
        with contextlib.suppress(OSError, zlib.error):  # moved or removed meanwhile, or damaged
            yield from _lines(_unzipped(tree.real(file)) if file.endswith(".gz") else _pieces(tree.real(file)))
    with contextlib.suppress(FileNotFoundError):
        yield from _lines(_pieces(tree.real(path)))


def rotated(tree: Tree, path: str) -> list[str]:
    """Return the files to which programs have moved the log (`.1`, `.1.gz`, `-20261129`), the oldest first."""
    directory, name = os.path.split(path)
    found = []
    try:
        for entry in os.scandir(tree.real(directory)):
            rest = entry.name.removeprefix(name)
            if rest != entry.name and rest[:1] in (".", "-") and rest[1:2].isdigit() and entry.is_file():
                found.append((entry.stat().st_mtime_ns, f"{directory}/{entry.name}"))
    except OSError:
        return []
    return [file for _, file in sorted(found)]


def parsed(lines: Iterable[bytes]) -> Iterator[Call]:
    """Yield the calls in lines of a log; a line that is not one (half written, not ours) is left out."""
    for line in lines:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict) and isinstance(document.get("verb"), str):
            yield Call(document)


def descriptor(path: str) -> int:
    """Return a log's descriptor, for reading. Raises OSError, also if it is a pipe or a terminal: that ends nowhere."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    mode = os.fstat(opened).st_mode
    if stat.S_ISREG(mode):
        return opened
    os.close(opened)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, "is not a regular file", path)


def _pieces(path: str) -> Iterator[bytes]:
    with open(descriptor(path), "rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
    yield rest


def _tail(path: str, bound: int) -> bytes:
    """Return the last bytes of a file, from the beginning of a line on; none if it doesn't exist. Raises OSError."""
    try:
        file = descriptor(path)
    except FileNotFoundError:
        return b""
    with open(file, "rb") as log:
        start = max(0, os.fstat(file).st_size - bound)
        if start:
            log.seek(start - 1)
            log.readline()
        return log.read(bound)


def _end_of(path: str, bound: int) -> bytes:
    """Return the last bytes of a rotated file, compressed or not, with whole lines; none if it can't be read."""
    try:
        if not path.endswith(".gz"):
            content = _tail(path, bound)
            return content if content.endswith(b"\n") or not content else content + b"\n"
        if os.path.getsize(path) > _LONGEST_ARCHIVE:
            return b""
        return b"\n".join([*_last_lines(_unzipped(path), bound), b""])
    except (OSError, zlib.error):
        return b""


def _unzipped(path: str) -> Iterator[bytes]:
    stream = zlib.decompressobj(_GZIP)
    for piece in _pieces(path):
        rest = piece
        while rest:
            yield stream.decompress(rest)
            rest = stream.unused_data
            if stream.eof:  # a file may have several streams, one after the other
                stream = zlib.decompressobj(_GZIP)


def _last_lines(pieces: Iterable[bytes], bound: int) -> list[bytes]:
    """Return the last whole lines, of at most `bound` bytes together."""
    kept: collections.deque[bytes] = collections.deque()
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        while size - len(kept[0]) > bound:
            size -= len(kept.popleft())
    lines = b"".join(kept).splitlines()
    while lines and sum(map(len, lines)) + len(lines) > bound:
        del lines[: max(1, len(lines) // 16)]
    return lines
