"""Section 2 of the contract: the facade's keys, their defaults and what they do."""

from typing import Any

import pytest

from tests.support.files.node import ABSENT, Node

FORWARD = ["cilium-cni", "istio-cni", "portmap"]


@pytest.mark.parametrize(
    ("verb", "order"),
    [("ADD", FORWARD), ("CHECK", FORWARD), ("GC", FORWARD), ("DEL", FORWARD[::-1])],
)
def test_owners_run_in_the_facades_order_and_are_deleted_backward(node: Node, verb: str, order: list[str]) -> None:
    if verb != "ADD":
        assert node.add().ok

    outcome = node.gc(["c1"]) if verb == "GC" else node.call(verb)

    assert outcome.ran == [f"{verb} {delegate}" for delegate in order]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        pytest.param({"owners": ABSENT}, "key owners: missing", id="no-owners"),
        pytest.param({"owners": []}, "key owners: must be a list of at least one", id="empty"),
        pytest.param({"owners": ABSENT, "owner": [{"name": "cilium"}]}, "did you mean owners?", id="owner"),
        pytest.param({"owners": [{"name": "cilium", "type": ["x"]}]}, "did you mean types?", id="type"),
        pytest.param({"owners": [{"name": "cilium", "exmept": []}]}, "did you mean exempt?", id="exmept"),
        pytest.param({"mesh": {"serviceAdress": "enforce"}}, "did you mean serviceAddress?", id="serviceAdress"),
        pytest.param({"mesh": {"serviceAddress": "enforced"}}, "must be one of warn, enforce", id="enforced"),
        pytest.param({"mesh": {}}, "key mesh.serviceAddress: missing", id="mesh"),
    ],
)
def test_a_typo_never_opens_the_gate(node: Node, keys: dict[str, Any], told: str) -> None:
    """Without its owners, or with one that may contribute anything, a pod would come up without the mesh."""
    outcome = node.add(**keys)

    assert (outcome.code, outcome.ran) == (7, [])
    assert told in outcome.msg


def test_a_directory_that_is_not_listed_is_not_run(node: Node) -> None:
    node.fragment("stranger", "10.conf", {"type": "stranger"})

    assert node.add().ran == ["ADD cilium-cni", "ADD istio-cni", "ADD portmap"]


def test_the_default_chain_dir_is_etc_cni_chain_d(host: Node) -> None:
    host.owner("nobody-has-this-owner")

    outcome = host.add(chainDir=ABSENT)

    assert outcome.code == 11
    assert "/etc/cni/chain.d/nobody-has-this-owner.d" in outcome.msg


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("chainDir", 1, id="chainDir-number"),
        pytest.param("chainDir", "", id="chainDir-empty"),
        pytest.param("stateDir", ["/x"], id="stateDir-list"),
        pytest.param("stateDir", None, id="stateDir-null"),
        pytest.param("owners", {}, id="owners-object"),
        pytest.param("owners", "cilium", id="owners-text"),
        pytest.param("timeouts", 5, id="timeouts-number"),
        pytest.param("timeouts", [], id="timeouts-list"),
        pytest.param("logFile", 1, id="logFile-number"),
        pytest.param("logFile", None, id="logFile-null"),
        pytest.param("logLevel", "trace", id="logLevel-unknown"),
        pytest.param("logLevel", 1, id="logLevel-number"),
        pytest.param("allowUnsafePermissions", "yes", id="allowUnsafePermissions-text"),
        pytest.param("allowUnsafePermissions", 1, id="allowUnsafePermissions-number"),
    ],
)
def test_an_invalid_value_is_error_7_that_names_the_key(node: Node, key: str, value: object) -> None:
    outcome = node.add(**{key: value})

    assert (outcome.code, outcome.ran) == (7, [])
    assert key in outcome.msg


@pytest.mark.parametrize("value", [0, -1, "5", True, None, [1]])
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_a_timeout_must_be_a_positive_number(node: Node, verb: str, value: object) -> None:
    outcome = node.add(timeouts={verb: value})

    assert (outcome.code, outcome.ran) == (7, [])
    assert "timeouts" in outcome.msg
    assert verb in outcome.msg


@pytest.mark.parametrize(
    ("owner", "key"),
    [
        pytest.param(1, "owners[1]", id="no-object"),
        pytest.param({}, "name", id="no-name"),
        pytest.param({"name": 1}, "name", id="name-number"),
        pytest.param({"name": ""}, "name", id="name-empty"),
        pytest.param({"name": "Istio"}, "name", id="name-upper-case"),
        pytest.param({"name": "-istio"}, "name", id="name-dash-first"),
        pytest.param({"name": "../istio"}, "name", id="name-path"),
        pytest.param({"name": "istio\n"}, "name", id="name-newline"),
        pytest.param({"name": "cilium"}, "name", id="name-twice"),
        pytest.param({"name": "istio", "types": "istio-cni"}, "types", id="types-text"),
        pytest.param({"name": "istio", "types": [1]}, "types", id="types-number"),
        pytest.param({"name": "istio", "required": "no"}, "required", id="required-text"),
        pytest.param({"name": "istio", "exempt": {}}, "exempt", id="exempt-object"),
        pytest.param({"name": "istio", "exempt": ["x"]}, "exempt", id="exempt-text"),
        pytest.param({"name": "istio", "exempt": [{"namespace": "x"}]}, "podNamePrefix", id="exempt-no-pod"),
        pytest.param({"name": "istio", "exempt": [{"podNamePrefix": "x"}]}, "namespace", id="exempt-no-namespace"),
        pytest.param(
            {"name": "istio", "exempt": [{"namespace": 1, "podNamePrefix": "x"}]}, "namespace", id="exempt-number"
        ),
        pytest.param({"name": "istio", "duplicates": "last"}, "duplicates", id="duplicates-unknown"),
        pytest.param({"name": "istio", "disableCheck": 1}, "disableCheck", id="disableCheck-number"),
        pytest.param({"name": "istio", "disableGC": "yes"}, "disableGC", id="disableGC-text"),
        pytest.param({"name": "istio", "onDelError": "skip"}, "onDelError", id="onDelError-unknown"),
        pytest.param({"name": "istio", "timeoutSeconds": 0}, "timeoutSeconds", id="timeoutSeconds-zero"),
        pytest.param({"name": "istio", "timeoutSeconds": "9"}, "timeoutSeconds", id="timeoutSeconds-text"),
    ],
)
def test_an_invalid_owner_is_error_7_that_names_the_key(host: Node, owner: Any, key: str) -> None:
    host.owner("cilium", "cilium-cni")
    host.owners.append(owner)

    outcome = host.add()

    assert (outcome.code, outcome.ran) == (7, [])
    assert key in outcome.msg


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "STATUS"])
def test_an_invalid_key_is_error_7_for_every_verb(node: Node, verb: str) -> None:
    outcome = node.call(verb, "" if verb == "STATUS" else "c1", logLevel="loud")

    assert (outcome.code, outcome.ran) == (7, [])
    assert "logLevel" in outcome.msg


FAULTS = [
    pytest.param({"logLevel": "warn"}, id="logLevel"),
    pytest.param({"timeouts": {"DEL": "50s"}}, id="timeouts"),
    pytest.param({"allowUnsafePermissions": "no"}, id="allowUnsafePermissions"),
    pytest.param({"mesh": 1}, id="mesh"),
    pytest.param({"owners": [{"name": "cilium", "exmept": []}]}, id="owner-key"),
    pytest.param({"owners": ABSENT}, id="no-owners"),
    pytest.param({"runtimeConfig": "portMappings"}, id="runtimeConfig"),
]


@pytest.mark.parametrize("keys", FAULTS)
def test_a_typo_keeps_no_pod_terminating(node: Node, keys: dict[str, Any]) -> None:
    """Its key takes its default, and that is logged."""
    node.add()

    outcome = node.delete(**keys)

    assert outcome.ok
    assert outcome.ran == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert any(f"key {next(iter(keys))}" in note for note in node.log_lines[-1]["notes"])


@pytest.mark.parametrize("keys", FAULTS)
def test_nor_an_attachment_that_gc_collects(node: Node, keys: dict[str, Any]) -> None:
    node.add()

    outcome = node.gc([], **keys)

    assert outcome.ran[:3] == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert node.records == []


@pytest.mark.parametrize("verb", ["DEL", "GC"])
@pytest.mark.parametrize("key", ["chainDir", "stateDir"])
def test_but_where_the_records_are_must_be_known(node: Node, verb: str, key: str) -> None:
    node.add()

    outcome = node.call(verb, "" if verb == "GC" else "c1", **{key: 5})

    assert (outcome.code, outcome.ran, len(node.records)) == (7, [], 1)
    assert key in outcome.msg


@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_a_runtime_config_that_is_no_object_is_error_7(node: Node, verb: str) -> None:
    outcome = node.call(verb, runtimeConfig=["portMappings"])

    assert (outcome.code, outcome.ran) == (7, [])
    assert "key runtimeConfig: must be an object" in outcome.msg


def test_a_del_that_knows_no_owners_and_has_no_record_deletes_all_that_there_is(node: Node) -> None:
    outcome = node.delete(owners=ABSENT)

    assert outcome.ok
    assert sorted(outcome.ran) == ["DEL cilium-cni", "DEL istio-cni", "DEL portmap"]


@pytest.mark.parametrize("choice", ["warn", "enforce"])
def test_the_mesh_key_is_for_pods_with_a_meshs_plugin_only(host: Node, choice: str) -> None:
    host.owner("cilium", "cilium-cni")

    assert host.add(mesh={"serviceAddress": choice}).ran == ["ADD cilium-cni"]
    assert host.delete(mesh={"serviceAddress": choice}).ran == ["DEL cilium-cni"]


def test_unknown_keys_beside_the_owners_are_accepted(node: Node) -> None:
    """Multus and runtimes add some."""
    assert node.add(comment="ours", futureKey={"a": 1}).ok


def test_several_facades_stand_side_by_side(node: Node) -> None:
    """Other name, other chainDir: the same container on two networks, each with its own record."""
    second = {
        "name": "storage",
        "chainDir": str(node.root / "storage.d"),
        "owners": [{"name": "sriov", "types": ["macvlan"]}],
    }
    folder = node.root / "storage.d/sriov.d"
    folder.mkdir(parents=True)
    (folder / "10.conf").write_text('{"type": "macvlan"}')
    node.plugin("macvlan")
    node.add()

    assert node.add(**second).ran == ["ADD macvlan"]
    assert len(node.records) == 2
    assert node.delete().ran == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert node.delete(**second).ran == ["DEL macvlan"]
    assert node.records == []
