"""Sections 2 to 5 of the contract under generated input: one JSON answer, no traceback, nothing half done.

The delegates behave here, so whatever fails could be known before the first of them ran.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.files.node import ABSENT, ALL_VERSIONS, Node, Outcome

bounded = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

names = st.sampled_from(["c1", "eth0", "pods", "1.1.0", "0.4.0", "cilium-cni", "true", "first", "10.0.0.1/24", ""])
texts = names | st.text(max_size=12).filter(lambda text: not text.startswith("/"))
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | numbers | texts
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
# As a time limit: none that a call keeps or exceeds by the machine's speed.
untimely = documents.filter(lambda value: isinstance(value, bool) or not isinstance(value, int | float) or value <= 0)

OWNER = {
    "name": texts,
    "types": documents,
    "required": documents,
    "exempt": documents | st.lists(st.fixed_dictionaries({"namespace": texts, "podNamePrefix": texts}), max_size=2),
    "duplicates": documents,
    "disableCheck": documents,
    "disableGC": documents,
    "onDelError": documents,
    "timeoutSeconds": untimely | st.floats(30, 90),
}
RESULT = {
    "cniVersion": texts,
    "interfaces": documents | st.lists(st.fixed_dictionaries({}, optional={"name": texts, "mtu": leaves}), max_size=2),
    "ips": documents
    | st.lists(st.fixed_dictionaries({}, optional={"address": texts, "interface": leaves}), max_size=2),
    "routes": documents | st.lists(st.fixed_dictionaries({}, optional={"dst": texts, "gw": leaves}), max_size=2),
    "dns": documents,
    "ip4": documents | st.fixed_dictionaries({}, optional={"ip": texts, "routes": documents}),
}
REQUEST = {
    "cniVersion": documents,
    "name": documents,
    "owners": documents | st.lists(st.fixed_dictionaries({}, optional=OWNER), max_size=3),
    "timeouts": documents | st.dictionaries(st.sampled_from(["ADD", "DEL", "GC"]), untimely, max_size=2),
    "logLevel": documents,
    "allowUnsafePermissions": documents,
    "mesh": documents,
    "chainDir": documents.filter(lambda value: not isinstance(value, str)),
    "runtimeConfig": documents | st.fixed_dictionaries({"mac": documents}) | st.just("mac"),
    "args": documents,
    "prevResult": documents | st.fixed_dictionaries({}, optional=RESULT),
    "cni.dev/valid-attachments": documents,
    "cni.dev/attachments": documents,
}
PLUGIN = {
    "type": texts,
    "cniVersion": documents,
    "cniVersions": documents,
    "name": documents,
    "capabilities": documents,
    "runtimeConfig": documents,
    "prevResult": documents,
    "args": documents,
    "disableCheck": documents,
    "plugins": documents | st.lists(st.fixed_dictionaries({"type": texts}), max_size=2),
}
VERBS = st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS"])


def nothing_half_done(host: Node, outcome: Outcome, **keys: Any) -> None:
    # A GC goes on past an owner that can't be used, and tells at its end.
    assert outcome.ok or [ran for ran in outcome.ran if not ran.startswith("GC ")] == []
    assert outcome.code != 999
    name = keys["name"] if outcome.ok and "name" in keys else host.network
    assert host.delete(name=name).ok
    assert host.records == []


@pytest.fixture
def small(host: Node) -> Node:
    host.owner("cilium")
    host.fragment("cilium", "10.conf", {"type": "cilium-cni", "capabilities": {"mac": True}})
    return host


@pytest.fixture
def two(small: Node) -> Node:
    small.owner("istio", "istio-cni")
    small.owner("local", "portmap")
    return small


@bounded
@given(
    verb=VERBS,
    stdin=st.binary(max_size=64)
    | documents.filter(lambda value: not (isinstance(value, dict) and "name" in value)).map(
        lambda value: json.dumps(value).encode()
    ),
)
def test_any_stdin(small: Node, verb: str, stdin: bytes) -> None:
    outcome = small.send(small.attachment(verb, "c1"), stdin)

    assert not outcome.ok
    assert outcome.ran == []


@bounded
@given(verb=VERBS, keys=st.fixed_dictionaries({}, optional=REQUEST).map(dict))
def test_any_request(small: Node, verb: str, keys: dict[str, Any]) -> None:
    nothing_half_done(small, small.call(verb, **keys), **keys)


@bounded
@given(
    verb=VERBS,
    key=st.sampled_from(sorted(REQUEST)),
    data=st.data(),
)
def test_any_single_key_of_a_good_request(small: Node, verb: str, key: str, data: st.DataObject) -> None:
    keys = {key: data.draw(REQUEST[key])}

    nothing_half_done(small, small.call(verb, **keys), **keys)


@bounded
@given(
    verb=VERBS,
    fragment=st.binary(max_size=40)
    | documents.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({}, optional=PLUGIN).map(lambda value: json.dumps(value).encode()),
    required=st.booleans(),
)
def test_any_fragment(small: Node, verb: str, fragment: bytes, required: bool) -> None:
    path: Path = small.fragment("local", "10.conf", fragment)
    owners = [*small.owners, {"name": "local", "required": required}]

    nothing_half_done(small, small.call(verb, owners=owners))

    path.unlink()


@bounded
@given(
    answer=st.fixed_dictionaries({}, optional=RESULT) | documents,
    spoken=st.sampled_from(ALL_VERSIONS),
    version=st.sampled_from(ALL_VERSIONS),
    errors=st.booleans(),
)
def test_any_answer_of_a_delegate(two: Node, answer: object, spoken: str, version: str, errors: bool) -> None:
    """Of whatever version the delegates are: it is a result for the runtime, or a failure that is rolled back."""
    two.plugin("istio-cni").does("ADD", *(["exit 1"] if errors else []), prints=answer).supports(spoken)
    os.utime(two.bin_dir / "istio-cni")  # so that it is asked again

    outcome = two.add(cniVersion=version)

    assert outcome.code != 999
    assert outcome.ok or outcome.ran[-1] == "DEL cilium-cni"
    assert two.check_pod().code != 999
    assert two.delete(cniVersion=version).ok
    assert two.records == []


@bounded
@given(
    env=st.dictionaries(
        st.sampled_from(["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS", "CNI_PATH", "LANG"]),
        (VERBS | texts | st.binary(max_size=9).map(os.fsdecode)).filter(lambda value: "\0" not in value),
        max_size=4,
    )
)
def test_any_environment(small: Node, env: dict[str, str]) -> None:
    small.plugin("cilium-cni").does("ADD", prints=small.result())
    given_env = small.attachment("ADD", "c1") | env
    outcome = small.send(given_env, json.dumps(small.request(owners=ABSENT)).encode())

    assert outcome.ok or outcome.ran == []
    if outcome.ok and given_env["CNI_COMMAND"] == "ADD":
        assert small.send(given_env | {"CNI_COMMAND": "DEL"}, json.dumps(small.request()).encode()).ok
