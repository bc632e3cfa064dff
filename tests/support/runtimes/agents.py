"""Cilium's and Istio's agents on a node with a runtime: their own plugins and writers, and stand-ins for the rest."""

import contextlib
import json
import shutil
from collections.abc import Iterator

from tests.support.agents import writers
from tests.support.agents.writers import CILIUM, CLEANS_UP, ISTIO, Writer
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
    """Both agents; at first they write to the runtime's directory. `alone`: an older Cilium is there without Istio."""

    def __init__(self, node: FreshNode, *, alone: bool = False) -> None:
        """Raises NotBuiltError."""
        self.node = node
        self.alone = alone
        self.release = "1.18" if alone else "1.20"
        self._copy_plugin()
        self.stand_ins = {
            CILIUM: Process(node.sandbox, "cilium", "--datapath"),
            ISTIO: Process(node.sandbox, "istio"),
            "kubernetes": Process(node.sandbox, "kubernetes", f"--ambient={MESH}"),
        }
        self.writers: dict[str, Writer] = {}
        self.settings: dict[str, list[str]] = {CILIUM: [], ISTIO: []}
        for stand_in in self.stand_ins.values():
            stand_in.start()
        for agent in (CILIUM,) if alone else (CILIUM, ISTIO):
            self._start(agent)
        self.wait_for_list()

    def wait_for_list(self) -> None:
        """Until the agents have written the list that is theirs."""
        wanted = ["cilium-cni"] if self.alone else CO_EDITED
        wait_for(lambda: self.types(f"{NET}/{LIST}") == wanted, "the agents have written the list", 60)

    def _copy_plugin(self) -> None:
        plugin = self.node.sandbox.path(f"{BIN}/cilium-cni")
        new = plugin.with_name(".cilium-cni.new")
        shutil.copy(writers.built(f"cilium-{self.release}") / "cilium-cni", new)
        new.replace(plugin)

    def _start(self, agent: str) -> None:
        sandbox, before = self.node.sandbox, () if self.alone else BEFORE[agent]
        if agent == CILIUM:
            writer = writers.cilium(sandbox, NET, *before, *self.settings[agent], version=self.release)
        else:
            writer = writers.istio(sandbox, NET, *before, *self.settings[agent])
        self.writers[agent] = writer
        writer.start()

    def install_istio(self, settings: list[str]) -> None:
        """Istio's agent comes to the node, with these settings, and writes its file."""
        self.settings[ISTIO] = settings
        self._start(ISTIO)
        wait_for(lambda: self.writers[ISTIO].is_ready(0), "Istio's agent is ready", 60)

    def uninstall_istio(self) -> None:
        """Istio's DaemonSet is deleted: its agent removes its file and its plugin when it ends."""
        with self.rolled_out(ISTIO, [*self.settings[ISTIO], CLEANS_UP]):
            pass
        assert self.writers[ISTIO].stop(30), "Istio's writer cleans up and ends"

    @contextlib.contextmanager
    def upgraded(self) -> Iterator[None]:
        """Cilium's agent goes, the block is run, and the next release comes, with its plugin."""
        with self.rolled_out(CILIUM, self.settings[CILIUM]):
            yield
            self.release = "1.20"
            self._copy_plugin()

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
