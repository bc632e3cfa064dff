"""A kubelet that tries again, pods that talk, and a watch over who runs without having been enrolled."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeVar

from tests.support.agents.node import AGENTS_OWN, AGENTS_PROCESS, MESH, PLAIN
from tests.support.mesh.node import MeshNode
from tests.support.mesh.watch import Watch, enrolled
from tests.support.runtimes.cri import CriError, PodConfig
from tests.support.runtimes.daemons import Runtime, remove_cgroups
from tests.support.runtimes.kubelet import Kubelet
from tests.support.sandbox import inventory
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import wait_for

T = TypeVar("T")

# A kubelet tries for as long as the pod is wanted; between two tries it waits, here shorter than a real one.
PATIENCE_SECONDS, PAUSE_SECONDS = 300, 0.5
# Of tests/system/runtimes' web servers.
PORT = 8080


@dataclass(frozen=True)
class RunningPod:
    """A pod whose web server runs."""

    namespace: str
    name: str
    sandbox: str
    netns: str
    addresses: tuple[str, ...]

    @property
    def who(self) -> tuple[str, str, str]:
        """As Istio's agent is told of it."""
        return self.namespace, self.name, self.netns

    @property
    def urls(self) -> list[str]:
        return [f"http://{f'[{a}]' if ':' in a else a}:{PORT}/" for a in self.addresses]


class MeshKubelet(Kubelet):
    """A kubelet on a node of both agents."""

    def __init__(self, runtime: Runtime, node: MeshNode) -> None:
        super().__init__(runtime)
        self.agents = node

    def start(self, name: str, namespace: str) -> RunningPod:
        """A pod with its web server. Raises CriError."""
        pod = self.pod(name, namespace)
        return self._serving(pod, self.client.run(pod))

    def start_at_last(self, name: str, namespace: str) -> RunningPod:
        """The same, however often it takes."""
        pod = self.pod(name, namespace)
        return self._serving(pod, until_done(lambda: self.client.run(pod)))

    def _serving(self, pod: PodConfig, sandbox: str) -> RunningPod:
        self.serve(sandbox, pod)
        status = self.client.status(sandbox)
        running = RunningPod(pod.namespace, pod.name, sandbox, status.netns, (status.ip, *status.more_ips))
        wait_for(lambda: self._get(running, f"http://127.0.0.1:{PORT}/").stdout != "", f"{pod.name}'s web server", 60)
        return running

    def end_at_last(self, *pods: RunningPod) -> None:
        """End pods, however often it takes."""
        for pod in pods:
            until_done(lambda pod=pod: self.end(pod.sandbox))  # type: ignore[misc]  # mypy can't infer its type

    def answers(self, asking: RunningPod, asked: RunningPod) -> set[str]:
        """Who answers a pod at the other one's addresses, IPv4 and IPv6: the names that web servers say, or why not."""
        got = {url: self._get(asking, url) for url in asked.urls}
        return {done.stdout.partition("\n")[0] or f"{url}: {done.stderr.strip()}" for url, done in got.items()}

    def _get(self, asking: RunningPod, url: str) -> "CompletedProcess[str]":
        # Not its own -T: Debian's busybox 1.35 crashes with it.
        get = ["timeout", "30", "busybox", "wget", "-q", "-O", "-", url]
        return self.node.sandbox.run("nsenter", f"--net={asking.netns}", *get, check=False)

    def enrolled(self) -> set[tuple[str, str, str]]:
        """Whom Istio's agent has enrolled so far."""
        return enrolled(self.agents.istio)

    @contextlib.contextmanager
    def watched(self) -> Iterator[Watch]:
        """The runtime's list is watched for as long as the block runs."""
        watch = Watch(self.client, self.agents.istio)
        with watch.looking_on():
            yield watch

    def warm_up(self) -> None:
        """A pod in the mesh and one outside: what runtime and agents make once and keep is there after them."""
        self.runtime.ready()
        for namespace in (MESH, PLAIN):
            self.end(self.start("warm", namespace).sandbox)

    def kept(self) -> set[str]:
        """What there is on the node and with Cilium's agent, without the daemon, and the agents with what is theirs."""
        sandbox = self.node.sandbox
        numbers = [n.name for n in sandbox.path("/proc").iterdir() if n.name.isdigit() and n.name != "1"]
        found = {f"process {line}" for n in numbers if not self._daemons(line := inventory.command_line(sandbox, n))}
        for look in (inventory.files, inventory.links, inventory.rules, inventory.mounts):
            found |= look(sandbox)
        found |= {f"endpoint {container}" for container in self.agents.endpoints()}
        found |= {f"address {address} of {pod}" for address, pod in self.agents.addresses().items()}
        theirs = re.compile(rf"{AGENTS_OWN.pattern}|{self.runtime.keeps}")
        return {thing for thing in found if not theirs.fullmatch(thing)}

    def _daemons(self, line: str) -> bool:
        return line.startswith(self.runtime.command_line) or AGENTS_PROCESS.fullmatch(line) is not None

    def clean(self) -> None:
        """After a test that failed. Containers first: CRI-O waits for one that no signal ends, for minutes."""
        for sandbox in self.client.sandboxes():
            with contextlib.suppress(CriError):
                self.end(sandbox)

    def left(self, before: set[str]) -> set[str]:
        """What there is that wasn't there before; what is just ending is waited for."""
        end = time.monotonic() + 60
        while (found := self.kept() - before) and time.monotonic() < end:
            time.sleep(0.1)
        return found


def until_done(call: Callable[[], T]) -> T:
    """Try again and again, as a kubelet does."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except CriError:
            if time.monotonic() > end:
                raise
            time.sleep(PAUSE_SECONDS)


@contextlib.contextmanager
def kubelet_on(kind: type[Runtime], program: str | Path, tools: Path) -> Iterator[MeshKubelet]:
    """Such a node, and a daemon that is ready and has had a pod in the mesh and one outside."""
    with Sandbox() as sandbox, MeshNode.running(sandbox, Path(program), tools, "1.20") as node:
        runtime = kind(node)
        try:
            kubelet = MeshKubelet(runtime, node)
            kubelet.warm_up()
            yield kubelet
        finally:
            runtime.close()
            node.close()
            sandbox.close()
            remove_cgroups(runtime.cgroup)
