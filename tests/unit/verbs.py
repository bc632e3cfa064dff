"""A node of files on which verbs are carried out in this process: which delegates each calls with what."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cni_chain.plugin import protocol
from cni_chain.plugin.answer import Outcome
from cni_chain.plugin.spec import VERSIONS
from tests.support.files.tree import Tree

Json = dict[str, Any]
Reply = Exception | Outcome | Json

ADDRESS = {"address": "192.0.2.7/24"}
RESULT = {"cniVersion": "1.1.0", "interfaces": [{"name": "rt"}], "ips": [ADDRESS]}
OWNERS = ({"name": "o1"}, {"name": "o2"})


def failed(code: int = 7, msg: str = "no", **more: str) -> Json:
    """An Error object, as a delegate prints it."""
    return {"code": code, "msg": msg, **more}


class Executor:
    """Stands in for the processes: it writes down what each delegate is given, and answers.

    A call reads `COMMAND type cniVersion result`, the last as the names of the interfaces in prevResult ("-" without
    one); of a GC, the attachments that it must keep. An ADD adds an interface of the delegate's name to the result.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.environs: list[Mapping[str, str]] = []
        self.confs: list[Json] = []
        self.replies: dict[str, Reply] = {}
        self.versions: dict[str, tuple[str, ...]] = {}

    def __call__(self, file: str, environ: Mapping[str, str], stdin: bytes, seconds: float) -> Outcome:
        assert seconds > 0
        command, name = environ["CNI_COMMAND"], os.path.basename(file)
        conf = json.loads(stdin)
        self.environs.append(environ)
        self.confs.append(conf)
        self.calls.append(
            f"{command} {name}" + ("" if command == "VERSION" else f" {conf['cniVersion']} {about(conf)}")
        )
        reply = self.replies.get(f"{command} {name}")
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Outcome):
            return reply
        if reply is not None:
            return Outcome(1, json.dumps(reply).encode(), b"", 1.0)
        return Outcome(0, self._answer(command, name, conf), b"", 1.0)

    def _answer(self, command: str, name: str, conf: Json) -> bytes:
        if command == "VERSION":
            supported = self.versions.get(name, VERSIONS)
            return json.dumps({"cniVersion": supported[-1], "supportedVersions": supported}).encode()
        if command != "ADD":
            return b""
        before = conf.get("prevResult") or {"ips": [{**ADDRESS, "version": "4"}]}
        interfaces = [*before.get("interfaces", ()), {"name": name}]
        return json.dumps({**before, "cniVersion": conf["cniVersion"], "interfaces": interfaces}).encode()


def about(conf: Json) -> str:
    """What of a delegate's configuration a call is written down with."""
    if "cni.dev/valid-attachments" in conf:
        return ",".join(f"{one['containerID']}/{one['ifname']}" for one in conf["cni.dev/valid-attachments"]) or "none"
    if "prevResult" not in conf:
        return "-"
    return "+".join(interface["name"] for interface in conf["prevResult"]["interfaces"])


class Ended(NamedTuple):
    """What a runtime gets, and what the delegates got."""

    status: int
    document: Json | None
    calls: list[str]

    @property
    def code(self) -> int:
        """The Error object's code, 0 for success."""
        assert (self.status == 0) == (self.document is None or "code" not in self.document)
        return 0 if self.status == 0 or self.document is None else int(self.document["code"])

    @property
    def msg(self) -> str:
        """The Error object's message with its details."""
        assert self.document is not None
        return f"{self.document['msg']} | {self.document.get('details', '')}"

    @property
    def interfaces(self) -> str:
        """The names of the interfaces in the Result."""
        assert self.document is not None
        return "+".join(interface["name"] for interface in self.document["interfaces"])


class InProcess(Tree):
    """A node of files whose plugins, empty files, are never started: an executor stands in for them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.executor = Executor()
        self.log.parent.mkdir(parents=True)

    def writes(self, owner: str, *types: str, file: str = "10.conflist", **keys: object) -> None:
        """Have an owner write a list of plugins, and install them."""
        self.write(f"{owner}.d/{file}", {"cniVersion": "1.1.0", "plugins": [{"type": name} for name in types], **keys})
        for name in types:
            self.install(name, "")

    @property
    def records(self) -> list[str]:
        """The records' file names."""
        return sorted(file.name for file in self.state_dir.glob("net:*"))

    def request(self, owners: tuple[Json, ...] = OWNERS, **keys: object) -> Json:
        """The facade as the runtime hands it over; a key that is None is left out."""
        conf: Json = {
            "cniVersion": "1.1.0",
            "name": "net",
            "type": "cni-chain",
            "chainDir": str(self.chain_dir),
            "stateDir": str(self.state_dir),
            "logFile": str(self.log),
            "allowUnsafePermissions": os.geteuid() != 0,
            "owners": list(owners),
            "prevResult": RESULT,
            **keys,
        }
        return {key: value for key, value in conf.items() if value is not None}

    def environ(self, verb: str, container: str = "c1", **variables: str) -> dict[str, str]:
        """The environment as the runtime gives it."""
        of_attachment = {"CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/none"}
        given = {"CNI_COMMAND": verb, "CNI_PATH": str(self.bin_dir)}
        return {**given, **({} if verb in ("GC", "STATUS", "VERSION") else of_attachment), **variables}

    def dispatch(self, environ: Mapping[str, str], stdin: bytes) -> Ended:
        """Carry out a call; return its end, with the delegates' calls that it led to but for VERSION."""
        before = len(self.executor.calls)
        given, answer = self.root / "stdin", self.root / "stdout"
        given.write_bytes(stdin)
        with given.open("rb") as source, answer.open("wb") as target:
            status = protocol.dispatch(environ, source.fileno(), target.fileno(), self.executor)
        text = answer.read_bytes()
        calls = [call for call in self.executor.calls[before:] if not call.startswith("VERSION")]
        return Ended(status, json.loads(text) if text else None, calls)

    def run(self, verb: str, container: str = "c1", owners: tuple[Json, ...] = OWNERS, **keys: object) -> Ended:
        """Carry out a verb for a container, with these keys in its configuration."""
        return self.dispatch(self.environ(verb, container), json.dumps(self.request(owners, **keys)).encode())
