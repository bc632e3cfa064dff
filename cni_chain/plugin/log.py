"""The log: one JSON object a line, one line a verb, for an operator who asks later why a pod had no network.

libcni drops a plugin's stderr when it fails, and an event's text must be the same for the same fault; so what is
specific to one call is in the log. No configuration is written at any level: it may hold credentials.
"""

from __future__ import annotations

import time

from cni_chain.plugin import jsontext, system

_LONGEST = 4096  # characters of one text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_chain.plugin.answer import Outcome
    from cni_chain.plugin.errors import CNIError
    from cni_chain.plugin.spec import CmdArgs


class Log:
    """What happens in one call, until it is written as one line."""

    def __init__(self, args: CmdArgs, network: object) -> None:
        self._args = args
        self._network = network if isinstance(network, str) else ""
        self._start = time.monotonic()
        self._time = time.time()
        self._calls: list[dict[str, Any]] = []
        self._notes: list[str] = []
        self._warned = False

    def note(self, text: str) -> None:
        """Keep a sentence about something that didn't fail the call but that an operator may look for."""
        self._notes.append(text)

    def note_always(self, text: str) -> None:
        """Keep a sentence that the facade asks for: no level leaves it out."""
        self.note(text)
        self._warned = True

    def call(self, owner: str, type_: str, command: str, outcome: Outcome | None, error: CNIError | None) -> None:
        """Keep one delegate's execution; `outcome` is None if there was none."""
        entry: dict[str, Any] = {"owner": owner, "type": type_, "command": command}
        if outcome is not None:
            entry["ms"] = round(outcome.ms, 1)
        if error is not None:
            entry.update(_fields(error))
            if outcome is not None and outcome.stderr:
                entry["stderr"] = outcome.stderr.decode("utf-8", "replace")
        self._calls.append(entry)

    def write(self, path: str, level: str, error: CNIError | None) -> None:
        """Append the call's line to the file `path`, unless `level` leaves it out. Never fails."""
        if not path or (level == "error" and error is None and not self._failed() and not self._warned):
            return
        try:
            line = jsontext.encode(self._line(level, error)) + b"\n"
            flags = system.O_WRONLY | system.O_APPEND | system.O_CREAT | system.O_NONBLOCK | system.O_NOCTTY
            file = system.open(path, flags, 0o600)
            try:
                system.write(file, line)
            finally:
                system.close(file)
        except (OSError, ValueError):
            return

    def _failed(self) -> list[dict[str, Any]]:
        return [call for call in self._calls if "code" in call]

    def _told(self, level: str) -> list[dict[str, Any]]:
        """Return the executions for a line: VERSION is asked once per binary, and only `debug` tells that."""
        if level == "debug":
            return self._calls
        return self._failed() if level == "error" else [call for call in self._calls if call["command"] != "VERSION"]

    def _line(self, level: str, error: CNIError | None) -> dict[str, Any]:
        namespace, pod = self._args.pod()
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._time))
        line: dict[str, Any] = {
            "time": f"{second}.{int(self._time % 1 * 1000):03d}Z",
            "level": "info" if error is None else "error",
            "verb": self._args.command,
            "network": self._network[:_LONGEST],
            "containerID": self._args.container_id,
            "ifname": self._args.ifname,
            "netns": self._args.netns,
            "pod": f"{namespace}/{pod}" if pod else "",
            "ms": round((time.monotonic() - self._start) * 1000, 1),
        }
        if error is not None:
            line.update(_fields(error))
        if self._notes:
            line["notes"] = self._notes
        calls = self._told(level)
        if calls:
            line["delegates"] = calls
        return line


def _fields(error: CNIError) -> dict[str, Any]:
    """Return the fields of a line about an error, cut: a delegate's message may have any length."""
    fields: dict[str, Any] = {"code": error.code, "msg": error.msg[:_LONGEST]}
    if error.details:
        fields["details"] = error.details[:_LONGEST]
    return fields
