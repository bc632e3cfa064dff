"""The chains of real agents' files, and a node with Multus."""
