"""Real plugins, runtimes and agents on nodes made of namespaces. Needs root."""
