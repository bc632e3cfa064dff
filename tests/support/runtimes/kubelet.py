"""A kubelet's part, by hand: it makes pods through a runtime, ends them as a kubelet does, and looks at what stays."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.support.runtimes.cri import Client, CriError, PodConfig, Port
from tests.support.runtimes.daemons import Runtime
from tests.support.runtimes.steer import STEERED
from tests.support.sandbox.inventory import files, links, mounts, rules, settled
from tests.support.sandbox.node import BIN, CHAIN, FACADE, LOG, NET, STATE, Json, Node

# As conf/00-cni-chain.conflist has them; each runtime sends what it knows of these.
CAPABILITIES = (
    *("portMappings", "bandwidth", "dns", "ips", "ipRanges", "mac", "infinibandGUID", "deviceID", "aliases"),
    *("cgroupPath", "CNIDeviceInfoFile", "io.kubernetes.cri.pod-annotations"),
)
VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
# A sandbox's, or a namespace's.
ID = re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
# The mesh's own agent.
EXEMPT = {"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}
# The pod's own container: a web server that answers with the pod's name and what it was told of DNS.
SERVE = "hostname >/index.html; cat /etc/resolv.conf >>/index.html; exec busybox httpd -f -p 8080 -h /"


class Kubelet:
    """One node, its runtime, and the pods on it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.node = runtime.node
        self.leaves_masquerade = False  # bridge gets its DEL after its namespace is gone

    @property
    def client(self) -> Client:
        return self.runtime.client

    def facade(self, plugin: Json | None = None) -> None:
        """Lay the facade, and wait until the runtime has it."""
        self.rewrite(lambda: lay_facade(self.node, plugin))

    def rewrite(self, change: Callable[[], None], file: str = FACADE) -> None:
        """Change net.d, and wait until the runtime has this file for its network."""
        seen = self.runtime.watch()
        change()
        seen(file)

    def pod(self, name: str, namespace: str = "default") -> PodConfig:
        return PodConfig(name, namespace, self.runtime.cgroup)

    def run(self, name: str, namespace: str = "default") -> str:
        """A pod that nothing special is wanted of; its sandbox's ID."""
        return self.client.run(self.pod(name, namespace))

    def refused(self, name: str, namespace: str = "default") -> str:
        """Try to run a pod, which fails; what a kubelet is told."""
        try:
            sandbox = self.run(name, namespace)
        except CriError as e:
            return str(e)
        self.end(sandbox)
        raise AssertionError(f"{name} runs, although it can't")

    def end(self, *sandboxes: str) -> None:
        """As a kubelet ends a pod: its containers, then stop, to be sure stop again, then remove."""
        for sandbox in sandboxes:
            for container in self.client.containers(sandbox):
                self.client.kill_container(container)
            self.client.stop(sandbox)
            self.client.stop(sandbox)
            self.client.remove(sandbox)

    def run_at_last(self, name: str) -> str:
        """Try as a kubelet does, again and again: a runtime that still has a try of its own says no to the next one."""
        end = time.monotonic() + 180
        while True:
            try:
                return self.client.run(self.pod(name), timeout=20)
            except CriError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    @staticmethod
    def anonymous(told: str) -> str:
        """An error without the runtime's IDs, which differ at every try whatever we say."""
        return ID.sub("ID", told)

    def not_stopped(self, sandbox: str) -> str:
        """Try to stop a pod, which fails; what a kubelet is told."""
        try:
            self.client.stop(sandbox)
        except CriError as e:
            return str(e)
        raise AssertionError(f"{sandbox} was stopped, although it can't be")

    def serve(self, sandbox: str, pod: PodConfig) -> str:
        return self.client.container(sandbox, pod, "/bin/busybox", "sh", "-c", SERVE)

    def body(self, url: str, namespace: str = "") -> str:
        """What a web server answers once it listens, or the error."""
        answer = self.node.http(url, namespace)
        return str(answer.get("body", answer.get("error")))

    def inside(self, netns: str, *command: str) -> str:
        """What a command prints in a pod's network namespace, which runtimes pin at places of their own."""
        return self.node.sandbox.run("nsenter", f"--net={netns}", *command).stdout

    def records(self) -> list[str]:
        """What cni-chain remembers of attachments."""
        directory = self.node.sandbox.path(STATE)
        names = [file.name for file in directory.iterdir()] if directory.is_dir() else []
        return sorted(name for name in names if not name.startswith("."))

    def log(self, *verbs: str) -> list[Json]:
        """The lines of cni-chain's log for these verbs, since the test began."""
        return [line for line in self.node.log() if line["verb"] in verbs]

    def kept(self) -> set[str]:
        """What there is on the node, without the daemon itself."""
        sandbox = self.node.sandbox
        found = {*files(sandbox), *links(sandbox), *rules(sandbox), *mounts(sandbox), *self._processes()}
        return {thing for thing in found if not re.fullmatch(self.runtime.keeps, thing)}

    def left(self, before: set[str]) -> set[str]:
        """What there is that wasn't there before; what is going is waited for."""
        return settled(lambda: self.kept() - before, 60)

    def _processes(self) -> set[str]:
        """All but process 1 and the daemon."""
        proc, found = self.node.sandbox.path("/proc"), set()
        for number in os.listdir(proc):
            if number.isdigit() and number != "1":
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                    line = (proc / number / "cmdline").read_text().replace("\0", " ").strip()
                    found.add(f"process {line or '(ended)'}")
        return {line for line in found if not line.startswith(f"process {self.runtime.command_line}")}

    def warm_up(self) -> None:
        """One pod with all there is: what the runtime makes once and keeps is there after it."""
        self.runtime.ready()
        pod = replace(self.pod("warm"), ports=(Port(8080, 18080),))
        sandbox = self.client.run(pod)
        self.serve(sandbox, pod)
        self.end(sandbox)

    def reset(self) -> None:
        """The usual chain, whatever the test before has made of it, and an empty log."""
        for owner in self.node.sandbox.path(CHAIN).iterdir():
            shutil.rmtree(owner)
        self.node.usual_chain()
        for file in self.node.sandbox.path(NET).iterdir():
            if file.name != FACADE:
                file.unlink()
        self.facade()
        with contextlib.suppress(FileNotFoundError):
            self.node.sandbox.path(LOG).unlink()

    def clean(self) -> None:
        """After a test that failed: as much out of the way as will go."""
        for sandbox in self.client.sandboxes():
            with contextlib.suppress(CriError):
                self.client.stop(sandbox)
                self.client.remove(sandbox)

    @contextlib.contextmanager
    def without(self, binary: str) -> Iterator[None]:
        """A plugin's binary is gone for a while."""
        path = self.node.sandbox.path(f"{BIN}/{binary}")
        away = path.rename(self.node.sandbox.path(f"{STEERED}/{binary}.away"))
        try:
            yield
        finally:
            away.rename(path)


def lay_facade(node: Node, plugin: Json | None = None) -> None:
    """One facade for every runtime; `plugin` replaces keys."""
    node.facade(cniVersions=VERSIONS, plugin={"capabilities": dict.fromkeys(CAPABILITIES, True)} | (plugin or {}))


def driver(node: Node, *options: str) -> None:
    """Make a call through our own driver of libcni, with a memory of its own, which knows of no pod."""
    memory = "/run/nothing"
    command = ["/opt/cni/cnidrv", f"-cache={memory}", f"-conf={NET}/{FACADE}", "-ifname=eth0", *options]
    node.sandbox.run(*command, env={"CNI_PATH": BIN})
    shutil.rmtree(node.sandbox.path(memory), ignore_errors=True)


def collect(node: Node, *valid: str) -> None:
    """GC, with the sandboxes that are still there: what a runtime that calls it does."""
    driver(node, *([f"-valid={','.join(f'{sandbox}/eth0' for sandbox in valid)}"] if valid else []), "gc")
