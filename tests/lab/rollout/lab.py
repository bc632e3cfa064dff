"""The cluster: a control plane on a bridge, and nodes that join it, reboot and leave."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.lab.cluster.daemon import built, wait_until
from tests.lab.cluster.kubernetes import KUBECONFIG, ControlPlane
from tests.lab.rollout.node import ROUTER, Node
from tests.support.helm import CHART, Json
from tests.support.runtimes.daemons import DISK
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox

NAME = "cni-chain"  # of the release, its namespace and its DaemonSet
IMAGE = "localhost/cni-chain"
CONTAINERD, CRIO = "containerd 2.4", "CRI-O 1.34"
USUAL = (CONTAINERD, CONTAINERD, CRIO)
LOGS = CHECKOUT / "out/cluster/rollout"


class Lab(ControlPlane):
    """Made by `started`, which ends it."""

    def __init__(self, sandbox: Sandbox, program: Path, folder: Path) -> None:
        self.sandbox, self.program, self.folder = sandbox, program, folder
        self.nodes: dict[str, Node] = {}
        self._images: dict[str, Path] = {}
        sandbox.run("mount", "-t", "tmpfs", "-o", "mode=755", "nodes", "/mnt")
        for words in ("add lan type bridge", "set lan up"):
            sandbox.run("ip", "link", *words.split())
        sandbox.run("ip", "addr", "add", f"{ROUTER}/24", "dev", "lan")
        super().__init__(sandbox, ROUTER)

    @classmethod
    @contextlib.contextmanager
    def started(cls, program: Path, *, kinds: Sequence[str] = USUAL, network: bool = True) -> Iterator["Lab"]:
        """A cluster whose nodes have the image of a frozen program, until the end of the block."""
        with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
            lab = cls(sandbox, program, Path(folder))
            try:
                lab.start_control_plane(networks=False)
                lab.load_program(program, version())
                for number, kind in enumerate(kinds, 1):
                    lab.join(f"node{number}", kind, network=network)
                lab.namespace(NAME)
                yield lab
            finally:
                lab.end()

    @property
    def environment(self) -> dict[str, str]:
        """Of the administrator."""
        helm, node = built("helm"), "/opt/cni/bin"
        return {"HOME": f"{DISK}/home", "KUBECONFIG": KUBECONFIG, "PATH": f"{helm}:{self.path}:{node}"}

    def end(self) -> None:
        """End all nodes, and then the control plane."""
        for node in self.nodes.values():
            node.save_logs(LOGS)
        self.save_logs(LOGS / "control")
        for node in self.nodes.values():
            node.close()
        self.close()

    # Nodes.

    def join(self, name: str, kind: str = CONTAINERD, *, network: bool = True, options: tuple[str, ...] = ()) -> Node:
        """A node more (node1 to node9), until its kubelet has told of it. `options` are the kubelet's."""
        node = Node(self.sandbox, int(name.removeprefix("node")), kind, network=network, options=options)
        self.nodes[name] = node
        node.start()
        for image, archive in self._images.items():
            node.load(image, archive)
        self.sandbox.run("ip", "route", "replace", node.pods, "via", node.address)
        self.kubectl("wait", "--for=create", f"node/{node.name}", "--timeout=120s")
        spec = {"podCIDR": node.pods, "podCIDRs": [node.pods]}
        self.kubectl("patch", f"node/{node.name}", "--patch", json.dumps({"spec": spec}))
        return node

    def leave(self, name: str) -> None:
        """The node is gone, with its disk."""
        self.nodes.pop(name).close()
        self.kubectl("delete", f"node/{name}")
        of_node = f"fieldSelector=spec.nodeName%3D{name}&gracePeriodSeconds=0"
        for namespace in {pod["metadata"]["namespace"] for pod in self.get("pods", "--all-namespaces")}:
            self.kubectl("delete", "--raw", f"/api/v1/namespaces/{namespace}/pods?{of_node}")  # all of them at once

    def load(self, image: str, archive: Path) -> None:
        """Bring an image to every node, and to those that join later."""
        self._images[image] = archive
        for node in self.nodes.values():
            node.load(image, archive)

    def load_program(self, program: Path, tag: str, source: Path = CHECKOUT) -> None:
        """Make an image of a frozen program, which is of a checkout, and bring it to every node."""
        folder = Path(self.folder, tag)
        folder.mkdir()
        self.load(f"{IMAGE}:{tag}", image_of(program, folder, source))

    def conditions(self) -> dict[str, tuple[str, str]]:
        """Each node's Ready: its status, and the message."""
        found = {}
        for node in self.get("nodes"):
            ready = [one for one in node["status"].get("conditions", []) if one["type"] == "Ready"]
            found[node["metadata"]["name"]] = (ready[0]["status"], ready[0]["message"]) if ready else ("", "")
        return found

    def ready(self, *names: str, seconds: float = 120) -> float:
        """Wait until nodes are ready, all if none is named. How long it took."""
        wanted = names or tuple(self.nodes)

        def so() -> bool:
            found = self.conditions()
            return all(found.get(name, ("", ""))[0] == "True" for name in wanted)

        return wait_until(so, f"{', '.join(wanted)} Ready", seconds)

    def explain(self) -> str:
        """What there is, for whoever has to find out what went wrong."""
        asked = (
            "get nodes",
            "get pods --all-namespaces --output=wide",
            "get events --all-namespaces --field-selector=type=Warning",
            f"logs --namespace={NAME} --selector=app.kubernetes.io/name=cni-chain --tail=5 --prefix",
        )
        said = [f"$ kubectl {words}\n{self.call(*words.split()).stdout[-6000:]}" for words in asked]
        there = [f"{name}: {node.names()} {node.fragments()}" for name, node in self.nodes.items() if node.is_on]
        return "\n".join([*said, *there])

    # Objects.

    def namespace(self, name: str) -> None:
        """A namespace that admits every pod, with its account."""
        self.kubectl("create", "namespace", name)
        self.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=privileged")
        self.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}", "--timeout=60s")

    def apply(self, *objects: Json) -> None:
        """Create or change objects."""
        self.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(one) for one in objects))

    def rolled_out(self, what: str = f"daemonset/{NAME}", namespace: str = NAME, seconds: int = 180) -> float:
        """Wait for the end of a roll-out. How long it took."""
        start = time.monotonic()
        self.kubectl("rollout", "status", what, f"--namespace={namespace}", f"--timeout={seconds}s")
        return time.monotonic() - start

    def helm(self, *words: str, namespace: str = NAME) -> str:
        """Call Helm, as the administrator."""
        return super().helm(*words, namespace=namespace)

    def install(self, *values: str) -> float:
        """The chart, until its roll-out has ended. How long it took."""
        return self._step("install", NAME, str(CHART), *_set(values))

    def upgrade(self, *values: str, wait: bool = True) -> float:
        """The same chart with other values."""
        words = ("upgrade", NAME, str(CHART), "--reuse-values", *_set(values))
        if wait:
            return self._step(*words)
        self.helm(*words)
        return 0.0

    def _step(self, *words: str) -> float:
        start = time.monotonic()
        self.helm(*words)
        self.rolled_out()
        return time.monotonic() - start


def _set(values: Sequence[str]) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def image_of(program: Path, folder: Path, source: Path = CHECKOUT) -> Path:
    """An image of a frozen program, by its path."""
    frozen = program.absolute().parent.parent
    command = [sys.executable, "-m", "build.release", "image", "--name", IMAGE, str(folder), str(frozen)]
    subprocess.run(command, cwd=source, check=True, stdout=subprocess.DEVNULL)
    [archive] = folder.glob("*.tar")
    return archive


def version() -> str:
    """The chart's, which is the image's tag."""
    chart = (CHART / "Chart.yaml").read_text().splitlines()
    return next(line.split('"')[1] for line in chart if line.startswith("appVersion: "))
