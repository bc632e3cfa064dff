"""`cni-chain gc`: frees what no namespace holds any more and what a failed DEL has left, and nothing else."""

import json
import os
import pty
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.files.node import WEB, Json, Node, run, wait_until, with_pods
from tests.support.files.outcome import PATIENCE
from tests.support.files.schemas import members

STALE = "stale: default/web-1 eth0 (c1): its network namespace is gone\n"
STRANDED = "stranded: default/web-1 eth0 (c1): its DEL failed once, 5m ago: istio/istio-cni: the agent is away\n"


def test_where_nothing_is_stale_there_is_nothing_to_do(pods: Node) -> None:
    assert pods.run("gc") == (0, "Nothing to free.\n", "")
    assert pods.record("c1").exists()


def test_an_attachment_whose_namespace_is_gone_is_freed_by_its_recorded_plugins(pods: Node) -> None:
    pods.add("c2")
    pods.loses_its_namespace("c1")
    before = len(pods.ran)

    assert pods.run("gc", "--yes") == (0, f"{STALE}freed: default/web-1 eth0 (c1)\n", "")
    assert pods.ran[before:] == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert pods.records == [pods.record("c2")]


def test_pods_are_listed_by_name_whatever_their_containers_are_called(pods: Node) -> None:
    """A runtime's container IDs are random; two runs of one command are to look alike."""
    named = {"c9": "alpha", "c5": "beta", "c7": "gamma"}
    for container_id, pod in named.items():
        pods.add(container_id, CNI_ARGS=f"K8S_POD_NAMESPACE=shop;K8S_POD_NAME={pod}")
        pods.loses_its_namespace(container_id)

    done = pods.run("gc", "--yes").stdout.splitlines()

    assert [line.split()[1] for line in done] == [f"shop/{pod}" for pod in named.values()] * 2


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_what_plugins_write_on_standard_error_is_printed_only_of_those_that_fail(
    pods: Node, options: list[str]
) -> None:
    pods.plugin("portmap").does("DEL", "stderr a line for each success")
    pods.plugin("istio-cni").does("DEL", "stderr why it failed", "exit 3")
    pods.loses_its_namespace("c1")

    failed = pods.run("gc", "--yes", *options)
    assert (failed.status, failed.stderr) == (1, "  why it failed\n")

    pods.plugin("istio-cni").behaves("DEL")
    freed = pods.run("gc", "--yes", *options)
    assert (freed.status, freed.stderr) == (0, "")


def test_the_plugins_get_what_the_runtime_would_have_given_them(pods: Node) -> None:
    pods.fragment("local", "10-portmap.conf", {"type": "portmap", "capabilities": {"portMappings": True}})
    pods.add("c2", CNI_ARGS=WEB, runtimeConfig={"portMappings": [{"hostPort": 80}]}, args={"a": 1})
    pods.fragment("local", "10-portmap.conf", {"type": "portmap", "snat": True})
    netns = str(pods.netns("c2"))
    pods.loses_its_namespace("c2")

    environ = {"CNI_PATH": "/elsewhere", "CNI_IFNAME": "dummy0", "LD_PRELOAD": "", "HOME": "/root"}
    assert pods.run("gc", "--yes", environ=environ).status == 0

    call = next(call for call in pods.calls if call.verb == "DEL" and call.type == "portmap")
    assert {name: value for name, value in call.env.items() if name.startswith("CNI_")} == {
        "CNI_COMMAND": "DEL",
        "CNI_CONTAINERID": "c2",
        "CNI_NETNS": netns,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": WEB,
        "CNI_PATH": pods.cni_path,
    }
    assert call.env["HOME"] == "/root"
    assert not [name for name in call.env if name.startswith("_PYI")]
    assert "LD_LIBRARY_PATH" not in call.env
    assert call.conf["name"] == "pods"
    assert call.conf["cniVersion"] == "1.1.0"
    assert call.conf["prevResult"]["ips"][0]["address"] == "10.1.0.5/24"
    assert call.conf["runtimeConfig"] == {"portMappings": [{"hostPort": 80}]}
    assert call.conf["args"] == {"a": 1}
    assert "snat" not in call.conf


def test_what_it_did_is_in_the_log(pods: Node) -> None:
    pods.loses_its_namespace("c1")
    pods.run("gc", "--yes")

    line = pods.log_lines[-1]
    assert (line["verb"], line["pod"], line["level"]) == ("DEL", "default/web-1", "info")
    assert line["notes"] == ["cni-chain gc: its network namespace is gone"]


def test_a_dry_run_only_says_so(pods: Node) -> None:
    pods.loses_its_namespace("c1")
    before = pods.ran

    assert pods.run("gc", "--dry-run") == (0, STALE, "")
    assert pods.ran == before
    assert pods.record("c1").exists()


def test_without_a_terminal_it_does_not_act_unasked(pods: Node) -> None:
    pods.loses_its_namespace("c1")
    before = pods.ran

    result = pods.run("gc")

    assert (result.status, result.stdout) == (2, STALE)
    assert result.stderr == "cni-chain: not a terminal; pass --yes (or --dry-run)\n"
    assert pods.ran == before


@pytest.mark.parametrize(("answer", "left", "status"), [("y\n", 0, 0), ("n\n", 1, 1), ("\n", 1, 1)])
def test_on_a_terminal_it_asks(pods: Node, answer: str, left: int, status: int) -> None:
    pods.loses_its_namespace("c1")
    command = [pods.program, "gc", "--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]

    assert on_a_terminal(command, answer) == ("Free 1 attachment? [y/N]: ", status)
    assert len(pods.records) == left


def on_a_terminal(command: list[str], answer: str) -> tuple[str, int]:
    """What is asked there, and the exit status."""
    child, terminal = pty.fork()
    if not child:
        os.execve(command[0], command, {"PATH": "/usr/bin:/bin", "TERM": "dumb"})  # noqa: S606
    shown = b""
    while b"]: " not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, answer.encode())
    try:
        while os.read(terminal, 1024):
            pass
    except OSError:  # its end
        pass
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    return shown.decode().splitlines()[-1], os.waitstatus_to_exitcode(status)


def test_what_fails_stays_for_the_next_time(pods: Node) -> None:
    pods.plugin("istio-cni").fails("DEL", "the agent is away", code=11)
    pods.loses_its_namespace("c1")

    result = pods.run("gc", "--yes")

    assert result == (1, f"{STALE}failed: default/web-1 eth0 (c1): istio/istio-cni: the agent is away\n", "")
    pods.plugin("istio-cni").behaves("DEL")
    pods.tried("c1", 1, 300)
    before = len(pods.ran)
    assert pods.run("gc", "--yes") == (0, f"{STRANDED}freed: default/web-1 eth0 (c1)\n", "")
    assert pods.ran[before:] == ["DEL istio-cni", "DEL cilium-cni"]
    assert pods.records == []


def test_what_a_failed_del_has_left_is_retried_though_its_namespace_is_there(pods: Node) -> None:
    """The runtime has asked for that DEL, so that no pod can be using the network any more."""
    pods.strands("c1")
    pods.tried("c1", 1, 300)
    netns = str(pods.netns("c1"))

    assert pods.run("gc", "--dry-run") == (0, STRANDED, "")
    assert pods.run("gc", "--yes") == (
        1,
        f"{STRANDED}failed: default/web-1 eth0 (c1): istio/istio-cni: the agent is away\n",
        "",
    )
    pods.tried("c1", 3, 7200)
    pods.plugin("istio-cni").behaves("DEL")
    assert pods.run("gc", "--yes").stdout == (
        "stranded: default/web-1 eth0 (c1): its DEL failed 3 times, the last time 2h ago: istio/istio-cni: the agent "
        "is away\nfreed: default/web-1 eth0 (c1)\n"
    )
    assert pods.calls[-1].env["CNI_NETNS"] == netns
    assert (pods.records, pods.stranded) == ([], [])


def test_what_a_failed_add_could_not_undo_is_stranded_too(pods: Node) -> None:
    pods.plugin("portmap").fails("ADD", "no")
    pods.plugin("istio-cni").fails("DEL", "the agent is away", code=11)
    pods.add("c2")
    pods.plugin("istio-cni").behaves("DEL")

    assert "freed: a container eth0 (c2)\n" in pods.run("gc", "--yes").stdout
    assert pods.records == [pods.record("c1")]


def test_a_del_that_was_broken_off_long_ago_is_retried(pods: Node) -> None:
    """Version 0.1.0 has left its failed ones so, without an error."""
    pods.changes("c1", state="deleting", pending=[0])
    assert pods.run("gc", "--yes").stdout == "Nothing to free.\n"
    pods.ages("c1", 3600)

    told = "stranded: default/web-1 eth0 (c1): its DEL was interrupted\nfreed: default/web-1 eth0 (c1)\n"
    assert pods.run("gc", "--yes") == (0, told, "")
    assert pods.ran[-1] == "DEL cilium-cni"


def test_how_many_dels_are_retried_is_asked(pods: Node) -> None:
    pods.add("c2")
    pods.strands("c1")
    pods.loses_its_namespace("c2")
    command = [pods.program, "gc", "--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]

    assert on_a_terminal(command, "n\n") == ("Free 1 attachment and retry 1 DEL? [y/N]: ", 1)


def test_markers_without_a_record_are_removed(pods: Node) -> None:
    (pods.state_dir / ".stranded").mkdir()
    marker = pods.state_dir / ".stranded/pods:c9:eth0"
    marker.write_text(".")

    assert pods.run("gc", "--yes") == (0, f"to remove: {marker}\nremoved: {marker}\n", "")
    assert not marker.parent.exists()


def test_one_that_another_call_works_on_is_left_alone(pods: Node) -> None:
    pods.plugin("istio-cni").does("DEL", "sleep 30")
    running = pods.begin("DEL", "c1")
    running.reaches("DEL", "istio-cni")
    pods.loses_its_namespace("c1")

    result = pods.run("gc", "--yes")
    running.kill()

    assert result == (
        0,
        f"{STALE}left alone: default/web-1 eth0 (c1): busy: another call for it is still running\n",
        "",
    )


def test_a_runtimes_call_is_told_to_try_again_meanwhile(pods: Node) -> None:
    pods.plugin("istio-cni").does("DEL", "until told")
    pods.loses_its_namespace("c1")
    command = [pods.program, "gc", "--yes", "--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]
    child = os.posix_spawn(command[0], command, {"PATH": "/usr/bin:/bin"})
    wait_until(lambda: "DEL istio-cni" in pods.ran, "gc's DEL")

    outcome = pods.call("DEL", "c1", CNI_NETNS="")
    (pods.double_dir / "told").touch()

    assert (outcome.code, "is busy" in outcome.msg) == (11, True)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert pods.records == []


def test_an_attachment_that_is_made_anew_meanwhile_is_left_alone(pods: Node) -> None:
    """Its namespace is looked at again when nobody else can be at work on it any more."""
    for number in range(2, 5):
        pods.add(f"c{number}")
        pods.loses_its_namespace(f"c{number}")
    pods.plugin("istio-cni").does("DEL", "until made", call=1)
    command = [pods.program, "gc", "--yes", "--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]
    child = os.posix_spawn(command[0], command, {"PATH": "/usr/bin:/bin"})
    wait_until(lambda: "DEL istio-cni" in pods.ran, "gc's first DEL")
    pods.netns("c4")
    (pods.double_dir / "made").touch()
    os.waitpid(child, 0)

    assert pods.records == [pods.record("c1"), pods.record("c4")]


def test_it_is_safe_while_pods_come_and_go(pods: Node) -> None:
    """Their namespaces go before their DEL, so that gc takes whichever it comes upon first."""

    def one(number: int) -> list[int]:
        netns = pods.root / f"netns/d{number}"
        netns.touch()
        added = pods.begin("ADD", f"d{number}", CNI_NETNS=str(netns)).ends()
        netns.unlink()
        time.sleep(number % 3 / 5)
        if number == 23:
            wait_until(lambda: freed, "gc frees one")
        codes = [added.code]
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and (len(codes) == 1 or codes[-1] == 11):
            codes.append(pods.begin("DEL", f"d{number}", CNI_NETNS=str(netns)).ends().code)
        return codes

    freed: list[str] = []
    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(one, number) for number in range(24)]
        while not all(pod.done() for pod in running):
            result = pods.run("gc", "--yes")
            assert (result.status, result.stderr) == (0, "")
            freed += [line for line in result.stdout.splitlines() if line.startswith("freed: ")]

    deleted = [call for call in pods.calls if call.verb == "DEL"]
    for number, pod in enumerate(running):
        first, *others = pod.result()
        assert (first, others[-1]) == (0, 0)
        calls = [call for call in deleted if call.env["CNI_CONTAINERID"] == f"d{number}"]
        assert {call.type for call in calls} == {"cilium-cni", "istio-cni", "portmap"}
    assert pods.records == [pods.record("c1")]
    assert freed
    assert not [line for line in freed if "(c1)" in line]


def test_an_attachment_without_a_namespace_waits_for_older_than(pods: Node) -> None:
    pods.add("c9")
    call = json.loads(pods.record("c9").read_bytes().split(b"\n")[0])["call"]
    pods.changes("c9", context={**call, "netns": ""})
    pods.ages("c9", 3600)

    told = pods.run("gc", "--yes").stdout
    assert told.startswith("left alone: a container eth0 (c9): no namespace is recorded")
    assert pods.record("c9").exists()
    assert "Nothing to free." in pods.run("gc", "--older-than", "2h").stdout
    assert pods.run("gc", "--older-than", "30m", "--yes").stdout == (
        "stale: a container eth0 (c9): no namespace is recorded, and it is 60m old\nfreed: a container eth0 (c9)\n"
    )
    assert pods.records == [pods.record("c1")]


def test_a_namespace_that_cant_be_seen_from_here_is_not_taken_for_gone(pods: Node) -> None:
    """As in a container that has the state directory, but not the node's /run/netns."""
    pods.call("ADD", "c2", CNI_NETNS="/nowhere/netns/c2")

    result = pods.run("gc", "--yes")

    assert " ".join(result.stdout.split()) == (
        "left alone: a container eth0 (c2): /nowhere/netns doesn't exist here: is this the runtime's mount namespace? "
        "Nothing to free."
    )
    assert pods.record("c2").exists()


def test_a_namespace_at_a_process_is_gone_with_it_if_all_processes_are_seen(pods: Node) -> None:
    pods.call("ADD", "c2", CNI_NETNS="/proc/4194304/ns/net")  # one more than the largest number of a process

    pods.run("gc", "--yes")

    sees_all = Path("/proc/self/ns/pid").stat().st_ino == 0xEFFFFFFC
    assert pods.record("c2").exists() is not sees_all


@pytest.mark.root
def test_from_another_process_namespace_nothing_is_told_of_processes(pods: Node) -> None:
    pods.call("ADD", "c2", CNI_NETNS="/proc/4194304/ns/net")
    launcher = pods.root / "elsewhere"
    launcher.write_text(f'#!/bin/sh\nexec unshare --pid --fork --mount-proc {pods.program} "$@"\n')
    launcher.chmod(0o755)

    where = ["--net-dir", str(pods.net_dir), "--state-dir", str(pods.state_dir)]
    result = run(str(launcher), "gc", "--yes", *where)

    assert (result.status, "cni-chain can't see every process here" in result.stdout) == (0, True)
    assert pods.record("c2").exists()


def test_after_a_reboot_the_directory_need_not_be_there(pods: Node) -> None:
    pods.call("ADD", "c2", CNI_NETNS="/nowhere/netns/c2")
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    pods.ages("c2", uptime + 3600)

    assert pods.run("gc", "--yes").status == 0
    assert not pods.record("c2").exists()


def test_records_that_were_set_aside_are_removed(pods: Node) -> None:
    aside = pods.state_dir / ".damaged-pods:c3:eth0"
    aside.write_text("")

    assert pods.run("gc").status == 2
    assert aside.exists()
    assert pods.run("gc", "--yes") == (0, f"to remove: {aside}\nremoved: {aside}\n", "")
    assert not aside.exists()


def test_what_a_killed_writer_left_is_removed_once_it_is_old(pods: Node) -> None:
    left, fresh = (pods.state_dir / f".new-pods:c{number}:eth0" for number in (3, 4))
    left.write_text("")
    fresh.write_text("")
    os.utime(left, (time.time() - 100,) * 2)

    assert pods.run("gc", "--yes").status == 0
    assert (left.exists(), fresh.exists()) == (False, True)


def test_a_damaged_record_in_its_place_is_left_to_its_own_del(pods: Node) -> None:
    pods.record("c1").write_text("{}\n")

    result = pods.run("gc", "--yes")

    assert result.status == 0
    assert "its DEL sets it aside" in result.stdout
    assert pods.record("c1").exists()


@pytest.mark.root
def test_nothing_is_run_for_a_record_that_others_could_have_written(pods: Node) -> None:
    pods.record("c1").chmod(0o666)
    pods.loses_its_namespace("c1")
    before = pods.ran

    result = pods.run("gc", "--yes")

    assert result.stdout.startswith(
        f"left alone: {pods.record('c1')}: not owned by root, or writable by users other than root: its DEL fails with "
        "error 5 until this is repaired"
    )
    assert "Nothing to free." in pods.run("gc", "--older-than", "0s").stdout
    assert pods.ran == before


def test_one_that_was_left_alone_is_not_in_the_log(pods: Node) -> None:
    pods.plugin("istio-cni").does("DEL", "sleep 30")
    running = pods.begin("DEL", "c1")
    running.reaches("DEL", "istio-cni")
    pods.loses_its_namespace("c1")
    before = len(pods.log_lines)
    pods.run("gc", "--yes")
    running.kill()

    assert len(pods.log_lines) == before


def test_a_damaged_record_that_is_old_enough_is_deleted_as_the_chain_is_now(pods: Node) -> None:
    pods.record("c1").write_text("{}\n")
    os.utime(pods.record("c1"), (time.time() - 7200,) * 2)
    before = len(pods.ran)

    where = ["--bin-dir", pods.cni_path]  # a damaged record can't tell
    assert pods.run("gc", "--older-than", "1h", "--yes", *where).status == 0
    assert pods.ran[before:] == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert pods.records == []


@pytest.mark.root
def test_pods_of_a_facade_that_is_gone_are_freed_as_well(pods: Node) -> None:
    pods.facade.unlink()
    pods.loses_its_namespace("c1")

    assert pods.run("gc", "--yes").status == 0
    assert pods.records == []


def test_a_faulty_key_of_the_facade_stops_it_no_more_than_it_stops_the_plugins_del(pods: Node) -> None:
    pods.write_facade(logLevel="loud")
    pods.loses_its_namespace("c1")

    assert pods.run("gc", "--yes").status == 0
    assert "key logLevel: must be one of error, info, debug: ignored" in pods.log_lines[-1]["notes"][1]
    assert pods.records == []


def test_a_faulty_chain_directory_does_stop_it(pods: Node) -> None:
    pods.write_facade(chainDir="here")
    pods.loses_its_namespace("c1")

    result = pods.run("gc", "--yes")

    assert (result.status, "key chainDir: must be an absolute path" in result.stdout) == (1, True)
    assert pods.record("c1").exists()


@pytest.mark.root
def test_several_networks_share_a_state_directory(pods: Node) -> None:
    pods.network = "other"
    pods.add("c9")
    pods.network = "pods"
    pods.loses_its_namespace("c9")

    assert pods.run("gc", "--yes").status == 0
    assert next(call for call in pods.calls if call.verb == "DEL").conf["name"] == "other"
    assert pods.records == [pods.record("c1")]


def test_json_says_what_was_done(pods: Node) -> None:
    (pods.state_dir / ".damaged-pods:c3:eth0").write_text("")
    pods.loses_its_namespace("c1")

    dry, done = (members(pods.run("gc", "--json", word).stdout) for word in ("--dry-run", "--yes"))

    named = {"network": "pods", "containerID": "c1", "ifname": "eth0", "pod": "default/web-1"}
    stale: Json = {**named, "why": "its network namespace is gone", "freed": False, "kept": None, "errors": []}
    aside = f"{pods.state_dir}/.damaged-pods:c3:eth0"
    assert dry == {
        "dryRun": True,
        "stale": [stale],
        "stranded": [],
        "kept": [],
        "remove": [aside],
        "damaged": [{"file": aside, "reason": "empty", "setAside": True}],
        "errors": [],
    }
    assert done == {**dry, "dryRun": False, "stale": [{**stale, "freed": True}]}


def test_json_has_what_is_stranded_with_the_last_error(pods: Node) -> None:
    pods.strands("c1")

    document = json.loads(pods.run("gc", "--json", "--yes").stdout)

    (stranded,) = document["stranded"]
    error = {"cniVersion": "1.1.0", "code": 11, "msg": "istio/istio-cni: the agent is away"}
    assert (document["stale"], stranded["containerID"], stranded["freed"]) == ([], "c1", False)
    assert (stranded["error"], stranded["tries"]) == (error, 1)
    assert stranded["errors"] == [error | {"cniVersion": "1.0.0"}]


def test_a_state_directory_that_can_not_be_read_is_told_to_a_program_too(pods: Node, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    where = ("--dry-run", "--state-dir", str(tmp_path / "file"))

    reason = f"{tmp_path}/file: can't be read: Not a directory"
    assert pods.json("gc", *where)["errors"] == [reason]
    assert f"! {reason}\n" in pods.run("gc", *where).stdout


@pytest.mark.parametrize("age", ["", "5", "h", "1w", "-1h"])
def test_an_age_that_is_none_is_wrong_usage(pods: Node, age: str) -> None:
    assert pods.run("gc", f"--older-than={age}").status == 2


def test_where_there_is_no_state_there_is_nothing_to_do(host: Node) -> None:
    assert with_pods(host).run("gc", "--yes") == (0, "Nothing to free.\n", "")


def test_a_directory_in_a_records_place_can_be_cleared(pods: Node) -> None:
    place = pods.record("c1")
    place.unlink()
    place.mkdir()
    aside = place.with_name(f".damaged-{place.name}")
    aside.mkdir()
    (aside / "somebody's").touch()

    refused = pods.run("gc", "--yes")
    assert (refused.status, refused.stderr) == (1, f"cni-chain: {aside}: Directory not empty\n")
    (aside / "somebody's").unlink()
    assert pods.run("gc", "--yes").status == 0
    assert pods.run("gc", "--forget", "c1", "--force", "--yes").status == 0

    assert not aside.exists()
    assert not place.exists()
