"""The specification's words: versions, names, environment."""

from __future__ import annotations

import pytest

from cni_chain.plugin import spec
from cni_chain.plugin.errors import CNIError

ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/a",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}


@pytest.mark.parametrize(
    ("version", "minimum", "answer"),
    [
        ("1.1.0", "1.1.0", True),
        ("1.10.0", "1.9.0", True),
        ("1.1", "1.1.0", False),
        ("2", "1.1.0", True),
        ("0.3.1", "0.4.0", False),
        ("", "0.1.0", False),
        ("x.y.z", "0.1.0", False),
        ("1.1.0.0", "0.1.0", False),
        ("٣.0.0", "0.1.0", False),
    ],
)
def test_versions_are_compared_by_number_and_nonsense_is_below_all(version: str, minimum: str, answer: bool) -> None:
    assert answer is spec.at_least(version, minimum)


@pytest.mark.parametrize("name", ["a", "A1", "0", "a.b_c-d", "x" * 300])
def test_a_container_id_may_be(name: str) -> None:
    assert spec.is_name(name)


@pytest.mark.parametrize("name", ["", ".a", "-a", "_a", "a b", "a/b", "a\n", "é", "a:b", "a\0"])
def test_a_container_id_may_not_be(name: str) -> None:
    assert not spec.is_name(name)


@pytest.mark.parametrize("name", ["eth0", "a" * 15, "...", "é" * 7, "a.b-c"])
def test_an_interface_may_be_called(name: str) -> None:
    assert spec.is_interface_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a" * 16, "é" * 8, "a/b", "a:b", "a b", "a\n", "a\u00a0b"])
def test_an_interface_may_not_be_called(name: str) -> None:
    assert not spec.is_interface_name(name)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"CNI_COMMAND": ""}, ["CNI_COMMAND"]),
        ({"CNI_COMMAND": "add"}, ["add"]),
        ({"CNI_COMMAND": "SYNC"}, ["SYNC"]),
        ({"CNI_CONTAINERID": "", "CNI_PATH": ""}, ["CNI_CONTAINERID,CNI_PATH"]),
        ({"CNI_CONTAINERID": "/", "CNI_NETNS": ""}, ["CNI_CONTAINERID", "CNI_NETNS"]),
        ({"CNI_IFNAME": "far-too-long-a-name"}, ["CNI_IFNAME"]),
        ({"CNI_ARGS": "IgnoreUnknown"}, ["CNI_ARGS"]),
    ],
)
def test_every_variable_at_fault_is_named(change: dict[str, str], named: list[str]) -> None:
    with pytest.raises(CNIError) as raised:
        spec.parse_environment({**ADD, **change})

    assert raised.value.code == 4
    assert [name for name in named if name not in raised.value.msg] == []


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_a_verb_about_the_network_ignores_the_container(verb: str) -> None:
    args = spec.parse_environment({"CNI_COMMAND": verb, "CNI_PATH": "/opt/cni/bin", "CNI_CONTAINERID": "//"})

    assert verb == args.command


def test_del_needs_no_namespace_and_takes_any_args() -> None:
    args = spec.parse_environment({**ADD, "CNI_COMMAND": "DEL", "CNI_NETNS": "", "CNI_ARGS": "broken"})

    assert args.netns == ""


def test_the_pod_is_found_wherever_it_stands_in_the_args() -> None:
    args = "K8S_POD_NAME=istio-cni-node-x;IgnoreUnknown=1;K8S_POD_NAMESPACE=istio-system"

    assert spec.CmdArgs("ADD", args=args).pod() == ("istio-system", "istio-cni-node-x")
    assert spec.CmdArgs("ADD").pod() == ("", "")
