"""Section 4 of the contract: CHECK."""

import pytest

from tests.support.files.node import Node

CHECKS = ["CHECK cilium-cni", "CHECK istio-cni", "CHECK portmap"]


@pytest.fixture
def pod(node: Node) -> Node:
    """The node with an attachment c1."""
    assert node.add().ok
    return node


def test_check_runs_the_records_delegates_forward(pod: Node) -> None:
    """Whatever the fragments are now."""
    pod.fragment("istio", "10-istio-cni.conf", {"type": "other"})
    pod.owners.reverse()

    outcome = pod.check_pod(prevResult=pod.result())

    assert outcome.ok
    assert outcome.ran == CHECKS


@pytest.mark.parametrize("given", [True, False], ids=["the-runtimes", "else-the-recorded"])
def test_every_delegate_gets_the_final_result(pod: Node, given: bool) -> None:
    other = pod.result(dns={"domain": "given"})

    outcome = pod.check_pod(**({"prevResult": other} if given else {}))

    assert [call.conf["prevResult"] for call in outcome.calls] == [other if given else pod.result()] * 3


def test_without_a_record_the_chain_as_it_is_now_is_checked_with_the_runtimes_result(node: Node) -> None:
    outcome = node.check_pod(prevResult=node.result())

    assert outcome.ok
    assert outcome.ran == CHECKS
    assert [call.conf["prevResult"] for call in outcome.calls] == [node.result()] * 3


def test_without_a_record_and_a_result_there_is_nothing_to_check(node: Node) -> None:
    outcome = node.check_pod()

    assert (outcome.ok, outcome.ran) == (True, [])


@pytest.mark.parametrize("version", ["0.3.1", "0.2.0"])
def test_delegates_that_support_less_than_0_4_0_are_skipped(node: Node, version: str) -> None:
    node.plugin("istio-cni").supports("0.1.0", version)
    node.add()

    assert node.check_pod().ran == ["CHECK cilium-cni", "CHECK portmap"]


@pytest.mark.parametrize("printed", [b"OK\n", b"{", b"null", b'{"code": 7, "msg": "x"}'])
def test_what_a_delegate_prints_on_a_successful_check_is_ignored(pod: Node, printed: bytes) -> None:
    """Calico's CHECK prints OK."""
    pod.plugin("istio-cni").does("CHECK", prints=printed)

    assert pod.check_pod().ok


def test_a_failing_check_is_told_with_the_delegates_words(pod: Node) -> None:
    pod.plugin("istio-cni").fails("CHECK", "rule is missing", 33, details="chain ISTIO")

    outcome = pod.check_pod()

    assert (outcome.code, outcome.msg, outcome.details) == (33, "istio/istio-cni: rule is missing", "chain ISTIO")
    assert len(pod.records) == 1


def test_check_changes_nothing(pod: Node) -> None:
    before = [path.read_bytes() for path in pod.records]
    pod.plugin("istio-cni").fails("CHECK")

    pod.check_pod()

    assert [path.read_bytes() for path in pod.records] == before


@pytest.mark.parametrize("version", ["0.3.1", "0.3.0", "0.2.0", "0.1.0", ""])
def test_there_is_no_check_below_0_4_0(pod: Node, version: str) -> None:
    outcome = pod.check_pod(cniVersion=version)

    assert (outcome.code, outcome.ran) == (1, [])
