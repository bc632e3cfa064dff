"""Errors at every system call: never a success that left something, never a record lost."""
