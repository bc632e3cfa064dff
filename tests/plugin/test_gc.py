"""Section 4 of the contract: GC."""

import pytest

from tests.support.files.node import ABSENT, Node, Outcome

GCS = ["GC cilium-cni", "GC istio-cni", "GC portmap"]
KEYS = ["cni.dev/valid-attachments", "cni.dev/attachments"]


def entry(container: str, ifname: str = "eth0") -> dict[str, str]:
    return {"containerID": container, "ifname": ifname}


def dels(container: str, host: Node) -> list[str]:
    return [call.type for call in host.calls if call.verb == "DEL" and call.env["CNI_CONTAINERID"] == container]


def lists(outcome: Outcome) -> list[object]:
    """What the delegates' GC got under both keys."""
    return [call.conf[key] for call in outcome.calls if call.verb == "GC" for key in KEYS]


@pytest.fixture
def pods(node: Node) -> Node:
    """The node with the attachments c1 and c2, its files declaring 1.1.0."""
    for owner, plugin in (("cilium", "cilium-cni"), ("istio", "istio-cni"), ("local", "portmap")):
        node.fragment(owner, f"10-{plugin}.conf", {"type": plugin, "cniVersion": "1.1.0"})
    assert node.add("c1").ok
    assert node.add("c2").ok
    return node


def test_without_the_key_nothing_of_ours_is_collected(pods: Node) -> None:
    """As `cnitool gc` calls it."""
    outcome = pods.gc()

    assert outcome.ran == GCS
    assert len(pods.records) == 2
    assert all(KEYS[0] not in call.conf for call in outcome.calls)


@pytest.mark.parametrize("valid", [None, []], ids=["null", "empty"])
def test_null_and_an_empty_list_mean_all_of_this_network(pods: Node, valid: object) -> None:
    pods.network = "other"
    pods.add("c9")
    pods.network = "pods"

    outcome = pods.gc(valid)

    assert outcome.ok
    assert (len(dels("c1", pods)), len(dels("c2", pods)), len(dels("c9", pods))) == (3, 3, 0)
    assert outcome.ran[-3:] == GCS
    assert len(pods.records) == 1
    assert all(call.conf[key] in (None, []) for call in outcome.calls[-3:] for key in KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_attachments_that_the_runtime_does_not_list_get_del(pods: Node, key: str) -> None:
    """From their record, before the delegates get GC; under either name of the key."""
    outcome = pods.call("GC", "", **{key: [entry("c2")]})

    assert outcome.ran == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni", *GCS]
    assert dels("c1", pods) == ["portmap", "istio-cni", "cilium-cni"]
    assert len(pods.records) == 1
    assert all(call.conf[key] == [entry("c2")] for call in outcome.calls if call.verb == "GC")


def test_valid_attachments_counts_if_both_keys_are_given(pods: Node) -> None:
    pods.call("GC", "", **{KEYS[0]: [entry("c1"), entry("c2")], KEYS[1]: []})

    assert len(pods.records) == 2


def test_an_attachment_is_container_and_interface(pods: Node) -> None:
    pods.gc(ABSENT, **{KEYS[0]: [entry("c1", "eth1"), entry("c2")]})

    assert (len(dels("c1", pods)), len(dels("c2", pods))) == (3, 0)


@pytest.mark.parametrize("valid", [5, "c1", {}, ["c1"], [5], [None], [{}], [{"containerID": "c1"}], [{"ifname": "e"}]])
def test_a_list_that_cannot_be_understood_collects_nothing(pods: Node, valid: object) -> None:
    outcome = pods.call("GC", "", **{KEYS[0]: valid})

    assert not outcome.ok
    assert (outcome.ran, len(pods.records)) == ([], 2)


def test_gc_uses_the_record_not_the_fragments(pods: Node) -> None:
    pods.fragment("istio", "10-istio-cni.conf", {"type": "other", "cniVersion": "1.1.0"})

    outcome = pods.gc(["c1"])

    assert dels("c2", pods) == ["portmap", "istio-cni", "cilium-cni"]
    assert outcome.ran[-3:] == ["GC cilium-cni", "GC other", "GC portmap"]


@pytest.mark.parametrize("versions", [["1.0.0"], ["0.3.1", "0.4.0"]])
def test_delegates_below_1_1_0_get_no_gc(node: Node, versions: list[str]) -> None:
    node.plugin("istio-cni").supports(*versions)

    assert node.gc([]).ran == ["GC cilium-cni", "GC portmap"]


def test_errors_are_collected(pods: Node) -> None:
    """Every delegate gets its GC; the first error's code and msg, the others in details."""
    pods.plugin("cilium-cni").fails("GC", "first", 21)
    pods.plugin("portmap").fails("GC", "second", 22)

    outcome = pods.gc(["c1", "c2"])

    assert (outcome.code, outcome.msg) == (21, "cilium/cilium-cni: first")
    assert "local/portmap: second" in outcome.details
    assert outcome.ran == GCS


def test_an_attachment_whose_del_failed_counts_as_valid(pods: Node) -> None:
    """Else a delegate would free what it still needs."""
    pods.plugin("istio-cni").fails("DEL", "no agent", 21, call=1)

    outcome = pods.gc([])

    assert outcome.code == 21
    assert len(pods.records) == 1
    failed = next(call for call in outcome.calls if (call.verb, call.type) == ("DEL", "istio-cni"))
    assert lists(outcome) == [[entry(failed.env["CNI_CONTAINERID"])]] * 6


def test_an_attachment_that_another_verb_holds_is_left_alone_and_counts_as_valid(pods: Node) -> None:
    pods.plugin("istio-cni").does("ADD", "sleep 60")
    adding = pods.begin("ADD", "c3")
    adding.reaches("ADD", "istio-cni")

    outcome = pods.gc(["c1"])

    assert outcome.ok
    assert (len(dels("c2", pods)), len(dels("c3", pods))) == (3, 0)
    assert lists(outcome) == [[entry("c1"), entry("c3")]] * 6
    adding.kill()


def test_an_attachment_whose_add_was_killed_is_collected(pods: Node) -> None:
    pods.plugin("istio-cni").does("ADD", "sleep 60")
    adding = pods.begin("ADD", "c3")
    adding.reaches("ADD", "istio-cni")
    adding.kill()

    assert pods.gc(["c1", "c2"]).ok
    assert set(dels("c3", pods)) >= {"istio-cni", "cilium-cni"}
    assert len(pods.records) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 4096, b"{}\n", b"[1]\n", b"null\n"])
def test_an_attachment_whose_record_is_damaged_is_deleted_by_the_chain_as_it_is_now(pods: Node, content: bytes) -> None:
    pods.records[0].write_bytes(content)

    outcome = pods.gc([])

    assert outcome.ran[-3:] == GCS
    assert (len(dels("c1", pods)), len(dels("c2", pods))) == (3, 3)
    assert pods.records == []


def test_what_a_delegate_prints_on_a_successful_gc_is_ignored(pods: Node) -> None:
    pods.plugin("istio-cni").does("GC", prints=b"collected 3\n")

    assert pods.gc(["c1", "c2"]).ok


@pytest.mark.parametrize("version", ["1.0.0", "0.4.0", ""])
def test_there_is_no_gc_below_1_1_0(pods: Node, version: str) -> None:
    outcome = pods.gc([], cniVersion=version)

    assert (outcome.code, outcome.ran, len(pods.records)) == (1, [], 2)


def test_the_dels_are_made_at_the_version_of_their_add(node: Node) -> None:
    """The record knows it; the delegate may know no other."""
    node.plugin("istio-cni").supports("0.3.1", "0.4.0")
    node.add(cniVersion="0.4.0")

    outcome = node.gc([])

    assert outcome.ok
    assert outcome.conf("istio-cni", "DEL")["cniVersion"] == "0.4.0"


@pytest.mark.parametrize("fault", ["directory", "writable", "shape", "no-type"])
def test_one_attachment_that_cannot_be_read_does_not_keep_the_others(pods: Node, fault: str) -> None:
    """Whatever one comes to, the rest is collected, and it is kept in the list that is passed on."""
    pods.add("c3")
    first = pods.records[0]
    if fault == "directory":
        first.unlink()
        first.mkdir()
        (first / "x").touch()
    elif fault == "writable":
        first.chmod(0o666)
    else:
        old, new = (
            (b'"capabilities":[]', b'"capabilities":1') if fault == "shape" else (b'"type":"cilium', b'"typ":"cilium')
        )
        first.write_bytes(first.read_bytes().replace(old, new))

    outcome = pods.gc([])

    kept = [] if fault in ("shape", "no-type", "directory") else [entry("c1")]
    assert (len(dels("c2", pods)), len(dels("c3", pods))) == (3, 3)
    assert outcome.ran[-3:] == GCS
    assert [path.name for path in pods.records] == [f"pods:{one['containerID']}:eth0" for one in kept]
    assert lists(outcome) == [kept] * 6
    assert outcome.code == (5 if kept else 0)


@pytest.mark.root
def test_if_the_attachments_cannot_be_told_no_delegate_is_given_the_list(pods: Node) -> None:
    """It would free what is still held."""
    pods.state_dir.chmod(0o770)

    outcome = pods.gc(["c1"])

    assert (outcome.code, outcome.ran) == (5, [])


def test_what_a_killed_add_left_of_writing_its_record_is_cleared_up(pods: Node) -> None:
    for name in (".new-pods:c7:eth0", ".new-other:c7:eth0"):
        (pods.state_dir / name).touch()

    pods.gc(["c1", "c2"])

    assert [path.name for path in pods.state_files if path.name.startswith(".new-")] == [".new-other:c7:eth0"]


@pytest.mark.root
def test_gc_deletes_nothing_of_the_nodes_own_namespace(node: Node) -> None:
    """A recorded /proc/<pid>/ns/net may by then be another process's."""
    netns = node.netns("c1")
    node.add("c1")
    netns.unlink()
    netns.symlink_to("/proc/self/ns/net")

    outcome = node.gc([])

    assert outcome.ok
    assert {call.env["CNI_NETNS"] for call in outcome.calls if call.verb == "DEL"} == {""}
    assert node.records == []


def test_gc_tells_which_attachment_it_could_not_delete(node: Node) -> None:
    node.add("c1")
    node.plugin("portmap").fails("DEL", "no")

    assert node.gc([]).msg == "attachment eth0 of container c1: local/portmap: no"


def test_gc_collects_even_if_the_chain_of_today_cannot_be_read(node: Node) -> None:
    node.add("c1")
    node.chain_dir.rename(node.root / "away")
    node.chain_dir.write_text("a file")

    node.gc([])

    assert node.records == []


def test_gc_refuses_two_lists_that_differ(node: Node) -> None:
    node.add("c1")

    outcome = node.gc(["c1"], **{"cni.dev/attachments": []})

    assert (outcome.code, len(node.records)) == (7, 1)
