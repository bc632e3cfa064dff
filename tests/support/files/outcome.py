"""What a runtime sees of one call, and what holds for every answer."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.files.double import Call, Json

PATIENCE = 20  # seconds until what must happen at once counts as never


def wait_until(happened: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stop(pid: int) -> None:
    """Stop a process (SIGSTOP), as a container that is paused, and wait until it does no more."""
    os.kill(pid, signal.SIGSTOP)
    status = Path(f"/proc/{pid}/stat")
    wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", f"process {pid} has stopped")


class Outcome(NamedTuple):
    """What a runtime sees of one call, and the delegates' calls that it led to."""

    status: int
    stdout: bytes
    stderr: str
    every_call: list[Call]

    @property
    def ok(self) -> bool:
        return self.status == 0

    @property
    def answer(self) -> Json:
        document = json.loads(self.stdout)
        assert isinstance(document, dict)
        return document

    @property
    def code(self) -> int:
        """The error's code, 0 for success."""
        return int(self.answer["code"]) if self.status else 0

    @property
    def msg(self) -> str:
        return str(self.answer["msg"])

    @property
    def details(self) -> str:
        return str(self.answer.get("details", ""))

    @property
    def calls(self) -> list[Call]:
        """The delegates' calls, without the questions for their versions."""
        return [call for call in self.every_call if call.verb != "VERSION"]

    @property
    def ran(self) -> list[str]:
        return [f"{call.verb} {call.type}" for call in self.calls]

    @property
    def asked(self) -> list[str]:
        """The delegates that were asked for their versions."""
        return [call.type for call in self.every_call if call.verb == "VERSION"]

    def conf(self, delegate: str, verb: str = "") -> Json:
        """What that delegate got on stdin."""
        (call,) = [call for call in self.calls if call.type == delegate and verb in ("", call.verb)]
        return call.conf


def attachment(env: Mapping[str, str], stdin: bytes) -> tuple[str, ...]:
    """What a call is about: network name, container ID and interface name."""
    try:
        network = json.loads(stdin)["name"]
    except (ValueError, LookupError, TypeError, RecursionError):
        network = ""
    return str(network), env.get("CNI_CONTAINERID", ""), env.get("CNI_IFNAME", "")


def assert_error(verb: str, outcome: Outcome) -> None:
    answer = outcome.answer
    assert {"cniVersion", "code", "msg"} <= answer.keys() <= {"cniVersion", "code", "msg", "details"}
    assert isinstance(answer["cniVersion"], str)
    assert type(answer["code"]) is int
    assert answer["code"] > 0
    assert outcome.msg
    assert "\n" not in outcome.msg
    assert isinstance(answer.get("details", ""), str)
    if verb == "DEL":
        for words in ("not found", "no such file or directory"):
            assert words not in f"{outcome.msg}; {outcome.details}", "containerd takes these words for success"
