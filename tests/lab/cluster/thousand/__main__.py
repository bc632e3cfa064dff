"""What a roll-out over a thousand nodes costs the API server, and what `cni-chain cluster` costs whoever asks.

`python -m tests.lab.cluster.thousand PROGRAM [NODES] [--looks]`; with --looks the commands alone. The nodes are kwok's
and run no agent: it prices what Kubernetes does, and the size of the answers. No root; `make cluster-thousand` builds
what it needs.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.lab.cluster.apiserver import ADMINISTRATOR
from tests.lab.cluster.daemon import wait_until
from tests.lab.cluster.thousand.simulated import (
    NAMESPACE,
    READER,
    WRITES,
    Simulated,
    Timed,
    Writes,
    ago,
    cluster,
    timed,
)
from tests.support.files import schemas
from tests.support.helm import PRESET, Json

TIMES = 5
FIELDS = ("--subresource=status", "--type=strategic")


class Run:
    """The steps, each with what was seen of it."""

    def __init__(self, simulated: Simulated, program: str, count: int) -> None:
        self.simulated, self.program, self.count = simulated, program, count
        kubectl = simulated.server.program.parent
        # Each user's own home, since kubectl keeps there what it has learnt of a server.
        self._environment = {"PATH": f"{kubectl}:/usr/bin:/bin", "HOME": str(simulated.server.folder)}
        users = (("admin", ADMINISTRATOR), (READER, READER))
        self._files = {name: str(simulated.server.kubeconfig(name, token)) for name, token in users}

    def is_a_plugin(self) -> None:
        """The same by way of kubectl, which finds the program under its other name."""
        folder = self.simulated.server.folder / "plugins"
        folder.mkdir()
        (folder / "kubectl-cni_chain").symlink_to(self.program)
        (folder / "kubectl_complete-cni_chain").symlink_to(self.program)
        kubectl = str(self.simulated.server.program)
        environ = self._environment | {"PATH": f"{folder}:{self._environment['PATH']}"}
        words = [kubectl, "cni-chain", "status", "--kubeconfig", self._files["admin"]]
        (status, text, said, *_), (_, other, *_) = timed(words, environ), self.asks("status")
        # Further down are ages.
        assert (status, text.splitlines()[:5]) == (0, other.splitlines()[:5]), said
        assert "wait\t" in timed([kubectl, "__complete", "cni-chain", "w"], environ)[1]
        print("kubectl cni-chain status: the same, and kubectl completes its words", flush=True)

    def asks(self, *words: str, user: str = "admin") -> Timed:
        """Call `cni-chain cluster`."""
        return timed([self.program, "cluster", *words, "--kubeconfig", self._files[user]], self._environment)

    def step(self, name: str, *words: str) -> None:
        """One change of the release, and what it has cost when `cluster wait` says that it is done."""
        begun = time.time()
        self.simulated.helm(*words)
        status, _, said, *_ = self.asks("wait", "--timeout", "15m")
        seconds = time.time() - begun
        assert status == 0, said
        assert self.simulated.rolled_out()
        time.sleep(2)  # the last events
        found = writes(self.simulated.requests(begun))
        print(f"\n{name}: {seconds:.0f} s, {sum(found.values()) / self.count:.1f} writes a node", flush=True)
        show(found, self.count)

    def quiet(self) -> None:
        """A minute in which nobody asks for anything."""
        begun = time.time()
        time.sleep(60)
        requests = self.simulated.requests(begun)
        print("\na minute in which nothing is asked for: all writes, but the leases")
        show(writes(requests), self.count)
        events = self.simulated.events(begun)
        print("  the events are " + (", ".join(f"{reason} ({count})" for reason, count in events.items()) or "none"))
        ours = sum(count for (agent, *_), count in requests.items() if agent in ("kubectl", "helm", "cni-chain"))
        print(f"  by kubectl, Helm or cni-chain: {ours}", flush=True)

    def looks(self, name: str, *words: str, user: str = "admin", expected: int = 0) -> str:
        """Ask several times; print what it costs, and return what it prints."""
        found, text, begun = [], "", time.time()
        for _ in range(TIMES):
            begun = time.time()
            status, text, said, seconds, cpu, size = self.asks(*words, user=user)
            assert status == expected, said + text
            if "--json" in words:
                assert schemas.problem(json.loads(text)) == ""
            found.append((seconds, cpu, size))
        time.sleep(1)
        requests = self.simulated.requests(begun)
        seconds, cpu, size = (sorted(column)[TIMES // 2] for column in zip(*found, strict=True))
        slowest = max(one[0] for one in found)
        asked = sum(count for (agent, *_), count in requests.items() if agent == "kubectl")
        print(
            f"{name}: {seconds:.1f} s (slowest {slowest:.1f}), {cpu:.1f} s of CPU with kubectl's, "
            f"largest process {size / 1024:.0f} MB, {asked} requests, {len(text)} bytes printed",
            flush=True,
        )
        return text

    def breaks(self, name: str, message: str) -> None:
        """Have an agent's pod be not ready, with the event that a kubelet writes of its liveness probe."""
        since = ago(60)
        ready = {"type": "Ready", "status": "False", "lastTransitionTime": since}
        container = {"name": "agent", "ready": False, "restartCount": 0, "image": "x", "imageID": "x"}
        container["state"] = {"running": {"startedAt": since}}
        patch = json.dumps({"status": {"conditions": [ready], "containerStatuses": [container]}})
        self.simulated.server.kubectl("patch", "pod", name, f"--namespace={NAMESPACE}", *FIELDS, f"--patch={patch}")
        about = {"kind": "Pod", "name": name, "namespace": NAMESPACE, "apiVersion": "v1"}
        event: Json = {"apiVersion": "v1", "kind": "Event", "type": "Warning", "reason": "ProbeWarning"}
        event |= {"metadata": {"name": f"{name}.1", "namespace": NAMESPACE}, "involvedObject": about}
        text = f"Liveness probe warning: Probe terminated redirects, Response body: {message}"
        self.simulated.server.apply(event | {"message": text, "lastTimestamp": ago(30), "firstTimestamp": since})


def writes(requests: Writes) -> Writes:
    """Those that change something."""
    return Writes({what: count for what, count in requests.items() if what[1] in WRITES})


def show(found: Writes, count: int) -> None:
    """Print who wrote what, and how often for each node."""
    for (agent, verb, what), number in found.most_common(14):
        print(f"  {number:6}  {number / count:5.2f}  {agent} {verb} {what}")


def rolls_out(steps: Run) -> None:
    """To `on` by way of `prepared`, as a cluster that runs pods."""
    steps.step("install, prepared", "install", "--set", f"preset={PRESET}")
    steps.step("on, 10 % at a time", "upgrade", "--reuse-values", "--set", "state=on,rollout.maxUnavailable=10%")
    steps.quiet()


def looks(simulated: Simulated, steps: Run, count: int) -> None:
    """What the commands cost, where all is well, one node is not ready, and all nodes are gone."""
    print()
    steps.looks("cluster status", "status")
    steps.looks("cluster status --all", "status", "--all")
    steps.looks("cluster status --json", "status", "--json")
    steps.looks("cluster plan off", "plan", "off")
    steps.looks("cluster status, who may list pods and DaemonSets alone", "status", user=READER)
    steps.is_a_plugin()
    pods = simulated.get("pods")["items"]
    name = next(one["metadata"]["name"] for one in pods if one["spec"]["nodeName"] == f"node-{count // 2:04}")
    steps.breaks(name, "refuses: on is wanted, and the node is prepared\n/etc/cni/net.d: is read-only\n")
    wait_until(lambda: not simulated.rolled_out(), "the DaemonSet knows of it")
    told = steps.looks("cluster status, one node not ready", "status", expected=1)
    print("\n$ kubectl cni-chain status\n" + told)
    print("$ kubectl cni-chain status      # who may list pods and DaemonSets alone")
    print(steps.asks("status", user=READER)[1])
    status, _, said, seconds, *_ = steps.asks("wait")
    print(f"$ kubectl cni-chain wait        # status {status} after {seconds:.1f} s\n{said}", flush=True)
    simulated.die()
    told = steps.looks("cluster status, all nodes are gone", "status", expected=1)
    print("\n".join(["$ kubectl cni-chain status | head -11", *told.splitlines()[:11]]))


def main(words: list[str]) -> int:
    """Run it in a folder of its own."""
    program, count = os.path.abspath(words[0]), next((int(word) for word in words[1:] if word.isdecimal()), 1000)
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), count) as simulated:
        version = json.loads(simulated.server.kubectl("get", "--raw", "/version"))["gitVersion"]
        print(f"{count} nodes, API server {version}, {os.cpu_count()} cores")
        steps = Run(simulated, program, count)
        if "--looks" in words:
            steps.step("install, on", "install", "--set", f"preset={PRESET},state=on")
        else:
            rolls_out(steps)
        looks(simulated, steps, count)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
