"""Nodes of the second kind with a real container runtime, and the client of it."""
