"""The facade's keys: defaults, and every fault named at once."""

from __future__ import annotations

from typing import Any

import pytest

from cni_chain import facade


def problems(conf: dict[str, Any]) -> list[str]:
    return [str(problem) for problem in facade.parse(conf)[1]]


def test_an_empty_object_has_the_documented_defaults() -> None:
    parsed, faults, unknown = facade.parse({"type": "cni-chain"})

    assert (faults, unknown) == ([], [])
    assert (parsed.chain_dir, parsed.state_dir) == ("/etc/cni/chain.d", "/var/lib/cni/chain")
    assert parsed.timeouts == {"ADD": 110, "DEL": 50, "CHECK": 35, "GC": 25, "STATUS": 2}
    assert (parsed.log_file, parsed.log_level) == ("/var/log/cni-chain.log", "info")
    assert (parsed.allow_unsafe, parsed.owners) == (False, None)


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
        ({"owners": {}}, ["key owners: must be a list"]),
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
            ["key owners[0].exempt[0].podNamePrefix: missing: both are needed, or other pods would be exempt too"],
        ),
        (
            {"owners": [{"name": "a", "exempt": [{"namespace": "n", "podNamePrefix": ""}]}]},
            ["key owners[0].exempt[0].podNamePrefix: must be a text, not empty"],
        ),
        (
            {"mesh": {"serviceAddress": "warn"}},
            ["key mesh: not available in this version of cni-chain; remove it (nothing is checked without it)"],
        ),
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


def test_unknown_keys_are_accepted_and_told() -> None:
    conf = {
        "type": "cni-chain",
        "name": "net",
        "runtimeConfig": {},
        "cni.dev/x": 1,
        "chaindir": "/x",
        "timeouts": {"add": 1},
        "owners": [{"name": "a", "type": "x", "exempt": [{"namespace": "n", "podNamePrefix": "p", "pod": "q"}]}],
    }

    _, faults, unknown = facade.parse(conf)

    assert faults == []
    assert sorted(unknown, key=["chaindir", "timeouts.add", "owners[0].type", "owners[0].exempt[0].pod"].index) == [
        "chaindir",
        "timeouts.add",
        "owners[0].type",
        "owners[0].exempt[0].pod",
    ]


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
