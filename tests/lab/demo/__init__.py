"""What `make demo` runs: two agents that never stop writing, and pods that come and go all the same."""
