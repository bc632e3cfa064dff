"""Nodes of the second kind with a real container runtime."""
