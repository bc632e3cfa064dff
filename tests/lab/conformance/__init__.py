"""Kubernetes' own conformance tests of the network, without cni-chain and with it."""
