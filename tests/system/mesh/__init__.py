"""Real containerd and CRI-O whose only network is cni-chain with the agents' own plugins, cilium-cni and istio-cni."""
