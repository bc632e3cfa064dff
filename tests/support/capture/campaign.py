"""Random states of a pod's rules and listeners, in each of which the judgement is compared with real connections."""

import contextlib
import difflib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cni_chain.mesh import capture, inside
from cni_chain.mesh.capture import Capture, State
from cni_chain.mesh.inside import Inside
from cni_chain.mesh.processes import Processes
from tests.support.capture.meshes import NFTABLES, Mesh
from tests.support.capture.pod import POD, Pod, stands
from tests.support.capture.proxy import PROXY, StandIn

# What somebody else may have laid between the mesh's rules, by table: for iptables, and for nft.
OTHERS = {
    False: [
        ("nat", "-p tcp -m tcp --dport 80 -j ACCEPT"),
        ("nat", "-p tcp -m tcp --dport 443 -j RETURN"),
        ("nat", "-m comment --comment other -p tcp -j REDIRECT --to-ports 15009"),
        ("nat", "-p tcp -m multiport ! --dports 80,1000:2000 -j ACCEPT"),
        ("nat", "-p tcp -m multiport --dports 22,79:81 -j RETURN"),
        ("nat", "-m conntrack --ctstate NEW -j RETURN"),
        ("nat", "-m conntrack ! --ctstate NEW,RELATED -j ACCEPT"),
        ("nat", "-m owner --uid-owner 1000-2000 -j RETURN"),
        ("nat", "-m owner ! --gid-owner 5678 -j ACCEPT"),
        ("raw", "-p tcp -j CT --notrack"),
        ("mangle", "-p tcp -j MARK --set-xmark 0x539/0xfff"),
    ],
    True: [
        ("nat", "tcp dport 80 counter accept"),
        ("nat", "tcp dport 443 return"),
        ("nat", 'oifname "eth0" tcp sport 1-1023 accept'),
        ("nat", "meta skuid 1000-2000 return"),
        ("nat", "tcp dport != 81-100 meta skuid != 0-1000 accept"),
        ("nat", "meta skgid != 5678 accept"),
        ("nat", "meta l4proto tcp redirect to :15009"),
        ("nat", "ct state new return"),
        ("raw", "meta l4proto tcp notrack"),
        ("mangle", "meta l4proto tcp meta mark set 0x539"),
    ],
}
# The owner of what is sent is known only where it leaves.
_OWNED = re.compile(r"owner|skuid|skgid|oifname")
_LEAVING = re.compile("output|outbound", re.IGNORECASE)
_RULE = re.compile(r"-A |\t\t(?!type |\})")


@dataclass(frozen=True)
class Compared:
    """One state: what was laid, who listened, what the judgement was, and who answered in truth."""

    whole: dict[str, str]
    rules: dict[str, str]
    proxy: StandIn | None
    judged: Capture
    reached: dict[tuple[str, int], str]

    def __str__(self) -> str:
        changed = [
            line
            for family, text in self.rules.items()
            for line in difflib.unified_diff(self.whole[family].splitlines(), text.splitlines(), "laid", "state", n=0)
        ]
        return "\n".join([str(self.judged), str(self.reached), str(self.proxy), *changed])

    @property
    def is_captured(self) -> bool:
        """Whether all connections ended at the proxy."""
        return set(self.reached.values()) == {PROXY}

    @property
    def is_right(self) -> bool:
        """Whether the pod was called captured exactly if it was."""
        return (self.judged.state is State.CAPTURED) == self.is_captured


def compare(pod: Pod, mesh: Mesh, states: int) -> Iterator[Compared]:
    """Yield random states of a pod in which a mesh has laid its rules. The same number gives the same states."""
    mesh.lay(pod)
    whole = mesh.saved(pod)
    chance = random.Random(str(mesh))  # noqa: S311  # the same states each time
    for _ in range(states):
        rules = half_laid(chance, whole, native=mesh.way == NFTABLES)
        mesh.restore(pod, rules)
        proxy = listener(chance, pod, mesh)
        with stands(proxy) if proxy else contextlib.nullcontext():
            yield Compared(whole, rules, proxy, judged(pod, mesh), pod.reaches(mesh.tunnel))


def judged(pod: Pod, mesh: Mesh) -> Capture:
    """What the program says of a pod now."""
    return capture.judge(seen(pod, mesh), mesh.proxies)


def seen(pod: Pod, mesh: Mesh) -> capture.Seen:
    """What the program finds in a pod now."""
    return inside.look(Inside(str(pod.namespace), "eth0", POD, mesh.proxies), Processes())


def listener(chance: random.Random, pod: Pod, mesh: Mesh) -> StandIn | None:
    """Mostly the mesh's proxy; now and then none, one that lacks a port or a family, or a process of somebody else."""
    proxy = mesh.proxy(pod)
    kind = chance.random()
    if kind < 0.6:
        return proxy
    if kind < 0.7:
        return None
    if kind < 0.8:
        return mesh.proxy(pod, mark=0, user=4242)
    if kind < 0.9:
        return mesh.proxy(pod, addresses=chance.choice([("0.0.0.0",), ("127.0.0.1", "::1"), (POD[4], POD[6], "::1")]))  # noqa: S104
    kept = [place for place in proxy.listen if chance.random() < 0.6]
    return StandIn(**{**vars(proxy), "listen": tuple(kept)})


def half_laid(chance: random.Random, whole: dict[str, str], *, native: bool) -> dict[str, str]:
    """The mesh's rules, some left out, some of somebody else put somewhere."""
    shares = [chance.choice([0, 0, 0, 0.05, 0.2, 0.6, 1])] * len(whole)
    if chance.random() < 0.2:  # one family without the other
        shares = [chance.choice([0, 1]) for _ in whole]
    return {
        family: "\n".join(_others(chance, _left_out(chance, text.splitlines(), share), native=native)) + "\n"
        for (family, text), share in zip(whole.items(), shares, strict=True)
    }


def _left_out(chance: random.Random, lines: list[str], share: float) -> list[str]:
    return [line for line in lines if not _RULE.match(line) or chance.random() >= share]


def _others(chance: random.Random, lines: list[str], *, native: bool) -> list[str]:
    for table, rule in OTHERS[native]:
        if chance.random() < 0.04:
            places = [
                (at, chain)
                for at, (line, in_table, chain) in enumerate(_placed(lines, native=native))
                if _RULE.match(line) and table in in_table and (not _OWNED.search(rule) or _LEAVING.search(chain))
            ]
            if places:
                at, chain = chance.choice(places)
                lines = [*lines[:at], f"\t\t{rule}" if native else f"-A {chain} {rule}", *lines[at:]]
    return lines


def _placed(lines: list[str], *, native: bool) -> Iterator[tuple[str, str, str]]:
    """Yield each line with the table and the chain that it belongs to."""
    table = chain = ""
    for line in lines:
        words = line.split()
        if native and words[:1] == ["table"]:
            table = words[2]
        elif native and words[:1] == ["chain"]:
            chain = words[1]
        elif line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            chain = words[1]
        yield line, table, chain
