"""cni-chain under the real runtimes: containerd, CRI-O and podman make and remove pods through it, in a sandbox."""
