"""Cilium's and Istio's agents as the DaemonSets of their own charts, on the nodes of the lab.

Helm renders the charts of their releases, with nothing of them changed but the image, which no registry is asked for:
`images` makes it of the agents' own programs. Of Istio's agent the installer, with its plugin, is the real one; behind
the plugin's socket answers a stand-in, which records each call. Cilium is wholly real, or its conflist's writer and
its plugin are, and a stand-in hands out addresses and lays routes.
"""
