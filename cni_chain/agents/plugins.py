"""What cni-chain knows of particular plugins: only what `verify` warns of. The plugin path knows none of them."""

from __future__ import annotations

CILIUM = "cilium-cni"
ISTIO = "istio-cni"
MULTUS = frozenset(("multus", "multus-shim"))
MESHES = frozenset((ISTIO, "linkerd-cni", "kuma-cni", "consul-cni"))

# Plugins that change what an earlier one made, and fail, or answer with nothing, without its result.
NEVER_FIRST = MESHES | {"portmap", "bandwidth", "tuning", "firewall", "sbr", "vrf"}

# Networks of these names switch cilium-cni to chaining even if its configuration doesn't say `chaining-mode`;
# the modes are called the same (Cilium, `plugins/cilium-cni/chaining`).
CILIUM_CHAINING = frozenset(("aws-cni", "azure", "flannel", "generic-veth"))

# Seconds that cilium-cni needs to give up on a stopped agent (1.20: 42 for DEL, which then succeeds, 30 for CHECK).
CILIUM_NEEDS = {"DEL": 45, "CHECK": 31}
