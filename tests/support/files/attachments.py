"""A node's attachments: the recording plugins were really run for them; their records, and what becomes of them."""

import json
import os
import time
from pathlib import Path
from typing import Any

from cni_chain.plugin.record import parse
from tests.support.files.runtime import RuntimeCalls

WEB = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1"


class Attachments(RuntimeCalls):
    """A node with a runtime, and its attachments' records."""

    def write_facade(self, **keys: Any) -> None:
        """Put what requests say into the facade's file, where a person's commands find it."""
        plugin = {"type": "cni-chain", "capabilities": {"portMappings": True}, **self.keys, **keys}
        document = {
            "cniVersion": "1.0.0",
            "cniVersions": ["1.0.0", "1.1.0"],
            "name": self.network,
            "loadOnlyInlinedPlugins": True,
            "plugins": [plugin],
        }
        self.facade.write_text(json.dumps(document, indent=1))

    def loses_its_namespace(self, container: str) -> None:
        self.netns(container).unlink()

    def record(self, container: str, ifname: str = "eth0") -> Path:
        return self.state_dir / f"{self.network}:{container}:{ifname}"

    def leave_record(self, name: str = "cilium:c1:eth0") -> Path:
        """A record's file, whatever is in it, as that of a pod which still runs."""
        self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.state_dir / ".lock").touch()
        (self.state_dir / name).write_text("{}")
        return self.state_dir / name

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
        self.plugin("istio-cni").fails("DEL", message, code=11)
        assert not self.delete(container).ok

    def tried(self, container: str, tries: int, ago: float) -> None:
        """So many DELs of the attachment have failed, the last one so long ago."""
        marker = self.state_dir / f".stranded/{self.record(container).name}"
        marker.write_text("." * tries)
        os.utime(marker, (time.time() - ago,) * 2)
