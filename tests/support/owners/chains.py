"""Nodes with two or three agents, as a table: what each agent writes (files of conf/), and what becomes of it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from cni_chain.change import draft

Json = dict[str, Any]
CONF = Path(__file__).resolve().parents[3] / "conf"

# What a container runtime may send; containerd sends nearly all of it for each pod.
SENT: Json = {
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}],
    "bandwidth": {"ingressRate": 8000000, "ingressBurst": 800000, "egressRate": 0, "egressBurst": 0},
    "dns": {"servers": ["10.96.0.10"], "searches": ["svc.cluster.local"]},
    "cgroupPath": "/kubepods/pod1",
    "io.kubernetes.cri.pod-annotations": {"app": "web"},
}
PORTS, BANDWIDTH, ANNOTATIONS = "portMappings", "bandwidth", "io.kubernetes.cri.pod-annotations"


class Runs(NamedTuple):
    """One plugin of a chain."""

    owner: str
    type: str
    gets: tuple[str, ...] = ()  # of what the runtime sends
    check: bool = True  # whether CHECK asks it
    newest: str = "1.1.0"  # the latest version that it speaks


class Chain(NamedTuple):
    """One node."""

    name: str
    network: str
    owners: tuple[str, ...]  # as `cni-chain install --owner` takes them
    files: dict[str, str]  # OWNER.d/FILE as the agent names it: a file below conf/
    runs: tuple[Runs, ...]
    left_out: tuple[str, ...] = ()  # types, and whose file has them: FILE: TYPE
    findings: tuple[str, ...] = ()  # of `verify`: its last words, in its order

    @property
    def entries(self) -> list[Json]:
        """The owners as they are in the facade."""
        return draft.owners(list(self.owners), [])

    def content(self, file: str) -> bytes:
        return (CONF / self.files[file]).read_bytes()

    def plugins(self, file: str) -> list[Json]:
        """The plugins of a file, as their agent has written them."""
        document = json.loads(self.content(file))
        plugins: list[Json] = document.get("plugins", [document])
        return plugins

    def written(self, plugin: Runs) -> Json:
        """One plugin's object, from its owner's file."""
        files = [file for file in self.files if file.startswith(f"{plugin.owner}.d/")]
        (found,) = [conf for file in files for conf in self.plugins(file) if conf["type"] == plugin.type]
        return found

    @property
    def kubeconfigs(self) -> list[str]:
        """The credentials that plugins are told to read, which their agents write too."""
        found = []
        for file in self.files:
            for conf in self.plugins(file):
                found += [conf["kubernetes"]["kubeconfig"]] if "kubernetes" in conf else []
                found += [f"{conf['cni_net_dir']}/{conf['kubeconfig']}"] if "cni_net_dir" in conf else []
        return found

    def only(self, *owners: str) -> list[Runs]:
        return [plugin for plugin in self.runs if plugin.owner in owners]


CILIUM = {"cilium.d/05-cilium.conflist": "chain.d/cilium.d/05-cilium.conflist"}
CILIUM_118 = {"cilium.d/05-cilium.conflist": "examples/cilium/1.14-default.conflist"}
VETH = {"cilium.d/05-cilium.conflist": "examples/cilium/1.14-generic-veth.conflist"}
AMBIENT = {"istio.d/10-istio.conf": "chain.d/istio.d/10-istio.conf"}
SIDECAR = {"istio.d/10-istio.conf": "examples/istio/1.30-sidecar.conf"}
LINKERD = {"linkerd.d/10-seed.conflist": "examples/linkerd/10-seed-installed.conflist"}
KUMA = {"kuma.d/kuma-cni.conf": "examples/kuma/kuma-cni.conf"}
CONSUL = {"consul.d/10-seed.conflist": "examples/consul/10-seed-installed.conflist"}
CALICO = {"calico.d/10-calico.conflist": "examples/calico/10-calico.conflist"}
FLANNEL = {"flannel.d/10-flannel.conflist": "examples/flannel/10-flannel.conflist"}
AWS = {"aws.d/10-aws.conflist": "examples/aws/10-aws.conflist"}
ANTREA = {"antrea.d/10-antrea.conflist": "examples/antrea/10-antrea.conflist"}
KUBE_OVN = {"kube-ovn.d/01-kube-ovn.conflist": "examples/kube-ovn/01-kube-ovn.conflist"}
OVN = {"ovn-kubernetes.d/10-ovn-kubernetes.conf": "examples/ovn-kubernetes/10-ovn-kubernetes.conf"}
KINDNET = {"kindnet.d/10-kindnet.conflist": "examples/kindnet/10-kindnet.conflist"}
PORTMAP = {"local.d/10-portmap.conf": "chain.d/local.d/10-portmap.conf"}

CILIUM_FIRST = Runs("cilium", "cilium-cni")
ISTIO = Runs("istio", "istio-cni")
PORTMAP_LAST = Runs("local", "portmap", (PORTS,))

# Calico's plugin lists 0.1.0 to 1.0.0 (built and asked, August 2026), all others here are taken for new.
CALICO_FIRST = (Runs("calico", "calico", newest="1.0.0"), Runs("calico", "portmap", (PORTS,)))
FLANNEL_FIRST = (Runs("flannel", "flannel"), Runs("flannel", "portmap", (PORTS,)))
# The file of AWS has disableCheck.
AWS_FIRST = (
    Runs("aws", "aws-cni", (ANNOTATIONS,), check=False),
    Runs("aws", "egress-cni", check=False),
    Runs("aws", "portmap", (PORTS,), check=False),
)

NO_CHAINING_MODE = 'without "chaining-mode" it refuses the result of the plugin before it'
NO_RETRY = "(Helm: ambient.enableAmbientDetectionRetry, Istio 1.28 and later)"

CHAINS = (
    Chain(
        "cilium-istio-ambient",
        "cilium",
        ("cilium:cilium-cni", "istio:istio-cni", "local"),
        CILIUM | AMBIENT | PORTMAP,
        (CILIUM_FIRST, ISTIO, PORTMAP_LAST),
    ),
    Chain(
        "cilium-1.18-istio-1.30-without-retry",
        "cilium",
        ("cilium:cilium-cni", "istio:istio-cni"),
        CILIUM_118 | {"istio.d/10-istio.conf": "examples/istio/1.30-ambient.conf"},
        (CILIUM_FIRST, ISTIO),
        findings=(NO_RETRY,),
    ),
    Chain(
        "cilium-istio-sidecar",
        "cilium",
        ("cilium:cilium-cni", "istio:istio-cni"),
        CILIUM | SIDECAR,
        (CILIUM_FIRST, ISTIO),
    ),
    Chain(
        "cilium-linkerd",
        "cilium",
        ("cilium:cilium-cni", "linkerd:linkerd-cni"),
        CILIUM | LINKERD,
        (CILIUM_FIRST, Runs("linkerd", "linkerd-cni")),
    ),
    Chain(
        "cilium-kuma",
        "cilium",
        ("cilium:cilium-cni", "kuma:kuma-cni"),
        CILIUM | KUMA,
        (CILIUM_FIRST, Runs("kuma", "kuma-cni")),
    ),
    Chain(
        "cilium-consul",
        "cilium",
        ("cilium:cilium-cni", "consul:consul-cni"),
        CILIUM | CONSUL,
        (CILIUM_FIRST, Runs("consul", "consul-cni", newest="1.0.0")),
        left_out=("consul.d/10-seed.conflist: loopback",),
    ),
    Chain(
        "cilium-with-portmap-and-ours",
        "portmap",
        ("cilium:cilium-cni", "istio:istio-cni", "local"),
        {"cilium.d/05-cilium.conflist": "examples/cilium/1.14-portmap.conflist"} | AMBIENT | PORTMAP,
        (CILIUM_FIRST, ISTIO, PORTMAP_LAST),
        left_out=("cilium.d/05-cilium.conflist: portmap",),
    ),
    Chain(
        "cilium-with-azures-addresses",
        "cilium",
        ("cilium:cilium-cni", "istio:istio-cni"),
        {"cilium.d/05-cilium.conflist": "examples/azure/05-cilium.conflist"} | AMBIENT,
        (CILIUM_FIRST, ISTIO),
    ),
    Chain(
        "calico-istio",
        "k8s-pod-network",
        ("calico:calico,bandwidth,portmap", "istio:istio-cni"),
        CALICO | AMBIENT,
        (*CALICO_FIRST, ISTIO),
    ),
    Chain(
        "calico-cilium-istio",
        "k8s-pod-network",
        ("calico:calico,bandwidth,portmap", "cilium:cilium-cni", "istio:istio-cni"),
        CALICO | VETH | AMBIENT,
        (*CALICO_FIRST, CILIUM_FIRST, ISTIO),
    ),
    Chain(
        "flannel-istio",
        "cbr0",
        ("flannel:flannel,portmap", "istio:istio-cni"),
        FLANNEL | AMBIENT,
        (*FLANNEL_FIRST, ISTIO),
    ),
    Chain(
        "flannel-linkerd",
        "cbr0",
        ("flannel:flannel,portmap", "linkerd:linkerd-cni"),
        FLANNEL | LINKERD,
        (*FLANNEL_FIRST, Runs("linkerd", "linkerd-cni")),
    ),
    Chain(  # Cilium's chainingMode flannel has flannel's and portmap's part in its file as well.
        "flannel-cilium-istio",
        "cbr0",
        ("flannel:flannel,portmap", "cilium:cilium-cni", "istio:istio-cni"),
        FLANNEL | {"cilium.d/05-cilium.conflist": "examples/cilium/1.14-flannel.conflist"} | AMBIENT,
        (*FLANNEL_FIRST, CILIUM_FIRST, ISTIO),
        left_out=("cilium.d/05-cilium.conflist: flannel", "cilium.d/05-cilium.conflist: portmap"),
    ),
    Chain(
        "aws-istio",
        "aws-cni",
        ("aws:aws-cni,egress-cni,portmap", "istio:istio-cni"),
        AWS | AMBIENT,
        (*AWS_FIRST, ISTIO),
    ),
    Chain(
        "aws-cilium-istio",
        "aws-cni",
        ("aws:aws-cni,egress-cni,portmap", "cilium:cilium-cni", "istio:istio-cni"),
        AWS | VETH | AMBIENT,
        (*AWS_FIRST, CILIUM_FIRST, ISTIO),
    ),
    Chain(
        "antrea-istio",
        "antrea",
        ("antrea:antrea,portmap,bandwidth", "istio:istio-cni"),
        ANTREA | AMBIENT,
        (
            Runs("antrea", "antrea"),
            Runs("antrea", "portmap", (PORTS,)),
            Runs("antrea", "bandwidth", (BANDWIDTH,)),
            ISTIO,
        ),
    ),
    Chain(
        "kube-ovn-istio",
        "kube-ovn",
        ("kube-ovn:kube-ovn,portmap", "istio:istio-cni"),
        KUBE_OVN | AMBIENT,
        (Runs("kube-ovn", "kube-ovn"), Runs("kube-ovn", "portmap", (PORTS,)), ISTIO),
    ),
    Chain(
        "ovn-kubernetes-istio",
        "ovn-kubernetes",
        ("ovn-kubernetes:ovn-k8s-cni-overlay", "istio:istio-cni"),
        OVN | AMBIENT,
        (Runs("ovn-kubernetes", "ovn-k8s-cni-overlay"), ISTIO),
    ),
    Chain(
        "kindnet-istio",
        "kindnet",
        ("kindnet:ptp,portmap", "istio:istio-cni"),
        KINDNET | AMBIENT,
        (Runs("kindnet", "ptp"), Runs("kindnet", "portmap", (PORTS,)), ISTIO),
    ),
    Chain(  # The mistake: chained Cilium without a mode, as Azure's own file relied on the network's name.
        "calico-cilium-without-a-mode",
        "k8s-pod-network",
        ("calico:calico,bandwidth,portmap", "cilium:cilium-cni"),
        CALICO | CILIUM,
        (*CALICO_FIRST, CILIUM_FIRST),
        findings=(NO_CHAINING_MODE,),
    ),
)
