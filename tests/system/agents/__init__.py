"""The whole chain with the real plugins: libcni, cni-chain, cilium-cni, istio-cni, fed by the agents' own writers."""
