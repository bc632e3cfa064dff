"""Results converted between all versions of the specification, and what an old delegate couldn't carry put back."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cni_chain.plugin import restoring, results
from cni_chain.plugin.spec import VERSIONS, at_least

DNS = {"nameservers": ["192.0.2.53"], "domain": "example.org"}
INTERFACES = [
    {"name": "cni0", "mac": "02:00:00:00:00:01", "mtu": 1500},
    {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/a", "mtu": 1400, "pciID": "0000:00:01.0"},
]
IPS = [
    {"address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 1},
    {"address": "2001:db8::7/64", "interface": 1},
    {"address": "192.0.2.8/24", "interface": 0},
]
ROUTES = [
    {"dst": "0.0.0.0/0", "gw": "192.0.2.1", "mtu": 1300, "scope": 0},
    {"dst": "2001:db8:1::/48", "priority": 7},
]


def full(version: str) -> dict[str, Any]:
    """A result that says all that can be said in `version`."""
    if not at_least(version, "0.3.0"):
        return {
            "cniVersion": version,
            "ip4": {"ip": "192.0.2.7/24", "gateway": "192.0.2.1", "routes": [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}]},
            "ip6": {"ip": "2001:db8::7/64", "routes": [{"dst": "2001:db8:1::/48"}]},
            "dns": DNS,
        }
    ips = copy.deepcopy(IPS)
    interfaces = copy.deepcopy(INTERFACES)
    if not at_least(version, "1.0.0"):
        ips = [{"version": "6" if ":" in str(ip["address"]) else "4", **ip} for ip in ips]
        interfaces = [{k: v for k, v in interface.items() if k not in ("mtu", "pciID")} for interface in interfaces]
    return {"cniVersion": version, "interfaces": interfaces, "ips": ips, "routes": copy.deepcopy(ROUTES), "dns": DNS}


def shape(version: str) -> str:
    if at_least(version, "1.0.0"):
        return "100"
    return "040" if at_least(version, "0.3.0") else "020"


def expected(source: str, target: str) -> dict[str, Any]:
    """What libcni makes of `full(source)` in `target` (its rules are in cni's pkg/types/internal)."""
    if source == target or shape(source) == shape(target):
        return {**full(source), "cniVersion": target}
    if shape(target) == "020":
        return full(target)
    result = full(target)
    if shape(source) == "020":
        del result["interfaces"]
        result["ips"] = [{k: v for k, v in ip.items() if k != "interface"} for ip in result["ips"][:2]]
        result["routes"] = [{"dst": "0.0.0.0/0", "gw": "192.0.2.1"}, {"dst": "2001:db8:1::/48"}]
    if shape(source) == "040":
        result["interfaces"] = full(source)["interfaces"]
    return result


@pytest.mark.parametrize("target", VERSIONS)
@pytest.mark.parametrize("source", VERSIONS)
def test_a_result_is_converted_between_any_two_versions(source: str, target: str) -> None:
    given = full(source)
    before = copy.deepcopy(given)

    converted = results.convert(given, target)

    assert expected(source, target) == converted
    assert before == given, "the given result must not change"
    assert results.check(converted) == ""


@pytest.mark.parametrize("answered", VERSIONS)
def test_a_delegate_that_echoes_what_it_understands_loses_nothing(answered: str) -> None:
    before = full("1.1.0")
    echoed = results.convert(results.convert(before, answered), "1.1.0")

    assert before == restoring.restore(echoed, before, answered)


@pytest.mark.parametrize("answered", VERSIONS)
def test_order_and_second_addresses_survive_an_old_delegate(answered: str) -> None:
    before: dict[str, Any] = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "sandbox": "/n"}, {"name": "eth1", "sandbox": "/n"}],
        "ips": [
            {"address": "2001:db8::7/64", "interface": 0},
            {"address": "192.0.2.7/24", "interface": 0},
            {"address": "192.0.2.7/24", "interface": 1},
        ],
        "routes": [{"dst": "::/0"}, {"dst": "0.0.0.0/0"}, {"dst": "198.51.100.0/24"}],
        "dns": {},
    }
    echoed = results.convert(results.convert(before, answered), "1.1.0")

    assert before == {"dns": {}, **restoring.restore(echoed, before, answered)}


POLICY: list[dict[str, Any]] = [
    {"dst": "0.0.0.0/0", "gw": "10.0.0.1", "table": 100, "priority": 5},
    {"dst": "0.0.0.0/0", "gw": "10.0.0.1", "table": 200},
    {"dst": "0.0.0.0/0", "gw": "10.0.0.1"},
]


@pytest.mark.parametrize("answered", ["0.2.0", "0.3.1", "1.0.0"])
@pytest.mark.parametrize("carries", [True, False])
def test_routes_that_differ_by_table_alone_keep_their_own(answered: str, carries: bool) -> None:
    before = {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}], "routes": POLICY}
    plain = [{"dst": route["dst"], "gw": route["gw"]} for route in POLICY]
    result = {**before, "routes": POLICY if carries else plain}

    assert restoring.restore(result, before, answered)["routes"] == POLICY


@pytest.mark.parametrize(
    ("written", "by_go"),
    [("FD00:0::/64", "fd00::/64"), ("2001:DB8:0:0:1::7/128", "2001:db8:0:0:1::7/128"), ("::/0",) * 2],
)
@pytest.mark.parametrize("answered", ["0.2.0", "0.3.1", "1.0.0"])
def test_an_address_that_a_delegate_writes_anew_is_the_same(answered: str, written: str, by_go: str) -> None:
    """The first delegate's own spelling is legal; behind a delegate in Go it is another text."""
    before = {
        "cniVersion": "1.1.0",
        "ips": [{"address": "FD00:0::7/64", "gateway": "FD00:0::1"}],
        "routes": [{"dst": written, "gw": "FD00:0::1", "mtu": 1400}],
    }
    echoed = {
        "cniVersion": "1.1.0",
        "ips": [{"address": "fd00::7/64", "gateway": "fd00::1"}],
        "routes": [{"dst": by_go, "gw": "fd00::1"}],
    }

    restored = restoring.restore(echoed, before, answered)

    assert restored["routes"][0] == {"dst": by_go, "gw": "fd00::1", "mtu": 1400}
    assert [ip["address"] for ip in restored["ips"]] == ["fd00::7/64"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"ip4": {"ip": "10.0.0.2/24"}, "ip6": {"ip": "fd00::2/64"}}, ["10.0.0.2/24", "fd00::2/64"]),
        ({"ip4": {"ip": "10.0.0.9/24"}}, ["10.0.0.9/24"]),
    ],
    ids=["added", "replaced"],
)
def test_an_address_that_an_old_delegate_adds_comes_last(answer: dict[str, Any], expected: list[str]) -> None:
    """The first address is the pod's own: Kubernetes takes it for status.podIP."""
    before = {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24", "interface": 0}], "interfaces": [{"name": "e"}]}
    result = results.convert({"cniVersion": "0.2.0", **answer}, "1.1.0")

    assert [ip["address"] for ip in restoring.restore(result, before, "0.2.0")["ips"]] == expected


def test_nothing_is_put_back_where_nobody_can_tell_which_route_is_which() -> None:
    before = {"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}], "routes": POLICY}
    result = {**before, "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}]}

    assert restoring.restore(result, before, "1.0.0") == result


def test_attributes_are_not_put_back_on_an_interface_that_the_delegate_replaced() -> None:
    before = full("1.1.0")
    result = {**full("1.0.0"), "cniVersion": "1.1.0", "interfaces": [{"name": "eth1", "sandbox": "/run/netns/a"}]}

    restored = restoring.restore(result, before, "1.0.0")

    assert restored["interfaces"] == [{"name": "eth1", "sandbox": "/run/netns/a"}]


def test_an_address_that_an_old_delegate_added_stays() -> None:
    before = full("1.1.0")
    answered = {"cniVersion": "0.2.0", "ip4": {"ip": "198.51.100.1/24"}, "dns": {}}

    restored = restoring.restore(results.convert(answered, "1.1.0"), before, "0.2.0")

    assert [ip["address"] for ip in restored["ips"]] == ["198.51.100.1/24", "192.0.2.8/24"]
    assert restored["interfaces"] == INTERFACES


def test_a_result_without_addresses_can_still_be_told_to_an_old_delegate() -> None:
    assert results.convert({"cniVersion": "1.0.0"}, "0.2.0") == {"cniVersion": "0.2.0", "dns": {}}


@pytest.mark.parametrize(
    ("address", "family"),
    [("192.0.2.1/24", "4"), ("2001:db8::1/64", "6"), ("::ffff:192.0.2.1/120", "4"), ("::1/128", "6")],
)
def test_the_family_of_an_address_is_what_go_prints(address: str, family: str) -> None:
    converted = results.convert({"cniVersion": "1.0.0", "ips": [{"address": address}]}, "0.4.0")

    assert [{"version": family, "address": address}] == converted["ips"]


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        pytest.param([], "not a JSON object", id="a list"),
        pytest.param({"cniVersion": "9.9.9"}, "key cniVersion: unsupported: '9.9.9'", id="a version of the future"),
        pytest.param({"ips": {}}, "key ips: must be a list", id="ips no list"),
        pytest.param({"ips": [1]}, "key ips[0]: must be an object", id="an ip that is none"),
        pytest.param({"ips": [{}]}, "key ips[0].address: must be an address with a prefix length", id="no address"),
        pytest.param(
            {"ips": [{"address": "10.0.0.1"}]},
            "key ips[0].address: must be an address with a prefix length",
            id="no prefix",
        ),
        pytest.param(
            {"ips": [{"address": "10.0.0.1/33"}]},
            "key ips[0].address: must be an address with a prefix length",
            id="/33",
        ),
        pytest.param(
            {"ips": [{"address": "10.0.0.256/8"}]},
            "key ips[0].address: must be an address with a prefix length",
            id="256",
        ),
        pytest.param(
            {"interfaces": [{"name": "a"}], "ips": [{"address": "10.0.0.1/8", "interface": 1}]},
            "key ips[0].interface: 1 is out of range, the result has 1 interfaces",
            id="index past the end",
        ),
        pytest.param(
            {"interfaces": [{"name": "a"}], "ips": [{"address": "10.0.0.1/8", "interface": -1}]},
            "key ips[0].interface: -1 is out of range, the result has 1 interfaces",
            id="negative index",
        ),
        pytest.param(
            {"interfaces": [{"name": "a"}], "ips": [{"address": "10.0.0.1/8", "interface": True}]},
            "key ips[0].interface: True is out of range, the result has 1 interfaces",
            id="an index that is no number",
        ),
        pytest.param(
            {"interfaces": [{"name": [1]}]}, "key interfaces[0].name: must be a string", id="a name that is none"
        ),
        pytest.param(
            {"routes": [{}]}, "key routes[0].dst: must be an address with a prefix length", id="no destination"
        ),
        pytest.param({"dns": [1]}, "key dns: must be an object", id="dns no object"),
        pytest.param({"ip4": {}}, "key ip4[0].ip: must be an address with a prefix length", id="ip4 without ip"),
        pytest.param(
            {"ip4": {"ip": "10.0.0.1/8", "routes": 3}}, "key ip4.routes: must be a list", id="ip4's routes no list"
        ),
    ],
)
def test_a_malformed_result_is_told_by_its_key(result: Any, fault: str) -> None:
    assert fault == results.check(result)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_full_result_of_every_version_is_valid(version: str) -> None:
    assert results.check(full(version)) == ""
