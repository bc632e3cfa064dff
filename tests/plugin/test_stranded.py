"""Section 4 of the contract: what could not be undone is retried without anybody's call, until it is."""

import json
import os
import time
from typing import Any

import pytest

from cni_chain.plugin import record
from tests.support.files.node import Node, Outcome

DELS = ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
HOUR = 3600
RETRY = 4  # seconds that all retries of one call may take


def refuse(node: Node, *containers: str) -> None:
    """Each container's ADD fails, and so does its undoing; the runtime's own DEL, its only one, fails too."""
    node.plugin("istio-cni").fails("ADD", "no agent").fails("DEL", "no agent", 12)
    for container in containers:
        assert not node.add(container).ok
        assert not node.delete(container).ok
    node.plugin("istio-cni").behaves("ADD").behaves("DEL")


def wait(node: Node, seconds: float) -> None:
    """As if that much time had gone by."""
    directory = node.state_dir / ".stranded"
    for path in [*directory.iterdir(), directory]:
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def heal(node: Node, **request: Any) -> list[Outcome]:
    """The pod that heals is added; the next one if the machine stood still for as long as its retries may take."""
    outcomes: list[Outcome] = []
    for number in range(5):
        begun = time.monotonic()
        outcomes.append(node.add(f"healthy{number}", **request))
        if time.monotonic() - begun < RETRY or not node.stranded:
            break
        wait(node, HOUR)
    return outcomes


def tries(node: Node, container: str) -> int:
    return (node.state_dir / ".stranded" / f"pods:{container}:eth0").stat().st_size


def test_what_failed_is_kept_with_its_error_and_marked(node: Node) -> None:
    refuse(node, "c1")

    (path,) = node.records
    last = json.loads(path.read_bytes().splitlines()[-1])
    assert node.stranded == ["pods:c1:eth0"]
    assert tries(node, "c1") == 2
    assert (last["state"], last["error"]["code"], last["error"]["msg"]) == ("deleting", 12, "istio/istio-cni: no agent")


def test_once_the_agent_is_back_the_next_pod_heals_them_all(node: Node) -> None:
    """N failed sandboxes leave 0 records, and nobody called GC."""
    refuse(node, *(f"c{number}" for number in range(10)))
    wait(node, HOUR)

    outcomes = heal(node)

    assert all(outcome.ok for outcome in outcomes)
    healed = [call for outcome in outcomes for call in outcome.calls if (call.verb, call.type) == ("DEL", "cilium-cni")]
    assert sorted({call.env["CNI_CONTAINERID"] for call in healed}) == [f"c{number}" for number in range(10)]
    assert [path.name for path in node.records] == [f"pods:healthy{number}:eth0" for number in range(len(outcomes))]
    assert not (node.state_dir / ".stranded").exists()


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_answer_of_the_call_that_heals_is_its_own(node: Node, verb: str) -> None:
    if verb == "DEL":
        node.add("healthy")
    refuse(node, "c1")
    wait(node, HOUR)

    outcome = node.call(verb, "healthy")

    assert outcome.ok
    assert (outcome.stdout == b"") == (verb == "DEL")
    assert verb == "DEL" or outcome.answer == node.result(container="healthy")
    assert "pods:c1:eth0" not in [path.name for path in node.records]
    own, retry = node.log_lines[-2:]
    assert (own["verb"], own["containerID"]) == (verb, "healthy")
    assert (retry["verb"], retry["containerID"], retry["level"]) == ("DEL", "c1", "info")
    assert any("retry" in note for note in retry["notes"])


@pytest.mark.parametrize("call", ["failed-ADD", "failed-DEL", "CHECK", "STATUS", "VERSION"])
def test_no_other_call_retries(node: Node, call: str) -> None:
    node.add("healthy")
    refuse(node, "c1")
    wait(node, HOUR)
    if call.startswith("failed"):
        node.plugin("portmap").fails(call.removeprefix("failed-"))
    verb = call.removeprefix("failed-")

    outcome = node.call(verb, "" if verb in ("STATUS", "VERSION") else "c2" if verb == "ADD" else "healthy")

    assert all(c.env.get("CNI_CONTAINERID") != "c1" for c in outcome.calls)
    assert "pods:c1:eth0" in node.stranded


def test_the_record_says_which_namespace_and_pod_it_was(node: Node) -> None:
    """Nothing of the call that heals reaches the delegates of the other."""
    node.plugin("istio-cni").fails("ADD").fails("DEL")
    node.add("c1", CNI_ARGS="K8S_POD_NAME=one", runtimeConfig={"dns": {"searches": ["one"]}}, args={"cni": 1})
    node.plugin("istio-cni").behaves("ADD").behaves("DEL")
    wait(node, HOUR)

    outcomes = heal(node, CNI_ARGS="K8S_POD_NAME=other", args={"cni": 2}, **{"cni.dev/x": 1})

    calls = [call for outcome in outcomes for call in outcome.calls]
    healed = next(call for call in calls if (call.verb, call.type) == ("DEL", "cilium-cni"))
    assert healed.env["CNI_CONTAINERID"] == "c1"
    assert healed.env["CNI_NETNS"] == str(node.netns("c1"))
    assert healed.env["CNI_ARGS"] == "K8S_POD_NAME=one"
    assert healed.conf["args"] == {"cni": 1}
    assert "cni.dev/x" not in healed.conf


def test_while_it_fails_it_costs_one_try_and_then_a_pause(node: Node) -> None:
    refuse(node, "c1", "c2", "c3")
    wait(node, HOUR)
    node.plugin("istio-cni").fails("DEL", "no agent")

    first, second = node.add("healthy"), node.add("another")

    assert first.ran.count("DEL istio-cni") == 1
    assert second.ran.count("DEL istio-cni") == 0
    assert first.ok
    assert second.ok
    assert len(node.stranded) == 3


def test_each_try_that_fails_doubles_the_wait(node: Node) -> None:
    refuse(node, "c1")
    node.plugin("istio-cni").fails("DEL", "no agent")
    for number, due in enumerate([20, 40, 80]):
        wait(node, due / 2 + 1)  # longer than before, and as much less than now as a busy machine may take
        assert node.add(f"early{number}").ran.count("DEL istio-cni") == 0
        wait(node, due / 2)
        assert node.add(f"late{number}").ran.count("DEL istio-cni") == 1


def test_a_retry_that_hangs_holds_the_pod_up_for_four_seconds_at_most(node: Node) -> None:
    refuse(node, "c1")
    wait(node, HOUR)
    node.plugin("istio-cni").does("DEL", "sleep 60")
    start = time.monotonic()

    assert node.add("healthy").ok
    assert time.monotonic() - start < 15  # not the 50 s of a DEL; how long exactly is a matter for benchmarks
    assert node.stranded == ["pods:c1:eth0"]


def test_a_long_chain_heals_in_one_retry(host: Node) -> None:
    """Each delegate may take what is left; none is said to have failed that was not begun."""
    host.owner("cilium", "cilium-cni", "b", "c", "d", "e", "f")
    for plugin in ("b", "c", "d", "e", "f"):
        host.plugin(plugin).fails("DEL", "no agent")
    host.add("c1")
    host.delete("c1")
    for plugin in ("b", "c", "d", "e", "f"):
        host.plugin(plugin).behaves("DEL")
    wait(host, HOUR)

    assert max(outcome.ran.count("DEL b") for outcome in heal(host)) == 1  # their files' order
    assert host.stranded == []


def test_what_was_not_begun_in_time_has_not_failed(node: Node) -> None:
    refuse(node, "c1")
    wait(node, HOUR)
    node.plugin("istio-cni").does("DEL", "sleep 60")
    node.add("healthy")

    last = json.loads((node.state_dir / "pods:c1:eth0").read_bytes().splitlines()[-1])

    assert "istio/istio-cni: did not end in time" in last["error"]["msg"]
    assert "a retry by cni-chain itself has 4 s" in last["error"]["msg"]
    assert tries(node, "c1") == 3


@pytest.mark.parametrize("odd", [pytest.param("unreadable", marks=pytest.mark.root), "no-file", "long-and-damaged"])
def test_one_that_cannot_be_read_holds_no_other_up(node: Node, odd: str) -> None:
    refuse(node, "c1", "c2", "c" * 240)
    if odd == "unreadable":
        (node.state_dir / "pods:c1:eth0").chmod(0o660)
    elif odd == "no-file":
        (node.state_dir / ".stranded/pods:zz:eth0").mkdir()
    else:
        (hashed,) = [path for path in node.records if len(path.name.split(":")) == 2]
        hashed.write_bytes(b"{")
    wait(node, 2 * HOUR)

    assert node.add("healthy").ok
    assert len(node.stranded) == 1
    told = [note for line in node.log_lines for note in line.get("notes", []) if "can't be retried" in note]
    assert bool(told) == (odd != "no-file")


def test_a_damaged_one_is_deleted_by_the_chain_as_it_is_now(node: Node) -> None:
    """On containerd no DEL and no GC would come for it."""
    refuse(node, "c1")
    (node.state_dir / "pods:c1:eth0").write_bytes(b"{")
    wait(node, HOUR)

    outcome = node.add("healthy")

    assert [name for name in outcome.ran if name.startswith("DEL")] == DELS
    assert (node.stranded, len(node.damaged)) == ([], 1)


def test_an_add_that_died_after_a_del_had_failed_is_retried_as_well(node: Node) -> None:
    """Its last line could not be written, the disk was full; its marker could."""
    node.plugin("istio-cni").does("ADD", "sleep 60")
    adding = node.begin("ADD", "c1")
    adding.reaches("ADD", "istio-cni")
    adding.kill()
    node.plugin("istio-cni").behaves("ADD")
    (node.state_dir / ".stranded").mkdir()
    (node.state_dir / ".stranded/pods:c1:eth0").write_bytes(b".")
    wait(node, HOUR)

    assert max(outcome.ran.count("DEL cilium-cni") for outcome in heal(node)) == 1
    assert node.stranded == []


def test_others_that_are_stranded_meanwhile_keep_nobody_waiting(node: Node) -> None:
    refuse(node, "c1")
    wait(node, HOUR)
    refuse(node, "c2")

    assert node.add("healthy").ran.count("DEL cilium-cni") == 1
    assert node.stranded == ["pods:c2:eth0"]


def test_the_other_networks_attachments_are_left_to_their_own_calls(node: Node) -> None:
    refuse(node, "c1")
    wait(node, HOUR)
    node.network = "others"

    node.add("healthy")

    assert node.stranded == ["pods:c1:eth0"]


def test_what_was_added_again_is_no_longer_stranded(node: Node) -> None:
    """The kubelet takes the same container ID nowhere, podman does."""
    refuse(node, "c1")

    assert node.add("c1").ok
    assert node.stranded == []
    assert node.delete("c1").ok


def test_a_marker_that_was_left_of_an_attachment_that_lives_harms_nobody(node: Node) -> None:
    node.add("c1")
    (node.state_dir / ".stranded").mkdir()
    (node.state_dir / ".stranded/pods:c1:eth0").write_bytes(b".")
    (node.state_dir / ".stranded/pods:gone:eth0").write_bytes(b".")
    wait(node, HOUR)

    outcome = node.add("c2")

    assert [name for name in outcome.ran if name.startswith("DEL")] == []
    assert len(node.records) == 2
    assert not (node.state_dir / ".stranded").exists()


def test_an_empty_directory_of_markers_goes(node: Node) -> None:
    (node.state_dir / ".stranded").mkdir(parents=True)
    node.state_dir.chmod(0o700)
    os.utime(node.state_dir / ".stranded", (0, 0))

    assert node.add("c1").ok
    assert not (node.state_dir / ".stranded").exists()


@pytest.mark.parametrize("verb", ["DEL", "GC"])
def test_the_runtimes_own_del_or_gc_heals_too(node: Node, verb: str) -> None:
    refuse(node, "c1")

    outcome = node.gc([]) if verb == "GC" else node.delete("c1")

    assert outcome.ok
    assert (node.records, node.stranded) == ([], [])


def test_an_attachment_that_another_call_holds_is_passed_over(node: Node) -> None:
    refuse(node, "c1")
    wait(node, HOUR)
    node.plugin("istio-cni").does("DEL", "sleep 60")
    running = node.begin("DEL", "c1")
    running.reaches("DEL", "istio-cni")
    node.plugin("istio-cni").behaves("DEL")
    wait(node, HOUR)

    assert node.add("healthy").ran.count("DEL istio-cni") == 0
    assert node.stranded == ["pods:c1:eth0"]
    running.kill()


def test_a_long_container_id_is_healed_as_well(node: Node) -> None:
    """Its record's name is a hash."""
    refuse(node, "c" * 240)
    wait(node, HOUR)

    assert all(outcome.ok for outcome in heal(node))
    assert node.stranded == []


# A mistake doesn't outlive its correction.


def correct(node: Node, **more: object) -> None:
    node.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni", "sysctl": "right", **more})


@pytest.fixture
def mistaken(node: Node) -> Node:
    """Istio's plugin refuses its configuration at ADD and at DEL, as a real one does; its DEL looks at stdin."""
    node.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni", "sysctl": "wrong"})
    script = node.bin_dir / "istio-cni"
    real = node.bin_dir / "istio-cni.real"
    script.rename(real)
    (node.double_dir / "istio-cni.real").symlink_to(node.double_dir / "istio-cni")
    script.write_text(
        f"#!/bin/bash\nread -r -d '' text\nif [[ $text == *wrong* && $CNI_COMMAND != VERSION ]]; then\n"
        '  echo "{\\"code\\":7,\\"msg\\":\\"sysctl is wrong\\"}"; exit 1\nfi\n'
        f'printf %s "$text" | exec {real}\n'
    )
    script.chmod(0o755)
    return node


@pytest.mark.parametrize("way", ["DEL", "GC", "ADD", "sweep"])
def test_a_corrected_fragment_heals_what_its_mistake_left(mistaken: Node, way: str) -> None:
    assert not mistaken.add("c1").ok
    assert not mistaken.delete("c1").ok
    assert len(mistaken.records) == 1
    correct(mistaken)

    if way == "DEL":
        assert mistaken.delete("c1").ok
    elif way == "GC":
        assert mistaken.gc([]).ok
    elif way == "ADD":
        assert mistaken.add("c1").ok
        assert mistaken.delete("c1").ok
    else:
        wait(mistaken, HOUR)
        for number, outcome in enumerate(heal(mistaken)):
            assert outcome.ok
            assert mistaken.delete(f"healthy{number}").ok
    assert (mistaken.records, mistaken.stranded) == ([], [])


def test_the_recorded_configuration_comes_first(node: Node) -> None:
    """Only what it fails with is tried as it is now; then the log names the file."""
    node.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni", "sysctl": "old"})
    node.add()
    correct(node)
    node.plugin("istio-cni").fails("DEL", "refused", call=1)

    outcome = node.delete()

    assert outcome.ok
    assert outcome.ran == ["DEL portmap", "DEL istio-cni", "DEL istio-cni", "DEL cilium-cni"]
    assert [call.conf["sysctl"] for call in outcome.calls if call.type == "istio-cni"] == ["old", "right"]
    assert any("10-istio-cni.conf" in note for note in node.log_lines[-1]["notes"])


def test_if_both_fail_the_present_ones_failure_is_reported(node: Node) -> None:
    node.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni", "sysctl": "old"})
    node.add()
    correct(node)
    node.plugin("istio-cni").fails("DEL", "refused", call=1).fails("DEL", "no agent", 12, call=2)

    outcome = node.delete()

    assert (outcome.code, outcome.msg) == (12, "istio/istio-cni: no agent")
    assert len(node.records) == 1


NOT_CORRECTED = ["same", "another-order", "no-longer-there", "another-type", "more-of-them", "unsafe", "half-written"]


@pytest.mark.parametrize("now", NOT_CORRECTED)
def test_nothing_is_tried_twice_where_nothing_was_corrected(node: Node, now: str) -> None:
    node.add()
    if now == "another-order":
        node.owners.reverse()
    elif now == "no-longer-there":
        (node.chain_dir / "istio.d/10-istio-cni.conf").unlink()
    elif now == "another-type":
        node.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni2"})
    elif now in ("unsafe", "half-written"):  # another file's plugin of that type must not be taken for this one
        node.fragment("istio", "20.conf", {"type": "istio-cni", "other": True})
        if now == "unsafe":
            (node.chain_dir / "istio.d/10-istio-cni.conf").chmod(0o666)
        else:
            node.fragment("istio", "10-istio-cni.conf", b"{")
    elif now == "more-of-them":
        node.fragment("istio", "10.conf", {"plugins": [{"type": "istio-cni", "n": 1}, {"type": "istio-cni", "n": 2}]})
    node.plugin("istio-cni").fails("DEL", "no")

    assert node.delete().ran.count("DEL istio-cni") == 1


def test_of_two_of_one_type_the_one_at_the_same_place_counts(host: Node) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("local")
    two = [{"type": "tuning", "n": 1}, {"type": "tuning", "n": 2}]
    host.fragment("local", "10.conflist", {"plugins": two})
    host.add()
    host.fragment("local", "10.conflist", {"plugins": [{**plugin, "new": True} for plugin in two]})
    host.plugin("tuning").fails("DEL", "no", call=1).fails("DEL", "no", call=3)

    outcome = host.delete()

    assert outcome.ok
    confs = [call.conf for call in outcome.calls if call.type == "tuning"]
    assert [(conf["n"], "new" in conf) for conf in confs] == [(2, False), (2, True), (1, False), (1, True)]


def test_two_of_one_type_that_changed_places_are_not_taken_for_each_other(host: Node) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("local")
    two = [{"type": "host-device", "device": "a"}, {"type": "host-device", "device": "b"}]
    host.fragment("local", "10.conflist", {"plugins": two})
    host.add()
    host.fragment("local", "10.conflist", {"plugins": two[::-1]})
    host.plugin("host-device").fails("DEL", "busy", call=1)

    outcome = host.delete()

    assert not outcome.ok
    assert [call.conf["device"] for call in outcome.calls if call.type == "host-device"] == ["b", "a"]


@pytest.mark.parametrize("orders", [["sleep 60"], ["exit 3"], ["signal 11"]], ids=["hangs", "no-words", "crashes"])
def test_only_what_a_plugin_refuses_in_its_own_words_is_tried_again(node: Node, orders: list[str]) -> None:
    """What hung or crashed may have had the right configuration; another would delete another thing."""
    node.add()
    correct(node)
    node.plugin("istio-cni").does("DEL", *orders)

    outcome = node.delete(timeouts={"DEL": 2})

    assert not outcome.ok
    told = [call for call in node.log_lines[-1]["delegates"] if call["type"] == "istio-cni"]
    assert len(told) == 1


# A delegate that never ran, or of which nothing is left.


def test_a_binary_that_vanishes_amid_the_add_leaves_nothing_behind(node: Node) -> None:
    """It was found, and gone when its turn came: there is nothing of it to delete."""
    script = node.bin_dir / "cilium-cni"
    script.rename(node.bin_dir / "cilium-cni.real")
    (node.double_dir / "cilium-cni.real").symlink_to(node.double_dir / "cilium-cni")
    gone = f'[ "$CNI_COMMAND" != ADD ] || rm -f {node.bin_dir}/istio-cni\n'
    script.write_text(f"#!/bin/sh\n{gone}exec {node.bin_dir}/cilium-cni.real\n")
    script.chmod(0o755)

    outcome = node.add()

    assert (outcome.code, "istio/istio-cni" in outcome.msg) == (100, True)
    assert (node.records, node.stranded) == ([], [])


def test_a_delegate_that_was_never_started_needs_no_binary(node: Node) -> None:
    """As the record of a killed ADD says."""
    node.plugin("cilium-cni").does("ADD", "sleep 60")
    adding = node.begin("ADD")
    adding.reaches("ADD", "cilium-cni")
    adding.kill()
    node.plugin("cilium-cni").behaves("ADD")
    node.uninstall("portmap")

    outcome = node.delete()

    assert outcome.ok
    assert node.records == []


def test_but_after_a_reboot_that_is_no_longer_known(node: Node) -> None:
    """A power loss may have taken the lines that say what ran."""
    node.plugin("cilium-cni").does("ADD", "sleep 60")
    adding = node.begin("ADD")
    adding.reaches("ADD", "cilium-cni")
    adding.kill()
    node.plugin("cilium-cni").behaves("ADD")
    node.uninstall("portmap")
    age_before_boot(node)

    assert not node.delete().ok
    assert len(node.records) == 1


def age_before_boot(node: Node) -> None:
    (path,) = node.records
    held = record.parse(path.read_bytes())
    held.created = 1.5
    path.write_bytes(held.text())


@pytest.mark.parametrize("change", ["another-type", "file-gone"])
def test_a_type_that_no_fragment_of_its_owner_names_any_more_needs_no_binary(node: Node, change: str) -> None:
    """A misspelt `type`, put right since; or an agent that calls its plugin another name now."""
    node.fragment("istio", "20.conf", {"type": "istoi-cni"})
    assert node.add().ok
    node.uninstall("istoi-cni")
    assert not node.delete().ok
    if change == "another-type":
        node.fragment("istio", "20.conf", {"type": "other"})
    else:
        (node.chain_dir / "istio.d/20.conf").unlink()

    assert node.delete().ok
    assert node.records == []
