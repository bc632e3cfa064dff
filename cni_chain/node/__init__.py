"""Reading a node, nothing else: the runtime's directory, facades, records, namespaces, distributions."""
