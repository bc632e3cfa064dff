"""What the tests need of a cluster besides pods with a network: services' addresses, and names."""

import json
from pathlib import Path

from tests.lab.cluster.daemon import SYSTEM, Daemon, wait_until
from tests.lab.cluster.kubernetes import ADDRESS, KUBECONFIG, NODE, PODS, Kubernetes
from tests.support.runtimes.daemons import DISK
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import Json

DNS = "10.96.0.10"  # as the kubelet tells pods
COREFILE = f"""
.:53 {{
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {KUBECONFIG}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
}}
"""
PROXY = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "clientConnection": {"kubeconfig": KUBECONFIG},
    "mode": "iptables",
    "clusterCIDR": PODS,
    "hostnameOverride": NODE,
    # These are the machine's.
    "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
}
PORTS = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
IN_SYSTEM = {"name": "kube-dns", "namespace": "kube-system"}
SERVICE: list[Json] = [
    {"apiVersion": "v1", "kind": "Service", "metadata": IN_SYSTEM, "spec": {"clusterIP": DNS, "ports": PORTS}},
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": IN_SYSTEM | {"labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "ports": PORTS,
        "endpoints": [{"addresses": [ADDRESS]}],
    },
]


class Network:
    """kube-proxy and CoreDNS, as processes of the node. Whoever makes one closes it."""

    def __init__(self, sandbox: Sandbox, kubernetes: Kubernetes, e2e: Path, coredns: Path) -> None:
        self._kubernetes = kubernetes
        sandbox.path(f"{DISK}/kube-proxy.yaml").write_text(json.dumps(PROXY))
        sandbox.path(f"{DISK}/Corefile").write_text(COREFILE)
        environment = {"PATH": SYSTEM, "HOME": f"{DISK}/home"}
        proxy = (str(e2e / "kube-proxy"), "--config", f"{DISK}/kube-proxy.yaml")
        self._proxy = Daemon(sandbox, *proxy, env=environment)
        self._coredns = Daemon(sandbox, str(coredns / "coredns"), "-conf", f"{DISK}/Corefile", env=environment)
        self._sandbox = sandbox

    def start(self) -> None:
        """Start both, and wait until names are answered at the service's address."""
        for one in SERVICE:
            self._kubernetes.kubectl("apply", "-f", "-", stdin=json.dumps(one))
        self._proxy.start()
        self._coredns.start()
        wait_until(self._answers, "a name at the service's address", 120)

    def _answers(self) -> bool:
        for daemon in (self._proxy, self._coredns):
            assert daemon.running, daemon.log()[-3000:]
        asked = ["dig", f"@{DNS}", "+short", "+time=1", "+tries=1", "kubernetes.default.svc.cluster.local"]
        return self._sandbox.run(*asked, check=False).stdout.strip() == "10.96.0.1"

    def close(self) -> None:
        """End both."""
        for daemon in (self._coredns, self._proxy):
            daemon.close()
