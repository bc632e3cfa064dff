"""podman with its CNI back end, all of its own: a program without a daemon, and the oldest libcni of all."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from tests.support.runtimes import images
from tests.support.runtimes.daemons import DISK, HERE, RUN, installed
from tests.support.sandbox.node import BIN, NET, Node

TEMPORARY = f"{DISK}/temporary"


class Podman:
    """`podman` on a node."""

    name: ClassVar[str] = "podman 4"

    def __init__(self, node: Node) -> None:
        self.node = node
        self.cgroup = f"/cni-chain-tests-{os.getpid()}"
        self._podman = installed("podman")
        sandbox = node.sandbox
        sandbox.run("mount", "-t", "tmpfs", "-o", "mode=755", "disk", "/mnt")
        for directory in (f"{DISK}/images", f"{DISK}/etc", TEMPORARY, RUN):
            sandbox.path(directory).mkdir(parents=True)
        etc = sandbox.path(f"{DISK}/etc")
        for name in ("containers.conf", "storage.conf"):
            text = (HERE / "conf" / name).read_text()
            (etc / name).write_text(text.format(disk=DISK, run=RUN, net=NET, bin=BIN))
        (etc / "policy.json").write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        for file in images.make(sandbox.path(f"{DISK}/images")).values():
            self.load(file)

    def __call__(self, *arguments: str) -> str:
        """What a command prints. Raises AssertionError if it fails, with what it said."""
        return self.attempt(*arguments, check=True).stdout.strip()

    def load(self, file: Path) -> None:
        """Take the image whose archive lies in the node's images."""
        self("load", "--quiet", "--signature-policy", f"{DISK}/etc/policy.json", "-i", f"{DISK}/images/{file.name}")

    def inspect(self, name: str) -> dict[str, Any]:
        """What podman knows of a container."""
        [container] = json.loads(self("inspect", name))
        known: dict[str, Any] = container
        return known

    def attempt(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        environment = {
            "CONTAINERS_CONF": f"{DISK}/etc/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{DISK}/etc/storage.conf",
            "CONTAINERS_REGISTRIES_CONF": "/dev/null",
            "TMPDIR": TEMPORARY,
        }
        return self.node.sandbox.run(self._podman, *arguments, env=environment, check=check)
