"""Cilium's and Istio's own writers as processes on a node: started, stopped, killed, and what they say."""

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from tests.support import gomodules
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox, kill, members
from tests.support.sandbox.node import BIN, put, wait_for

CILIUM, ISTIO = "cilium", "istio"
# What Istio's installer copies its plugin from, and what it asks for beside it; what its agent keeps there at run time.
SOURCE, ACCOUNT, RUN = "/run/istio-image", "/run/istio-account", "/run/istio-cni"
GOTOOLS = CHECKOUT / "tests/support/agents/gotools"
# What the charts set with the values of conf/helm, as the writers' flags (Cilium's is its chart's default).
EXCLUSIVE = "--cni-exclusive=true"
ADVISED = ("--chained-cni-plugin=false", "--cni-conf-name=10-istio.conf", "--enable-ambient-detection-retry")
# What Istio's agent does when it is uninstalled, and in sidecar mode whenever it stops.
CLEANS_UP = "--cleanup"


def built(name: str) -> Path:
    """The directory of an agent's programs. Raises NotBuiltError."""
    return gomodules.built(CHECKOUT / "tests/support/agents/build", name)


def version(agent: str) -> str:
    """The version of an agent's module, as go.mod pins it; of one that is no release its day."""
    module = {CILIUM: "github.com/cilium/cilium", ISTIO: "istio.io/istio"}[agent]
    pinned = re.search(rf"{module} v(\S+)", (GOTOOLS / agent / "go.mod").read_text())
    assert pinned
    day = re.search(r"-(\d{4})(\d\d)(\d\d)\d{6}-", pinned[1])
    return "-".join(day.groups()) if day else pinned[1]


class Writer:
    """One agent's writer. Its directory need not be there; what it logs is in /var/log."""

    def __init__(self, sandbox: Sandbox, agent: str, command: list[str]) -> None:
        self.agent = agent
        self.processes: set[int] = set()  # all that it ever was
        self._sandbox = sandbox
        self._command = command
        self._running: subprocess.Popen[str] | None = None

    def start(self) -> None:
        into = f'exec "$0" "$@" >>/var/log/{self.agent}.out 2>>/var/log/{self.agent}.log'
        self._running = self._sandbox.start("sh", "-c", into, *self._command)
        started = self._running
        wait_for(lambda: bool(members(started)) or started.poll() is not None, f"{self.agent}'s writer is started")
        self.processes |= set(members(started))

    def stop(self, seconds: float = 60) -> bool:
        """End it as its pod would be ended. False if it had to be killed, since SIGTERM had not ended it in time."""
        assert self._running
        for process in members(self._running):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(process, signal.SIGTERM)
        try:
            self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._close()
        return True

    def kill(self) -> None:
        assert self._running
        kill(self._running)
        self._close()

    def _close(self) -> None:
        assert self._running
        for stream in (self._running.stdin, self._running.stdout, self._running.stderr):
            if stream:
                stream.close()
        self._running = None

    def close(self) -> None:
        """End it, if it runs."""
        if self._running:
            self.kill()

    @property
    def runs(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def log(self) -> str:
        """What it has logged since its first start."""
        return self._read("log")

    @property
    def said(self) -> list[dict[str, str]]:
        """What it has said of its state since its first start, each time that it changed."""
        return [json.loads(line) for line in self._read("out").splitlines() if line.endswith("}")]

    def is_ready(self, since: int) -> bool:
        """Whether its last word, of those after the first `since`, is that its file is in place."""
        last = self.said[since:][-1:]
        return last != [] and (last[0].get("state") == "Ok" or last[0].get("ready") == "true")

    def _read(self, ending: str) -> str:
        file = self._sandbox.path(f"/var/log/{self.agent}.{ending}")
        return file.read_text(errors="replace") if file.exists() else ""


def cilium(sandbox: Sandbox, directory: str, *settings: str, version: str = "1.20") -> Writer:
    """Cilium's writer for a directory of the node (Helm: cni.confPath), with the agent's other settings."""
    program = _program(sandbox, f"cilium-{version}", "cilium-conf-writer")
    return Writer(sandbox, CILIUM, [program, f"--write-cni-conf-when-ready={directory}/05-cilium.conflist", *settings])


def istio(sandbox: Sandbox, directory: str, *settings: str) -> Writer:
    """Istio's installer for a directory of the node (Helm: cniConfDir), with the agent's other settings."""
    program = _program(sandbox, "istio", "istio-installer")
    for made in (SOURCE, ACCOUNT, RUN):
        sandbox.path(made).mkdir(parents=True, exist_ok=True)
    sandbox.path(f"{ACCOUNT}/token").write_text("token")
    if not sandbox.path(f"{SOURCE}/istio-cni").exists():
        put(sandbox.path(SOURCE), built("istio") / "istio-cni")
    given = [
        f"--mounted-cni-net-dir={directory}",
        f"--cni-agent-run-dir=/var{RUN}",
        f"--service-account={ACCOUNT}",
        f"--bin-source={SOURCE}",
        f"--bin-target={BIN}",
    ]
    return Writer(sandbox, ISTIO, [program, *given, *settings])


def _program(sandbox: Sandbox, build: str, name: str) -> str:
    """A program in the sandbox: the directory that it was built into may be hidden there."""
    inside = sandbox.path(f"/opt/cni/{name}")
    if not inside.exists():
        put(inside, built(build) / name)
    return f"/opt/cni/{name}"
