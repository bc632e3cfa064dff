"""Splitting a live conflist: plan, proof, write, switch, undo."""
