"""What Cilium's and Istio's own writers do to an owner's directory at start, stop, upgrade and uninstall.

`python -m tests.lab.owners.lifecycle` runs them in a sandbox and writes what is seen into docs/evidence/agents.md.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.agents import writers
from tests.support.agents.writers import ADVISED, CLEANS_UP, EXCLUSIVE, Writer
from tests.support.pages import Part
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, CHAIN, wait_for

PART = Part("evidence/agents.md", "lifecycle")

CILIUM_FILE, ISTIO_FILE = f"{CHAIN}/cilium.d/05-cilium.conflist", f"{CHAIN}/istio.d/10-istio.conf"
KUBECONFIG = "/run/istio-cni/istio-cni-kubeconfig"
FOREIGN = '{"cniVersion": "1.0.0", "name": "other", "type": "other"}\n'


class Seen:
    """The files of one agent, before and after each of its steps."""

    def __init__(self, sandbox: Sandbox, directory: str, *others: str) -> None:
        """`others`: files outside its directory that are an agent's as well."""
        self._sandbox = sandbox
        self._directory = sandbox.path(directory)
        self._others = others
        self._before: dict[str, tuple[int, bytes]] = {}
        self.lines: list[tuple[str, str]] = []

    def step(self, what: str, settled: Callable[[], object]) -> None:
        """Await that a step is done, and note what has become of the files."""
        wait_for(lambda: bool(settled()), what)
        files = {path.name: path for path in self._directory.iterdir() if not path.name.startswith(".")}
        files |= {other: path for other in self._others if (path := self._sandbox.path(other)).exists()}
        now = {name: (path.stat().st_ino, path.read_bytes()) for name, path in files.items()}
        changes: dict[str, list[str]] = {}
        for name in sorted({*now, *self._before}, key=lambda name: (name.startswith("/"), name)):
            if change := self._change(name, now, files.get(name)):
                changes.setdefault(change, []).append(f"`{name}`")
        self._before = now
        told = [f"{', '.join(names)} {change}" for change, names in changes.items()]
        self.lines.append((what, "; ".join(told) or "nothing changes"))

    def _change(self, name: str, now: dict[str, tuple[int, bytes]], path: Path | None) -> str:
        """What has become of one file since the last step; nothing if it is as it was."""
        if path is None:
            return "removed"
        if name not in self._before:
            return f"written, mode {path.stat().st_mode & 0o777:04o}"
        if now[name] == self._before[name]:
            return ""
        same = now[name][1] == self._before[name][1]
        return f"written anew, {'the same bytes' if same else 'other content'}"


def cilium(sandbox: Sandbox) -> Seen:
    """Cilium, from 1.18 to 1.20."""
    seen = Seen(sandbox, f"{CHAIN}/cilium.d")
    file = sandbox.path(CILIUM_FILE)
    foreign = file.with_name("10-other.conf")
    old = writers.cilium(sandbox, f"{CHAIN}/cilium.d", EXCLUSIVE, version="1.18")
    with running(old):
        seen.step("1.18 starts", lambda: content(file) and settled(old))
        foreign.write_text(FOREIGN)
        seen.step("somebody writes `10-other.conf` there", lambda: not foreign.exists())
        file.unlink()
        seen.step("its file is deleted", lambda: content(file))
    seen.step("it stops", lambda: not old.runs)
    sandbox.path("/opt/cni/cilium-conf-writer").unlink()
    new = writers.cilium(sandbox, f"{CHAIN}/cilium.d", EXCLUSIVE)
    with running(new):
        seen.step("1.20 starts", lambda: content(file).get("cniVersion") == "1.0.0")
    with running(new):
        seen.step("it is restarted", lambda: settled(new))
    return seen


def istio(sandbox: Sandbox) -> Seen:
    """Istio, as `conf/helm` sets it."""
    seen = Seen(sandbox, f"{CHAIN}/istio.d", KUBECONFIG, f"{BIN}/istio-cni")
    file = sandbox.path(ISTIO_FILE)
    agent = writers.istio(sandbox, f"{CHAIN}/istio.d", *ADVISED)
    with running(agent):
        seen.step("it starts", lambda: is_ready(agent))
        written = file.read_bytes()
        file.write_text(FOREIGN)
        seen.step("somebody writes over its file", lambda: file.read_bytes() == written)
        file.unlink()
        seen.step("its file is deleted", file.exists)
    seen.step("it stops, its DaemonSet being there (ambient, 1.25 and later)", lambda: not agent.runs)
    inode = file.stat().st_ino
    uninstalled = writers.istio(sandbox, f"{CHAIN}/istio.d", *ADVISED, CLEANS_UP)
    with running(uninstalled):
        seen.step(
            "it is restarted, or a newer one starts", lambda: file.stat().st_ino != inode and is_ready(uninstalled)
        )
    seen.step("it stops in sidecar mode, or is uninstalled", lambda: not uninstalled.runs)
    return seen


class running:  # noqa: N801  # a context manager, read as a word
    """A writer, for as long as the block runs; ended as its pod would be."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __enter__(self) -> None:
        self._said = len(self._writer.said)
        self._writer.start()
        wait_for(lambda: len(self._writer.said) > self._said, "the agent says something")

    def __exit__(self, *_: object) -> None:
        assert self._writer.stop(20), "SIGTERM doesn't end it"


def content(file: Path) -> dict[str, object]:
    """What is in a file; empty while it isn't there."""
    try:
        document = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def settled(agent: Writer) -> bool:
    """Whether Cilium's writer says that its file is as it should be."""
    return agent.said[-1].get("state") == "Ok"


def is_ready(agent: Writer) -> bool:
    """Whether Istio's agent says that it is ready."""
    return agent.said[-1].get("ready") in ("true", True)


def block() -> str:
    """What was seen of both, for the document."""
    lines = ["| agent | what happens | its files |", "|---|---|---|"]
    for name, run in (("Cilium, `cni.exclusive: true`", cilium), ("Istio, as in `conf/helm`", istio)):
        with Sandbox() as sandbox:
            for directory in (f"{CHAIN}/cilium.d", f"{CHAIN}/istio.d", BIN):
                sandbox.path(directory).mkdir(parents=True)
            lines += [f"| {name} | {what} | {files} |" for what, files in run(sandbox).lines]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table between the marks of docs/evidence/agents.md."""
    table = block()
    PART.write(table)
    sys.stdout.write(table)


if __name__ == "__main__":
    main()
