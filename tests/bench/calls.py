"""A node with two no-op delegates in a temporary directory, and timed calls of cni-chain on it."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

HERE = Path(__file__).resolve().parent
OWNERS = ("first", "second")


class Sample(NamedTuple):
    """What one run took."""

    milliseconds: float
    peak_kib: int


class Node:
    """Where the program is run: in /var/tmp, because on many machines /tmp is memory, and state never is."""

    def __init__(self, program: Path) -> None:
        self.program = program.absolute()
        self._temporary = tempfile.TemporaryDirectory(prefix="cni-chain-bench.", dir="/var/tmp")
        self.root = Path(self._temporary.name)
        self._clock = self._compile("clock")
        self._noop = self._compile("noop")
        self._output = self.root / "stdout"
        self._request = {
            "cniVersion": "1.1.0",
            "name": "bench",
            "type": "cni-chain",
            "chainDir": str(self.root / "chain.d"),
            "stateDir": str(self.root / "state"),
            "logFile": str(self.root / "log"),
            "allowUnsafePermissions": os.geteuid() != 0,
            "owners": [{"name": owner} for owner in OWNERS],
        }
        (self.root / "bin").mkdir()
        for owner in OWNERS:
            os.link(self._noop, self.root / "bin" / f"{owner}-noop")
            directory = self.root / "chain.d" / f"{owner}.d"
            directory.mkdir(parents=True)
            fragment = directory / "10.conf"
            fragment.write_text(json.dumps({"cniVersion": "1.1.0", "type": f"{owner}-noop"}))
            directory.chmod(0o755)
            fragment.chmod(0o644)
        self._result: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    def run(self, command: list[str], stdin: str = "/dev/null", environ: dict[str, str] | None = None) -> Sample:
        """Time a command; whatever it prints is in `output`."""
        line = [str(self._clock), stdin, str(self._output), *command]
        done = subprocess.run(
            line, env={"PATH": "/usr/bin:/bin", **(environ or {})}, capture_output=True, text=True, check=True
        )
        nanoseconds, peak, status = map(int, done.stdout.split())
        if status != 0:
            raise SystemExit(f"{command} {environ}: wait status {status}\n{self._output.read_text()}{done.stderr}")
        return Sample(nanoseconds / 1e6, peak)

    def delegate(self) -> Sample:
        """Time the no-op delegate by itself."""
        return self.run([str(self._noop)])

    def cni(self, verb: str, container: str) -> Sample:
        """Time one verb and look at its answer: a failure that is quick must not pass for a fast call."""
        request = self._request
        if verb in ("CHECK", "DEL"):
            request = {**request, "prevResult": self._result}
        stdin = self.root / "stdin"
        stdin.write_text(json.dumps(request))
        environ = {"CNI_COMMAND": verb, "CNI_PATH": str(self.root / "bin")}
        if verb in ("ADD", "CHECK", "DEL"):
            environ |= {"CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/bench"}
            environ["CNI_ARGS"] = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}"
        sample = self.run([str(self.program)], str(stdin), environ)
        answer = self._output.read_text()
        expected = {"ADD": "ips", "VERSION": "supportedVersions"}.get(verb)
        if expected is None and not answer:
            return sample
        if expected is None or not json.loads(answer).get(expected):
            raise SystemExit(f"{verb}: an unexpected answer\n{answer}")
        if verb == "ADD":
            self._result = json.loads(answer)
        return sample

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

    def _compile(self, name: str) -> Path:
        target = self.root / name
        subprocess.run(["gcc", "-O2", "-Wall", "-static", "-o", target, HERE / f"{name}.c"], check=True)  # noqa: S607
        return target
