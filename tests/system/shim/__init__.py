"""`cni-chain mesh shim` on the real kernel: private cgroups, a private BPF file system, pods of namespaces."""
