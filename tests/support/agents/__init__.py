"""cni-chain with the agents' own code: Cilium's and Istio's plugins and writers, with stand-ins for what they ask."""
