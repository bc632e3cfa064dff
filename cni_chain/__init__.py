"""cni-chain: a chained CNI meta-plugin that lets several agents share one pod network without sharing one file."""

__version__ = "0.1.0"
