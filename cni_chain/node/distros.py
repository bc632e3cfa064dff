"""Where Kubernetes distributions have their plugins and the runtime's configurations. Pure.

A node doesn't show this: each distribution compiles its directories in, or writes them only for its own runtime.
"""

from __future__ import annotations

from typing import NamedTuple


class Distro(NamedTuple):
    """The directories of one distribution, and the source of these values."""

    bin_dir: str
    net_dir: str
    source: str
    program_dir: str | None = None  # None: a directory beside bin_dir
    note: str = ""


DISTROS = {
    "kubeadm": Distro("/opt/cni/bin", "/etc/cni/net.d", "containerd's and CRI-O's own defaults"),
    "k3s": Distro(
        "/var/lib/rancher/k3s/data/cni",
        "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        "https://docs.k3s.io/networking/multus-ipams",
        note="K3s before October 2024 (1.28.15, 1.29.10, 1.30.6, 1.31.2) has its plugins in "
        "/var/lib/rancher/k3s/data/current/bin, which every upgrade replaces: pass --bin-dir, and install again after "
        "an upgrade",
    ),
    "rke2": Distro("/opt/cni/bin", "/etc/cni/net.d", "https://github.com/rancher/rke2/pull/7856"),
    "microk8s": Distro(
        "/var/snap/microk8s/current/opt/cni/bin",
        "/var/snap/microk8s/current/args/cni-network",
        "https://istio.io/latest/docs/ambient/install/platform-prerequisites",
    ),
    "gke": Distro(
        "/home/kubernetes/bin",
        "/etc/cni/net.d",
        "https://istio.io/latest/docs/ambient/install/platform-prerequisites",
        # Container-Optimized OS mounts /home noexec, and mounts only the plugins' directory again with exec.
        program_dir="/home/kubernetes/bin/cni-chain.d",
        note="GKE's own agent writes its conflist again at every start of a node",
    ),
    "openshift": Distro(
        "/var/lib/cni/bin",
        "/run/multus/cni/net.d",
        "https://github.com/openshift/cluster-network-operator (bindata/network/multus/multus.yaml)",
        note="CRI-O always takes Multus, which takes the first file of /run/multus/cni/net.d for the pods' network; "
        "that directory is empty after a boot: install again after a boot",
    ),
}
