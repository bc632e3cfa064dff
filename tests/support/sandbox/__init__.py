"""A node for cni-chain, in namespaces: facade and owners' directories, pods, calls, and what they leave."""
