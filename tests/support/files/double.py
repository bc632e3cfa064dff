"""The recording delegate of double.c from its other side: what it is told, and what it has recorded."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]


class Plugin:
    """A delegate's executable, and what it is told to do."""

    def __init__(self, orders: Path) -> None:
        self.orders = orders

    def does(self, verb: str, *orders: str, prints: object = None, call: int = 0) -> "Plugin":
        """From now on (or at its n-th call of this verb): orders as in double.c, and what is printed."""
        body = b""
        if prints is not None:
            body = b"\n" + (prints if isinstance(prints, bytes) else json.dumps(prints).encode())
        name = f"{verb}.{call}" if call else verb
        (self.orders / name).write_bytes("".join(f"{order}\n" for order in orders).encode() + body)
        return self

    def fails(self, verb: str, msg: str = "no", code: int = 7, call: int = 0, **more: Any) -> "Plugin":
        return self.does(verb, "exit 1", prints={"code": code, "msg": msg, **more}, call=call)

    def behaves(self, verb: str) -> "Plugin":
        (self.orders / verb).unlink(missing_ok=True)
        return self

    def supports(self, *versions: str) -> "Plugin":
        return self.does("VERSION", prints={"cniVersion": versions[-1], "supportedVersions": versions})


class Call(NamedTuple):
    """One call of a delegate, as it recorded it."""

    verb: str
    type: str
    folder: Path

    @classmethod
    def recorded(cls, folder: Path) -> "Call":
        call = cls("", folder.name.split("-", 2)[2], folder)
        return call._replace(verb=call.env.get("CNI_COMMAND", ""))

    @property
    def environ(self) -> list[str]:
        return sorted(os.fsdecode(entry) for entry in (self.folder / "environ").read_bytes().split(b"\0") if entry)

    @property
    def env(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.environ)

    @property
    def stdin(self) -> bytes:
        return (self.folder / "stdin").read_bytes()

    @property
    def conf(self) -> Json:
        conf = json.loads(self.stdin)
        assert isinstance(conf, dict)
        return conf

    @property
    def pid(self) -> int:
        return int(self.folder.name.split("-")[1])

    @property
    def child(self) -> int:
        return int((self.folder / "child").read_text())

    @property
    def group(self) -> int:
        return int((self.folder / "stat").read_text().rpartition(")")[2].split()[2])

    @property
    def status(self) -> dict[str, str]:
        """The lines of /proc/self/status."""
        lines = (self.folder / "status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    @property
    def fds(self) -> dict[int, str]:
        lines = (self.folder / "fds").read_text().splitlines()
        return {int(number): target for number, _, target in (line.partition(" ") for line in lines)}

    @property
    def started(self) -> int:
        return int(self.folder.name.split("-")[0])

    @property
    def ended(self) -> int:
        return int((self.folder / "ended").read_text())
