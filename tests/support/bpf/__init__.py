"""Stand-ins for the BPF programs of load balancers, loaded into the real kernel without a compiler."""
