"""Whether a pod is captured, from what was found in it; the rest is compared with real connections elsewhere."""

import struct
from collections.abc import Sequence

import pytest

from cni_chain.agents.agent import Proxy
from cni_chain.agents.registry import BY_OWNER
from cni_chain.mesh import nftables, packet, pods, rules
from cni_chain.mesh.capture import TUNNEL, Fate, Listener, Seen, State, judge
from cni_chain.mesh.processes import within
from cni_chain.node.attachments import Entry
from cni_chain.plugin import results
from cni_chain.plugin.record import Attachment, Record

ZTUNNEL, ISTIO = BY_OWNER["istio"].proxies
(LINKERD,) = BY_OWNER["linkerd"].proxies
OUTSIDE = Listener(7, "ztunnel", in_pod=False, spared=False)
SIDECAR = Listener(8, "envoy", in_pod=True, spared=True)
STRANGER = Listener(9, "nc", in_pod=True, spared=False)
HIDDEN = Listener(0, "", in_pod=False, spared=False)
CUT = "connections fail until it listens"


def fates(proxy: Proxy, *listeners: Listener, families: Sequence[int] = (4, 6), missed: int = 0) -> tuple[Fate, ...]:
    """Both directions of each family, redirected to a proxy's ports; of the family `missed` none is."""
    return tuple(
        Fate(family, direction, 0 if family == missed else port, listeners=() if family == missed else listeners)
        for family in families
        for direction, port in zip(("out", "in"), proxy.ports, strict=False)
    )


@pytest.mark.parametrize(
    ("found", "state", "why", "do"),
    [
        pytest.param(Seen(fates(ZTUNNEL, OUTSIDE), proxy=ZTUNNEL), State.CAPTURED, "", "", id="ztunnel"),
        pytest.param(Seen(fates(LINKERD, SIDECAR), proxy=LINKERD), State.CAPTURED, "", "", id="a sidecar"),
        pytest.param(
            Seen(fates(ZTUNNEL), proxy=ZTUNNEL),
            State.PARTLY,
            "nobody listens on ports 15001, 15006, to which rules redirect",
            f"look at ztunnel on this node: {CUT} in the pod",
            id="ztunnel away",
        ),
        pytest.param(
            Seen((*fates(ZTUNNEL, OUTSIDE), Fate(4, TUNNEL, 15008), Fate(6, TUNNEL, 15008)), proxy=ZTUNNEL),
            State.PARTLY,
            "nobody listens on port 15008, to which other proxies connect",
            f"look at ztunnel on this node: {CUT} in the pod",
            id="ztunnel without its tunnel",
        ),
        pytest.param(
            Seen(fates(LINKERD), proxy=LINKERD),
            State.PARTLY,
            "nobody listens on ports 4140, 4143, to which rules redirect",
            f"look at the container linkerd-proxy of the pod: {CUT}",
            id="a sidecar away",
        ),
        pytest.param(
            Seen((*fates(ISTIO, SIDECAR, families=[4]), *fates(ISTIO, families=[6])), proxy=ISTIO),
            State.PARTLY,
            "nobody listens on ports 15001, 15006 for IPv6, to which rules redirect",
            f"look at the container istio-proxy of the pod: {CUT}",
            id="deaf for one family",
        ),
        pytest.param(
            Seen(fates(LINKERD, SIDECAR, missed=6), proxy=LINKERD),
            State.PARTLY,
            "no rule redirects connections out, IPv6; no rule redirects connections in, IPv6",
            "set Linkerd's Helm value disableIPv6=false, then restart the pod",
            id="one family not redirected",
        ),
        pytest.param(
            Seen(fates(ZTUNNEL, STRANGER), proxy=ZTUNNEL),
            State.PARTLY,
            "process 9 (nc) of the pod listens on ports 15001, 15006, and is not the mesh's proxy: the rules redirect "
            "its own connections too",
            "find out who runs that process in the pod, and why the proxy does not listen in its place",
            id="a stranger",
        ),
        pytest.param(
            Seen(fates(ZTUNNEL, OUTSIDE, HIDDEN), proxy=ZTUNNEL),
            State.UNKNOWN,
            "somebody listens on ports 15001, 15006, but no process that can be seen from here",
            "run cni-chain on the node itself, not in a container without the node's processes",
            id="a hidden listener",
        ),
        pytest.param(
            Seen(fates(ZTUNNEL, missed=4, families=[4])),
            State.NOT,
            "no rule redirects its connections",
            "nothing, if the pod is not enrolled; else restart the pod",
            id="not enrolled",
        ),
        pytest.param(
            Seen(fates(ZTUNNEL, missed=4, families=[4]), frozenset({80, 15008})),
            State.NOT,
            "no rule redirects its connections, though somebody listens on port 15008",
            "restart the pod; if it stays so, look at the mesh's agent and its proxy on this node",
            id="rules wiped",
        ),
        pytest.param(
            Seen((Fate(4, "out", unclear="match set, revision 4"), Fate(4, "in"))),
            State.UNKNOWN,
            "a rule in the pod's namespace is not understood: match set, revision 4",
            "",
            id="a rule that nobody knows",
        ),
    ],
)
def test_a_pod_is_judged_by_its_rules_and_by_who_listens_where_they_lead(
    found: Seen, state: State, why: str, do: str
) -> None:
    proxies = [ZTUNNEL, ISTIO, LINKERD]

    assert judge(found, proxies) == (state, why, do)


@pytest.mark.parametrize(
    ("uid", "inside"), [(0, 0), (1337, 1337), (65536 + 1337, 1337), (65536, 0), (3 * 65536, 3 * 65536)]
)
def test_a_user_is_known_to_rules_by_its_number_in_the_pods_user_namespace(uid: int, inside: int) -> None:
    whole = "         0          0 4294967295\n"
    mapped = "         0      65536      65536\n"

    assert within(mapped if uid >= 65536 else whole, uid) == inside


def owner(**given: int) -> bytes:
    """A rule's match of users and groups, struct xt_owner_match_info."""
    bits = {"user": 1, "group": 2}
    numbers = [given.get("user", 0)] * 2 + [given.get("group", 0)] * 2
    match = sum(bits[name] for name in bits if name in given)
    return struct.pack("=IIIIBB", *numbers, match, match if given.get("inverted") else 0)


@pytest.mark.parametrize(
    ("rule", "user", "group", "holds"),
    [
        (owner(user=1337), 1337, 0, True),
        (owner(user=1337), packet.ANYBODY, 0, False),
        (owner(user=1337, inverted=1), packet.ANYBODY, 0, True),
        (owner(user=1337, group=1337), 1337, 0, False),
        (owner(group=1337), 0, 1337, True),
    ],
)
def test_a_rule_about_users_holds_for_those_that_it_names(rule: bytes, user: int, group: int, holds: bool) -> None:
    leaving = packet.leaving(4, "eth0")._replace(user=user, group=group)

    assert rules.matches("owner", 1, rule, leaving) is holds


def test_a_match_that_is_not_known_is_not_taken_for_one_that_fails() -> None:
    with pytest.raises(rules.UnclearError, match="match set, revision 4"):
        rules.matches("set", 4, b"", packet.leaving(4, "eth0"))


def test_a_chain_that_was_made_while_the_rules_were_read_is_unclear() -> None:
    """The kernel lists chains first, then rules: one laid meanwhile may lead to a chain that was not listed."""
    verdict = attribute(1, struct.pack("!i", -3)) + attribute(2, b"later\0")  # NFT_JUMP, and where to
    jump = "immediate", {1: bytes(4), 2: attribute(2, verdict)}
    chain = nftables.Chain(2, "nat", "output", packet.OUTPUT, 0, 1, [[jump]])

    with pytest.raises(rules.UnclearError, match="chain later, which was made while the rules were read"):
        nftables.walk([chain], packet.leaving(4, "eth0"))


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def test_an_address_that_only_some_parsers_take_hides_no_other() -> None:
    record = Record(Attachment("net", "c1", "eth0"), [], {"path": "", "netns": "/x", "cniArgs": ""}, 0.0)
    record.result = {"cniVersion": "1.1.0", "ips": [{"address": "010.0.0.1/24"}, {"address": "fd00::1/64"}]}
    assert results.check(record.result) == ""

    assert pods.addresses(Entry("/x", record)) == {6: "fd00::1"}
