"""cni-chain with the real reference plugins, called through libcni, in namespaces of its own."""
