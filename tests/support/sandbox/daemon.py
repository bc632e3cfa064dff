"""A node in a sandbox for `cni-chain agent`: its plugins are scripts that answer, and its agents are whoever writes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.support.sandbox.namespaces import Sandbox, kill, members
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET, install, wait_for

Json = dict[str, Any]

LIST = f"{NET}/05-cilium.conflist"
ADDRESS = "127.0.0.1:9753"
RELEASES = ("0.3.1", "0.4.0", "1.0.0")
CILIUM: Json = {"type": "cilium-cni", "enable-debug": False}
# Of Istio 1.27 and later, which leave a facade alone that sorts first.
ISTIO: Json = {"type": "istio-cni", "ambient_enabled": True, "enablement_selectors": []}
FRAGMENTS = {"cilium": "05-cilium.conflist", "istio": "10-istio.conf"}
SOCKETS = {"cilium": "/run/cilium/cilium.sock", "istio": "/run/istio-cni/pluginevent.sock"}
OWNERS = ("--owner", "cilium:cilium-cni", "--owner", "istio:istio-cni")

PLUGIN = """#!/bin/sh
[ "$CNI_COMMAND" != VERSION ] || echo '{"cniVersion":"1.0.0","supportedVersions":%s}'
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"'"$VERSION"'","ips":[{"version":"4","address":"10.0.0.2/24"}]}'
[ "$CNI_COMMAND" != DEL ] || echo "$CNI_CONTAINERID" >>/var/log/deleted.%s
"""
ASK = """
import socket, sys
host, port, request = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape").encode("latin-1")
with socket.create_connection((host, port), 30) as made:
    made.sendall(request)
    while piece := made.recv(65536):
        sys.stdout.buffer.write(piece)
"""


def _accept(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it was closed
        while True:
            listening.accept()[0].close()


def _state(pid: int) -> str:
    """A process's state, by its letter; "" once it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


class Answer:
    """What the agent answers to one request."""

    def __init__(self, content: str) -> None:
        head, _, self.text = content.partition("\n\n")  # the sandbox's output is text, with its ends of lines
        self.status = int(head.split()[1])
        lines = (line.partition(": ") for line in head.split("\n")[1:])
        self.headers = {name: value for name, _, value in lines}

    @property
    def json(self) -> Json:
        document: Json = json.loads(self.text)
        return document


class Agent:
    """A running `cni-chain agent`."""

    def __init__(self, sandbox: Sandbox, process: Popen[str], address: str) -> None:
        self.sandbox = sandbox
        self.process = process
        self.address = address
        self.lines: list[Json] = []
        self.errors = ""
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_errors)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def _read_errors(self) -> None:
        assert self.process.stderr
        self.errors = self.process.stderr.read()

    @property
    def pids(self) -> list[int]:
        """Its processes, by the numbers that they have out here."""
        return members(self.process)

    def request(self, words: str) -> str:
        """What comes back for a request as it is written; "" if nobody answers."""
        host, _, port = self.address.rpartition(":")
        done = self.sandbox.run(sys.executable, "-ISc", ASK, host, port, words, check=False)
        return done.stdout

    def get(self, path: str) -> Answer:
        answer = self._asked(path)
        assert answer.status, f"{path}: nobody answers at {self.address}; {self.lines} {self.errors}"
        return answer

    def _asked(self, path: str) -> Answer:
        """The same; its status is 0 if nobody answers, as while the agent goes on as another program."""
        return Answer(self.request(f"GET {path} HTTP/1.1\\r\\nHost: node\\r\\n\\r\\n") or "HTTP/1.1 0")

    @property
    def last(self) -> Json:
        """The last line of the log that says what the node is."""
        return next((line for line in reversed(self.lines) if "ready" in line), {"ready": None, "reasons": []})

    @property
    def did(self) -> list[str]:
        return [line["did"] for line in self.lines if "did" in line]

    def wait_until(self, true: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Wait until it is true, asking once each time: what is true now may not be so a moment later.

        Once it has ended, and all that it has said is read, it is asked a last time.
        """
        answers = [False]

        def is_over() -> bool:
            has_ended = self.process.poll() is not None
            if has_ended:
                self._read_all()
            answers.append(true())
            return answers[-1] or has_ended

        try:
            wait_for(is_over, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.lines[-3:]} {self.errors}") from None
        assert answers[-1], f"{what}: {self._ended()}"

    def _ended(self) -> str:
        """How it has ended, and its last words."""
        self._read_all()
        return f"it has ended with {self.process.wait(10)}: {self.lines[-3:]} {self.errors}"

    def _read_all(self) -> None:
        """Read what it has said until its end."""
        for reader in self._readers:
            reader.join(30)

    def wait_did(self, words: str, since: int = 0) -> None:
        """Wait until it has said of a step, of those after the first `since`, that it did something with these words.

        It says so when all of the step is done; what the node is then, it says after that.
        """
        self.wait_until(lambda: any(words in text for text in self.did[since:]), f"did: {words}")

    def wait_ready(self, reached: str) -> None:
        """Wait until the node is ready and what is asked for, by the log and by what probes get."""

        def is_ready() -> bool:
            said = self.last["ready"], self.last.get("reached")
            return said == (True, reached) and self._asked("/readyz").text == f"ready: {reached}\n"

        self.wait_until(is_ready, f"ready: {reached}")

    def wait_refused(self, words: str) -> None:
        """Wait until the node isn't ready for a reason with these words; the log, the probe and /status agree."""

        def is_refused() -> bool:
            if self.last["ready"] is not False or not any(words in reason for reason in self.last["reasons"]):
                return False
            answer, status = self._asked("/readyz"), self._asked("/status")
            if not (answer.status == 503 and words in answer.text and status.text):
                return False
            return words in " ".join(status.json["agent"]["reasons"])

        self.wait_until(is_refused, f"not ready: {words}")

    def signal(self, name: str) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):  # what it had started has just ended
                os.kill(pid, signal.Signals[f"SIG{name}"])
        if name == "STOP":
            wait_for(lambda: {_state(pid) for pid in self.pids} <= {"T", "Z", ""}, "it is stopped")
        else:
            self._continue()

    def _continue(self) -> None:
        """Let nsenter go on, which stops when what it has started stops."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> int:
        """End it as a kubelet does, and return its exit status; all that it has said is read."""
        self.signal("TERM")
        status = self.process.wait(30)
        self._read_all()
        return status

    def close(self) -> None:
        kill(self.process)
        self._read_all()


class Node:
    """The node: cni-chain is installed, and a list gives pods their network if one was written."""

    def __init__(self, sandbox: Sandbox, program: str) -> None:
        self.sandbox = sandbox
        self.program = program
        install(sandbox, Path(program))
        for name in ("cilium-cni", "istio-cni", "portmap"):
            self.plugin(name)
        for directory in (NET, CHAIN):
            sandbox.path(directory).mkdir(parents=True)
        self._sockets: dict[str, socket.socket] = {}
        for owner in SOCKETS:
            self.runs(owner)

    def runs(self, owner: str) -> None:
        """Play an agent that runs: its plugin's socket takes connections."""
        path = self.sandbox.path(SOCKETS[owner])
        path.parent.mkdir(parents=True, exist_ok=True)
        made = self._sockets[owner] = socket.socket(socket.AF_UNIX)
        made.bind(str(path))
        made.listen()
        threading.Thread(target=_accept, args=(made,), daemon=True).start()

    def stops(self, owner: str) -> None:
        """Play an agent that ends."""
        made = self._sockets.pop(owner)
        made.shutdown(socket.SHUT_RDWR)
        made.close()
        self.sandbox.path(SOCKETS[owner]).unlink()

    def close(self) -> None:
        for owner in list(self._sockets):
            self.stops(owner)

    def plugin(self, name: str, versions: tuple[str, ...] = RELEASES) -> None:
        file = self.sandbox.path(f"{BIN}/{name}")
        file.write_text(PLUGIN % (json.dumps(list(versions)), name))
        file.chmod(0o755)

    def write(self, path: str, content: Mapping[str, object] | bytes) -> None:
        """Write a file as a good agent does: in its own form, and never half a file."""
        file = self.sandbox.path(path)
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=1).encode())
        temporary.chmod(0o644)
        temporary.replace(file)

    def share(self, *plugins: Json) -> None:
        """The list that the agents share."""
        self.write(LIST, {"cniVersion": "0.3.1", "name": "cilium", "plugins": list(plugins or (CILIUM, ISTIO))})

    def moves(self, owner: str) -> None:
        """What an agent writes when it was set to its owner's directory."""
        documents: dict[str, Json] = {
            "cilium": {"cniVersion": "0.3.1", "name": "cilium", "plugins": [CILIUM]},
            "istio": {"cniVersion": "0.3.1", "name": "istio-cni", **ISTIO},
        }
        self.write(f"{CHAIN}/{owner}.d/{FRAGMENTS[owner]}", documents[owner])

    def read(self, path: str) -> Json:
        document: Json = json.loads(self.sandbox.path(path).read_bytes())
        return document

    def text(self, path: str) -> str:
        """What a file has; "" while it doesn't exist."""
        with contextlib.suppress(FileNotFoundError):
            return self.sandbox.path(path).read_text()
        return ""

    def names(self, directory: str = NET) -> list[str]:
        return sorted(path.name for path in self.sandbox.path(directory).iterdir())

    def active(self) -> str:
        """The file that a runtime takes."""
        names = [name for name in self.names() if name.endswith((".conf", ".conflist", ".json"))]
        return next((name for name in sorted(names) if not name.startswith(".")), "")

    def has_facade(self) -> bool:
        return self.sandbox.path(f"{NET}/{FACADE}").exists()

    def owners(self) -> dict[str, bool]:
        """The facade's owners, and whether pods wait for them."""
        [plugin] = self.read(f"{NET}/{FACADE}")["plugins"]
        return {owner["name"]: owner.get("required", True) for owner in plugin["owners"]}

    def chain(self, *words: str) -> tuple[int, str, str]:
        """What a person's command says."""
        done = self.sandbox.run(f"{BIN}/cni-chain", *words, check=False)
        return done.returncode, done.stdout, done.stderr

    def call(self, verb: str, container: str, netns: str, file: str = FACADE) -> tuple[int, str]:
        """A runtime's call through the facade."""
        document = self.read(f"{NET}/{file}")
        [plugin] = document["plugins"]
        asked = plugin | {"name": document["name"], "cniVersion": document["cniVersion"]}
        environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_NETNS": netns, "CNI_IFNAME": "eth0"}
        environ |= {"CNI_PATH": BIN, "VERSION": document["cniVersion"]}
        done = self.sandbox.run(f"{BIN}/cni-chain", env=environ, stdin=json.dumps(asked), check=False)
        return done.returncode, done.stdout

    @contextlib.contextmanager
    def agent(self, state: str, *options: str, listen: str = "") -> Iterator[Agent]:
        """An agent that runs beside the block, and is ended after it."""
        words = ["agent", "--state", state, *options, *(["--listen", listen] if listen else [])]
        with self.running([f"{BIN}/cni-chain", *words], listen or ADDRESS) as agent:
            yield agent

    @contextlib.contextmanager
    def running(self, command: list[str], address: str = ADDRESS) -> Iterator[Agent]:
        with self.sandbox.start(*command) as process:
            agent = Agent(self.sandbox, process, address)
            try:
                yield agent
            finally:
                agent.close()

    def image(self, directory: str = "/tmp/image") -> str:  # noqa: S108  # of the sandbox
        """Put the frozen program where a container's image would have it; return the path of its executable."""
        home = Path(self.program).resolve().parent
        target = f"{directory}/{home.name}"
        shutil.copytree(home, self.sandbox.path(target), symlinks=True)
        return f"{target}/cni-chain"
