"""A node with pods: the recording plugins were really run for them, by the program under test."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cni_chain.plugin.record import parse
from tests.support.files.host import Host
from tests.support.files.node import Json, Result, run

WEB = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1"


class Pods:
    """The host of the black box tests, with its facade in a file, as a person's commands find it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.net_dir = host.root / "net.d"
        self.net_dir.mkdir()
        self.net_dir.chmod(0o755)
        self.facade = self.net_dir / "00-cni-chain.conflist"

    def write_facade(self, **keys: Any) -> None:
        plugin = {"type": "cni-chain", "capabilities": {"portMappings": True}, **self.host.keys, **keys}
        document = {
            "cniVersion": "1.0.0",
            "cniVersions": ["1.0.0", "1.1.0"],
            "name": self.host.network,
            "loadOnlyInlinedPlugins": True,
            "plugins": [plugin],
        }
        self.facade.write_text(json.dumps(document, indent=1))

    def run(self, command: str, *arguments: str, environ: dict[str, str] | None = None) -> Result:
        where = [] if "--net-dir" in arguments else ["--net-dir", str(self.net_dir)]
        state = ["--state-dir", str(self.host.state)]  # and not this machine's own
        return run(self.host.program, command, *where, *state, *arguments, environ=environ)

    def json(self, command: str, *arguments: str) -> Json:
        document = json.loads(self.run(command, "--json", *arguments).stdout)
        assert isinstance(document, dict)
        return document

    def loses_its_namespace(self, container: str) -> None:
        self.host.netns(container).unlink()

    def record(self, container: str, ifname: str = "eth0") -> Path:
        return self.host.state / f"{self.host.network}:{container}:{ifname}"

    def changes(self, container: str, **changed: Any) -> Path:
        """Writes the attachment's record as the plugin would have with these of its fields changed."""
        file = self.record(container)
        record = parse(file.read_bytes())
        for field, value in changed.items():
            setattr(record, field, value)
        file.write_bytes(record.text())
        return file

    def ages(self, container: str, seconds: float) -> None:
        """Has the attachment been made so long ago."""
        created = time.time() - seconds
        os.utime(self.changes(container, created=created), (created, created))

    def strands(self, container: str, message: str = "the agent is away") -> None:
        """A DEL of the attachment fails, of istio-cni: so does every later one."""
        self.host.plugin("istio-cni").fails("DEL", message, code=11)
        assert not self.host.delete(container).ok

    def tried(self, container: str, tries: int, ago: float) -> None:
        """So many DELs of the attachment have failed, the last one so long ago."""
        marker = self.host.state / f".stranded/{self.record(container).name}"
        marker.write_text("." * tries)
        os.utime(marker, (time.time() - ago,) * 2)


@pytest.fixture
def pods(host: Host) -> Pods:
    """Three owners, and the pod default/web-1 in the container c1."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni")
    host.owner("local", "portmap", required=False)
    made = Pods(host)
    made.write_facade()
    assert host.add("c1", CNI_ARGS=WEB).ok
    return made
