"""The rules about a node: each yields what is wrong, where, and what to do."""
