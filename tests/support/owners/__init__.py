"""The chains of real agents' files, and a node of the second kind with Multus."""
