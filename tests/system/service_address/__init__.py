"""`cni-chain mesh` on the real kernel: stand-ins for load balancers on private cgroups, in private namespaces."""
