"""The facade's keys: defaults, and every fault named at once."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from cni_chain.plugin import facade

ONE: list[dict[str, Any]] = [{"name": "a"}]


def problems(conf: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in facade.parse({"owners": ONE, **conf})[1]]


def test_owners_alone_are_enough_and_the_rest_has_the_documented_defaults() -> None:
    parsed, faults, unknown = facade.parse({"type": "cni-chain", "owners": ONE})

    assert (faults, unknown) == ([], [])
    assert (parsed.chain_dir, parsed.state_dir) == ("/etc/cni/chain.d", "/var/lib/cni/chain")
    assert parsed.timeouts == {"ADD": 110, "DEL": 50, "CHECK": 35, "GC": 25, "STATUS": 2}
    assert (parsed.log_file, parsed.log_level) == ("/var/log/cni-chain.log", "info")
    assert parsed.allow_unsafe is False


def test_a_listed_owner_is_required_and_may_contribute_anything_by_default() -> None:
    parsed, faults, _ = facade.parse({"owners": [{"name": "cilium"}]})

    assert faults == []
    assert parsed.owners is not None
    [owner] = parsed.owners
    assert (owner.name, owner.required, owner.types, owner.exempt) == ("cilium", True, None, [])
    assert (owner.duplicates, owner.disable_check, owner.disable_gc) == ("first", False, False)
    assert (owner.on_del_error, owner.timeout) == ("retry", None)


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"chainDir": "chain.d"}, ["key chainDir: must be an absolute path"]),
        ({"chainDir": 1}, ["key chainDir: must be an absolute path"]),
        ({"chainDir": "/\ud800"}, ["key chainDir: must be an absolute path"]),
        ({"stateDir": ""}, ["key stateDir: must be an absolute path"]),
        ({"logFile": "log"}, ['key logFile: must be an absolute path, or "" for no log']),
        ({"logFile": None}, ['key logFile: must be an absolute path, or "" for no log']),
        ({"logLevel": "warn"}, ["key logLevel: must be one of error, info, debug"]),
        ({"logLevel": []}, ["key logLevel: must be one of error, info, debug"]),
        ({"allowUnsafePermissions": "true"}, ["key allowUnsafePermissions: must be true or false"]),
        ({"timeouts": []}, ["key timeouts: must be an object"]),
        ({"timeouts": {"ADD": 0}}, ["key timeouts.ADD: must be a number of seconds above 0, at most 86400"]),
        ({"timeouts": {"DEL": True}}, ["key timeouts.DEL: must be a number of seconds above 0, at most 86400"]),
        ({"owners": {}}, ["key owners: must be a list of at least one owner"]),
        ({"owners": []}, ["key owners: must be a list of at least one owner"]),
        ({"owners": ["cilium"]}, ["key owners[0]: must be an object"]),
        ({"owners": [{}]}, ["key owners[0].name: missing"]),
        (
            {"owners": [{"name": "Cilium"}]},
            ["key owners[0].name: must be lower-case letters, digits and '-', beginning with a letter or digit"],
        ),
        ({"owners": [{"name": "a"}, {"name": "a"}]}, ["key owners[1].name: 'a' is listed twice"]),
        (
            {"owners": [{"name": "a", "types": []}]},
            ["key owners[0].types: must be a list of plugin types, at least one"],
        ),
        ({"owners": [{"name": "a", "required": 1}]}, ["key owners[0].required: must be true or false"]),
        ({"owners": [{"name": "a", "duplicates": "last"}]}, ["key owners[0].duplicates: must be one of first, all"]),
        ({"owners": [{"name": "a", "onDelError": "x"}]}, ["key owners[0].onDelError: must be one of retry, ignore"]),
        (
            {"owners": [{"name": "a", "exempt": [1]}]},
            ["key owners[0].exempt[0]: must be an object with namespace and podNamePrefix"],
        ),
        (
            {"owners": [{"name": "a", "exempt": [{"namespace": "n"}]}]},
            ["key owners[0].exempt[0].podNamePrefix: missing: both keys are needed, or other pods would be exempt too"],
        ),
        (
            {"owners": [{"name": "a", "exempt": [{"namespace": "n", "podNamePrefix": ""}]}]},
            ["key owners[0].exempt[0].podNamePrefix: must be a string, not empty"],
        ),
        (
            {"mesh": {"serviceAddress": "warning"}},
            ["key mesh.serviceAddress: must be one of warn, enforce"],
        ),
        ({"mesh": {}}, ["key mesh.serviceAddress: missing: must be one of warn, enforce"]),
        ({"mesh": "warn"}, ["key mesh: must be an object"]),
        ({"mesh": {"serviceAdress": "warn"}}, ["key mesh.serviceAdress: unknown key; did you mean serviceAddress?"]),
        (
            {"chainDir": 1, "owners": [{"name": "a", "timeoutSeconds": -1}]},
            [
                "key chainDir: must be an absolute path",
                "key owners[0].timeoutSeconds: must be a number of seconds above 0, at most 86400",
            ],
        ),
    ],
)
def test_every_fault_is_told_by_its_key(conf: dict[str, Any], told: list[str]) -> None:
    assert told == problems(conf)


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({}, "key owners: missing: list the owners; without them no plugin is required"),
        ({"owner": ONE}, "key owners: missing: 'owner' is not a key of cni-chain; did you mean owners?"),
        ({"Owners": ONE}, "key owners: missing: 'Owners' is not a key of cni-chain; did you mean owners?"),
        ({"owners": [{"name": "a", "type": ["x"]}]}, "key owners[0].type: unknown key; did you mean types?"),
        ({"owners": [{"name": "a", "exmept": []}]}, "key owners[0].exmept: unknown key; did you mean exempt?"),
        (
            {"owners": [{"name": "a", "ondelerror": "ignore"}]},
            "key owners[0].ondelerror: unknown key; did you mean onDelError?",
        ),
        (
            {"owners": [{"name": "a", "exempt": [{"namespace": "n", "podNamePrefix": "p", "pod": "q"}]}]},
            "key owners[0].exempt[0].pod: unknown key; the keys here are namespace, podNamePrefix",
        ),
    ],
)
def test_a_typo_of_an_owners_key_never_opens_the_gate(conf: dict[str, Any], told: str) -> None:
    assert [str(problem) for problem in facade.parse(conf)[1]] == [told]


def test_unknown_keys_beside_the_owners_are_accepted_and_told() -> None:
    """Multus and runtimes add some."""
    known = {"type": "cni-chain", "name": "net", "runtimeConfig": {}, "cni.dev/x": 1, "owners": ONE}

    _, faults, unknown = facade.parse({**known, "chaindir": "/x", "timeouts": {"add": 1}})

    assert faults == []
    assert sorted(unknown) == ["chaindir", "timeouts.add"]


@pytest.mark.parametrize(
    ("key", "meant"), [("chaindir", "chainDir"), ("logfile", "logFile"), ("timeout", "timeouts"), ("comment", "")]
)
def test_the_key_that_was_meant_is_found(key: str, meant: str) -> None:
    assert facade.near(key) == meant


def test_without_the_module_that_compares_words_only_the_hint_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executable alone, after an upgrade that was cut short: a DEL must not fail for want of a hint."""
    monkeypatch.setitem(sys.modules, "difflib", None)

    _, faults, _ = facade.parse({"owners": [{"name": "a", "typs": ["x"]}]})

    assert [fault.key for fault in faults] == ["owners[0].typs"]
    assert "did you mean" not in str(faults[0])


def test_what_is_right_of_faulty_owners_is_kept_for_a_del() -> None:
    owners = [{"name": "a", "types": "x"}, {"name": "A"}, {"name": "a"}, 5, {"name": "b", "onDelError": "ignore"}]

    parsed, faults, _ = facade.parse({"owners": owners})

    assert len(faults) == 4
    assert [(owner.name, owner.on_del_error) for owner in parsed.owners or []] == [("a", "retry"), ("b", "ignore")]


@pytest.mark.parametrize(
    ("pod", "exempt"),
    [
        (("istio-system", "istio-cni-node-abc"), True),
        (("default", "istio-cni-node-abc"), False),
        (("istio-system", "istiod-abc"), False),
        (("", ""), False),
    ],
)
def test_a_pod_is_exempt_only_by_namespace_and_name_together(pod: tuple[str, str], exempt: bool) -> None:
    entry = {"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}
    parsed, _, _ = facade.parse({"owners": [{"name": "istio", "exempt": [entry]}]})

    assert parsed.owners is not None
    assert exempt is parsed.owners[0].exempts(pod)
