"""Sections 3 and 4 of the contract: what a delegate gets on its standard input."""

import json

import pytest

from tests.support.files.node import ABSENT, Json, Node

CAPABILITIES = {"portMappings": True, "bandwidth": True, "dns": True}
RUNTIME = {
    "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
    "bandwidth": {"ingressBurst": 34359738359, "ingressRate": 0},
    "dns": None,
    "mac": "02:00:00:00:00:09",
}
VALID = [{"containerID": "c1", "ifname": "eth0"}]


def test_each_verb_has_its_own_derivation(host: Node) -> None:
    """The PluginConf + name, cniVersion, prevResult, runtimeConfig, args and cni.dev/*, and not a key more."""
    own = {"type": "portmap", "mtu": 1400}
    declared = {"cniVersion": "1.1.0", "capabilities": {"bandwidth": True}}
    host.fragment("local", "10.conf", own | declared | {"type": "bridge"})
    host.fragment("local", "20.conf", own | declared)
    host.owner("local")
    request = {"runtimeConfig": RUNTIME, "args": {"cni": {"a": 1}}, "cni.dev/future": [1]}
    first = {"type": "bridge", "mtu": 1400, "name": "pods", "cniVersion": "1.1.0"}
    plain = first | {"cni.dev/future": [1], "args": {"cni": {"a": 1}}}
    pod = plain | {"runtimeConfig": {"bandwidth": RUNTIME["bandwidth"]}}
    prev = {"prevResult": host.result()}

    added = host.add(**request)
    checked = host.check_pod(**request, **prev)
    collected = host.gc(["c1"], args={"cni": {"a": 1}}, **{"cni.dev/future": [1]})
    asked = host.status(args={"cni": {"a": 1}}, **{"cni.dev/future": [1]})
    deleted = host.delete(**request, **prev)

    assert added.answer == host.result()
    assert [call.conf for call in added.calls] == [pod, pod | prev | {"type": "portmap"}]
    assert [call.conf for call in checked.calls] == [pod | prev, pod | prev | {"type": "portmap"}]
    valid = {"cni.dev/valid-attachments": VALID, "cni.dev/attachments": VALID}
    assert [call.conf for call in collected.calls] == [plain | valid, plain | valid | {"type": "portmap"}]
    assert [call.conf for call in asked.calls] == [plain, plain | {"type": "portmap"}]
    assert [call.conf for call in deleted.calls] == [pod | prev | {"type": "portmap"}, pod | prev]


def test_a_fragments_own_derived_keys_never_reach_its_delegate(host: Node) -> None:
    """Name, cniVersion, prevResult, runtimeConfig, capabilities and cni.dev/* are derived."""
    host.owner("cilium")
    stale: Json = {
        "name": "stale",
        "cniVersion": "0.3.1",
        "prevResult": {"cniVersion": "0.3.1", "ips": []},
        "runtimeConfig": {"mac": "stale"},
        "capabilities": {"portMappings": False},
        "cni.dev/attachments": [],
        "cni.dev/anything": 1,
    }
    host.fragment("cilium", "10.conf", {"type": "cilium-cni", **stale})
    host.fragment("cilium", "20.conflist", {"plugins": [{"type": "portmap", **stale}], "args": {"stale": 1}, **stale})

    first, second = (call.conf for call in host.add().calls)

    assert first == {"type": "cilium-cni", "name": "pods", "cniVersion": "1.1.0"}
    assert second == {"type": "portmap", "name": "pods", "cniVersion": "1.1.0", "prevResult": host.result()}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"int": 9007199254740993, "big": 18446744073709551615, "neg": -9223372036854775808', id="64-bit"),
        pytest.param('"huge": 123456789012345678901234567890', id="more-than-64-bit"),
        pytest.param('"f": 0.1, "g": 1e22, "h": -0.0, "i": 1.5E-7, "j": 4.9e-324', id="fractions"),
        pytest.param('"t": true, "f": false, "n": null, "e": "", "z": 0', id="null-and-false"),
        pytest.param('"ipam": {}, "dns": {}', id="empty-ipam-and-dns"),
        pytest.param('"ipam": {"type": ""}', id="empty-ipam-type"),
        pytest.param('"u": "größe 🐝 \\u0000 \\ud83d\\ude00 \\u2028", "ключ": "\\u003c&>"', id="unicode"),
        pytest.param('"lone": "\\ud800"', id="lone-surrogate"),
        pytest.param('"": {"": []}, "a b": [[[{"x": [1, {}]}]]]', id="nested"),
        pytest.param('"deep": ' + "[" * 100 + "]" * 100, id="deep"),
        pytest.param('"Type": "other", "TYPE": 1, "Name": "x", "CNIVersion": "0"', id="other-case"),
        pytest.param('"kubernetes": {"kubeconfig": "/etc/x", "token": "s3cret"}', id="agents-keys"),
        pytest.param(
            '"log_level": "debug", "exclude_namespaces": ["istio-system"], "policy": {"type": "k8s"}', id="istio"
        ),
    ],
)
def test_every_other_key_reaches_the_delegate_unchanged(host: Node, text: str) -> None:
    host.owner("cilium")
    host.fragment("cilium", "10.conf", f'{{"type": "cilium-cni", {text}}}'.encode())
    host.plugin("cilium-cni")
    expected = json.loads(f"{{{text}}}")
    base = {"type": "cilium-cni", "name": "pods", "cniVersion": "1.1.0"}

    added = host.add()
    deleted = host.delete()

    for call in (*added.calls, *deleted.calls):
        got = {key: value for key, value in call.conf.items() if key != "prevResult"}
        # As text, because to Python 1, 1.0 and true are the same.
        assert json.dumps(got, sort_keys=True) == json.dumps(base | expected, sort_keys=True)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        pytest.param(None, None, id="none-declared"),
        pytest.param({}, None, id="empty"),
        pytest.param({"mac": True}, {"mac": RUNTIME["mac"]}, id="one"),
        pytest.param({"mac": False, "bandwidth": True}, {"bandwidth": RUNTIME["bandwidth"]}, id="false-is-no"),
        pytest.param({"dns": True}, {"dns": None}, id="null-is-a-value"),
        pytest.param({"ipRanges": True}, None, id="not-given"),
        pytest.param(CAPABILITIES, {key: RUNTIME[key] for key in CAPABILITIES}, id="several"),
    ],
)
def test_runtime_config_has_what_the_fragment_is_capable_of(host: Node, capabilities: object, expected: object) -> None:
    """Values untouched, also null."""
    host.owner("local")
    host.fragment("local", "10.conf", {"type": "portmap"} | ({"capabilities": capabilities} if capabilities else {}))

    (call,) = host.add(runtimeConfig=RUNTIME).calls

    assert call.conf.get("runtimeConfig") == expected
    assert ("runtimeConfig" in call.conf) == (expected is not None)


def test_without_a_runtime_config_there_is_none(host: Node) -> None:
    host.owner("local")
    host.fragment("local", "10.conf", {"type": "portmap", "capabilities": CAPABILITIES})

    assert "runtimeConfig" not in host.add().conf("portmap")
    assert "runtimeConfig" not in host.add("c2", runtimeConfig={}).conf("portmap")


def test_the_first_delegate_gets_the_prev_result_that_the_runtime_gave(host: Node) -> None:
    """cni-chain itself may be chained behind another plugin."""
    host.owner("istio", "istio-cni")
    before = host.result("1.0.0", dns={"nameservers": ["10.0.0.10"]})

    outcome = host.add(prevResult=before)

    assert outcome.conf("istio-cni")["prevResult"] == before | {"cniVersion": "1.1.0"}
    assert outcome.answer == before | {"cniVersion": "1.1.0"}


@pytest.mark.parametrize(
    ("request_args", "fragment_args", "expected"),
    [
        pytest.param({"cni": {"a": 1}}, ABSENT, {"cni": {"a": 1}}, id="the-requests"),
        pytest.param(ABSENT, {"own": 1}, {"own": 1}, id="the-fragments-own"),
        pytest.param({"cni": 1}, {"own": 1}, {"cni": 1}, id="the-requests-before-the-fragments"),
        pytest.param(ABSENT, ABSENT, ABSENT, id="none"),
    ],
)
def test_args_are_the_requests(host: Node, request_args: object, fragment_args: object, expected: object) -> None:
    """A fragment's own args stays if the request has none."""
    host.owner("cilium")
    own = {} if fragment_args is ABSENT else {"args": fragment_args}
    host.fragment("cilium", "10.conf", {"type": "cilium-cni", **own})

    assert host.add(args=request_args).conf("cilium-cni").get("args", ABSENT) == expected


def test_on_del_runtime_config_and_args_are_the_records_if_the_request_has_none(host: Node) -> None:
    host.owner("local")
    host.fragment("local", "10.conf", {"type": "portmap", "capabilities": {"mac": True}})
    host.add("kept", runtimeConfig=RUNTIME, args={"a": 1})
    host.add("given", runtimeConfig=RUNTIME, args={"a": 1})

    kept = host.delete("kept").conf("portmap")
    given = host.delete("given", runtimeConfig={"mac": "other"}, args={"a": 2}).conf("portmap")

    assert (kept["runtimeConfig"], kept["args"]) == ({"mac": RUNTIME["mac"]}, {"a": 1})
    assert (given["runtimeConfig"], given["args"]) == ({"mac": "other"}, {"a": 2})


@pytest.mark.parametrize(
    ("version", "given", "expected"),
    [
        pytest.param("1.1.0", True, "given", id="the-runtimes"),
        pytest.param("1.1.0", False, "recorded", id="else-the-records"),
        pytest.param("0.4.0", True, "given", id="0.4.0-the-runtimes"),
        pytest.param("0.4.0", False, "recorded", id="0.4.0-else-the-records"),
        pytest.param("0.3.1", False, "none", id="none-before-0.4.0"),
    ],
)
def test_on_del_every_delegate_gets_the_final_prev_result(node: Node, version: str, given: bool, expected: str) -> None:
    """prevResult (0.4.0 and later): the runtime's, else the record's."""
    other = node.result(version, dns={"domain": "given"})
    node.add(cniVersion=version)

    calls = node.delete(cniVersion=version, prevResult=other if given else ABSENT).calls

    wanted = {"given": other, "recorded": node.result(version), "none": None}[expected]
    assert [call.conf.get("prevResult") for call in calls] == [wanted] * 3


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_passes_the_attachments_on_under_the_keys_that_it_got(node: Node, key: str) -> None:
    node.add()

    outcome = node.call("GC", "", **{key: VALID})

    assert [call.conf[key] for call in outcome.calls] == [VALID] * 3
