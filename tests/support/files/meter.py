"""Timed and counted calls on a node of files whose delegates do nothing."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.compiler import compiled
from tests.support.files.double import Json
from tests.support.files.node import called_node, shipped_node

HERE = Path(__file__).resolve().parent
IFNAME = "eth0"
OF_ATTACHMENTS = ("ADD", "CHECK", "DEL")
ANSWERED = {"ADD": "ips", "VERSION": "supportedVersions"}


class Sample(NamedTuple):
    """What one run took."""

    milliseconds: float
    peak_kib: int
    cpu_ms: float = 0.0  # of the processors, on behalf of the program and of what it waited for


class Count(NamedTuple):
    """What one run did; see count.c for what belongs to it."""

    system_calls: int
    files_opened: int
    syncs: int
    programs_started: int


class CallFailedError(Exception):
    """A call failed, or answered something else: a failure that is quick must not pass for a fast call."""


class Meter:
    """A node in /var/tmp, because on many machines /tmp is memory, and state never is; and what calls on it cost."""

    def __init__(self, program: Path, delegates: int = 2, netns: str = "/run/netns/bench") -> None:
        self.program = program.absolute()
        self.netns = netns
        self._temporary = tempfile.TemporaryDirectory(prefix="cni-chain-bench.", dir="/var/tmp")
        self.root = Path(self._temporary.name)
        self.node = called_node(self.root, str(self.program))
        self.output = self.root / "stdout"
        self._clock = self.compile("clock")
        self._noop = self.compile("noop")
        self.types = [f"noop{number}" for number in range(1, delegates + 1)]
        for number, plugin in enumerate(self.types, start=1):
            os.link(self._noop, self.node.bin_dir / plugin)
            self.node.owner(f"owner{number}")
            self.fragment(f"owner{number}", "10.conf", plugin)
        self.node.network = "bench"
        self.request = self.node.request()
        self._results: dict[str, Json] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove all of it."""
        self._temporary.cleanup()

    def fragment(self, owner: str, file: str, plugin: str) -> None:
        """Write one of an owner's files."""
        self.node.write(f"{owner}.d/{file}", {"cniVersion": "1.1.0", "type": plugin})

    def conflist(self, *plugins: Json) -> Path:
        """Write a list of plugins, as a runtime reads it."""
        file = self.root / f"{plugins[0]['type']}.conflist"
        file.write_text(json.dumps({"cniVersion": "1.1.0", "name": self.node.network, "plugins": plugins}))
        return file

    def run(self, command: Sequence[str], stdin: str = "/dev/null", environ: dict[str, str] | None = None) -> Sample:
        """Time a command; whatever it prints is in `output`."""
        done = self._start([str(self._clock), stdin, str(self.output), *command], environ)
        nanoseconds, busy, peak, status = map(int, done.stdout.split())
        if status != 0:
            raise CallFailedError(f"{command} {environ}: wait status {status}\n{self.output.read_text()}{done.stderr}")
        return Sample(nanoseconds / 1e6, peak, busy / 1e6)

    def count(self, command: Sequence[str], stdin: str = "/dev/null", environ: dict[str, str] | None = None) -> Count:
        """Count what a command does; whatever it prints is in `output`."""
        counter = self.root / "count"
        if not counter.exists():
            self.compile("count")
        done = self._start([str(counter), stdin, str(self.output), *command], environ, check=False)
        if done.returncode:
            raise CallFailedError(f"nothing can be counted here: {done.stderr}")
        *counted, status = map(int, done.stdout.split())
        if status != 0:
            raise CallFailedError(f"{command} {environ}: wait status {status}\n{self.output.read_text()}{done.stderr}")
        return Count(*counted)

    def _start(
        self, line: list[str], environ: dict[str, str] | None, *, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environ = {"PATH": "/usr/bin:/bin", **(environ or {})}
        return subprocess.run(line, env=environ, capture_output=True, text=True, check=check)

    def asked(self, verb: str, container: str, request: Json | None = None) -> tuple[str, dict[str, str]]:
        """Return a call's standard input, as a file, and its environment; `request` instead of cni-chain's."""
        request = self.request if request is None else request
        if verb in ("CHECK", "DEL"):
            request = {**request, "prevResult": self._results[request["type"]]}
        stdin = self.root / "stdin"
        stdin.write_text(json.dumps(request))
        environ = {"CNI_COMMAND": verb, "CNI_PATH": self.node.cni_path}
        if verb in OF_ATTACHMENTS:
            environ |= {"CNI_CONTAINERID": container, "CNI_IFNAME": IFNAME, "CNI_NETNS": self.netns}
            environ["CNI_ARGS"] = pod(container)
        return str(stdin), environ

    def require_answer(self, verb: str, kind: str) -> None:
        """Look at the answer to the last call; an ADD's is kept for the CHECK and DEL of its `kind`."""
        answer = self.output.read_text()
        expected = ANSWERED.get(verb)
        if expected is None and not answer:
            return
        if expected is None or not json.loads(answer).get(expected):
            raise CallFailedError(f"{verb}: an unexpected answer\n{answer}")
        if verb == "ADD":
            self._results[kind] = json.loads(answer)

    def cni(self, verb: str, container: str, program: Path | None = None, request: Json | None = None) -> Sample:
        """Time one verb of cni-chain, or of another plugin."""
        sample = self.run([str(program or self.program)], *self.asked(verb, container, request))
        self.require_answer(verb, (request or self.request)["type"])
        return sample

    def counted(self, verb: str, container: str, program: Path | None = None, request: Json | None = None) -> Count:
        """Count one verb of cni-chain, or of another plugin."""
        count = self.count([str(program or self.program)], *self.asked(verb, container, request))
        self.require_answer(verb, (request or self.request)["type"])
        return count

    def delegate(self) -> Sample:
        """Time the no-op delegate by itself."""
        return self.run([str(self._noop)])

    def durable_write(self) -> Sample:
        """Time what replacing a record costs the disk: write, fsync, rename, fsync of the directory."""
        start = time.perf_counter()
        temporary = self.root / "record.tmp"
        with temporary.open("wb") as file:
            file.write(bytes(2048))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.root / "record")
        directory = os.open(self.root, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        return Sample((time.perf_counter() - start) * 1e3, 0)

    def well(self) -> Path:
        """The tree of a node on which all is well, for people's commands."""
        tree = shipped_node(self.root / "well", str(self.program))
        tree.log.parent.mkdir(parents=True)
        return tree.root

    def compile(self, name: str) -> Path:
        """Compile one of the C programs beside this file."""
        return compiled(HERE / f"{name}.c", self.root / name, "-O2", "-static")


def pod(name: str) -> str:
    """Return the CNI_ARGS of a pod."""
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name}"


def bundle(program: Path) -> tuple[int, int]:
    """Return the bytes and the number of files of the directory that holds a frozen program."""
    files = [file for file in program.resolve().parent.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files), len(files)
