"""cni-chain on several real nodes: kubelets with containerd and CRI-O, each in namespaces of its own, on one bridge."""
