"""A node of a real cluster with cni-chain as the only plugin: what one does to it, and what is seen of it."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.lab.cluster.cilium import CONFLIST, Cilium
from tests.lab.cluster.daemon import HERE, wait_until
from tests.lab.cluster.kubernetes import NODE, Kubernetes
from tests.lab.cluster.machine import Cgroups, prepare
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, CHAIN, LOG, NET, STATE, WEB, Json

# Reference plugins that agents bring along: containerd runs loopback by itself.
PLUGINS = ("loopback", "tuning")
SERVICE = "http://10.96.0.80/hostname"
OWNERS = ("--owner", "cilium:cilium-cni", "--owner", "local")


class Tally(NamedTuple):
    """What there is of each kind. All must be the same pods, so the same number."""

    pods: int
    records: int
    namespaces: int
    interfaces: int


class Failure(NamedTuple):
    """An event of a pod, as it is aggregated: its text without what differs from pod to pod."""

    reason: str
    message: str
    times: int


class Cluster:
    """Kubernetes, Cilium and cni-chain in a sandbox. Whoever makes one closes the sandbox."""

    def __init__(self, sandbox: Sandbox, cgroups: Cgroups, program: str, tools: Path) -> None:
        self.sandbox, self._program = sandbox, program
        prepare(sandbox, cgroups)
        self.kubernetes = Kubernetes(sandbox, cgroups.name)
        self.cilium = Cilium(sandbox, self.kubernetes)
        for plugin in PLUGINS:
            target = sandbox.path(f"{BIN}/{plugin}")
            target.write_bytes((tools / "plugins" / plugin).read_bytes())
            target.chmod(0o755)

    def install(self, *options: str) -> str:
        """cni-chain, by its own command, before there is any agent."""
        return self.sandbox.run(self._program, "install", *OWNERS, *options).stdout

    def start(self) -> None:
        """Start Kubernetes; Cilium is there and not started."""
        self.kubernetes.start()
        self.cilium.install()

    # What one does to it.

    def workload(self) -> None:
        """Two web servers, their service, and a pod to ask from."""
        self.kubernetes.kubectl("apply", "-f", str(HERE / "conf/workload.yaml"))

    def scale(self, count: int) -> None:
        self.kubernetes.kubectl("scale", "deployment/web", f"--replicas={count}")

    def rolled_out(self, seconds: int = 180) -> None:
        """Wait until every pod of the deployment is ready, and those that are too many are gone."""
        self.kubernetes.kubectl("rollout", "status", "deployment/web", f"--timeout={seconds}s")
        self.kubernetes.kubectl("wait", "--for=condition=Ready", "pod/client", f"--timeout={seconds}s")
        wanted = self.kubernetes.get("deployment/web")["spec"]["replicas"] + 1
        wait_until(lambda: len(self.pods()) == wanted, f"{wanted} pods and no more", seconds)

    def command(self, *arguments: str, check: bool = True) -> tuple[int, str]:
        """A command of cni-chain's on the node: its exit status, and what it prints."""
        done = self.sandbox.run(f"{BIN}/cni-chain", *arguments, env={"PATH": self.kubernetes.path}, check=check)
        return done.returncode, (done.stdout + done.stderr).strip()

    # What is seen of it.

    def pods(self) -> list[str]:
        """All of them, those that end too."""
        return sorted(pod["metadata"]["name"] for pod in self.kubernetes.get("pods"))

    def record_files(self) -> list[str]:
        """Without starting anything."""
        directory = self.sandbox.path(STATE)
        names = os.listdir(directory) if directory.is_dir() else []
        return sorted(name for name in names if not name.startswith("."))

    def attachments(self) -> list[Json]:
        """What cni-chain says was run."""
        found: Json = json.loads(self.command("attachments", "--json")[1])
        assert not found["damaged"], found["damaged"]
        attachments: list[Json] = found["attachments"]
        return attachments

    def interfaces(self) -> list[str]:
        """Those of pods, which Cilium calls so."""
        return [
            name for name in os.listdir(self.sandbox.path("/sys/class/net")) if re.fullmatch(r"lxc[0-9a-f]{12}", name)
        ]

    def tally(self) -> Tally:
        """How much there is of each kind."""
        namespaces = os.listdir(self.sandbox.path("/run/netns"))
        return Tally(len(self.pods()), len(self.record_files()), len(namespaces), len(self.interfaces()))

    def settled(self, pods: int, seconds: float = 60) -> Tally:
        """Wait until there are so many pods, and as many of everything."""
        seen: list[Tally] = []

        def agree() -> bool:
            seen.append(self.tally())
            return set(seen[-1]) == {pods}

        with contextlib.suppress(AssertionError):
            wait_until(agree, "as many of each as pods", seconds)
        assert set(seen[-1]) == {pods}, seen[-1]
        running = {pod["metadata"]["name"] for pod in self.kubernetes.get("pods")}
        attached = {one["pod"].removeprefix("default/") for one in self.attachments()}
        assert running == attached
        return seen[-1]

    def ask(self, times: int = 1) -> list[str]:
        """Ask the service from the client's pod: which pods answered. Anything but an answer is a failure."""
        netns = next(one["netns"] for one in self.attachments() if one["pod"] == "default/client")
        answers = []
        for _ in range(times):
            get = self.sandbox.python(WEB, "get", SERVICE)
            answer: Json = json.loads(self.sandbox.run("nsenter", f"--net={netns}", *get).stdout)
            assert answer.get("status") == 200, answer
            answers.append(str(answer["body"]).strip())
        return answers

    def ready(self) -> Json:
        """The node's own condition: status, reason, message, since when."""
        conditions = self.kubernetes.get(f"node/{NODE}")["status"]["conditions"]
        found: Json = next(one for one in conditions if one["type"] == "Ready")
        return found

    def becomes(self, status: str, saying: str = "", seconds: float = 60) -> float:
        """Wait for this status of the node and these words. How long it took."""

        def so() -> bool:
            condition = self.ready()
            return condition["status"] == status and saying in condition["message"]

        return wait_until(so, f"node Ready={status} {saying}", seconds)

    def failures(self) -> list[Failure]:
        """What the pods' events say of networks that could not be made or removed."""
        found: dict[tuple[str, str], int] = {}
        for event in self.kubernetes.get("events"):
            if event["reason"] in {"FailedCreatePodSandBox", "FailedKillPod", "NetworkNotReady"}:
                key = event["reason"], anonymous(event["message"])
                found[key] = found.get(key, 0) + (event.get("count") or 1)
        return [Failure(*key, times) for key, times in sorted(found.items())]

    def told(self, words: str) -> str:
        """A pod with an event that says so, or "". FailedCreatePodSandBox comes before NetworkNotReady."""
        events = sorted(self.kubernetes.get("events"), key=lambda event: str(event["reason"]))
        names = [event["involvedObject"]["name"] for event in events if words in event["message"]]
        there = self.pods()
        return next((name for name in names if name in there), "")

    def forget_events(self) -> None:
        self.kubernetes.kubectl("delete", "events", "--all")

    def describe_pod(self, name: str) -> tuple[str, str]:
        """A command, and what it says of the pod's events; without IDs."""
        said = self.kubernetes.kubectl("describe", "pod", name)
        command = f"kubectl describe pod {name} | sed -n '/^Events/,$p'"
        return anonymous(command), anonymous("Events:" + said.rpartition("Events:")[2]).strip()

    def describe_node(self) -> tuple[str, str]:
        """A command, and what it says of the node's condition."""
        said = self.kubernetes.kubectl("describe", "node", NODE).partition("\nAddresses:")[0]
        lines = [line for line in said.splitlines() if line.startswith(("  Type  ", "  Ready  "))]
        return f"kubectl describe node {NODE} | sed '/^Addresses/,$d' | grep -E '^  (Type|Ready)  '", "\n".join(lines)

    def verbs(self) -> dict[str, int]:
        """The calls in cni-chain's log: verb and code → how many."""
        found: dict[str, int] = {}
        for line in self.sandbox.path(LOG).read_text().splitlines():
            call = json.loads(line)
            key = f"{call['verb']} {call.get('code') or 'ok'}"
            found[key] = found.get(key, 0) + 1
        return found

    def configurations(self) -> list[str]:
        """What lies in the runtime's directory and in the owners'."""
        places = [self.sandbox.path(place) for place in (NET, CHAIN)]
        found = [file for place in places for file in place.rglob("*") if not file.is_dir()]
        return sorted("/" + str(file).split("/root/", 1)[1] for file in found)

    def remove_conflist(self) -> None:
        self.sandbox.path(CONFLIST).unlink()

    def write_fragment(self, owner: str, name: str, conf: Json) -> None:
        """As a good agent does."""
        file = self.sandbox.path(f"{CHAIN}/{owner}.d/{name}")
        temporary = file.with_name(f".{name}.new")
        temporary.write_text(json.dumps(conf))
        temporary.chmod(0o600)
        temporary.rename(file)


def anonymous(text: str) -> str:
    """Without what differs at every try and from pod to pod, whatever cni-chain says."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    return re.sub(r"web-[0-9a-f]{8,10}-[0-9a-z]{5}", "web-…", text)


@contextlib.contextmanager
def cluster_with(program: str, tools: Path, cgroups: Cgroups, logs: Path, *options: str) -> Iterator[Cluster]:
    """A cluster whose node has cni-chain and no agent yet."""
    with Sandbox() as sandbox:
        cluster = Cluster(sandbox, cgroups, program, tools)
        try:
            cluster.install(*options)
            cluster.start()
            yield cluster
        finally:
            cluster.kubernetes.save_logs(logs)
            cluster.cilium.close()
            cluster.kubernetes.close()
    cgroups.empty()
