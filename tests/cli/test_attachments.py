"""`cni-chain attachments`: what was run for each pod and is not undone yet."""

import calendar
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.files.node import Node, run, wait_until, with_pods
from tests.support.sandbox.node import is_frozen


def test_each_attachment_is_a_line(pods: Node) -> None:
    pods.ages("c1", 7300)

    assert pods.run("attachments") == (
        0,
        """\
POD            IFACE  ADDRESSES    PLUGINS                       AGE  STATE  CONTAINER
default/web-1  eth0   10.1.0.5/24  cilium-cni,istio-cni,portmap  2h   added  c1
""",
        "",
    )


def test_the_newest_comes_first_and_a_container_without_a_pod_is_one_too(pods: Node) -> None:
    pods.add("c2")
    pods.ages("c2", 100)

    rows = pods.run("attachments").stdout.splitlines()[1:]

    assert [(row.split()[0], row.split()[-1]) for row in rows] == [("default/web-1", "c1"), ("-", "c2")]


def test_what_is_not_as_it_should_be_is_in_its_state(pods: Node) -> None:
    pods.add("c2")
    pods.plugin("istio-cni").fails("DEL")
    pods.delete("c1")
    pods.loses_its_namespace("c2")

    states = {row.split()[-1]: row for row in pods.run("attachments").stdout.splitlines()}

    assert "deleting, left: cilium-cni, istio-cni" in states["c1"]
    assert "added, namespace gone" in states["c2"]


def test_one_whose_del_failed_has_the_last_error_and_how_often(pods: Node) -> None:
    pods.strands("c1")
    pods.tried("c1", 3, 300)

    (row,) = (line for line in pods.run("attachments", "c1").stdout.splitlines() if line.startswith("  state "))
    (held,) = pods.json("attachments")["attachments"]

    assert row == (
        "  state      deleting, left: cilium-cni, istio-cni; its DEL failed 3 times, the last time 5m ago: "
        "istio/istio-cni: the agent is away"
    )
    assert (held["state"], held["tries"], held["error"]["code"]) == ("deleting", 3, 11)
    assert held["error"]["msg"] == "istio/istio-cni: the agent is away"
    last = calendar.timegm(time.strptime(held["lastTry"], "%Y-%m-%dT%H:%M:%SZ"))
    assert 290 < time.time() - last < 360


def test_the_markers_of_what_waits_for_its_retry_are_no_records(pods: Node) -> None:
    pods.strands("c1")

    result = pods.run("attachments")

    assert (result.status, len(result.stdout.splitlines())) == (0, 2)


def test_an_add_that_was_killed_is_still_adding(pods: Node) -> None:
    pods.plugin("istio-cni").does("ADD", "sleep 30")
    running = pods.begin("ADD", "c2")
    running.reaches("ADD", "istio-cni")

    held = next(one for one in pods.json("attachments")["attachments"] if one["containerID"] == "c2")
    running.kill()

    assert (held["state"], held["addresses"]) == ("adding", ["10.1.0.5/24"])


def test_no_attachment_at_all_is_said(host: Node) -> None:
    made = with_pods(host)

    assert made.run("attachments") == (0, f"No attachment is recorded in {host.state_dir}.\n", "")


def test_damaged_records_are_named(pods: Node) -> None:
    pods.add("c2")
    pods.record("c2").write_text("{}\n")
    (pods.state_dir / ".damaged-pods:c3:eth0").write_text("")

    result = pods.run("attachments")

    assert result.status == 1
    assert result.stdout.splitlines()[2:] == [
        f"! {pods.state_dir}/.damaged-pods:c3:eth0: set aside: empty",
        f"! {pods.record('c2')}: damaged: not of kind cni-chain/2, with a checksum",
    ]


def test_json_has_everything_that_is_listed(pods: Node) -> None:
    (pods.state_dir / ".damaged-pods:c3:eth0").write_text("")

    document = pods.json("attachments")

    (held,) = document["attachments"]
    created = calendar.timegm(time.strptime(held.pop("created"), "%Y-%m-%dT%H:%M:%SZ"))
    assert abs(time.time() - created) < 60
    assert held.pop("ageSeconds") < 60
    assert held == {
        "file": str(pods.record("c1")),
        "network": "pods",
        "containerID": "c1",
        "ifname": "eth0",
        "pod": "default/web-1",
        "state": "added",
        "error": None,
        "tries": 0,
        "lastTry": None,
        "addresses": ["10.1.0.5/24"],
        "delegates": [
            {
                "owner": owner,
                "type": type_,
                "file": f"{pods.chain_dir}/{owner}.d/10-{type_}.conf",
                "cniVersion": "1.1.0",
                "pending": True,
            }
            for owner, type_ in (("cilium", "cilium-cni"), ("istio", "istio-cni"), ("local", "portmap"))
        ],
        "netns": str(pods.netns("c1")),
        "namespace": "there",
    }
    assert document["damaged"] == [
        {"file": f"{pods.state_dir}/.damaged-pods:c3:eth0", "reason": "empty", "setAside": True}
    ]
    assert document["stateDirs"] == [{"path": str(pods.state_dir), "error": None}]


def test_the_state_directory_is_the_facades(pods: Node) -> None:
    result = run(pods.program, "attachments", "--net-dir", str(pods.net_dir), "--json")

    assert str(pods.state_dir) in [one["path"] for one in json.loads(result.stdout)["stateDirs"]]


def test_of_another_systems_tree_namespaces_are_not_looked_for(pods: Node) -> None:
    result = run(pods.program, "attachments", "--root", str(pods.root), "--state-dir", "/var/lib/cni/chain", "--json")

    (held,) = json.loads(result.stdout)["attachments"]
    assert (held["file"], held["namespace"]) == ("/var/lib/cni/chain/pods:c1:eth0", "unknown")


def test_everything_of_one_container_by_the_beginning_of_its_id(pods: Node) -> None:
    pods.add("d4e5f6", CNI_ARGS="K8S_POD_NAMESPACE=prod;K8S_POD_NAME=db-0")

    result = pods.run("attachments", "d4")

    lines = result.stdout.splitlines()
    assert (result.status, lines[0]) == (0, "prod/db-0")
    told = "\n".join(lines)
    for line in (
        "  container  d4e5f6",
        "  interface  eth0",
        "  network    pods",
        f"  namespace  {pods.netns('d4e5f6')}",
        "  state      added",
        "  addresses  10.1.0.5/24",
        "    interface  eth0  02:00:00:00:00:01  in the container",
        "    address    10.1.0.5/24  gateway 10.1.0.1",
        "    route      0.0.0.0/0",
    ):
        assert f"\n{line}\n" in told
    assert f"  2  istio   istio-cni   1.1.0  {pods.chain_dir}/istio.d/10-istio-cni.conf" in lines
    assert "web-1" not in told


def test_configurations_are_left_to_json_since_they_may_hold_credentials(pods: Node) -> None:
    pods.fragment("local", "10-portmap.conf", {"type": "portmap", "token": "s3cret"})
    pods.add("c2", runtimeConfig={"portMappings": [{"hostPort": 80}]})

    (held,) = pods.json("attachments", "c2")["attachments"]

    assert "s3cret" not in pods.run("attachments", "c2").stdout
    assert held["delegates"][2]["conf"] == {"type": "portmap", "token": "s3cret"}
    assert held["runtimeConfig"] == {"portMappings": [{"hostPort": 80}]}
    assert held["path"] == pods.cni_path
    assert held["result"]["ips"][0]["address"] == "10.1.0.5/24"


def test_an_id_that_nobody_has(pods: Node) -> None:
    assert pods.run("attachments", "zz") == (
        1,
        "",
        "cni-chain: no attachment of a container whose ID begins with 'zz'\n",
    )


def test_a_damaged_record_of_that_container_is_named(pods: Node) -> None:
    pods.record("c1").write_text("")

    result = pods.run("attachments", "c1")

    assert (result.status, result.stdout) == (1, f"! {pods.record('c1')}: damaged: empty\n")


@pytest.mark.parametrize("path", ["{root}/netns/c1", "/nowhere/c1"], ids=["gone", "no such directory here"])
def test_why_the_kernel_is_not_asked_is_said(pods: Node, path: str) -> None:
    netns = path.format(root=pods.root)
    pods.call("ADD", "c2", CNI_NETNS=netns)
    pods.loses_its_namespace("c1")

    told = " ".join(pods.run("attachments", "c2").stdout.split())

    why = "it is gone" if netns.startswith(str(pods.root)) else "/nowhere doesn't exist here: is this the runtime's"
    assert f"Its namespace can't be read: {why}" in told


def ip(*words: str) -> None:
    subprocess.run(["/usr/sbin/ip", *words], check=True)


@pytest.fixture
def namespace() -> Iterator[Path]:
    """A real network namespace with the interface that the recording plugin says it has made."""
    path = Path(f"/run/netns/cni-chain-test-{time.time_ns()}")
    ip("netns", "add", path.name)
    try:
        ip("-n", path.name, "link", "add", "eth0", "type", "veth", "peer", "name", "peer0")
        ip("-n", path.name, "link", "set", "eth0", "address", "02:00:00:00:00:01", "up")
        ip("-n", path.name, "address", "add", "10.1.0.5/24", "dev", "eth0")
        ip("-n", path.name, "route", "add", "default", "via", "10.1.0.1")
        yield path
    finally:
        ip("netns", "del", path.name)


@pytest.mark.root
def test_a_namespace_that_holds_what_is_recorded(pods: Node, namespace: Path) -> None:
    answer = pods.result()
    answer["interfaces"][0]["sandbox"] = str(namespace)
    pods.plugin("cilium-cni").does("ADD", prints=answer)
    pods.call("ADD", "c2", CNI_NETNS=str(namespace))

    assert pods.run("attachments", "c2").stdout.endswith("\n  Its namespace agrees with the record.\n")
    assert pods.json("attachments", "c2")["attachments"][0]["differences"] == []


@pytest.mark.root
def test_a_namespace_is_found_wherever_its_path_is(pods: Node, namespace: Path) -> None:
    process = subprocess.Popen(["/usr/bin/nsenter", f"--net={namespace}", "sleep", "60"])
    try:
        pods.call("ADD", "c2", CNI_NETNS=f"/proc/{process.pid}/ns/net")
        entered = Path(f"/proc/{process.pid}/ns/net")
        wait_until(lambda: entered.stat().st_ino == namespace.stat().st_ino, "the process is in the namespace")

        assert pods.json("attachments", "c2")["attachments"][0]["differences"] == []
    finally:
        process.kill()
        process.wait()


@pytest.mark.root
def test_a_namespace_that_somebody_has_changed(pods: Node, namespace: Path) -> None:
    pods.call("ADD", "c2", CNI_NETNS=str(namespace))
    ip("-n", namespace.name, "link", "set", "eth0", "address", "02:00:00:00:00:02")
    ip("-n", namespace.name, "route", "del", "default")
    ip("-n", namespace.name, "address", "add", "10.1.1.6/24", "dev", "eth0")
    ip("-n", namespace.name, "address", "del", "10.1.0.5/24", "dev", "eth0")

    assert pods.json("attachments", "c2")["attachments"][0]["differences"] == [
        "eth0: MAC 02:00:00:00:00:01 recorded, 02:00:00:00:00:02 found",
        "eth0: 10.1.0.5/24 recorded, not found",
        "eth0: 10.1.1.6/24 found, not recorded",
        "route 0.0.0.0/0: recorded, not found",
    ]
    assert "Its namespace differs from the record:" in pods.run("attachments", "c2").stdout


@pytest.mark.root
def test_routes_of_every_kind_and_a_second_address(pods: Node, namespace: Path) -> None:
    for words in (
        ["address", "add", "fd00::5/64", "dev", "eth0", "nodad"],
        ["route", "add", "10.7.0.0/16", "nexthop", "via", "10.1.0.1", "nexthop", "via", "10.1.0.2"],
        ["route", "add", "10.8.0.0/16", "via", "inet6", "fd00::1", "dev", "eth0"],
        ["route", "add", "fd01::/64", "via", "fd00::1"],
        ["route", "add", "10.9.0.0/16", "via", "10.1.0.1", "table", "500"],
    ):
        ip("-n", namespace.name, *words)
    answer = pods.result()
    answer["ips"].append({"address": "fd00::5/64", "interface": 0})
    held = {"10.7.0.0/16": "10.1.0.2", "10.8.0.0/16": "fd00::1", "fd01::/64": "fd00::1", "10.1.0.0/24": ""}
    gone = {"10.9.0.0/16": "10.1.0.1", "fd01::/64": "fd00::2", "::/0": ""}
    answer["routes"] = [{"dst": to, **({"gw": gw} if gw else {})} for to, gw in [*held.items(), *gone.items()]]
    pods.plugin("cilium-cni").does("ADD", prints=answer)
    pods.call("ADD", "c2", CNI_NETNS=str(namespace))

    assert pods.json("attachments", "c2")["attachments"][0]["differences"] == [
        "route 10.9.0.0/16 via 10.1.0.1: recorded, not found",
        "route fd01::/64 via fd00::2: recorded, not found",
        "route ::/0: recorded, not found",
    ]


@pytest.mark.root
def test_the_kernel_is_asked_where_no_ip_is_installed(pods: Node, namespace: Path) -> None:
    pods.call("ADD", "c2", CNI_NETNS=str(namespace))
    hidden = 'for file in /sbin/ip /bin/ip; do [ ! -e $file ] || mount --bind /dev/null $file || exit; done; exec "$@"'
    where = ["--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir), "--json"]

    done = run("/usr/bin/unshare", "--mount", "sh", "-c", hidden, "sh", pods.program, "attachments", "c2", *where)

    assert (done.status, json.loads(done.stdout)["attachments"][0]["differences"]) == (0, [])


@pytest.mark.root
def test_the_kernel_is_asked_whatever_the_nodes_own_libraries_are(pods: Node, namespace: Path) -> None:
    """An interpreter's extensions need libffi, which many a node has in another version, or not at all."""
    if not is_frozen(pods.program):
        pytest.skip("by design: the source has its interpreter's libraries")
    pods.call("ADD", "c2", CNI_NETNS=str(namespace))
    for number in (6, 7, 8, 9):
        (pods.root / f"libffi.so.{number}").write_text("another")

    done = pods.run("attachments", "c2", "--json", environ={"LD_LIBRARY_PATH": str(pods.root)})

    assert (done.stderr, json.loads(done.stdout)["attachments"][0]["differences"]) == ("", [])


@pytest.mark.root
def test_a_path_that_is_no_namespace(pods: Node) -> None:
    path = pods.root / "file"
    path.touch()
    pods.call("ADD", "c2", CNI_NETNS=str(path))

    told = pods.json("attachments", "c2")["attachments"][0]["differencesUnknown"]
    assert told == f"{path}: Invalid argument"


@pytest.mark.root
def test_an_interface_of_the_node_that_is_not_there_any_more(pods: Node, namespace: Path) -> None:
    answer = pods.result()
    answer["interfaces"] += [{"name": "lo"}, {"name": "veth-none"}]
    pods.plugin("cilium-cni").does("ADD", prints=answer)
    pods.call("ADD", "c2", CNI_NETNS=str(namespace))

    told = pods.json("attachments", "c2")["attachments"][0]["differences"]
    assert told == ["veth-none: recorded on the node, not found"]


@pytest.mark.root
def test_an_interface_that_is_not_there_any_more(pods: Node, namespace: Path) -> None:
    pods.call("ADD", "c2", CNI_NETNS=str(namespace))
    ip("-n", namespace.name, "link", "del", "eth0")

    assert "eth0: recorded, not found" in pods.json("attachments", "c2")["attachments"][0]["differences"]


@pytest.mark.parametrize("command", ["cat", "attachments", "gc", "doctor"])
def test_the_help_of_each_command_for_operators_has_examples_and_the_exit_status(program: str, command: str) -> None:
    status, stdout, stderr = run(program, command, "--help")

    assert (status, stderr) == (0, "")
    for told in ("Examples:", "Exit status:", "--json", "--net-dir", f"  cni-chain {command}"):
        assert told in stdout
    assert max(map(len, stdout.splitlines())) <= 110
