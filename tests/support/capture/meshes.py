"""Meshes whose rules are laid in a pod: by their own programs, in each way in which they lay them."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cni_chain.agents.agent import Proxy
from cni_chain.agents.registry import BY_OWNER
from tests.support import gomodules
from tests.support.capture.pod import Pod
from tests.support.capture.proxy import StandIn
from tests.support.sandbox.namespaces import CHECKOUT

# Kuma's modules can't be had from Go's proxy, so these are the golden files of its tests, of test/transparentproxy/
# testdata: amazon-linux-2023.iptables.golden at 9158a2f, debian-11-default.ip6tables-nft.golden at 25b1a52. They are
# what Kuma gives iptables-restore; `ifPlaceholder` stands for the loopback interface there.
GOLDEN = CHECKOUT / "tests/data/mesh-rules"
LEGACY, OVER_NFTABLES, NFTABLES = "legacy", "over nftables", "nftables"
_VARIANT = {LEGACY: "legacy", OVER_NFTABLES: "nft"}
# As the injection template of Istio's chart starts its init container, and that of Linkerd's.
_ISTIO_INIT = "sidecar -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x '' -b * -d 15090,15021,15020 --dual-stack"
_LINKERD_INIT = (
    "-w -p 4143 -o 4140 -u 2102 --inbound-ports-to-ignore 4190,4191,4567,4568 --outbound-ports-to-ignore 4567,4568"
)


@dataclass(frozen=True)
class Mesh:
    """One mesh's rules, laid in one way; `index` is that of its proxy among those of its owner."""

    name: str
    owner: str
    way: str
    index: int = 0
    user: int = 0

    def __str__(self) -> str:
        return f"{self.name}, {self.way}"

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        """Those that its owner's pods may have."""
        return BY_OWNER[self.owner].proxies

    @property
    def tunnel(self) -> int:
        """The port to which the proxies of other pods connect, if that is not where others do."""
        return next(iter(self.proxies[self.index].ports[2:]), 0)

    def proxy(self, pod: Pod, **changed: Any) -> StandIn:
        """A stand-in for its proxy in a pod."""
        out, into, *more = self.proxies[self.index].ports
        settings = {"mark": self.proxies[self.index].mark, "user": self.user, **changed}
        return pod.stand_in(out, into, *more, **settings)

    def lay(self, pod: Pod) -> None:
        """Lay its rules, as for a pod that is enrolled. Raises NotBuiltError."""
        if self.owner == "kuma":
            for family, name in (("", "kuma.iptables"), ("6", "kuma.ip6tables")):
                rules = (GOLDEN / name).read_text().replace("ifPlaceholder", "lo")
                pod.run(f"ip{family}tables-{_VARIANT[self.way]}-restore", stdin=rules)
        elif self.owner == "linkerd":
            # Since 2.4 it does the same with ip6tables by itself; 1.6 is the latest that is a Go module.
            for family in ("", "6"):
                binary = f"ip{family}tables-{_VARIANT[self.way]}"
                paths = ("--firewall-bin-path", binary, "--firewall-save-bin-path", f"{binary}-save")
                pod.run(str(built("linkerd") / "linkerd2-proxy-init"), *shlex.split(_LINKERD_INIT), *paths)
        elif self.owner == "consul":
            # It calls iptables by that name.
            links = f"/run/{_VARIANT[self.way]}"
            pod.sandbox.path(links).mkdir(exist_ok=True)
            for name in ("iptables", "ip6tables"):
                link = pod.sandbox.path(f"{links}/{name}")
                if not link.is_symlink():
                    link.symlink_to(f"/usr/sbin/{name}-{_VARIANT[self.way]}")
            pod.run("env", f"PATH={links}:/usr/sbin:/usr/bin", str(built("consul") / "consul"))
        elif self.index == 0:
            self._ambient(pod)
        else:
            how = ["--native-nftables"] if self.way == NFTABLES else ["--force-iptables-binary", _VARIANT[self.way]]
            pod.run(str(built("istio") / "istio"), *shlex.split(_ISTIO_INIT), *how)

    def take_away(self, pod: Pod) -> None:
        """Take them away, as for a pod that leaves the mesh. Only Istio's agent does that."""
        self._ambient(pod, "--delete")

    def _ambient(self, pod: Pod, *arguments: str) -> None:
        how = ["--nftables"] if self.way == NFTABLES else ["--iptables", _VARIANT[self.way]]
        pod.run(str(built("istio") / "istio"), "ambient", *how, *arguments)

    def saved(self, pod: Pod) -> dict[str, str]:
        """Its rules as the kernel has them, in the words of the program that lays them: by family, or all."""
        if self.way == NFTABLES:
            return {"": pod.run("nft", "--stateless", "list", "ruleset")}
        return {family: pod.run(f"ip{family}tables-{_VARIANT[self.way]}-save") for family in ("", "6")}

    def restore(self, pod: Pod, rules: dict[str, str]) -> None:
        """Put rules into a pod in the place of all that it has."""
        if self.way == NFTABLES:
            pod.run("nft", "--file", "-", stdin=f"flush ruleset\n{rules['']}")
            return
        script = []
        for family, text in rules.items():
            path = pod.sandbox.path(f"/run/{pod.name}.rules{family}")
            path.write_text(text)
            script.append(f"ip{family}tables-{_VARIANT[self.way]}-restore /run/{path.name}")
        pod.run("sh", "-c", " && ".join(script))


MESHES = (
    *(Mesh("Istio ambient", "istio", way) for way in (LEGACY, OVER_NFTABLES, NFTABLES)),
    *(Mesh("Istio sidecar", "istio", way, 1, 1337) for way in (LEGACY, OVER_NFTABLES, NFTABLES)),
    *(Mesh("Linkerd", "linkerd", way, user=2102) for way in (LEGACY, OVER_NFTABLES)),
    *(Mesh("Consul", "consul", way, user=5995) for way in (LEGACY, OVER_NFTABLES)),
    *(Mesh("Kuma", "kuma", way, user=5678) for way in (LEGACY, OVER_NFTABLES)),
)


def built(name: str) -> Path:
    """The directory of the programs that lay a mesh's rules. Raises NotBuiltError."""
    return gomodules.built(Path(__file__).parent / "rules/build", name)
