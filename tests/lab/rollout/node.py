"""A node of the cluster: a real kubelet and its runtime in namespaces of their own, with a disk that outlives them."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.lab.cluster.daemon import Daemon, wait_until
from tests.lab.cluster.kubernetes import KUBECONFIG, kubeconfig, kubelet, kubelet_configuration, save_logs, write
from tests.lab.cluster.machine import Cgroups, prepare
from tests.support.runtimes.daemons import DISK, RUNTIMES, Runtime
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, CHAIN, LOG, NET, PORTMAP, STATE, TUNING, tools, whole_list
from tests.support.sandbox.node import Node as Files

HERE = Path(__file__).parent
ROUTER = "192.0.2.1"  # the control plane
PLUGINS = ("bandwidth", "bridge", "host-local", "loopback", "portmap", "tuning")
LIST = "10-pods.conflist"
# Many pods on one node, and started as fast as it can.
QUICK = {"maxPods": 250, "registryPullQPS": 0, "kubeAPIQPS": 100, "kubeAPIBurst": 200, "serializeImagePulls": False}
KINDS = {kind.name: kind for kind in RUNTIMES}


class Node(Files):
    """Made by the lab, which closes it. Its files are seen by their paths on the node: `sandbox.path`."""

    def __init__(self, control: Sandbox, number: int, kind: str, *, network: bool, options: tuple[str, ...]) -> None:
        """With `network` one list of the runtime's gives its pods one; without, nothing does yet."""
        self.number, self.name, self.kind = number, f"node{number}", kind
        self.address, self.pods = f"192.0.2.1{number}", f"10.244.{number}.0/24"
        self.cgroups = Cgroups(f"/cni-chain-rollout-{os.getpid()}-{self.name}")
        self._control, self._network, self._options = control, network, options
        self.disk = f"/mnt/nodes/{self.name}"
        control.path(self.disk).mkdir(parents=True)
        self._runtime: Runtime | None = None
        self._kubelet: Daemon | None = None
        self.is_on = False
        self.cgroups.make()
        try:
            self._boot()
            self._furnish()
        except BaseException:
            self.close()
            raise

    @property
    def runtime(self) -> Runtime:
        """Its daemon, which runs."""
        assert self._runtime, f"{self.name} is off"
        return self._runtime

    def _boot(self) -> None:
        """Make the namespaces, with the disk and the interface in them."""
        group = self.cgroups
        self.sandbox = Sandbox(within=self._control, cgroups=(group.top, group.daemons))
        self.is_on = True
        prepare(self.sandbox, group, self.disk)
        script = (HERE / "inside/plug.sh").read_text()
        # The processes' numbers are those out here.
        enter = ["nsenter", f"--net=/proc/{self._control.pid}/ns/net"]
        subprocess.run([*enter, "sh", "-c", script, "plug", self.name, str(self.sandbox.pid)], check=True)
        words = [self.name, self.address, str(self.number) if self._network else ""]
        self.sandbox.run("sh", "-c", (HERE / "inside/connect.sh").read_text(), "connect", *words)

    def _furnish(self) -> None:
        """Put on the disk what a new node has."""
        for directory in (BIN, NET, f"{DISK}/static-pods", f"{DISK}/home"):
            self.sandbox.path(directory).mkdir(parents=True)
        built = tools()
        assert built, "the reference plugins are not built: make tools"
        for name in PLUGINS:
            shutil.copy(built / "plugins" / name, self.sandbox.path(f"{BIN}/{name}"))
        if self._network:
            self.conflist(LIST, self.pods_list())
        write(self.sandbox, KUBECONFIG, json.dumps(kubeconfig(ROUTER)))

    def pods_list(self) -> dict[str, Any]:
        """The shared list: the network's plugin, a port mapper, and a plugin that stands for a mesh's."""
        ipam = {"type": "host-local", "ranges": [[{"subnet": self.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
        bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}
        return whole_list(bridge, PORTMAP, TUNING, name="pods", version="1.0.0")

    def start(self) -> None:
        """Start the runtime and the kubelet."""
        if not self.is_on:
            self._boot()
        self._runtime = KINDS[self.kind](self)
        configuration = kubelet_configuration(self.cgroups.name, self._runtime.socket) | QUICK
        write(self.sandbox, f"{DISK}/kubelet.yaml", json.dumps(configuration))
        command = kubelet(self.name, self.address, *self._options)
        environment = {"PATH": f"{DISK}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": f"{DISK}/home"}
        self._kubelet = Daemon(self.sandbox, *command, env=environment)
        self._kubelet.start()

    def stop(self) -> None:
        """End every process and namespace of it at once, as a cut of its power does. Its disk stays."""
        if not self.is_on:
            return
        self.is_on = False
        for daemon in (self._kubelet, self._runtime):
            if daemon:
                daemon.close()
        self._kubelet = self._runtime = None
        self.sandbox.close()
        self.cgroups.empty()

    def reboot(self) -> None:
        """What a reboot leaves is the disk."""
        self.stop()
        self.start()

    def restart_kubelet(self) -> None:
        """Stop it and start it; pods live on."""
        assert self._kubelet
        self._kubelet.stop()
        self._kubelet.start()

    def save_logs(self, directory: Path) -> None:
        """Keep what its daemons have said."""
        if self.is_on:
            save_logs(self.sandbox, directory / self.name)

    def close(self) -> None:
        """End it, and remove its disk."""
        self.stop()
        shutil.rmtree(self._control.path(self.disk), ignore_errors=True)
        left = self.cgroups.remove()
        assert not left, left

    # What one does to it.

    def load(self, image: str, archive: Path) -> None:
        """Bring an image to its runtime."""
        file = self.sandbox.path(f"{DISK}/images/{archive.name}")
        shutil.copy(archive, file)
        self.runtime.load(image, file)

    def command(self, *arguments: str) -> tuple[int, str]:
        """A command of cni-chain's on the node: its exit status, and what it prints."""
        done = self.sandbox.run(f"{BIN}/cni-chain", *arguments, check=False)
        return done.returncode, (done.stdout + done.stderr).strip()

    def asked(self, path: str) -> tuple[int, str]:
        """What its agent answers: the status, 0 if there is none, and the text."""
        command = ["curl", "-s", "-m", "5", "-w", "\n%{http_code}", f"http://127.0.0.1:9753{path}"]
        text, _, status = self.sandbox.run(*command, check=False).stdout.rpartition("\n")
        return int(status or 0), text

    # What is seen of it.

    def names(self, directory: str = NET) -> list[str]:
        """What lies in a directory of the node, without what is being written."""
        path = self.sandbox.path(directory)
        return sorted(name for name in os.listdir(path) if name[0] != ".") if path.is_dir() else []

    def first(self) -> str:
        """The file that the runtime takes, "" if there is none."""
        return min((name for name in self.names() if name.endswith((".conf", ".conflist"))), default="")

    def fragments(self) -> list[str]:
        """What the owners have, as OWNER.d/FILE."""
        return [f"{owner}/{file}" for owner in self.names(CHAIN) for file in self.names(f"{CHAIN}/{owner}")]

    def records(self) -> list[str]:
        """cni-chain's attachments."""
        return self.names(STATE)

    def calls(self) -> dict[str, int]:
        """The calls in cni-chain's log, older files too: verb and code → how many."""
        found: dict[str, int] = {}
        for name in self.names(os.path.dirname(LOG)):
            if name.startswith(os.path.basename(LOG)):
                for line in self.sandbox.path(f"/var/log/{name}").read_text().splitlines():
                    call = json.loads(line)
                    if "verb" in call:
                        key = f"{call['verb']} {call.get('code') or 'ok'}"
                        found[key] = found.get(key, 0) + 1
        return found

    def agents(self) -> list[int]:
        """The agent's processes, by their numbers out here."""
        found = []
        with_pid = self.sandbox.path("/proc")
        for status in with_pid.glob("[0-9]*/cmdline"):
            try:
                words = status.read_bytes().split(b"\0")
            except OSError:
                continue
            if words[:2] == [f"{BIN}/cni-chain".encode(), b"agent"]:
                found.append(int(status.parent.name))
        return found

    def kill_agents(self) -> int:
        """kill -9 each of them; how many there were."""
        found = self.agents()
        for number in found:
            self.sandbox.run("kill", "-9", str(number), check=False)
        return len(found)

    def wait_until_file(self, path: str, seconds: float = 60) -> float:
        """Until a file is there. How long it took."""
        return wait_until(self.sandbox.path(path).exists, f"{self.name}: {path}", seconds)
