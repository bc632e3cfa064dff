"""A node with the facade of conf/ and a directory for each owner, and the real writers on it."""

import contextlib
import json
from pathlib import Path
from typing import Any, Self

from tests.support.agents import writers
from tests.support.agents.writers import ADVISED, EXCLUSIVE, Writer
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET, Node

CILIUM_D, ISTIO_D = f"{CHAIN}/cilium.d", f"{CHAIN}/istio.d"


class SplitNode(Node):
    """The node; whatever writer was made on it ends with the block."""

    def __init__(self, sandbox: Sandbox, program: Path, tools: Path) -> None:
        super().__init__(sandbox, program, tools)
        self._ends = contextlib.ExitStack()
        for owner in ("cilium", "istio", "local"):
            sandbox.path(f"{CHAIN}/{owner}.d").mkdir(mode=0o755)
        # Istio's plugin is put there by Istio's writer; Cilium's by a script of its image that does nothing else.
        cilium_cni = sandbox.path(f"{BIN}/cilium-cni")
        cilium_cni.write_bytes((writers.built("cilium-1.20") / "cilium-cni").read_bytes())
        cilium_cni.chmod(0o755)
        self.install_facade()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def install_facade(self) -> None:
        self.sandbox.path(f"{NET}/{FACADE}").write_bytes((CHECKOUT / "conf" / FACADE).read_bytes())

    def cilium(self, directory: str = CILIUM_D, *settings: str, version: str = "1.20") -> Writer:
        """Cilium's writer; without settings as conf/helm sets it."""
        return self._made(writers.cilium(self.sandbox, directory, *(settings or (EXCLUSIVE,)), version=version))

    def istio(self, directory: str = ISTIO_D, *settings: str) -> Writer:
        """Istio's installer; without settings as conf/helm sets it."""
        return self._made(writers.istio(self.sandbox, directory, *(settings or ADVISED)))

    def _made(self, writer: Writer) -> Writer:
        self._ends.callback(writer.close)
        return writer

    def names(self, directory: str) -> list[str]:
        """What is in a directory, temporary files left out."""
        return sorted(
            file.name
            for file in self.sandbox.path(directory).iterdir()
            if not file.name.startswith(".") and ".tmp" not in file.name
        )

    def plugins(self, file: str) -> list[str]:
        """The plugin types in a file, as they stand."""
        conf = json.loads(self.sandbox.path(file).read_bytes())
        return [plugin["type"] for plugin in conf.get("plugins", [conf])]

    def asked(self, *command: str) -> dict[str, Any]:
        """What a command of cni-chain answers with --json."""
        answer: dict[str, Any] = json.loads(
            self.sandbox.run(f"{BIN}/cni-chain", *command, "--json", check=False).stdout
        )
        return answer

    def verified(self) -> list[str]:
        """What `cni-chain verify` says, a line each."""
        found = self.asked("verify")["findings"]
        return [f"{one['severity']}: {one['path']}: {one['what']}" for one in found]

    def diagnosed(self) -> list[dict[str, str]]:
        """What `cni-chain doctor` says, but for the agents' sockets: nobody listens at them here."""
        return [one for one in self.asked("doctor")["findings"] if one["id"] != "agent-down"]

    def told(self, kind: str) -> dict[str, str]:
        """The one finding of a kind that `cni-chain doctor` has."""
        [found] = [one for one in self.diagnosed() if one["id"] == kind]
        return found
