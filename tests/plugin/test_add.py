"""Sections 4 and 5 of the contract: ADD, what is made of delegates' answers, and rollback."""

import itertools
from typing import Any

import pytest

from tests.support.files.node import Node

ADDS = ["ADD cilium-cni", "ADD istio-cni", "ADD portmap"]
DELS = ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]


def test_add_prints_what_the_last_delegate_answered(node: Node) -> None:
    final = node.result(dns={"nameservers": ["10.0.0.10"]})
    node.plugin("portmap").does("ADD", prints=final)

    outcome = node.add()

    assert (outcome.answer, outcome.ran) == (final, ADDS)


def test_each_delegate_gets_the_result_of_the_one_before(node: Node) -> None:
    steps = [node.result(dns={"domain": str(step)}) for step in range(3)]
    for plugin, step in zip(("cilium-cni", "istio-cni", "portmap"), steps, strict=True):
        node.plugin(plugin).does("ADD", prints=step)

    assert [call.conf.get("prevResult") for call in node.add().calls] == [None, *steps[:2]]


def test_every_binary_is_found_before_the_first_delegate_runs(node: Node) -> None:
    node.uninstall("portmap")

    outcome = node.add()

    assert (outcome.code, outcome.ran, node.records) == (11, [], [])
    assert "portmap" in outcome.msg
    assert "local" in outcome.msg


@pytest.mark.parametrize("path", ["{bin}:{other}", "/nowhere:{other}:{bin}", ":{bin}::{other}:", "{other}:{bin}/"])
def test_a_binary_is_taken_from_the_first_directory_of_cni_path_that_has_it(node: Node, path: str) -> None:
    node.uninstall("istio-cni")
    node.plugin("istio-cni", "other")
    (node.bin_dir / "istio-cni").mkdir()  # no regular file: not a plugin

    outcome = node.add(CNI_PATH=path.format(bin=node.bin_dir, other=node.bin_dir.parent / "other"))

    assert outcome.ran == ADDS


def test_a_binary_may_be_a_link(node: Node) -> None:
    real = node.bin_dir / "istio-cni"
    (node.root / "opt/istio").mkdir()
    real.rename(node.root / "opt/istio/istio-cni-1.30")
    real.symlink_to("../../istio/istio-cni-1.30")

    assert node.add().ran == ADDS


def test_delegates_run_one_after_another(node: Node) -> None:
    node.plugin("cilium-cni").does("ADD", "sleep 0.05", "behave")

    calls = node.add().calls

    assert all(one.ended < other.started for one, other in itertools.pairwise(calls))


# What is made of a delegate's answer.

ERROR = {"code": 42, "msg": "no lease", "details": "pool is full"}
FAULTS = [
    pytest.param([], b"", 6, id="success-without-a-word"),
    pytest.param([], b" \n", 6, id="success-with-white-space"),
    pytest.param([], ERROR, 42, id="success-with-an-error-object"),
    pytest.param([], b'{"cniVersion": "1.1.0"} done', 6, id="text-after-the-JSON"),
    pytest.param([], b'level=info {"cniVersion": "1.1.0"}', 6, id="text-before-the-JSON"),
    pytest.param([], b'{"cniVersion": "1.1.0"}{}', 6, id="two-objects"),
    pytest.param([], b"\xff\xfe", 6, id="bytes"),
    pytest.param([], [], 6, id="list"),
    pytest.param([], b"null", 6, id="null"),
    pytest.param([], 5, 6, id="number"),
    pytest.param([], b"{" * 100_000, 6, id="deep"),
    pytest.param([], {"cniVersion": "9.9.9"}, 6, id="unknown-version"),
    pytest.param([], {"cniVersion": "1.1.0"}, 6, id="empty-result-after-one-with-addresses"),
    pytest.param([], {"cniVersion": "1.1.0", "interfaces": [], "ips": []}, 6, id="empty-lists-after-addresses"),
    pytest.param([], {"ips": [{"address": "10.1.0.5/24", "interface": 0}]}, 6, id="index-without-interfaces"),
    pytest.param(
        [], {"interfaces": [{"name": "a"}], "ips": [{"address": "10.1.0.5/24", "interface": 1}]}, 6, id="index-behind"
    ),
    pytest.param(
        [],
        {"interfaces": [{"name": "a"}], "ips": [{"address": "10.1.0.5/24", "interface": -1}]},
        6,
        id="index-negative",
    ),
    pytest.param(["exit 1"], ERROR, 42, id="error-object"),
    pytest.param(["exit 3"], b"", 100, id="failure-without-a-word"),
    pytest.param(["exit 1"], b"panic: nil pointer", 100, id="failure-with-text"),
    pytest.param(["exit 1"], {"cniVersion": "1.1.0", "ips": []}, 100, id="failure-with-a-result"),
    pytest.param(["exit 1"], {"code": -1, "msg": "x"}, 100, id="error-object-with-negative-code"),
    pytest.param(["exit 1"], {"code": "7", "msg": "x"}, 100, id="error-object-with-a-text-as-code"),
    pytest.param(["exit 1"], b'{"code": 7, "msg": "x"}{"code": 8}', 100, id="two-error-objects"),
    pytest.param(["signal 9"], b"", 100, id="killed"),
    pytest.param(["signal 11"], {"cniVersion": "1.1.0"}, 100, id="crashed-after-its-answer"),
]


@pytest.mark.parametrize(("orders", "prints", "code"), FAULTS)
def test_an_answer_that_is_no_result_is_that_delegates_failure(
    node: Node, orders: list[str], prints: object, code: int
) -> None:
    """An error object keeps its code, the rest is code 6; without a usable error object 100."""
    node.plugin("istio-cni").does("ADD", *orders, prints=prints)

    outcome = node.add()

    assert outcome.code == code
    assert outcome.msg.startswith("istio/istio-cni: ")
    assert outcome.ran == [*ADDS[:2], *DELS[1:]]
    assert node.records == []


def test_a_delegates_error_keeps_its_code_words_and_details(node: Node) -> None:
    node.plugin("istio-cni").does("ADD", "stderr random id 8f3a", "exit 1", prints=ERROR)

    answer = node.add().answer

    assert answer == {"cniVersion": "1.1.0", "code": 42, "msg": "istio/istio-cni: no lease", "details": "pool is full"}


@pytest.mark.parametrize(
    ("orders", "told"), [(["exit 3"], "exit status 3"), (["signal 9"], "signal 9"), (["signal 11"], "signal 11")]
)
def test_without_an_error_object_the_ending_and_the_last_words_are_told(
    node: Node, orders: list[str], told: str
) -> None:
    """Exit status or signal in msg, the last line of its stderr in details."""
    node.plugin("istio-cni").does("ADD", "stderr starting", "stderr panic: nil pointer", *orders)

    outcome = node.add()

    assert told in outcome.msg.replace("killed by signal", "signal").replace("SIGKILL", "signal 9")
    assert outcome.details == "panic: nil pointer"


def test_a_first_delegate_may_answer_without_addresses(host: Node) -> None:
    """A network of layer 2 alone; only an empty result after addresses is a fault."""
    host.owner("cilium", "cilium-cni")
    host.plugin("cilium-cni").does("ADD", prints={"cniVersion": "1.1.0"})

    assert host.add().answer["cniVersion"] == "1.1.0"


# Rollback.


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_on_failure_del_for_the_delegate_that_failed_and_those_before_it(node: Node, failing: int) -> None:
    """Backward, every one; the record goes when all DELs succeeded."""
    node.plugin(("cilium-cni", "istio-cni", "portmap")[failing]).fails("ADD", "no", 7)

    outcome = node.add()

    assert outcome.code == 7
    assert outcome.ran == ADDS[: failing + 1] + DELS[2 - failing :]
    assert node.records == []


def test_every_delegate_is_rolled_back_even_if_one_refuses(node: Node) -> None:
    """The first error is reported, with the rollback's in details. Who holds the addresses keeps them until then."""
    node.plugin("portmap").fails("ADD", "no port")
    node.plugin("istio-cni").fails("DEL", "no agent", 12)

    outcome = node.add()

    assert (outcome.code, outcome.msg) == (7, "local/portmap: no port")
    assert outcome.ran == [*ADDS, "DEL portmap", "DEL istio-cni"]
    assert "istio/istio-cni: no agent" in outcome.details


def test_the_record_stays_until_every_del_of_a_rollback_has_succeeded(node: Node) -> None:
    node.plugin("portmap").fails("ADD", "no port")
    node.plugin("istio-cni").fails("DEL", "no agent")
    node.add()
    assert len(node.records) == 1
    node.plugin("istio-cni").behaves("DEL")

    outcome = node.delete()

    assert outcome.ok
    assert "DEL istio-cni" in outcome.ran
    assert node.records == []


def test_a_rollbacks_prev_result_is_none_of_the_delegates_business(node: Node) -> None:
    """A rolled back delegate is told its own configuration again, with its verb's environment."""
    node.plugin("portmap").fails("ADD", "no port")

    outcome = node.add()

    own = [outcome.conf("istio-cni", verb) for verb in ("ADD", "DEL")]
    for conf in own:
        conf.pop("prevResult", None)
    assert own[0] == own[1]


# A left-over record.


def test_an_add_first_deletes_what_is_left_of_the_same_attachment(node: Node) -> None:
    node.add()
    node.fragment("local", "10-portmap.conf", {"type": "bandwidth"})

    outcome = node.add()

    assert outcome.ran == [*DELS, *ADDS[:2], "ADD bandwidth"]
    assert len(node.records) == 1


def test_if_that_del_fails_add_fails_with_11_and_the_record_stays(node: Node) -> None:
    node.add()
    node.plugin("istio-cni").fails("DEL", "no agent")

    outcome = node.add()

    assert outcome.code == 11
    assert [name for name in outcome.ran if name.startswith("ADD")] == []
    assert len(node.records) == 1


def test_another_attachment_is_left_alone(node: Node) -> None:
    node.add("c1")

    assert node.add("c2").ran == ADDS
    assert node.call("ADD", "c1", "eth1").ran == ADDS
    assert len(node.records) == 3


# No delegate at all.

EXEMPT: Any = {"exempt": [{"namespace": "kube-system", "podNamePrefix": "cilium-"}]}
AGENT = "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=cilium-x"


def test_without_any_delegate_the_prev_result_is_the_answer(host: Node) -> None:
    host.owner("cilium", "cilium-cni", **EXEMPT)

    outcome = host.add(CNI_ARGS=AGENT, prevResult=host.result("1.0.0"))

    assert (outcome.answer, outcome.ran) == (host.result("1.1.0"), [])


def test_without_any_delegate_and_any_prev_result_add_fails_with_11(host: Node) -> None:
    host.owner("cilium", "cilium-cni", **EXEMPT)

    outcome = host.add(CNI_ARGS=AGENT)

    assert (outcome.code, outcome.ran) == (11, [])


def test_no_owner_has_any_fragment_is_11(host: Node) -> None:
    host.owner("cilium", required=False)

    assert host.add().code == 11
    assert host.delete().ok


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_plugins_own_namespace_is_refused_before_anything_ran(node: Node, verb: str) -> None:
    outcome = node.call(verb, CNI_NETNS="/proc/self/ns/net")

    assert (outcome.code, outcome.ran, node.records) == (8, [], [])


@pytest.mark.parametrize("override", ["1", "true", "TRUE"])
def test_unless_it_is_meant(node: Node, override: str) -> None:
    assert node.add(CNI_NETNS="/proc/self/ns/net", CNI_NETNS_OVERRIDE=override).ok


def test_a_namespace_that_cannot_be_opened_is_the_delegates_concern(node: Node) -> None:
    assert node.add(CNI_NETNS="/run/netns/nowhere").ran == ADDS
