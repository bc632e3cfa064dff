"""From evidence to the verdict on service addresses; what Cilium's settings mean; names in the kernel's types."""

import struct
from pathlib import Path

import pytest

from cni_chain.mesh import bpf, btf, claims, programs
from cni_chain.mesh.bpf import Program
from cni_chain.mesh.claims import Claim, Coverage
from cni_chain.mesh.probe import Outcome, Target, Trial
from cni_chain.mesh.programs import Hooked
from cni_chain.mesh.verdict import Evidence, Verdict, judge
from cni_chain.node.errors import UnreadableError
from cni_chain.node.tree import Tree
from cni_chain.plugin import raw

VIP = Target("10.96.0.1", 443, "tcp")
PODS = "/sys/fs/cgroup/kubepods"


def hooked(name: str = "cil_sock4_connect", hook: str = "connect4", cgroup: str = "/sys/fs/cgroup") -> Hooked:
    return Hooked(cgroup, hook, Program(1, 18, "tag", name), programs.owner_of(name), "multi")


def trial(outcome: Outcome, target: Target = VIP) -> Trial:
    return Trial(target, outcome, ("10.0.0.9", 8443) if outcome is Outcome.TRANSLATED else None, "EPERM")


def evidence(pod: Outcome, node: Outcome | None = None, *applying: Hooked) -> Evidence:
    return Evidence(PODS, applying, [], [trial(pod)], [trial(node)] if node else [])


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        pytest.param(evidence(Outcome.PRESERVED), Verdict.OK, id="no-program"),
        pytest.param(evidence(Outcome.PRESERVED, Outcome.PRESERVED, hooked()), Verdict.UNKNOWN, id="no-control"),
        pytest.param(evidence(Outcome.PRESERVED, Outcome.TRANSLATED, hooked()), Verdict.OK, id="node-only"),
        pytest.param(evidence(Outcome.TRANSLATED, Outcome.TRANSLATED, hooked()), Verdict.BROKEN, id="full"),
        pytest.param(evidence(Outcome.PRESERVED, None, hooked()), Verdict.UNKNOWN, id="node-not-tried"),
        pytest.param(evidence(Outcome.PRESERVED, None, hooked(hook="connect6")), Verdict.OK, id="other-family"),
        pytest.param(evidence(Outcome.PRESERVED, None, hooked(hook="sendmsg4")), Verdict.OK, id="other-protocol"),
        pytest.param(evidence(Outcome.REJECTED, None, hooked()), Verdict.BROKEN, id="refused-by-a-balancer"),
        pytest.param(evidence(Outcome.REJECTED, None, hooked("firewall")), Verdict.UNKNOWN, id="refused-by-another"),
        pytest.param(evidence(Outcome.UNREACHABLE, None, hooked()), Verdict.UNKNOWN, id="no-route"),
        pytest.param(evidence(Outcome.UNTRIED), Verdict.UNKNOWN, id="not-tried"),
        pytest.param(Evidence(PODS, [], []), Verdict.OK, id="nothing-to-try-and-no-program"),
        pytest.param(Evidence(PODS, [hooked()], []), Verdict.UNKNOWN, id="nothing-to-try"),
        pytest.param(Evidence(PODS, [], [], missing=["no rights"]), Verdict.UNKNOWN, id="nothing-seen"),
        pytest.param(Evidence(PODS, [], [hooked(cgroup=f"{PODS}/pod1")]), Verdict.UNKNOWN, id="one-pod-only"),
        pytest.param(Evidence(PODS, [], [hooked(cgroup="/sys/fs/cgroup/system")]), Verdict.OK, id="not-for-pods"),
    ],
)
def test_a_verdict_is_only_what_the_evidence_proves(given: Evidence, verdict: Verdict) -> None:
    judgement = judge(given)

    assert judgement.verdict is verdict
    assert judgement.why


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("one", "one (unknown) applies to"),
        ("one two", "one (unknown) and two (unknown) apply to"),
        ("one two three two", "one (unknown) and 2 other programs apply to"),
    ],
)
def test_a_sentence_names_two_programs_and_counts_more(names: str, why: str) -> None:
    below = [hooked(name, cgroup=f"{PODS}/pod1") for name in names.split()]

    assert judge(Evidence(PODS, [], below)).why == f"{why} {PODS}/pod1 only: try that with --cgroup"


def test_the_worst_address_decides_and_is_named() -> None:
    other = Target("10.96.0.2", 80, "tcp")
    given = evidence(Outcome.PRESERVED, Outcome.TRANSLATED, hooked())
    given = given._replace(
        pod=[*given.pod, trial(Outcome.TRANSLATED, other)], node=[*given.node, trial(Outcome.TRANSLATED, other)]
    )

    assert judge(given)[:2] == (
        Verdict.BROKEN,
        (
            "10.96.0.2:80/tcp becomes 10.0.0.9:8443/tcp before a mesh in the pod sees it: "
            "the mesh's policies for the service don't apply"
        ),
    )


@pytest.mark.parametrize(
    ("settings", "coverage"),
    [
        ({}, Coverage.NONE),
        ({"bpf-lb-sock": "false", "kube-proxy-replacement": "false"}, Coverage.NONE),
        ({"bpf-lb-sock": "true"}, Coverage.ALL),
        # What Istio's own check of a Cilium misses: the replacement of kube-proxy turns it on.
        ({"bpf-lb-sock": "false", "kube-proxy-replacement": "true"}, Coverage.ALL),
        ({"kube-proxy-replacement": "strict"}, Coverage.ALL),
        ({"kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true"}, Coverage.NODE),
        ({"kube-proxy-replacement": "false", "bpf-lb-sock-hostns-only": "true"}, Coverage.NONE),
    ],
)
def test_ciliums_settings_mean_what_its_agent_makes_of_them(settings: dict[str, str], coverage: Coverage) -> None:
    assert claims.of_settings(settings, "cilium-config").coverage is coverage


@pytest.mark.parametrize(
    ("text", "coverage"),
    [
        ("#define ENABLE_SOCKET_LB_FULL 1\n#define ENABLE_SOCKET_LB_PEER 1\n", Coverage.ALL),
        ("#define ENABLE_SOCKET_LB_HOST_ONLY 1\n", Coverage.NODE),
        ("#define HOST_NETNS_COOKIE 1\n", Coverage.NONE),
    ],
)
def test_what_an_agent_compiled_in_is_read(text: str, coverage: Coverage) -> None:
    assert claims.of_datapath(text, "node_config.h").coverage is coverage


def test_two_sources_that_disagree_are_named_when_the_kernel_shows_neither() -> None:
    said = [Claim("a", Coverage.ALL, ()), Claim("b", Coverage.NODE, ())]
    given = evidence(Outcome.PRESERVED, Outcome.PRESERVED, hooked())._replace(claims=said)

    assert judge(given).notes == [
        "a says that service addresses are replaced for every process, b for the node's own processes only"
    ]


@pytest.mark.parametrize(
    ("settings", "line"),
    [({"enable-ztunnel": "true"}, "enable-ztunnel: true"), ({"enable-ztunnel": "false"}, ""), ({}, "")],
)
def test_a_ztunnel_of_ciliums_own_is_noted_whatever_the_verdict(settings: dict[str, str], line: str) -> None:
    assert claims.ztunnel_in(settings) == line

    notes = judge(Evidence(PODS, [], [], ztunnel=line)).notes
    assert [note.partition(" says that Cilium has a ztunnel of its own")[0] for note in notes] == (
        [line] if line else []
    )


@pytest.mark.parametrize(
    "path", ["/var/run/cilium/ztunnel.sock", "/var/run/cilium/state/ztunnel_enabled"], ids=["socket", "mark"]
)
def test_ciliums_own_ztunnel_leaves_files_on_another_systems_tree(tmp_path: Path, path: str) -> None:
    assert claims.ztunnel_on_disk(Tree(str(tmp_path))) == ""

    file = tmp_path / path.lstrip("/")
    file.parent.mkdir(parents=True)
    file.touch()
    assert claims.ztunnel_on_disk(Tree(str(tmp_path))) == path


def test_a_config_map_in_yaml_is_refused_with_the_command_that_writes_json(tmp_path: Path) -> None:
    file = tmp_path / "cilium-config.yaml"
    file.write_text("data:\n  bpf-lb-sock: 'true'\n")

    with pytest.raises(UnreadableError) as refused:
        claims.settings(str(file))
    assert str(refused.value) == (
        f"{file}: is not JSON, and YAML is not read; write it with "
        "`kubectl --namespace kube-system get configmap cilium-config -o json`"
    )


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.96.0.1:443", Target("10.96.0.1", 443, "tcp")),
        ("10.96.0.10:53/udp", Target("10.96.0.10", 53, "udp")),
        ("[fd00:0::1]:80/tcp", Target("fd00::1", 80, "tcp")),
    ],
)
def test_an_address_is_read_and_written_back(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.96.0.1", "10.96.0.1:", "10.96.0.1:0", "10.96.0.1:70000", "10.96.0.1:²", "a:1", "::1"),
        *("1.2.3.4:5/sctp", "0.0.0.0:80", "[::]:80"),
    ],
)
def test_what_is_not_an_address_with_a_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be IP:PORT"):
        Target.parse(text)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("cil_sock4_connect", "Cilium"),
        ("cil_sock4_conne", "Cilium"),
        ("sock6_sendmsg", "Cilium"),
        ("calico_connect_v4", "Calico"),
        ("mb_connect4", "Merbridge"),
        ("cgroup_connect4", "Kmesh"),
        ("watcher", "unknown"),
    ],
)
def test_a_product_is_known_by_its_programs_names(name: str, owner: str) -> None:
    assert programs.owner_of(name) == owner


def test_types_have_names_whatever_lies_between_them() -> None:
    strings = b"\0one\0two\0three\0"
    types = struct.pack("=IIII", 1, 1 << 24, 4, 0)  # INT, with 4 bytes behind it
    types += struct.pack("=III", 5, 4 << 24 | 2, 8) + bytes(24)  # STRUCT of two members
    types += struct.pack("=III", 9, 12 << 24, 0)  # FUNC
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))

    assert btf.names(header + types + strings) == {1: "one", 2: "two", 3: "three"}


def test_the_kernel_has_room_for_the_revision_with_which_it_answers_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux 6.17 writes it at 56 whatever the structure's size: behind a shorter one is other memory of the process."""

    def answer(_: int, attributes: bytearray) -> int:
        struct.pack_into("=I", attributes, 24, 0)  # how many programs are attached
        struct.pack_into("=Q", attributes, 56, 7)
        return 0

    monkeypatch.setattr(raw, "bpf", answer)

    assert bpf.query_cgroup("/", "connect4") == bpf.Attached([], "exclusive")
