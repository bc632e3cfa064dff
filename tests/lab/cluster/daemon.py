"""Programs of the cluster: where they are, and one that runs in the sandbox."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support import gomodules
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox.namespaces import Sandbox, kill, members

HERE = Path(__file__).parent
HELM = HERE.parents[1] / "support/helm/build"  # it makes Cilium's ConfigMap of Cilium's chart
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"


def built(name: str) -> Path:
    """The directory of what the build script beside this file has built, or helm's. Raises NotBuiltError."""
    return gomodules.built(HELM if name == "helm" else HERE / "build", name)


def installed(program: str) -> str:
    """The path of a program that a package brings. Raises NotBuiltError."""
    path = shutil.which(program, path=SYSTEM)
    if not path:
        raise NotBuiltError(f"{program} is not installed: tests/lab/cluster/packages")
    return path


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60) -> float:
    """Ask now and then, a few times a second: what is asked costs a process. How long it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() < start + seconds, f"{what}: not in {seconds:.0f} s"
        time.sleep(0.2)
    return time.monotonic() - start


class Daemon:
    """A program that runs in the sandbox, with a log of its own; it can be stopped, killed, and started again."""

    def __init__(self, sandbox: Sandbox, *command: str, env: Mapping[str, str] | None = None) -> None:
        self.name = Path(command[0]).name
        self._sandbox = sandbox
        self._command = command
        self._environment = {"PATH": SYSTEM, "HOME": "/root"} | dict(env or {})
        self._log = f"/var/log/{self.name}.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, has not been ended, and has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert self._process is None
        script = f'exec "$@" >>{self._log} 2>&1 </dev/null'
        self._process = self._sandbox.start("sh", "-c", script, "daemon", *self._command, env=self._environment)

    def kill(self) -> None:
        """kill -9: the program alone, without a word to it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        assert self._process
        os.kill(self._pid, how)
        self._process.wait(60)
        self.close()

    def close(self) -> None:
        """End it, and what it has started itself in its process group."""
        if not self._process:
            return
        kill(self._process)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:
                stream.close()
        self._process = None

    @property
    def _pid(self) -> int:
        """Its number out here."""
        assert self._process
        for number in members(self._process):
            with contextlib.suppress(OSError):
                if Path(os.readlink(f"/proc/{number}/exe")).name == self.name:
                    return number
        raise AssertionError(f"{self.name} has ended:\n{self.log()[-3000:]}")

    def log(self) -> str:
        """All it has said so far, of earlier starts too."""
        return self._sandbox.path(self._log).read_text(errors="replace")

    def wait(self, true: Callable[[], bool], what: str, seconds: float = 120) -> float:
        """Wait for something of it; that it ends meanwhile is a failure. How long it took."""

        def still() -> bool:
            if not self.running:
                raise AssertionError(f"{self.name} has ended:\n{self.log()[-3000:]}")
            return true()

        return wait_until(still, what, seconds)
