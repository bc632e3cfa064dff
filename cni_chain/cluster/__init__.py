"""What a cluster's API server knows of the nodes' agents, read with kubectl. It changes nothing."""
