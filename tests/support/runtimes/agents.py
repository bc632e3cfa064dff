"""Cilium's and Istio's agents on a node with a runtime: their own plugins and writers, and stand-ins for the rest."""

import contextlib
import json
import shutil
from collections.abc import Iterator

from tests.support.agents import writers
from tests.support.agents.writers import CILIUM, ISTIO, Writer
from tests.support.runtimes.fresh import FreshNode
from tests.support.sandbox.node import BIN, NET, Json, wait_for
from tests.support.stand_ins.istio import enrolments
from tests.support.stand_ins.process import Process

LIST = "05-cilium.conflist"
CO_EDITED = ["cilium-cni", "portmap", "istio-cni"]
# The namespace whose pods are in the mesh.
MESH = "shop"
# They can live in one directory only if Cilium isn't exclusive.
BEFORE = {CILIUM: ("--cni-exclusive=false", "--cni-chaining-mode=portmap"), ISTIO: ()}


class Agents:
    """Both agents; at first they write to the runtime's directory."""

    def __init__(self, node: FreshNode) -> None:
        """Raises NotBuiltError."""
        self.node = node
        shutil.copy(writers.built("cilium-1.20") / "cilium-cni", node.sandbox.path(BIN))
        self.stand_ins = {
            CILIUM: Process(node.sandbox, "cilium", "--datapath"),
            ISTIO: Process(node.sandbox, "istio"),
            "kubernetes": Process(node.sandbox, "kubernetes", f"--ambient={MESH}"),
        }
        self.writers: dict[str, Writer] = {}
        self.settings: dict[str, list[str]] = {CILIUM: [], ISTIO: []}
        for stand_in in self.stand_ins.values():
            stand_in.start()
        for agent in (CILIUM, ISTIO):
            self._start(agent)
        self.wait_for_list()

    def wait_for_list(self) -> None:
        """Until both agents have written the list that they share."""
        wait_for(lambda: self.types(f"{NET}/{LIST}") == CO_EDITED, "both agents have written the list", 60)

    def _start(self, agent: str) -> None:
        make = {CILIUM: writers.cilium, ISTIO: writers.istio}[agent]
        self.writers[agent] = make(self.node.sandbox, NET, *BEFORE[agent], *self.settings[agent])
        self.writers[agent].start()

    @contextlib.contextmanager
    def rolled_out(self, agent: str, settings: list[str]) -> Iterator[None]:
        """An agent's pod goes, the block is run, and the next one comes with other settings, and writes its file."""
        assert self.writers[agent].stop(), f"{agent}'s writer ends on SIGTERM"
        self.stand_ins[agent].stop()
        self.settings[agent] = settings
        said = len(self.writers[agent].said)
        yield
        self.stand_ins[agent].start()
        self._start(agent)
        wait_for(lambda: self.writers[agent].is_ready(said), f"{agent}'s agent is ready", 60)

    def types(self, path: str) -> list[str]:
        """The plugins of a list; none while it isn't there."""
        with contextlib.suppress(FileNotFoundError):
            conf: Json = json.loads(self.node.sandbox.path(path).read_bytes() or b"{}")
            return [plugin["type"] for plugin in conf.get("plugins", [])]
        return []

    def endpoints(self) -> list[str]:
        """The addresses of the endpoints that Cilium's agent knows, IPv4."""
        file = self.node.sandbox.path("/run/cilium/stand-in.json")
        known: Json = json.loads(file.read_bytes())["endpoints"]
        return sorted(endpoint["addressing"]["ipv4"] for endpoint in known.values())

    def enrolled(self) -> list[str]:
        """The pods that Istio's agent was told of, each as often as it was."""
        return sorted(call.body["PodName"] for call in enrolments(self.stand_ins[ISTIO].calls()))

    def close(self) -> None:
        for stand_in in self.stand_ins.values():
            stand_in.close()
        for writer in self.writers.values():
            writer.close()
