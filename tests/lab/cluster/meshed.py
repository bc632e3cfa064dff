"""The node of the cluster with one pod in a mesh: what its connections really do, and what cni-chain says of them.

Istio's own plugin runs in the chain. That the pod is then put into the mesh is played: Istio's own code lays the rules,
as its agent does, and behind their ports listens a process outside of the pod. It says which address it was asked for,
as ztunnel finds it out.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.lab.cluster.cluster import Cluster
from tests.lab.cluster.daemon import HERE, installed, wait_until
from tests.support.agents import writers
from tests.support.capture import meshes
from tests.support.files import schemas
from tests.support.sandbox.namespaces import kill, members
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET, Json

CONNECTIONS, PROXY, TIMED = (HERE / "inside" / name for name in ("connections.py", "proxy.py", "timed.py"))
PORTS = ("15001", "15006", "15008")
CLIENT, MESHED, NODE = "client", "meshed", "the node"
WEB, NAMES, EMPTY = "10.96.0.80:80/tcp", "10.96.0.53:53/udp", "10.96.0.81:80/tcp"
# Given to `mesh check`, and read by it where it would be on a node.
CONFIGMAP = "/tmp/cilium-config.json"  # noqa: S108  # the sandbox's own


class Real(NamedTuple):
    """What became of a connection. `points` is "" if it was refused before it pointed anywhere."""

    target: str
    points: str
    answer: str
    source: str
    getpeername: str
    refused: str

    @property
    def outcome(self) -> str:
        """In the words of `mesh check`."""
        if self.refused:
            return "rejected"
        return "preserved" if self.points == self.target.partition("/")[0] else "translated"


class Said(NamedTuple):
    """What a command of cni-chain's printed, and of each of its runs the milliseconds that passed, and those of CPU."""

    status: int
    out: str
    passed: tuple[float, ...]
    cpu: tuple[float, ...]


@dataclass(frozen=True)
class MeshedNode:
    """Made once Cilium's agent runs."""

    cluster: Cluster
    unified: str

    @classmethod
    @contextlib.contextmanager
    def made(cls, cluster: Cluster, unified: str) -> Iterator["MeshedNode"]:
        """The workload with a pod in the mesh, until the block ends."""
        agent = writers.istio(cluster.sandbox, f"{CHAIN}/istio.d", *writers.ADVISED, "--api-protocol=https")
        cluster.sandbox.path(f"{writers.ACCOUNT}/token").write_text("admin")  # the API server's only one
        cluster.command("owner", "add", "istio:istio-cni", "--force")
        cluster.sandbox.path(f"{CHAIN}/istio.d").mkdir(exist_ok=True)
        agent.start()
        try:
            wait_until(lambda: agent.is_ready(0), "Istio's installer")
            cluster.workload()
            cluster.kubernetes.kubectl("apply", "-f", str(HERE / "conf/mesh.yaml"))
            for what in ("deployment/web", "pod/client", "pod/meshed"):
                condition = "Available" if what.startswith("deployment") else "Ready"
                cluster.kubernetes.kubectl("wait", f"--for=condition={condition}", what, "--timeout=180s")
            node = cls(cluster, unified)
            rules = [str(meshes.built("istio") / "istio"), "ambient", "--iptables", "legacy"]
            cluster.sandbox.run(*node._in_namespace(MESHED), *rules)
            with cluster.sandbox.running(*cluster.sandbox.python(PROXY, node._netns(MESHED), *PORTS)):
                yield node
        finally:
            agent.close()

    def _netns(self, pod: str) -> str:
        found = next(str(one["netns"]) for one in self.cluster.attachments() if one["pod"] == f"default/{pod}")
        return found.removeprefix("/var")  # a link, which from out here leads out of the sandbox

    def _in_namespace(self, pod: str) -> Sequence[str]:
        return "nsenter", f"--net={self._netns(pod)}"

    def pid(self, pod: str) -> int:
        """A process of the pod's container, by its number on the node."""
        namespace = os.stat(self.cluster.sandbox.path(self._netns(pod))).st_ino
        processes = self.cluster.sandbox.path("/proc")
        for number in filter(str.isdigit, os.listdir(processes)):
            with contextlib.suppress(OSError):
                of_container = Path(os.readlink(processes / number / "exe")).name == "busybox"
                if of_container and os.stat(processes / number / "ns/net").st_ino == namespace:
                    return int(number)
        raise LookupError(f"no process in pod {pod}")

    def _as(self, who: str) -> Sequence[str]:
        """The start of a command that is run in a pod's cgroup and network namespace, or on the node."""
        if who == NODE:
            return ()
        process = self.cluster.sandbox.path(f"/proc/{self.pid(who)}/cgroup").read_text()
        cgroup = next(line[3:] for line in process.splitlines() if line.startswith("0::"))
        join = f'echo 0 >{self.unified}{cgroup}/cgroup.procs; exec "$@"'
        return "sh", "-euc", join, "sh", *self._in_namespace(who)

    def connect(self, who: str, *targets: str) -> list[Real]:
        """Connect really, as a process of a pod or of the node."""
        done = self.cluster.sandbox.run(*self._as(who), *self.cluster.sandbox.python(CONNECTIONS, *targets))
        return [_real(one) for one in json.loads(done.stdout)]

    @contextlib.contextmanager
    def connected(self, who: str, *targets: str) -> Iterator["Held"]:
        """The same, and the connections are open until the block ends, or they are finished."""
        command = [*self._as(who), *self.cluster.sandbox.python(CONNECTIONS, "--hold", *targets)]
        with self.cluster.sandbox.start(*command) as process:
            try:
                yield Held(process)
            finally:
                kill(process)

    def connect_past_sockets(self, pod: str, *targets: str) -> list[Real]:
        """Connect from a pod's network namespace as a process that Cilium's socket programs don't see.

        It is moved out of the cgroups that everything of the cluster is in. What then still replaces an address is
        behind the pod's interface.
        """
        wait = 'read -r _; exec "$@"'
        connections = self.cluster.sandbox.python(CONNECTIONS, *targets)
        command = ["sh", "-euc", wait, "sh", *self._in_namespace(pod), *connections]
        with self.cluster.sandbox.start(*command) as process:
            wait_until(lambda: members(process) != [], "the process that will connect")
            for number in members(process):
                Path(self.unified, "cgroup.procs").write_text(str(number))
            out, err = process.communicate("go\n", 60)
        assert not process.returncode, err
        return [_real(one) for one in json.loads(out)]

    def addresses(self) -> dict[str, str]:
        """The web servers: name → address."""
        pods = self.cluster.kubernetes.get("pods", "--selector=app=web")
        return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods}

    def backends(self) -> set[str]:
        """Where the web servers' services may point."""
        return {f"{address}:{port}" for address in self.addresses().values() for port in (8080, 8053)}

    def keep_configmap(self) -> Json:
        """Write the ConfigMap where `mesh check` is told to read it, and return what it says of this."""
        found: Json = self.cluster.kubernetes.get("configmap/cilium-config", "--namespace=kube-system")
        self.cluster.sandbox.path(CONFIGMAP).write_text(json.dumps(found))
        keys = ("kube-proxy-replacement", "bpf-lb-sock", "bpf-lb-sock-hostns-only")
        return {key: found["data"][key] for key in keys if key in found["data"]}

    def says(self, *arguments: str, times: int = 1) -> Said:
        """A command of cni-chain's on the node, run some times."""
        command = self.cluster.sandbox.python(TIMED, str(times), f"{BIN}/cni-chain", *arguments)
        done = json.loads(self.cluster.sandbox.run(*command).stdout)
        return Said(done["status"], (done["out"] + done["err"]).strip(), tuple(done["ms"]), tuple(done["cpu"]))

    def document(self, *arguments: str) -> tuple[int, Json]:
        """The same with --json, as its schema describes it: the exit status and the document."""
        said = self.says(*arguments, "--json")
        document: Json = json.loads(said.out)
        assert not schemas.problem(document), schemas.problem(document)
        return said.status, document

    @contextlib.contextmanager
    def enforcing(self) -> Iterator[None]:
        """The facade refuses a pod of a mesh where the mesh would not see services' addresses, until the block ends."""
        file = self.cluster.sandbox.path(f"{NET}/{FACADE}")
        before = file.read_text()
        conf: Json = json.loads(before)
        conf["plugins"][0]["mesh"] = {"serviceAddress": "enforce"}
        _replace(file, json.dumps(conf))
        try:
            yield
        finally:
            _replace(file, before)

    def settled(self, seconds: float = 3) -> None:
        """Wait until the pods' programs are the same for a while: the agent loads new ones after it is ready."""
        seen: list[tuple[float, list[int]]] = []

        def same() -> bool:
            listed = json.loads(self.cluster.sandbox.run(installed("bpftool"), "-j", "prog").stdout)
            now = [one["id"] for one in listed if one.get("name", "").startswith("cil_from_contai")]
            if not seen or seen[-1][1] != now:
                seen.append((time.monotonic(), now))
            return bool(now) and time.monotonic() > seen[-1][0] + seconds

        wait_until(same, "the pods' programs stay")


class Held:
    """Connections that are open, and on which nothing has been said yet."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.real = self._read()

    def finish(self) -> list[Real]:
        """The same with the answers to a request."""
        assert self._process.stdin
        self._process.stdin.close()
        return self._read()

    def _read(self) -> list[Real]:
        assert self._process.stdout
        return [_real(one) for one in json.loads(self._process.stdout.readline())]


def _real(one: dict[str, str]) -> Real:
    keys = ("points", "answer", "from", "getpeername", "refused")
    return Real(one["target"], *(one.get(key, "") for key in keys))


def _replace(file: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(file)


def is_web(answer: str) -> bool:
    """Whether one of the web servers said this."""
    return answer.startswith("web-")
