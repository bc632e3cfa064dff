"""Splitting and proving by themselves, for lists that nobody has written yet."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_chain.change.draft import text_of
from cni_chain.migrate import split
from cni_chain.migrate.proof import Difference, differences, prove
from cni_chain.node import locate
from cni_chain.node.conflists import Live
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import FacadeFile
from cni_chain.plugin import chain, fragments, jsontext
from cni_chain.plugin.chain import Delegate
from tests.support.generated import steady

Json = dict[str, Any]


def a_list(*plugins: str | Json, **keys: object) -> Live:
    entries = [{"type": plugin} if isinstance(plugin, str) else plugin for plugin in plugins]
    document = {"cniVersion": "1.0.0", "name": "net", **keys, "plugins": entries}
    return Live("/etc/cni/net.d/50-net.conflist", json.dumps(document).encode())


def owners(*plugins: str, **owner_of: str) -> list[tuple[str, list[str]]]:
    shares = split.split(a_list(*plugins), {kind.replace("_", "-"): owner for kind, owner in owner_of.items()})
    return [(share.owner, [plugin["type"] for plugin in share.plugins]) for share in shares]


def test_known_plugins_are_their_agents_and_the_rest_is_the_administrators() -> None:
    assert owners("cilium-cni", "portmap", "bandwidth", "istio-cni") == [
        ("cilium", ["cilium-cni"]),
        ("local", ["portmap", "bandwidth"]),
        ("istio", ["istio-cni"]),
    ]


def test_the_administrator_has_a_directory_for_each_place_in_the_chain() -> None:
    assert [owner for owner, _ in owners("bridge", "istio-cni", "portmap", "linkerd-cni", "tuning")] == [
        "local",
        "istio",
        "local-2",
        "linkerd",
        "local-3",
    ]


def test_an_owner_may_be_chosen_even_one_that_is_called_like_a_further_part() -> None:
    assert owners("bridge", "istio-cni", "portmap", "kuma-cni", "tuning", portmap="local-2") == [
        ("local", ["bridge"]),
        ("istio", ["istio-cni"]),
        ("local-2", ["portmap"]),
        ("kuma", ["kuma-cni"]),
        ("local-3", ["tuning"]),
    ]


def test_whose_plugins_do_not_follow_each_other_is_told_what_to_do() -> None:
    with pytest.raises(RefusedError) as caught:
        owners("aws-cni", "portmap", "tuning", "egress-cni", "cilium-cni")

    assert str(caught.value).partition(": ")[2] == (
        "owner aws has aws-cni and egress-cni with portmap, tuning between them, and its directory has one place in "
        "the chain: give all of them to it, --owner aws:aws-cni,portmap,tuning,egress-cni, or to the administrator, "
        "--owner local:aws-cni,portmap,tuning,egress-cni"
    )


def test_a_mesh_owns_nothing_else_because_its_agent_would_write_it_away() -> None:
    with pytest.raises(RefusedError) as caught:
        owners("bridge", "tuning", "istio-cni", tuning="istio")

    assert ": --owner istio:tuning: istio's agent rewrites its file" in str(caught.value)


def resolved(live: Live, owner_of: dict[str, str] | None = None) -> tuple[FacadeFile, list[Delegate]]:
    """The chain that cni-chain makes of the bytes that would be written."""
    shares = split.split(live, owner_of or {})
    content = text_of(split.facade(live, shares, "/chain.d")).encode()
    facade = FacadeFile("/etc/cni/net.d/00.conflist", *locate.decode(content))
    assert facade.facade.owners is not None
    directories = []
    for share in shares:
        directory = fragments.Directory(share.owner, f"/chain.d/{share.owner}.d")
        files = sorted(split.files(share, live), key=lambda file: file.name)
        assert len({file.name for file in files}) == len(files)
        for file in files:
            assert fragments.ignored_because(file.name) == ""
            parsed = fragments.parse(f"{directory.path}/{file.name}", jsontext.decode(file.content))
            assert isinstance(parsed, fragments.Fragment), parsed
            directory.fragments.append(parsed)
        directories.append(directory)
    return facade, chain.required_delegates(chain.resolve(facade.facade.owners, directories, ("", "")))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OWN = ("type", "name", "cniVersion", "prevResult", "runtimeConfig", "capabilities")
plugins = st.builds(
    lambda kind, more, declared: more | {"type": kind} | ({"capabilities": declared} if declared is not None else {}),
    st.sampled_from(["bridge", "portmap", "tuning", "x.tmp", "kubeconfig", "ü/".strip("/"), "local", "a b"]),
    st.dictionaries(
        st.text(max_size=6).filter(lambda key: key not in OWN and not key.startswith("cni.dev/")), values, max_size=4
    ),
    st.none() | st.dictionaries(st.sampled_from(["portMappings", "own"]), st.booleans()),
)
agents = st.sampled_from(["cilium-cni", "istio-cni", "kuma-cni", "calico"]).map(lambda kind: {"type": kind})


@steady
@given(first=st.lists(plugins, max_size=12), agent=agents, rest=st.lists(plugins, max_size=3))
def test_whatever_a_list_has_the_proof_holds_for_what_is_made_of_it(
    first: list[Json], agent: Json, rest: list[Json]
) -> None:
    live = a_list(*first, agent, *rest)

    facade, links = resolved(live)
    proof = prove(live, facade, links)

    assert [link.type for link in links] == live.types
    assert proof.holds, [delegate.differences for delegate in proof.delegates]


@steady
@given(value=values, other=values)
def test_two_values_are_the_same_only_if_they_are(value: object, other: object) -> None:
    assert list(differences(value, value)) == []
    if not list(differences(value, other)):
        assert value == other


@pytest.mark.parametrize(
    ("before", "after", "difference"),
    [
        ({"a": 1}, {"a": True}, Difference("a", 1, True)),
        ({"a": False}, {"a": 0}, Difference("a", False, 0)),
        ({"a": None}, {}, Difference("a", None, ...)),
        ({}, {"a": {}}, Difference("a", ..., {})),
        ({"a": [1, 2]}, {"a": [1]}, Difference("a[1]", 2, ...)),
        ({"a": {"b": [{"c": "x"}]}}, {"a": {"b": [{"c": "y"}]}}, Difference("a.b[0].c", "x", "y")),
        ({"a": 2**53}, {"a": 2**53 + 1}, Difference("a", 2**53, 2**53 + 1)),
        ({"a": {}}, {"a": []}, Difference("a", {}, [])),
    ],
)
def test_a_difference_has_its_key_and_both_values(before: Json, after: Json, difference: Difference) -> None:
    assert list(differences(before, after)) == [difference]


@pytest.mark.parametrize("key", ["prevResult", "cni.dev/attachments"])
def test_what_cni_chain_takes_out_and_libcni_does_not_is_a_difference(key: str) -> None:
    live = a_list({"type": "bridge", key: {"x": 1}})

    proof = prove(live, *resolved(live))

    assert not proof.holds
    assert proof.delegates[0].differences == [Difference(key, {"x": 1}, ...)]


@pytest.mark.parametrize(
    ("after", "differences"),
    [
        (["bridge"], [[], [Difference("type", "portmap", ...)]]),
        (["bridge", "portmap", "tuning"], [[], [], [Difference("type", ..., "tuning")]]),
        (["portmap", "bridge"], [[Difference("type", "bridge", "portmap")], [Difference("type", "portmap", "bridge")]]),
    ],
)
def test_a_plugin_more_or_less_or_elsewhere_is_a_difference(
    after: list[str], differences: list[list[Difference]]
) -> None:
    facade, links = resolved(a_list(*after))

    proof = prove(a_list("bridge", "portmap"), facade, links)

    assert [[one for one in each.differences if one.key == "type"] for each in proof.delegates] == differences


def test_an_integer_that_libcni_rounds_is_told() -> None:
    live = a_list({"type": "bridge", "a": [{"b": 2**53 + 1}], "c": 2**53, "d": 10**400})

    proof = prove(live, *resolved(live))

    assert proof.holds
    assert proof.remarks == [
        "bridge: a[0].b: libcni passed 9007199254740992 on; cni-chain passes 9007199254740993, as written"
    ]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("/etc/cni/net.d/ZZZ-kubeconfig", "/chain.d/calico.d/ZZZ-kubeconfig", True),
        ("/etc/cni/net.d", "/chain.d/calico.d", True),
        ("/etc/cni/net.d/ZZZ-kubeconfig", "/chain.d/istio.d/ZZZ-kubeconfig", False),
        ("/etc/cni/net.d/ZZZ-kubeconfig", "/chain.d/calico.d/other", False),
        ("/etc/cni/net.d2/ZZZ-kubeconfig", "/chain.d/calico.d2/ZZZ-kubeconfig", False),
        ("/etc/cni/net.d/a", None, False),
    ],
)
def test_only_a_path_that_moved_with_its_agent_is_no_difference(before: str, after: str | None, same: bool) -> None:
    facade, links = resolved(a_list({"type": "calico", "kubernetes": {"kubeconfig": after}}))

    proof = prove(a_list({"type": "calico", "kubernetes": {"kubeconfig": before}}), facade, links)

    assert proof.holds is same
    assert len(proof.remarks) == same


def test_a_list_without_a_version_is_one_of_the_first() -> None:
    live = Live("/etc/cni/net.d/a.conf", b'{"name": "net", "type": "bridge"}')

    facade, links = resolved(live)

    assert facade.version == "0.1.0"
    assert prove(live, facade, links).holds


def test_the_namespace_that_istio_tells_of_itself_is_the_one_that_is_exempt() -> None:
    live = a_list({"type": "istio-cni", "pod_namespace": "mesh"})

    (share,) = split.split(live, {})

    assert split.exempt_pods(share) == [("mesh", "istio-cni-node-")]
