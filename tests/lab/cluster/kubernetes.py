"""Kubernetes: etcd and the control plane, containerd and the kubelet, each a process in a sandbox."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.lab.cluster.daemon import HERE, SYSTEM, Daemon, built, installed
from tests.support.runtimes import daemons, images
from tests.support.runtimes.cri import PAUSE
from tests.support.runtimes.daemons import DISK, RUN
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, NET, Json

NODE, ADDRESS = "node1", "192.0.2.10"
PODS, SERVICES = "10.244.0.0/16", "10.96.0.0/16"
CERTIFICATES, KUBECONFIG = f"{DISK}/certificates", f"{DISK}/kubeconfig"
SOCKET = f"{RUN}/containerd.sock"
ETCD = "http://127.0.0.1:2379"
CONTAINERD = Path(daemons.__file__).with_name("conf") / "containerd-2.4.toml"


class ControlPlane:
    """A cluster without a node, as it is asked by its administrator. Whoever makes one closes the sandbox."""

    def __init__(self, sandbox: Sandbox, address: str) -> None:
        self._sandbox, self._address = sandbox, address
        self._programs, self._etcd = built("kube"), built("etcd")
        self.path = f"{self._programs}:{SYSTEM}"
        for directory in (CERTIFICATES, f"{DISK}/home"):
            sandbox.path(directory).mkdir(parents=True, exist_ok=True)
        key = f"{CERTIFICATES}/service-accounts"
        openssl = installed("openssl")
        sandbox.run(openssl, "genrsa", "-out", f"{key}.key", "2048")
        sandbox.run(openssl, "rsa", "-in", f"{key}.key", "-pubout", "-out", f"{key}.pub")
        write(sandbox, f"{CERTIFICATES}/tokens.csv", 'admin,admin,admin,"system:masters"\n')
        write(sandbox, KUBECONFIG, json.dumps(kubeconfig("127.0.0.1")))  # JSON is YAML
        self._daemons: list[Daemon] = []

    def _start(self, program: Path, *options: str) -> Daemon:
        daemon = Daemon(self._sandbox, str(program), *options, env={"PATH": self.path, "HOME": f"{DISK}/home"})
        self._daemons.append(daemon)
        daemon.start()
        return daemon

    def start_control_plane(self, *, networks: bool = True) -> None:
        """Start it; with `networks` each node gets one for its pods."""
        kube, key = self._programs, f"{CERTIFICATES}/service-accounts"
        peer = ["--listen-peer-urls", "http://127.0.0.1:2380"]
        client = ["--listen-client-urls", ETCD, "--advertise-client-urls", ETCD]
        self._start(self._etcd / "etcd", "--data-dir", f"{DISK}/etcd", "--unsafe-no-fsync", *client, *peer)
        apiserver = self._start(
            kube / "kube-apiserver",
            *("--etcd-servers", ETCD),
            *("--service-account-key-file", f"{key}.pub"),
            *("--service-account-signing-key-file", f"{key}.key"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--token-auth-file", f"{CERTIFICATES}/tokens.csv"),
            *("--authorization-mode", "RBAC"),
            *("--cert-dir", CERTIFICATES),
            *("--service-cluster-ip-range", SERVICES),
            *("--bind-address", "0.0.0.0"),  # noqa: S104  # of the sandbox
            *("--advertise-address", self._address),
            "--allow-privileged=true",
            *("--kubelet-preferred-address-types", "InternalIP"),
        )
        apiserver.wait(lambda: self._get("/readyz"), "the API server")
        ours = ["--kubeconfig", KUBECONFIG, "--leader-elect=false"]
        allocated = ["--allocate-node-cidrs", "--cluster-cidr", PODS] if networks else []
        accounts = ["--service-account-private-key-file", f"{key}.key", "--use-service-account-credentials=false"]
        # It has signed for itself, and pods must trust that.
        accounts += ["--root-ca-file", f"{CERTIFICATES}/apiserver.crt"]
        self._start(kube / "kube-controller-manager", *ours, *allocated, *accounts)
        self._start(kube / "kube-scheduler", *ours)

    def _get(self, path: str) -> bool:
        return self.call("get", "--raw", path).returncode == 0

    def call(self, *arguments: str, stdin: str = "", timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Call kubectl, whether it succeeds or not."""
        return self._call(*arguments, stdin=stdin, timeout=timeout)

    def _call(
        self, *arguments: str, stdin: str = "", check: bool = False, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        command = [str(self._programs / "kubectl"), "--kubeconfig", KUBECONFIG, *arguments]
        environment = {"HOME": f"{DISK}/home"}
        return self._sandbox.run(*command, stdin=stdin, check=check, env=environment, timeout=timeout)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl prints."""
        return self._call(*arguments, stdin=stdin, check=True).stdout

    def get(self, *what: str) -> Any:
        """What there is, as kubectl's JSON: a list's items, else the object."""
        found: Json = json.loads(self.kubectl("get", *what, "--output=json"))
        return found.get("items", found)

    def helm(self, *words: str, namespace: str) -> str:
        """Call Helm, as the administrator."""
        environment = {"HOME": f"{DISK}/home", "KUBECONFIG": KUBECONFIG, "PATH": self.path}
        command = [str(built("helm") / "helm"), *words, "--namespace", namespace]
        return self._sandbox.run(*command, env=environment, timeout=300).stdout

    def close(self) -> None:
        """End all of it."""
        for daemon in self._daemons:
            daemon.close()

    def save_logs(self, directory: Path) -> None:
        """Keep what all have said: the sandbox's own goes with it."""
        save_logs(self._sandbox, directory)


class Kubernetes(ControlPlane):
    """The cluster with one node, which has no network plugin, all in one sandbox."""

    def __init__(self, sandbox: Sandbox, cgroup_root: str) -> None:
        super().__init__(sandbox, ADDRESS)
        self._runtime = daemons.built("containerd")
        # Of the node's administrator.
        self.path = f"{self._runtime}:{self.path}"
        for directory in (f"{DISK}/images", f"{DISK}/static-pods", RUN, BIN, NET):
            sandbox.path(directory).mkdir(parents=True, exist_ok=True)
        sandbox.run("sh", "-c", (HERE / "network.sh").read_text())
        write(sandbox, f"{DISK}/kubelet.yaml", json.dumps(kubelet_configuration(cgroup_root, SOCKET)))
        words = {"disk": DISK, "run": RUN, "socket": SOCKET, "net": NET, "bin": BIN, "pause": PAUSE}
        write(sandbox, f"{DISK}/containerd.toml", CONTAINERD.read_text().format(**words, runc=installed("runc")))

    def start(self) -> None:
        """Start it all. The node then waits for its network."""
        self.start_control_plane()
        self._start_containerd()
        program, *options = kubelet(NODE, ADDRESS)
        self._start(Path(program), *options)
        self.kubectl("wait", "--for=create", f"node/{NODE}", "--timeout=60s")
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")

    def _start_containerd(self) -> None:
        daemon = self._start(self._runtime / "containerd", "-c", f"{DISK}/containerd.toml")
        daemon.wait(self._sandbox.path(SOCKET).is_socket, "containerd's socket")
        ctr = [str(self._runtime / "ctr"), "-a", SOCKET, "-n", "k8s.io"]
        daemon.wait(lambda: self._sandbox.run(*ctr, "version", check=False).returncode == 0, "containerd")
        for file in images.make(self._sandbox.path(f"{DISK}/images")).values():
            self._sandbox.run(*ctr, "images", "import", f"{DISK}/images/{file.name}")


def write(sandbox: Sandbox, path: str, text: str) -> None:
    """Write a file of root's alone."""
    file = sandbox.path(path)
    file.write_text(text)
    file.chmod(0o600)


def save_logs(sandbox: Sandbox, directory: Path) -> None:
    """Keep what the daemons of a sandbox have said, which goes with it."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in sandbox.path("/var/log").glob("*.log"):
        shutil.copy(file, directory)


def kubelet(name: str, address: str, *options: str) -> list[str]:
    """The command of a node's kubelet, whose configuration lies on its disk."""
    return [
        str(built("kube") / "kubelet"),
        *("--config", f"{DISK}/kubelet.yaml"),
        *("--kubeconfig", KUBECONFIG),
        *("--root-dir", f"{DISK}/kubelet"),
        *("--cert-dir", f"{DISK}/kubelet/pki"),
        *("--hostname-override", name),
        *("--node-ip", address),
        *("--v", "2"),
        *options,
    ]


def kubeconfig(server: str) -> Json:
    """The administrator's, for an API server at this address."""
    cluster = {"server": f"https://{server}:6443", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": "admin"}}],
        "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": "admin"}}],
        "current-context": "context",
    }


def kubelet_configuration(cgroup_root: str, socket: str) -> Json:
    """A kubelet's that leaves alone what isn't the sandbox's: limits of the machine, its disk, its swap."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        # It removes pods below it that it doesn't know.
        "cgroupRoot": cgroup_root,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{socket}",
        # There is no DNS in here. Without an address for it each pod has an event that says so.
        "clusterDNS": ["10.96.0.10"],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "staticPodPath": f"{DISK}/static-pods",
        "volumePluginDir": f"{DISK}/volume-plugins",
        "podLogsDir": "/var/log/pods",
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "enforceNodeAllocatable": [],
    }
