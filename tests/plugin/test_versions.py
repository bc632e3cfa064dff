"""Section 4 of the contract: delegates of different ages in one conflist."""

import json
import os
import shutil

import pytest

from tests.support.files.node import ALL_VERSIONS, Json, Node

RICH_INTERFACE = {"mtu": 1450, "socketPath": "/run/x.sock", "pciID": "0000:00:1f.6"}
RICH_ROUTE = {"mtu": 1400, "advmss": 1360, "priority": 7, "table": 100, "scope": 0}
LOST = ["mtu", "socketPath", "pciID", "advmss", "priority", "table", "scope"]


def rich(host: Node) -> Json:
    """A result with everything that 1.1.0 can say."""
    plain = host.result()
    return plain | {
        "interfaces": [
            {"name": "lxc1", "mac": "02:00:00:00:00:07"} | RICH_INTERFACE,
            plain["interfaces"][0] | RICH_INTERFACE,
        ],
        "ips": [
            {"interface": 1, "address": "10.1.0.5/24", "gateway": "10.1.0.1"},
            {"interface": 1, "address": "fd00::5/64", "gateway": "fd00::1"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.1.0.1"} | RICH_ROUTE,
            {"dst": "::/0", "gw": "fd00::1"} | RICH_ROUTE,
        ],
        "dns": {"nameservers": ["10.0.0.10"], "search": ["cluster.local"]},
    }


@pytest.mark.parametrize(
    ("supported", "asked", "spoken"),
    [
        pytest.param(ALL_VERSIONS, "1.1.0", "1.1.0", id="all-1.1.0"),
        pytest.param(ALL_VERSIONS, "0.4.0", "0.4.0", id="all-0.4.0"),
        pytest.param(ALL_VERSIONS[:-1], "1.1.0", "1.0.0", id="up-to-1.0.0"),
        pytest.param(["0.3.1", "0.4.0"], "1.1.0", "0.4.0", id="up-to-0.4.0"),
        pytest.param(["0.4.0", "0.3.1"], "1.0.0", "0.4.0", id="in-any-order"),
        pytest.param(["0.3.0", "0.3.1"], "1.1.0", "0.3.1", id="up-to-0.3.1"),
        pytest.param(["0.1.0", "0.2.0"], "1.1.0", "0.2.0", id="up-to-0.2.0"),
        pytest.param(["1.0.0", "9.0.0"], "1.1.0", "1.0.0", id="and-one-that-nobody-knows"),
        pytest.param(["1.0.0", "1.1.0"], "0.4.0", "1.1.0", id="only-newer-than-asked"),
    ],
)
def test_a_delegate_is_spoken_to_in_the_requests_version_or_the_highest_it_supports(
    node: Node, supported: list[str], asked: str, spoken: str
) -> None:
    """Always with prevResult.cniVersion, and the answer is in the request's version again."""
    node.plugin("istio-cni").supports(*supported)

    outcome = node.add(cniVersion=asked)

    conf = outcome.conf("istio-cni")
    assert (conf["cniVersion"], conf["prevResult"]["cniVersion"]) == (spoken, spoken)
    assert outcome.conf("portmap")["prevResult"]["cniVersion"] == asked
    assert outcome.answer["cniVersion"] == asked


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_the_final_result_is_in_the_requests_version(node: Node, version: str) -> None:
    outcome = node.add(cniVersion=version)

    assert outcome.answer["cniVersion"] == version
    assert ("ip4" if version < "0.3.0" else "ips") in outcome.answer
    assert node.delete(cniVersion=version).ok


def test_each_binary_is_asked_for_its_versions_once(node: Node) -> None:
    """With VERSION, remembered by inode, size and mtime."""
    node.fragment("local", "10-portmap.conf", {"plugins": [{"type": "portmap"}, {"type": "portmap"}]})

    assert sorted(node.add().asked) == ["cilium-cni", "istio-cni", "portmap"]
    assert node.add("c2").asked == []
    assert node.delete().asked == []


@pytest.mark.parametrize("how", ["renamed-over", "overwritten", "touched", "in-place-with-its-old-times"])
def test_a_replaced_binary_is_asked_again(node: Node, how: str) -> None:
    node.add()
    binary = node.bin_dir / "istio-cni"
    node.plugin("istio-cni").supports("0.3.1", "0.4.0")
    if how == "renamed-over":
        shutil.copy(binary, node.bin_dir / ".new")
        (node.bin_dir / ".new").rename(binary)
    elif how == "overwritten":
        with binary.open("ab") as file:
            file.write(b"\0")
    elif how == "in-place-with-its-old-times":  # as `rsync --inplace --times` does
        before, content = binary.stat(), binary.read_bytes()
        with binary.open("r+b") as file:
            file.write(content)
        os.utime(binary, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        os.utime(binary, ns=(1, 1))

    outcome = node.add("c2")

    assert outcome.asked == ["istio-cni"]
    assert outcome.conf("istio-cni")["cniVersion"] == "0.4.0"


def test_a_plugin_older_than_version_itself_speaks_0_1_0(host: Node) -> None:
    host.owner("old", "old")
    host.plugin("old").fails("VERSION", "unknown CNI_COMMAND: VERSION", code=4)

    outcome = host.add()

    assert outcome.conf("old")["cniVersion"] == "0.1.0"
    assert outcome.answer["ips"] == [{"address": "10.1.0.5/24", "gateway": "10.1.0.1"}]


def test_what_version_needs_is_there_without_supported_versions_in_0_2_0(host: Node) -> None:
    """The list was optional in 0.2.0, and then meant 0.1.0 and 0.2.0."""
    host.owner("old", "old")
    host.plugin("old").does("VERSION", prints={"cniVersion": "0.2.0"})

    assert host.add().conf("old")["cniVersion"] == "0.2.0"


@pytest.mark.parametrize(("orders", "code"), [(["exit 1"], 100), (["sleep 60"], 101), ([], 6), (["signal 9"], 100)])
def test_a_delegate_that_does_not_tell_its_versions_fails_add_before_anything_ran(
    node: Node, orders: list[str], code: int
) -> None:
    assert node.add().ok  # so that istio's plugin alone is asked again
    assert node.delete().ok
    os.utime(node.bin_dir / "istio-cni", ns=(1, 1))
    node.plugin("istio-cni").does("VERSION", *orders)

    outcome = node.add(**({"timeouts": {"ADD": 1}} if code == 101 else {}))

    assert (outcome.code, outcome.ran, node.records) == (code, [], [])
    assert "istio/istio-cni" in outcome.msg


def test_del_goes_on_without_the_versions(node: Node) -> None:
    """The plugin was replaced by one whose VERSION fails: its DEL is tried as its ADD was."""
    node.add(cniVersion="1.0.0")
    node.plugin("istio-cni").does("VERSION", "exit 1")
    os.utime(node.bin_dir / "istio-cni", ns=(1, 1))

    outcome = node.delete(cniVersion="1.0.0")

    assert outcome.ok
    assert outcome.conf("istio-cni")["cniVersion"] == "1.0.0"


def test_an_older_delegate_gets_prev_result_as_its_version_has_it(node: Node) -> None:
    """For 0.4.0 each address has its family, and an interface only what the version knows."""
    node.plugin("cilium-cni").does("ADD", prints=rich(node))
    node.plugin("istio-cni").supports("0.4.0")

    prev = node.add().conf("istio-cni")["prevResult"]

    assert prev["cniVersion"] == "0.4.0"
    assert [ip["version"] for ip in prev["ips"]] == ["4", "6"]
    assert [sorted(interface) for interface in prev["interfaces"]] == [["mac", "name"], ["mac", "name", "sandbox"]]
    assert prev["dns"] == rich(node)["dns"]


def test_a_delegate_below_0_3_0_gets_one_address_of_each_family(node: Node) -> None:
    node.plugin("cilium-cni").does("ADD", prints=rich(node))
    node.plugin("istio-cni").supports("0.1.0", "0.2.0")

    prev = node.add().conf("istio-cni")["prevResult"]

    assert prev == {
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.1.0.5/24", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]},
        "ip6": {"ip": "fd00::5/64", "gateway": "fd00::1", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
        "dns": rich(node)["dns"],
    }


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0", "1.0.0"])
def test_what_an_older_delegate_could_not_carry_is_put_back(node: Node, version: str) -> None:
    """Interface and route attributes, although a Go plugin's types have dropped them."""
    node.plugin("cilium-cni").does("ADD", prints=rich(node))
    node.plugin("istio-cni").supports(version).does("ADD", f"echo {' '.join(LOST)}")

    assert node.add().answer == rich(node)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_below_0_3_0_the_interfaces_are_put_back_whole(node: Node, version: str) -> None:
    node.plugin("cilium-cni").does("ADD", prints=rich(node))
    node.plugin("istio-cni").supports(version).does("ADD", f"echo {' '.join(LOST)}")

    answer = node.add().answer

    assert answer["interfaces"] == rich(node)["interfaces"]
    assert answer["ips"] == rich(node)["ips"]
    assert answer["routes"] == rich(node)["routes"]


def test_what_an_older_delegate_changed_itself_stays_changed(node: Node) -> None:
    """Attributes come back to the interface of that name, never over what the delegate says."""
    node.plugin("cilium-cni").does("ADD", prints=rich(node))
    answer = node.result("0.4.0", routes=[{"dst": "10.0.0.0/8"}])
    node.plugin("istio-cni").supports("0.4.0").does("ADD", prints=answer)

    final = node.add().answer

    assert final["interfaces"] == [node.result()["interfaces"][0] | RICH_INTERFACE]
    assert final["routes"] == [{"dst": "10.0.0.0/8"}]


@pytest.mark.parametrize("answered", ["0.3.1", "0.4.0", "1.0.0", "1.1.0", None])
def test_a_delegate_may_answer_in_another_version_than_asked(node: Node, answered: str | None) -> None:
    """None: without cniVersion, it is in the request's."""
    answer = node.result(answered or "1.1.0")
    if not answered:
        del answer["cniVersion"]
    node.plugin("cilium-cni").does("ADD", prints=answer)

    outcome = node.add()

    assert outcome.conf("istio-cni")["prevResult"] == node.result()
    assert outcome.answer == node.result()


def test_del_and_check_speak_to_each_delegate_in_its_version(node: Node) -> None:
    node.plugin("istio-cni").supports("0.3.1", "0.4.0")
    node.add()

    for outcome in (node.check_pod(prevResult=node.result()), node.delete(prevResult=node.result())):
        conf = outcome.conf("istio-cni")
        assert (conf["cniVersion"], conf["prevResult"]) == ("0.4.0", node.result("0.4.0"))


@pytest.mark.parametrize("versions", [[], [5], ["9.0.0"], None, "x"])
def test_what_a_newer_program_remembered_of_a_plugin_is_asked_again(node: Node, versions: object) -> None:
    node.add()
    path = node.state_dir / ".versions"
    remembered = json.loads(path.read_text())
    for entry in remembered.values():
        entry["versions"] = versions
    path.write_text(json.dumps(remembered))

    outcome = node.add("c2")

    assert outcome.ok
    assert outcome.asked == ["cilium-cni", "istio-cni", "portmap"]


def test_a_chain_asked_for_in_an_old_version_keeps_its_interfaces_inside(node: Node) -> None:
    """The runtime's 0.2.0 has none; what the delegates tell each other does."""
    node.plugin("cilium-cni").supports("1.0.0")
    node.plugin("istio-cni").supports("1.0.0")

    outcome = node.add(cniVersion="0.2.0")

    assert outcome.answer.keys() <= {"cniVersion", "ip4", "dns"}
    assert outcome.conf("istio-cni")["prevResult"]["interfaces"] == node.result("1.0.0")["interfaces"]
