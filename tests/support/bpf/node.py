"""A node whose processes and pods have cgroups of their own, so that a load balancer's programs see no others."""

import errno
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cni_chain.plugin.record import Attachment, Record, RecordedDelegate
from tests.support.files import schemas
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, STATE

# Prints the cookie by which programs know a network namespace (SO_NETNS_COOKIE).
COOKIE = "import socket, struct; print(struct.unpack('=Q', socket.socket().getsockopt(1, 71, 8))[0])"


def removed(cgroup: Path) -> None:
    """Remove a cgroup as soon as its processes have ended. Raises OSError if they don't."""
    end = time.monotonic() + 20
    while True:
        try:
            return cgroup.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


class NoCgroupsError(Exception):
    """This machine has no cgroups of version 2 that can be made; the message says why."""


@dataclass(frozen=True)
class Check:
    """What `mesh check` answered."""

    status: int
    document: dict[str, Any]
    stderr: str

    @property
    def verdict(self) -> tuple[str, int]:
        """The verdict and the exit status."""
        return self.document["verdict"], self.status

    def outcomes(self, who: str) -> list[str]:
        """What became of each address, tried as a pod or as the node."""
        return [trial["outcome"] for trial in self.document["trials"] if trial["from"] == who]


@dataclass(frozen=True)
class BalancedNode:
    """The node: `top` stands for the root of its cgroups, below it are the kubelet's and the node's own processes."""

    sandbox: Sandbox
    top: Path

    @classmethod
    def make(cls, sandbox: Sandbox, name: str) -> Self:
        """A node with fresh cgroups. Raises NoCgroupsError."""
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        root = next((Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"), None)
        if root is None:
            raise NoCgroupsError("no cgroups of version 2 are mounted")
        node = cls(sandbox, root / name)
        try:
            for place in (node.top, node.pods, node.pods / "pod", node.processes):
                place.mkdir()
        except OSError as error:
            raise NoCgroupsError(f"cgroups can't be made: {error}") from None
        return node

    @property
    def pods(self) -> Path:
        return self.top / "kubepods"

    @property
    def processes(self) -> Path:
        return self.top / "system"

    def remove(self) -> None:
        """Remove the cgroups; whatever stays in them is a leak, and whoever is just ending is waited for."""
        for place in (self.pods / "pod", self.pods, self.processes, self.top):
            removed(place)

    def cookie(self) -> int:
        """By which a program knows that a process is in the node's network namespace."""
        return int(self.sandbox.run("python3", "-c", COOKIE).stdout)

    def pins(self) -> Path:
        """Where Cilium pins its maps, on a BPF file system that is the node's own."""
        pins = self.sandbox.path("/sys/fs/bpf/tc/globals")
        if not pins.is_dir():
            self.sandbox.run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
            pins.mkdir(parents=True)
        return pins

    def record(
        self, container: str, netns: str, created: float, plugin: str = "istio-cni", addresses: Sequence[str] = ()
    ) -> None:
        """The record of a pod's attachment, as the plugin writes it."""
        delegate = RecordedDelegate(
            owner="istio",
            type=plugin,
            path="/etc/x",
            conf={"type": plugin},
            capabilities=[],
            version="1.0.0",
            disable_check=False,
            on_del_error="retry",
        )
        context = {"path": BIN, "netns": netns, "cniArgs": ""}
        record = Record(Attachment("cilium", container, "eth0"), [delegate], context, created)
        content = record.text()
        record.result = {"cniVersion": "1.1.0", "ips": [{"address": address} for address in addresses]}
        file = self.sandbox.path(f"{STATE}/{record.attachment.file}")
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_bytes(content + b"\n" + record.line())
        file.chmod(0o600)

    def forget_records(self) -> None:
        shutil.rmtree(self.sandbox.path(STATE))

    def check(self, *options: str, cgroup: Path | None = None) -> Check:
        """`mesh check` for any pod of the node, run by a process of the node."""
        done = self.run("mesh", "check", "--cgroup", str(cgroup or self.pods), "--json", *options)
        assert done.stdout, done.stderr
        document = json.loads(done.stdout)
        assert not schemas.problem(document), schemas.problem(document)
        return Check(done.returncode, document, done.stderr)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the program, run by a process of the node."""
        join = f'echo 0 > {self.processes}/cgroup.procs && exec "$@"'
        return self.sandbox.run("sh", "-c", join, "sh", f"{BIN}/cni-chain", *arguments, check=False)
