"""cni-chain in a real cluster: Kubernetes on one node with Cilium's own agent and datapath, in a sandbox."""
