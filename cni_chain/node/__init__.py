"""Reads a node and changes nothing: the runtime's directory, facades, records, namespaces, distributions."""
