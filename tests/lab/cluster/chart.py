"""The chart on a real kubelet, from its install to its uninstall: `python -m tests.lab.cluster.chart PROGRAM`.

One node with a bridge and portmap in one list; the image is made of the frozen PROGRAM, Helm does the rest. It prints
what was seen of each step, and fails where a step doesn't end as the chart's page says. Root; `make cluster-chart` has
built what it needs.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.cluster.daemon import wait_until
from tests.lab.cluster.kubernetes import KUBECONFIG, NODE, SOCKET, Kubernetes
from tests.lab.cluster.machine import Cgroups, Machine, compare, prepare
from tests.support.helm import CHART, Json
from tests.support.runtimes import daemons
from tests.support.runtimes.daemons import DISK
from tests.support.sandbox.namespaces import CHECKOUT, ENTER, Sandbox
from tests.support.sandbox.node import BIN, BRIDGE, FACADE, LOG, NET, PORTMAP, tools, whole_list

NAME, IMAGE = "cni-chain", "localhost/cni-chain"
PLUGINS = ("bridge", "host-local", "loopback", "portmap")
LIST = "10-pods.conflist"


class Node:
    """A node whose network works before there is any cni-chain, and Helm."""

    def __init__(self, sandbox: Sandbox, cgroups: Cgroups, archive: Path) -> None:
        self.sandbox = sandbox
        prepare(sandbox, cgroups)
        self.kubernetes = Kubernetes(sandbox, cgroups.name)
        plugins = tools()
        assert plugins
        for name in PLUGINS:
            shutil.copy(plugins / "plugins" / name, sandbox.path(f"{BIN}/{name}"))
        pods = json.dumps(whole_list(BRIDGE, PORTMAP, name="pods", version="1.0.0"))
        sandbox.path(f"{NET}/{LIST}").write_text(pods)
        self._archive = archive

    def start(self) -> None:
        """Start Kubernetes, bring the image, and make the namespace that admits the agent's pod."""
        self.kubernetes.start()
        shutil.copy(self._archive, self.sandbox.path(f"{DISK}/image.tar"))
        ctr = str(daemons.built("containerd") / "ctr")
        self.sandbox.run(ctr, "-a", SOCKET, "-n", "k8s.io", "images", "import", f"{DISK}/image.tar")
        self.kubernetes.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=120s")
        self.kubernetes.kubectl("create", "namespace", NAME)
        self.kubernetes.kubectl("label", "namespace", NAME, "pod-security.kubernetes.io/enforce=privileged")
        self.kubernetes.kubectl(
            "wait", "--for=create", "serviceaccount/default", f"--namespace={NAME}", "--timeout=60s"
        )

    def helm(self, *words: str, namespace: str = NAME) -> str:
        """Call Helm, as the administrator."""
        return self.kubernetes.helm(*words, namespace=namespace)

    def step(self, *words: str) -> float:
        """One change of the release, until its roll-out has ended. How long that took."""
        start = time.monotonic()
        self.helm(*words)
        self.kubernetes.kubectl("rollout", "status", f"daemonset/{NAME}", f"--namespace={NAME}", "--timeout=180s")
        return time.monotonic() - start

    def cluster(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Call `cni-chain cluster` as the administrator, with the kubectl of the cluster."""
        environment = {"HOME": f"{DISK}/home", "PATH": self.kubernetes.path}
        command = (f"{BIN}/cni-chain", "cluster", *words, "--kubeconfig", KUBECONFIG)
        return self.sandbox.run(*command, env=environment, check=False, timeout=300)

    def first(self) -> str:
        """The file that the runtime takes."""
        return min(name for name in os.listdir(self.sandbox.path(NET)) if name.endswith((".conf", ".conflist")))

    def adds(self) -> int:
        """How many pods got the chain."""
        log = self.sandbox.path(LOG)
        return sum('"verb":"ADD"' in line for line in log.read_text().splitlines()) if log.exists() else 0

    def agent(self) -> dict[str, str]:
        """What the kernel says of the agent's process."""
        for status in self.sandbox.path("/proc").glob("[0-9]*/status"):
            words = (status.with_name("cmdline")).read_bytes().split(b"\0")
            if words[:2] == [f"{BIN}/cni-chain".encode(), b"agent"]:
                return dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        raise AssertionError("no agent runs")


def steps(node: Node) -> Iterator[str]:
    """Each step, and what was seen of it."""
    values = ("--set", "owners={local}", "--set", "networkName=pods")
    yield f"install, prepared: {node.step('install', NAME, str(CHART), *values):.1f} s"
    assert node.first() == LIST
    node.helm("test", NAME)
    assert node.adds() == 0, "prepared changes nothing for pods"
    yield from refusal(node)
    assert node.first() == FACADE
    node.helm("test", NAME)
    assert node.adds() == 1
    status = node.agent()
    rights = f"capabilities {status['CapEff'].strip()}, no_new_privs {status['NoNewPrivs'].strip()}"
    yield f"the agent has {int(status['VmRSS'].split()[0]) / 1000:.1f} MB, {rights}"
    node.helm("install", "second", str(CHART), "--set", "owners={local}", namespace="default")
    wait_until(lambda: bool(refusals(node)), "the second chart's pod is refused")
    yield f"a second chart: {refusals(node)[0].partition(' no new claims')[0]}"
    node.helm("uninstall", "second", namespace="default")
    yield f"helm rollback to prepared: {node.step('rollback', NAME, '1'):.1f} s"
    assert node.first() == LIST
    yield f"off: {node.step('upgrade', NAME, str(CHART), '--reuse-values', '--set', 'state=off'):.1f} s"
    assert node.first() == LIST
    node.helm("uninstall", NAME)
    options = (f"--image={IMAGE}:{version()}", "--restart=Never")
    node.kubernetes.kubectl("run", "after", *options, "--", "version")
    node.kubernetes.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/after", "--timeout=120s")
    yield "uninstalled, and a pod starts"


def refusal(node: Node) -> Iterator[str]:
    """The step to `on` with a fragment that somebody has edited, what is told of it, and its mending."""
    [path] = node.sandbox.path("/etc/cni/chain.d/local.d").glob("*portmap*")
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"portmap"', b'"portmapp"'))
    node.helm("upgrade", NAME, str(CHART), "--reuse-values", "--set", "state=on")
    start = time.monotonic()
    done = node.cluster("wait", "on", "--timeout", "120s")
    assert done.returncode == 1
    assert f"{NODE} refuses: " in done.stderr
    assert node.first() == LIST
    yield f"on with a fragment that was edited: refused, and told after {time.monotonic() - start:.1f} s"
    yield f"$ kubectl cni-chain wait on\n{done.stdout}{done.stderr}"
    seconds = wait_until(lambda: bool(probe_events(node)), "the kubelet has written the reason", seconds=90)
    yield f"the kubelet's event, {seconds:.1f} s later: {probe_events(node)[0]!r}"
    yield f"$ kubectl cni-chain status {NODE}\n{node.cluster('status', NODE).stdout}"
    yield f"$ kubectl cni-chain plan off\n{node.cluster('plan', 'off').stdout}"
    path.write_bytes(good)
    start = time.monotonic()
    done = node.cluster("wait", "on", "--timeout", "120s")
    assert done.returncode == 0, done.stderr
    yield f"mended: on, {time.monotonic() - start:.1f} s later"
    yield f"$ kubectl cni-chain wait on\n{done.stderr}{done.stdout}"


def probe_events(node: Node) -> list[str]:
    """What a kubelet has written of agents' liveness probes."""
    options = (f"--namespace={NAME}", "--field-selector", "reason=ProbeWarning")
    events: list[Json] = node.kubernetes.get("events", *options)
    return [event["message"] for event in events]


def refusals(node: Node) -> list[str]:
    """Why pods were not scheduled."""
    events: list[Json] = node.kubernetes.get("events", "--field-selector", "reason=FailedScheduling")
    return [event["message"] for event in events]


def version() -> str:
    """The chart's, which is the image's tag."""
    chart = (CHART / "Chart.yaml").read_text().splitlines()
    return next(line.split('"')[1] for line in chart if line.startswith("appVersion: "))


def run_inside(archive: Path, cgroups: Cgroups) -> None:
    """The steps, in the cgroup namespace."""
    with Sandbox() as sandbox:
        node = Node(sandbox, cgroups, archive)
        try:
            node.start()
            for seen in steps(node):
                print(seen, flush=True)
        finally:
            node.kubernetes.save_logs(CHECKOUT / "out/cluster/chart")
            node.kubernetes.close()
    cgroups.empty()


def main(words: list[str]) -> int:
    """Run the steps, inside or from outside."""
    if words[:1] == ["--inside"]:
        run_inside(Path(words[1]), Cgroups(words[2]))
        return 0
    frozen = Path(words[0]).absolute().parent.parent
    before, cgroups = Machine.look(), Cgroups(f"/cni-chain-chart-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        image = [sys.executable, "-m", "build.release", "image", "--name", IMAGE, folder, str(frozen)]
        subprocess.run(image, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(folder).glob("*.tar")
        cgroups.make()
        command = [sys.executable, "-m", "tests.lab.cluster.chart", "--inside", str(archive), cgroups.name]
        try:
            enter = ["bash", "-euc", ENTER, "enter", str(cgroups.top), str(cgroups.daemons), *command]
            status = subprocess.run(enter, check=False).returncode
        finally:
            left = cgroups.remove()
    # Here runs no BPF program: those that are new are of a Cilium beside this, in another cluster.
    changed = [*left, *(line for line in compare(before) if not line.startswith("BPF "))]
    print("\n".join(["This machine is NOT as it was:", *changed] if changed else ["This machine is as it was."]))
    return status or bool(changed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
