"""Whether a mesh sees what it has to see on this node: captured pods, and service addresses that survive."""
