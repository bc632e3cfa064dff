"""Cilium's own operator and agent as processes of the node, configured by the chart's own ConfigMap."""

import json
import shutil

from tests.lab.cluster.daemon import HERE, SYSTEM, Daemon, built, installed
from tests.lab.cluster.kubernetes import KUBECONFIG, NODE, Kubernetes
from tests.support.runtimes.daemons import DISK
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import BIN, CHAIN

CONFLIST = f"{CHAIN}/cilium.d/05-cilium.conflist"
QUEUE = "/run/cilium/deleteQueue"
CONFIGURATION, SOURCES, CLANG, TEMPORARY = "/run/cilium-config", f"{DISK}/cilium", f"{DISK}/clang", "/run/cilium-tmp"
VALUES = (CHECKOUT / "conf/helm/cilium-values.yaml", HERE / "conf/cilium-values.yaml")


class Cilium:
    """The operator, and the agent, which can be stopped, killed and started."""

    def __init__(self, sandbox: Sandbox, kubernetes: Kubernetes) -> None:
        self._sandbox, self._kubernetes = sandbox, kubernetes
        self._built, self._helm = built("cilium"), built("helm")
        environment = {
            "PATH": f"{CLANG}:{self._built}:{SYSTEM}",
            "HOME": f"{DISK}/home",
            # Never on the file system of its conflist: containerd doesn't see a file that is moved in from elsewhere.
            "TMPDIR": TEMPORARY,
            "CILIUM_K8S_NAMESPACE": "kube-system",
            "K8S_NODE_NAME": NODE,
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": "6443",
        }
        ours = [f"--config-dir={CONFIGURATION}", f"--k8s-kubeconfig-path={KUBECONFIG}"]
        self._environment = environment
        self.operator = Daemon(sandbox, str(self._built / "cilium-operator-generic"), *ours, env=environment)
        agent = [str(self._built / "cilium-agent"), *ours, "--procfs=/proc", f"--lib-dir={SOURCES}"]
        self.agent = Daemon(sandbox, *agent, env=environment)

    def install(self) -> None:
        """What the chart's init containers do, and its ConfigMap."""
        for directory in (CLANG, TEMPORARY, SOURCES):
            self._sandbox.path(directory).mkdir(parents=True)
        for program in ("clang", "llc"):
            self._sandbox.path(f"{CLANG}/{program}").symlink_to(installed(f"{program}-19"))
        shutil.copytree(self._built / "bpf", self._sandbox.path(f"{SOURCES}/bpf"))
        plugin = self._sandbox.path(f"{BIN}/.cilium-cni.new")
        shutil.copy(self._built / "cilium-cni", plugin)
        plugin.rename(plugin.with_name("cilium-cni"))
        self.configure()
        self.deliver()

    def configure(self, *settings: str) -> None:
        """Apply the chart's ConfigMap, with more of its values: KEY=VALUE. The agent doesn't follow a change."""
        self._kubernetes.kubectl("apply", "-f", "-", stdin=self._configmap(*settings))

    def deliver(self) -> None:
        """What the chart's init container does before each start of the agent: the ConfigMap becomes its directory."""
        shutil.rmtree(self._sandbox.path(CONFIGURATION), ignore_errors=True)
        self._dbg("build-config", f"--k8s-kubeconfig-path={KUBECONFIG}", f"--dest={CONFIGURATION}")

    def _configmap(self, *settings: str) -> str:
        chart, template = str(self._built / "chart"), "templates/cilium-configmap.yaml"
        values = [word for file in VALUES for word in ("--values", str(file))]
        command = [str(self._helm / "helm"), "template", "cilium", chart, "--namespace", "kube-system", *values]
        command += ["--show-only", template, "--kube-version", "1.36.0"]
        command += [word for setting in settings for word in ("--set", setting)]
        return self._sandbox.run(*command, env={"HOME": f"{DISK}/home"}).stdout

    def start_agent(self) -> float:
        """Start it and wait until it is ready. How long that took."""
        self.agent.start()
        return self.agent.wait(self._ready, "Cilium's agent ready")

    def _ready(self) -> bool:
        return (
            self._sandbox.run(*self._command("status", "--brief"), env=self._environment, check=False).returncode == 0
        )

    def close(self) -> None:
        """End both."""
        self.agent.close()
        self.operator.close()

    def endpoints(self) -> int:
        """How many pods the agent, which must be running, knows of; ready or not."""
        listed = json.loads(self._dbg("endpoint", "list", "--output=json") or "[]")
        return sum("cni-attachment-id" in one["status"]["external-identifiers"] for one in listed)

    def queue(self) -> list[str]:
        """The notes that cilium-cni has left for an agent that is away. Each names an attachment's container."""
        directory = self._sandbox.path(QUEUE)
        return [file.read_text() for file in directory.glob("*.delete")] if directory.is_dir() else []

    def _command(self, *arguments: str) -> list[str]:
        return [str(self._built / "cilium-dbg"), *arguments]

    def _dbg(self, *arguments: str) -> str:
        return self._sandbox.run(*self._command(*arguments), env=self._environment).stdout
