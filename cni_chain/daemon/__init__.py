"""`cni-chain agent`: the process of a DaemonSet that keeps one node as it is wanted. No pod's call needs it."""
