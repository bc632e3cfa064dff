"""Faults that a review of cni-chain found; each test failed once."""

import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.files.host import Host, needs_root, wait_until
from tests.support.sandbox.node import is_frozen

OWN_NAMESPACE = "/proc/self/ns/net"


def test_words_that_grow_when_they_are_lowered_dont_hold_a_del_up(node: Host) -> None:
    """İ becomes two characters; a search in the one and a cut in the other never ended."""
    node.add()
    node.plugin("portmap").fails("DEL", "İ" * 20 + " rule not found")

    assert node.delete().msg == "local/portmap: " + "İ" * 20 + " rule absent"


def test_a_plugins_name_is_not_among_its_words(host: Host) -> None:
    """A type with "netns" in it made every "not found" of its DEL count as done."""
    host.owner("cilium", "cilium-cni", "netns-tool")
    host.add()
    host.plugin("netns-tool").fails("DEL", "rule 17 not found")

    outcome = host.delete(CNI_NETNS="")

    assert (outcome.code, outcome.ran) == (7, ["DEL netns-tool"])
    assert len(host.records) == 1


def test_a_link_that_is_being_exchanged_is_waited_for(host: Host) -> None:
    """As a ConfigMap's are: a name in the middle leads to another directory from one moment to the next."""
    host.owner("cilium")
    host.fragment("cilium", "10.conf", {"type": "cilium-cni"})
    folder = host.folder("cilium")
    (folder / "20.conf").symlink_to("..data/20.conf")
    new = folder / "..new"
    new.mkdir()
    (new / "20.conf").write_text(json.dumps({"type": "second"}))
    host.plugin("second")
    back = threading.Timer(0.08, lambda: new.rename(folder / "..data"))
    back.start()

    outcome = host.add()
    back.join()

    assert outcome.ran == ["ADD cilium-cni", "ADD second"]


@needs_root
def test_gc_deletes_nothing_of_the_nodes_own_namespace(node: Host) -> None:
    """A recorded /proc/<pid>/ns/net may by then be another process's."""
    netns = node.root / "netns" / "c1"
    node.add("c1")
    netns.unlink()
    netns.symlink_to(OWN_NAMESPACE)

    outcome = node.gc([])

    assert outcome.ok
    assert {call.env["CNI_NETNS"] for call in outcome.calls if call.verb == "DEL"} == {""}
    assert node.records == []


def test_a_delegate_dies_with_us_even_if_it_uses_descriptor_3(node: Host) -> None:
    """`exec 3>&1` begins many a shell script; what ties it to our life must be out of its way."""
    script = node.bin / "istio-cni"
    script.unlink()
    pid_file = node.root / "pid"
    script.write_text(
        "#!/bin/bash\nexec 3>&1 4>&1 5>&1 6>&1 7>&1 8>&1 9>&1\n"
        '[ "$CNI_COMMAND" != VERSION ] || { echo \'{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}\'; exit; }\n'
        f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60\n"
    )
    script.chmod(0o755)
    adding = node.begin("ADD")
    wait_until(pid_file.exists, "the script runs")
    pid = int(pid_file.read_text())
    adding.kill()

    wait_until(lambda: not alive(pid), "the script has died with cni-chain")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_caller_that_ignores_sigchld_gets_its_network_all_the_same(node: Host) -> None:
    done = subprocess.run(
        [node.program],
        input=json.dumps(node.facade()).encode(),
        env=node.attachment("ADD", "c1"),
        capture_output=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),  # no threads here
    )

    assert (done.returncode, json.loads(done.stdout)["ips"]) == (0, node.result()["ips"])


def test_an_interrupted_add_is_undone_by_the_next_del(node: Host) -> None:
    """Ctrl-C in front of a runtime ends the call at once, as SIGTERM does."""
    node.plugin("istio-cni").does("ADD", "sleep 60")
    adding = node.begin("ADD")
    adding.reaches("ADD", "istio-cni")
    adding.kill(signal.SIGINT)

    outcome = node.delete()

    assert outcome.ok
    assert {"DEL cilium-cni", "DEL istio-cni"} <= set(outcome.ran)


def test_an_add_over_a_damaged_record_deletes_first(node: Host) -> None:
    node.add()
    node.records[0].write_bytes(b"{")

    outcome = node.add()

    assert outcome.ok
    assert outcome.ran[:3] == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]


def test_an_exempt_pods_add_still_clears_what_is_left_of_an_earlier_one(node: Host) -> None:
    node.add()
    for owner in node.owners:
        owner["exempt"] = [{"namespace": "n", "podNamePrefix": "p"}]

    outcome = node.add(CNI_ARGS="K8S_POD_NAMESPACE=n;K8S_POD_NAME=p1", prevResult=node.result())

    assert outcome.ok
    assert outcome.ran == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert node.records == []


@needs_root
def test_a_node_whose_state_others_may_write_is_not_ready(node: Host) -> None:
    node.add()
    node.state.chmod(0o777)

    assert (node.status().code, node.add("c2").code) == (50, 5)


def test_an_optional_first_owners_half_written_file_leaves_the_node_ready(host: Host) -> None:
    host.owner("cilium", required=False)
    host.fragment("cilium", "10.conf", b"{")
    host.owner("local", "portmap", required=False)

    outcome = host.add()

    assert (outcome.ran, host.status().ok) == (["ADD portmap"], True)
    assert any("10.conf: not JSON" in note for line in host.log_lines for note in line.get("notes", []))


def test_a_del_without_a_record_looks_again_for_an_owner_that_was_unusable(host: Host) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni")
    path = host.fragment("istio", "10-istio-cni.conf", b"{")
    assert host.delete().code == 11
    path.write_text(json.dumps({"type": "istio-cni"}))

    outcome = host.delete()

    assert outcome.ran == ["DEL istio-cni", "DEL cilium-cni"]


def test_a_missing_binary_of_an_owner_that_is_merely_unreadable_now_is_waited_for(node: Host) -> None:
    node.add()
    node.fragment("istio", "10-istio-cni.conf", b"{")
    node.uninstall("istio-cni")

    assert node.delete().code == 11
    assert len(node.records) == 1


def test_gc_tells_which_attachment_it_could_not_delete(node: Host) -> None:
    node.add("c1")
    node.plugin("portmap").fails("DEL", "no")

    assert node.gc([]).msg == "attachment eth0 of container c1: local/portmap: no"


def test_gc_collects_even_if_the_chain_of_today_cannot_be_read(node: Host) -> None:
    node.add("c1")
    node.chain.rename(node.root / "away")
    node.chain.write_text("a file")

    node.gc([])

    assert node.records == []


def test_gc_refuses_two_lists_that_differ(node: Host) -> None:
    node.add("c1")

    outcome = node.gc(["c1"], **{"cni.dev/attachments": []})

    assert (outcome.code, len(node.records)) == (7, 1)


@pytest.mark.parametrize("versions", [[], [5], ["9.0.0"], None, "x"])
def test_what_a_newer_program_remembered_of_a_plugin_is_asked_again(node: Host, versions: object) -> None:
    node.add()
    path = node.state / ".versions"
    remembered = json.loads(path.read_text())
    for entry in remembered.values():
        entry["versions"] = versions
    path.write_text(json.dumps(remembered))

    outcome = node.add("c2")

    assert outcome.ok
    assert outcome.asked == ["cilium-cni", "istio-cni", "portmap"]


def test_what_can_be_added_can_be_deleted_however_deep_it_is(host: Host) -> None:
    host.owner("cilium")
    for depth in (150, 199, 500, 985):
        text = b'{"type": "cilium-cni", "x": ' + b"[" * depth + b"]" * depth + b"}"
        host.fragment("cilium", "10.conf", text, install=False)
        host.plugin("cilium-cni")

        outcome = host.add()

        assert (outcome.code, outcome.ran) in [(0, ["ADD cilium-cni"]), (11, [])]
        assert host.delete().code == outcome.code
        assert host.damaged == []


def test_a_chain_asked_for_in_an_old_version_keeps_its_interfaces_inside(node: Host) -> None:
    """The runtime's 0.2.0 has none; what the delegates tell each other does."""
    node.plugin("cilium-cni").supports("1.0.0")
    node.plugin("istio-cni").supports("1.0.0")

    outcome = node.add(cniVersion="0.2.0")

    assert outcome.answer.keys() <= {"cniVersion", "ip4", "dns"}
    assert outcome.conf("istio-cni")["prevResult"]["interfaces"] == node.result("1.0.0")["interfaces"]


@needs_root
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_state_directory_and_what_is_above_it_are_nobody_elses(node: Host, slash: str) -> None:
    before = os.umask(0)
    try:
        node.add(stateDir=f"{node.root}/a/b/state{slash}")
    finally:
        os.umask(before)

    modes = [(node.root / path).stat().st_mode & 0o777 for path in ("a", "a/b", "a/b/state")]
    assert modes == [0o755, 0o755, 0o700]


def test_a_state_directory_that_cannot_be_made_is_told_by_its_name(node: Host) -> None:
    outcome = node.add(stateDir="/proc/cni-chain/state")

    assert (outcome.code, outcome.ran) == (5, [])
    assert "/proc/cni-chain" in outcome.msg


@needs_root
def test_a_pod_comes_and_goes_where_no_proc_is_mounted(host: Host) -> None:
    """As for a caller that changed its root: which file the program is has to be found out in another way."""
    answers = {"VERSION": {"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}, "ADD": host.result()}
    for verb, answer in answers.items():
        (host.root / verb).write_text(json.dumps(answer))
    plugin = host.bin / "plain"
    plugin.write_text(
        f"#!/bin/sh\ncat >/dev/null\ntest ! -e {host.root}/$CNI_COMMAND || cat {host.root}/$CNI_COMMAND\n"
    )
    plugin.chmod(0o755)
    host.owner("local")
    host.fragment("local", "10-plain.conf", {"type": "plain"}, install=False)
    without = host.root / "without-proc"
    without.write_text(f"#!/bin/sh\nexec unshare --mount sh -c 'umount --lazy /proc && exec {host.program}'\n")
    without.chmod(0o755)
    host.program = str(without)

    assert host.add().answer["ips"] == host.result()["ips"]
    assert host.delete().ok


@pytest.mark.parametrize("command", ["VERSION", "ADD", "DEL", "STATUS"])
def test_a_program_that_was_copied_alone_says_what_is_missing(node: Host, command: str) -> None:
    executable = Path(node.program).resolve()
    if not is_frozen(executable):
        pytest.skip("by design: the source is no directory build")
    alone = node.root / 'copied "alone" é' / "cni-chain"
    alone.parent.mkdir()
    shutil.copy(executable, alone)
    node.program = str(alone)

    outcome = node.call(command)
    person = subprocess.run([alone, "--version"], env=node.environ, capture_output=True, text=True, check=False)

    assert (outcome.code, outcome.ran) == (999, [])
    assert outcome.msg.startswith(f"{node.root}/copied ?alone? ?/cni-chain: ")
    assert outcome.msg.endswith("; the program runs only with what is installed beside it")
    assert (person.returncode, person.stdout) == (1, "")
    missing = f"{alone.parent}/_internal/modules.zip: No such file or directory"
    assert person.stderr == f"cni-chain: {missing}; the program runs only with what is installed beside it\n"
