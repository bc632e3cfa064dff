"""A node whose chain is the agents' own: both writers at work, the real plugins, stand-ins for all that these ask."""

import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support.agents.writers import ADVISED, CLEANS_UP, EXCLUSIVE, Writer, built, istio
from tests.support.agents.writers import CILIUM as CILIUM_AGENT
from tests.support.sandbox import inventory
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET, Answer, Json, Node, Pod, put, wait_for
from tests.support.stand_ins.process import PLACE, Process

SHIPPED = CHECKOUT / "conf" / FACADE
CILIUM_FILE, ISTIO_FILE = "cilium.d/05-cilium.conflist", "istio.d/10-istio.conf"
CILIUM_RUN, ISTIO_RUN = "/run/cilium", "/run/istio-cni"
# Outside of what is looked at for left-overs.
CONFIG_MAP = "/etc/cni/cilium-source.json"
QUEUE = f"{CILIUM_RUN}/deleteQueue"
MESH, PLAIN = "mesh", "default"
# What the agents keep for themselves while they run.
AGENTS_OWN = re.compile(
    rf"file {PLACE}/.*"
    rf"|file {CILIUM_RUN}/(cilium\.sock|cilium-cni\.log.*|stand-in\.json|deleteQueue/lockfile)"
    rf"|directory {QUEUE}"
    rf"|file {ISTIO_RUN}/.*|directory {ISTIO_RUN}|file {BIN}/istio-cni\.tmp\..*"
    r"|file /run/istio-(image|account)/.*"
)
AGENTS_PROCESS = re.compile(r".*(tests\.support\.stand_ins\.|/cilium-conf-writer |/istio-installer ).*")


def plugins(file: Path) -> list[str]:
    """The types of the plugins in a file of either form; none if it is not there, or no configuration."""
    try:
        conf = json.loads(file.read_bytes())
        return [plugin["type"] for plugin in conf.get("plugins", [conf])]
    except (OSError, ValueError, KeyError, AttributeError):
        return []


@dataclass(frozen=True)
class MeshPod(Pod):
    """A pod with an ID as runtimes make them: cilium-cni names an interface by its first characters."""

    container: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def id(self) -> str:
        return self.container

    @property
    def args(self) -> str:
        return f"{super().args};K8S_POD_UID=uid-{self.name}"


class AgentNode(Node):
    """cni-chain with the facade of conf/, Cilium's and Istio's writers, and the stand-ins."""

    def __init__(self, sandbox: Sandbox, program: Path, tools: Path, cilium: str) -> None:
        """`cilium`: the version of its plugin and writer, 1.20 or 1.18."""
        super().__init__(sandbox, program, tools)
        self.cilium_version = cilium
        # What there is when nothing is left; looked at before the first case, and again after one that left something.
        self.baseline: set[str] | None = None
        programs = built(f"cilium-{cilium}")
        put(sandbox.path(BIN), programs / "cilium-cni")
        put(sandbox.path("/opt/cni"), programs / "cilium-conf-writer", built("gocni") / "gocni")
        for owner in ("cilium.d", "istio.d"):
            sandbox.path(f"{CHAIN}/{owner}").mkdir(mode=0o755)
        self.cilium = Process(sandbox, "cilium")
        self.istio = Process(sandbox, "istio")
        self.kubernetes = Process(sandbox, "kubernetes", f"--ambient={MESH}", f"--opted-out={MESH}/opted-out")
        self.stand_ins: tuple[Process, ...] = (self.cilium, self.istio, self.kubernetes)
        self.cilium_writer = self.new_cilium_writer(f"{CHAIN}/{CILIUM_FILE}")
        self.istio_writer = self.new_istio_writer(*ADVISED, CLEANS_UP)
        self.lay_facade("1.0.0")

    @classmethod
    @contextlib.contextmanager
    def running(cls, sandbox: Sandbox, program: Path, tools: Path, cilium: str) -> Iterator[Self]:
        """A node whose agents run, for as long as the block."""
        node = cls(sandbox, program, tools, cilium)
        try:
            node.restore()
            yield node
        finally:
            node.close()

    def close(self) -> None:
        """End the agents."""
        for process in self.stand_ins:
            process.close()
        self.cilium_writer.close()
        self.istio_writer.close()

    def new_cilium_writer(self, file: str, *settings: str) -> Writer:
        """Cilium's writer for one file."""
        program = "/opt/cni/cilium-conf-writer"
        command = [program, f"--write-cni-conf-when-ready={file}", EXCLUSIVE, *settings]
        return Writer(self.sandbox, CILIUM_AGENT, command)

    def new_istio_writer(self, *settings: str) -> Writer:
        """Istio's installer for the owner's directory."""
        return istio(self.sandbox, f"{CHAIN}/istio.d", *settings)

    def lay_facade(self, version: str, **keys: object) -> None:
        """The facade that is shipped, at a version of the specification, with more keys of cni-chain's own."""
        self.write_facade(FACADE, self.shipped(version, **keys))

    def shipped(self, version: str, **keys: object) -> Json:
        """Its content. A runtime knows one version of a conflist, so it says one; delegates' calls are logged."""
        conf: Json = json.loads(SHIPPED.read_text())
        del conf["cniVersions"]
        conf["plugins"][0] |= {"logLevel": "debug"} | keys
        return conf | {"cniVersion": version}

    def write_facade(self, file: str, conf: Json) -> None:
        self._write(f"{NET}/{file}", conf)

    @contextlib.contextmanager
    def another_facade(self, file: str, conf: Json) -> Iterator[str]:
        """Another facade, for as long as the block runs: its file's name."""
        self.write_facade(file, conf)
        try:
            yield file
        finally:
            self.sandbox.path(f"{NET}/{file}").unlink()

    def restore(self) -> None:
        """Both agents run and do all right, and their files are there, whatever a case has done to them."""
        self._start_stopped()
        wait_for(self._installed, "the agents have written their files", 60)  # of five nodes at once, on two cores

    def _start_stopped(self) -> None:
        for process in self.stand_ins:
            if not process.runs:
                process.start()
            process.thaw()
            process.order()
        for writer in (self.cilium_writer, self.istio_writer):
            if not writer.runs:
                writer.start()

    def _installed(self) -> bool:
        """All that the agents put on the node is there, and both files are whole."""
        wanted = (f"{BIN}/istio-cni", f"{ISTIO_RUN}/istio-cni-kubeconfig")
        whole = (
            plugins(self.sandbox.path(f"{CHAIN}/{CILIUM_FILE}")),
            plugins(self.sandbox.path(f"{CHAIN}/{ISTIO_FILE}")),
        )
        return whole == (["cilium-cni"], ["istio-cni"]) and all(self.sandbox.path(file).exists() for file in wanted)

    def reboot(self) -> None:
        """Agents and all that is in /run are gone, as are interfaces; the agents start anew."""
        self.close()
        for directory in (CILIUM_RUN, ISTIO_RUN):
            shutil.rmtree(self.sandbox.path(directory))
            self.sandbox.path(directory).mkdir()
        self.restore()

    def writer(self, owner: str) -> Writer:
        """An owner's writer."""
        return {"cilium": self.cilium_writer, "istio": self.istio_writer}[owner]

    @contextlib.contextmanager
    def istio_as(self, *settings: str) -> Iterator[None]:
        """Another installer of Istio's instead of the usual one, until the end of the block. It is not waited for."""
        usual, file = self.istio_writer, self.sandbox.path(f"{CHAIN}/{ISTIO_FILE}")
        usual.stop()
        self.istio_writer = self.new_istio_writer(*settings)
        try:
            with self._instead(self.istio_writer, file):
                yield
        finally:
            self.istio_writer = usual
            self.restore()

    @contextlib.contextmanager
    def cilium_as(self, *settings: str) -> Iterator[None]:
        """Another writer of Cilium's instead of the usual one, until the end of the block. It is not waited for."""
        usual, file = self.cilium_writer, self.sandbox.path(f"{CHAIN}/{CILIUM_FILE}")
        usual.stop()
        self.cilium_writer = self.new_cilium_writer(f"{CHAIN}/{CILIUM_FILE}", *settings)
        try:
            with self._instead(self.cilium_writer, file):
                yield
        finally:
            self.cilium_writer = usual
            self.restore()

    @staticmethod
    @contextlib.contextmanager
    def _instead(writer: Writer, file: Path) -> Iterator[None]:
        """No file of the one before is there when a writer starts, and none of its own when the next one does."""
        file.unlink(missing_ok=True)
        writer.start()
        try:
            yield
        finally:
            writer.close()
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def cilium_reading(self, content: str) -> Iterator[None]:
        """Cilium's writer with a file to hand on, as with Helm's cni.configMap; it has done so."""
        self.sandbox.path(CONFIG_MAP).write_text(content)
        file = self.sandbox.path(f"{CHAIN}/{CILIUM_FILE}")
        with self.cilium_as(f"--read-cni-conf={CONFIG_MAP}"):
            wait_for(lambda: file.exists() and file.read_text() == content, "Cilium's writer has handed the file on")
            yield

    def wait_for_file(self, path: str, *types: str) -> None:
        """Wait until an owner's file has these plugins."""
        wait_for(lambda: plugins(self.sandbox.path(f"{CHAIN}/{path}")) == list(types), f"{path} has {types}")

    @contextlib.contextmanager
    def mesh_pod(self, namespace: str = MESH, name: str = "") -> Iterator[MeshPod]:
        """A pod with a network namespace, not yet added."""
        pod = MeshPod(name or f"web-{secrets.token_hex(3)}", namespace)
        self.sandbox.run("ip", "netns", "add", pod.name)
        try:
            yield pod
        finally:
            self.sandbox.run("ip", "netns", "delete", pod.name, check=False)

    def gocni(self, verb: str, pod: Pod, netns: str) -> Answer:
        """A call as containerd makes it, with its own library."""
        options = [f"-conf={NET}", f"-bin={BIN}", f"-id={pod.id}", f"-args={pod.args}", f"-netns={netns}"]
        return self._call(["/opt/cni/gocni", *options, verb], {})

    def operator(self, *command: str) -> Answer:
        """A command of cni-chain's, as an operator gives it."""
        return self._call([f"{BIN}/cni-chain", *command], {})

    def pod_interfaces(self, pod: Pod) -> list[str]:
        """What a pod has, its loopback aside."""
        listed = json.loads(self.inside(pod.name, "ip", "-json", "addr"))
        return [link["ifname"] for link in listed if link["ifname"] != "lo"]

    def queued(self) -> list[Path]:
        """The DELs that wait for Cilium's agent."""
        queue = self.sandbox.path(QUEUE)
        return sorted(queue.glob("*.delete")) if queue.is_dir() else []

    def agent_state(self) -> Json:
        """Which endpoints Cilium's agent knows, and which addresses are taken."""
        file = self.sandbox.path(f"{CILIUM_RUN}/stand-in.json")
        state: Json = json.loads(file.read_bytes()) if file.exists() else {"endpoints": {}, "used": {}}
        return state

    def things(self) -> set[str]:
        """What an attachment may leave, on the node and with Cilium's agent; without what is the agents' own."""
        sandbox = self.sandbox
        found = inventory.files(sandbox) | inventory.links(sandbox) | inventory.rules(sandbox)
        found |= inventory.mounts(sandbox) | self._processes()
        state = self.agent_state()
        found |= {f"endpoint {name}" for name in state["endpoints"]} | {f"address {a}" for a in state["used"]}
        return {thing for thing in found if not AGENTS_OWN.fullmatch(thing)}

    def _processes(self) -> set[str]:
        """All but the agents'."""
        numbers = [n for n in self.sandbox.path("/proc").iterdir() if n.name.isdigit() and n.name != "1"]
        lines = {inventory.command_line(self.sandbox, n.name) for n in numbers}
        return {f"process {line}" for line in lines if not AGENTS_PROCESS.fullmatch(line)}
