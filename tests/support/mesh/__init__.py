"""A node of the second kind, with a real runtime and both agents."""
