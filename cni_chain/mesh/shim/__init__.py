"""The shim, an experiment: gives SO_ORIGINAL_DST of a mesh's proxy the service's address back.

A load balancer at connect() has replaced that address by a pod's. Nothing loads this package but `cni-chain mesh shim`.
"""
