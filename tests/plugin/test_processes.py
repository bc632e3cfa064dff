"""Section 4 of the contract: how a delegate's process starts, ends, and is ended."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.support.files.node import Json, Node, Outcome, alive, wait_until

HANGS = "sleep 60"
SIGKILL, SIGTERM = 9, 15


def paced(call: Callable[[int], Outcome], came_so_far: Callable[[Outcome], object]) -> Outcome:
    """The outcome of a call that runs out of time, at a slower pace if it came not so far, as on a busy machine."""
    for pace in (1, 6):
        outcome = call(pace)
        if came_so_far(outcome):
            return outcome
    return call(30)


@pytest.fixture
def pod(node: Node) -> Node:
    """The node with an attachment c1, its files declaring 1.1.0 so that STATUS and GC ask their delegates."""
    for owner, plugin in (("cilium", "cilium-cni"), ("istio", "istio-cni"), ("local", "portmap")):
        node.fragment(owner, f"10-{plugin}.conf", {"type": plugin, "cniVersion": "1.1.0"})
    assert node.add().ok
    return node


def test_a_delegate_gets_pipes_of_its_own_and_nothing_else(node: Node) -> None:
    """Never the runtime's, and no descriptor that the runtime leaked; one pipe may tell it of our death."""
    leaked, other_end = os.pipe()
    running = node.begin("ADD", leaks=[leaked])
    streams = (running.process.stdout, running.process.stderr)
    runtimes = {os.readlink(f"/proc/self/fd/{stream.fileno()}") for stream in streams if stream}
    runtimes.add(os.readlink(f"/proc/self/fd/{leaked}"))

    calls = running.ends().calls
    os.close(leaked)
    os.close(other_end)

    for call in calls:
        assert {0, 1, 2} <= call.fds.keys()
        assert len(call.fds) <= 4
        assert all(target.startswith("pipe:") for target in call.fds.values())
        assert runtimes.isdisjoint(call.fds.values())


def test_a_delegate_leads_a_process_group_of_its_own(node: Node) -> None:
    assert all(call.group == call.pid for call in node.add().calls)


@pytest.mark.parametrize("orders", [[HANGS], [HANGS, f"ignore {SIGTERM}"]], ids=["hanging", "ignoring-SIGTERM"])
@pytest.mark.parametrize("number", [SIGKILL, SIGTERM])
def test_a_delegate_dies_if_cni_chain_is_killed(node: Node, number: int, orders: list[str]) -> None:
    node.plugin("istio-cni").does("ADD", *orders)
    running = node.begin("ADD")
    call = running.reaches("ADD", "istio-cni")

    running.kill(number)

    wait_until(lambda: not alive(call.pid), "the delegate's death")


@pytest.mark.parametrize("kind", ["child", "daemon"])
def test_so_does_its_group_but_not_a_daemon_of_its_own(node: Node, kind: str) -> None:
    """Else an IPAM plugin below it writes its lease after the runtime's DEL has succeeded."""
    node.plugin("istio-cni").does("ADD", HANGS, f"{kind} 60")
    running = node.begin("ADD")
    call = running.reaches("ADD", "istio-cni")

    running.kill()

    wait_until(lambda: not alive(call.pid), "the delegate's death")
    if kind == "child":
        wait_until(lambda: not alive(call.child), "its child's death")
    else:
        assert alive(call.child)


@pytest.mark.parametrize("kind", ["child", "daemon"])
def test_a_daemon_that_a_delegate_leaves_behind_delays_nothing_and_lives_on(node: Node, kind: str) -> None:
    """The answer is complete when the delegate's own process ends, whoever still holds the pipes."""
    node.plugin("istio-cni").does("ADD", f"{kind} 60", "behave")

    outcome = node.add()

    assert outcome.ran == ["ADD cilium-cni", "ADD istio-cni", "ADD portmap"]
    assert outcome.answer == node.result()
    assert alive(outcome.calls[1].child)


@pytest.mark.parametrize(("verb", "code"), [("ADD", 101), ("DEL", 101), ("CHECK", 101), ("GC", 101), ("STATUS", 50)])
@pytest.mark.parametrize("orders", [[HANGS], [HANGS, f"ignore {SIGTERM}", "child 60"]], ids=["hanging", "stubborn"])
def test_a_delegate_past_its_deadline_is_killed_with_its_group(
    pod: Node, verb: str, code: int, orders: list[str]
) -> None:
    """timeouts: one budget for each verb."""
    pod.plugin("cilium-cni").does(verb, *orders)
    container = {"GC": "", "STATUS": "", "ADD": "c2"}.get(verb, "c1")
    valid: Json = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]} if verb == "GC" else {}

    outcome = paced(
        lambda pace: pod.call(verb, container, timeouts={verb: 0.6 * pace}, **valid),
        lambda outcome: f"{verb} cilium-cni" in outcome.ran,
    )

    assert outcome.code == code
    assert "cilium" in outcome.msg
    (call,) = [call for call in outcome.calls if (call.verb, call.type) == (verb, "cilium-cni")]
    processes = [call.pid, *(int(child.read_text()) for child in call.folder.glob("child"))]
    wait_until(lambda: not any(map(alive, processes)), "the death of the delegate and its child")


def test_the_budget_of_a_verb_is_shared_by_its_delegates(node: Node) -> None:
    """Each alone would end in time."""

    def add(pace: int) -> Outcome:
        for plugin in ("cilium-cni", "istio-cni"):
            node.plugin(plugin).does("ADD", f"sleep {pace}", "behave")
        return node.add(timeouts={"ADD": 1.7 * pace})

    outcome = paced(add, lambda outcome: "cilium/cilium-cni" not in outcome.msg)

    assert outcome.code == 101
    assert "istio/istio-cni" in outcome.msg


def test_a_rollback_has_the_budget_of_del(node: Node) -> None:
    node.plugin("portmap").does("ADD", HANGS)

    outcome = paced(
        lambda pace: node.add(timeouts={"ADD": 0.5 * pace, "DEL": 30}),
        lambda outcome: "local/portmap: did not end in time" in outcome.msg,
    )

    assert outcome.code == 101
    assert outcome.ran[-3:] == ["DEL portmap", "DEL istio-cni", "DEL cilium-cni"]
    assert node.records == []


def test_an_owner_may_have_less_time_for_each_call(host: Node) -> None:
    """timeoutSeconds, inside the verb's budget."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni", timeoutSeconds=0.5)
    host.plugin("istio-cni").does("ADD", HANGS)

    outcome = host.add()

    assert outcome.code == 101
    assert "istio/istio-cni" in outcome.msg


def test_in_del_a_hanging_delegate_leaves_a_second_for_each_one_behind_it(node: Node) -> None:
    """In DEL each call may take what is left of the budget less 1 s for each call still to come: nobody starves."""
    node.add()
    node.plugin("portmap").does("DEL", HANGS)

    outcome = node.delete(timeouts={"DEL": 2.5})

    assert outcome.code == 101
    assert "local/portmap" in outcome.msg
    assert [call["type"] for call in node.log_lines[-1]["delegates"]] == ["portmap", "istio-cni"]
    assert had_a_second(node.log_lines[-1]["delegates"][1:])


def had_a_second(calls: list[Json]) -> bool:
    """Whether calls that the log tells had the time that they took, or a second, which a busy machine may use up."""
    return all("code" not in call or call["ms"] >= 1000 for call in calls)


def test_in_del_no_call_gets_less_than_a_second(node: Node) -> None:
    node.add()
    for plugin in ("portmap", "istio-cni", "cilium-cni"):
        node.plugin(plugin).does("DEL", "sleep 0.3")

    def is_done() -> bool:
        outcome = node.delete(timeouts={"DEL": 0.1})
        assert had_a_second(node.log_lines[-1]["delegates"])
        return outcome.ok

    wait_until(is_done, "the DEL")


def test_text_file_busy_is_retried(node: Node) -> None:
    """As while an agent copies a new version over its plugin; for up to 5 s."""
    ran: list[str] = []
    for container in ("c1", "c2", "c3"):  # the next one if this process stood still for as long
        with (node.bin_dir / "istio-cni").open("ab"):
            running = node.begin("ADD", container)
            begun = time.monotonic()
            time.sleep(0.3)
        held = time.monotonic() - begun
        ran = running.ends().ran
        if held < 4:
            break

    assert ran == ["ADD cilium-cni", "ADD istio-cni", "ADD portmap"]


def test_a_delegate_may_answer_without_reading_its_stdin(node: Node) -> None:
    node.fragment("istio", "10-istio-cni.conf", {"type": "istio-cni", "blob": "x" * 2_000_000})
    node.plugin("istio-cni").does("ADD", "deaf", prints=node.result())

    assert node.add().ok


def test_large_answers_and_much_noise_block_nothing(node: Node) -> None:
    large = node.result(dns={"search": ["x" * 1000] * 3000})
    noise = [f"stderr {'y' * 1000}"] * 300
    node.plugin("cilium-cni").does("ADD", *noise, prints=large)

    outcome = node.add()

    assert outcome.answer == large
    assert outcome.stderr.count("y" * 1000 + "\n") == 300


def test_a_delegates_stderr_goes_to_ours(node: Node) -> None:
    node.plugin("istio-cni").does("ADD", "stderr level=info msg=added", "behave")
    node.plugin("portmap").does("ADD", "stderr some failure", "exit 1", prints={"code": 7, "msg": "no"})

    outcome = node.add()

    assert "level=info msg=added\n" in outcome.stderr
    assert "some failure\n" in outcome.stderr
    assert "some failure" not in outcome.msg + outcome.details


def test_a_delegate_dies_with_us_even_if_it_uses_descriptor_3(node: Node) -> None:
    """`exec 3>&1` begins many a shell script; what ties it to our life must be out of its way."""
    script = node.bin_dir / "istio-cni"
    script.unlink()
    pid_file = node.root / "pid"
    script.write_text(
        "#!/bin/bash\nexec 3>&1 4>&1 5>&1 6>&1 7>&1 8>&1 9>&1\n"
        "read -r -d '' request  # to its end: from then on it is tied to us\n"
        '[ "$CNI_COMMAND" != VERSION ] || { echo \'{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}\'; exit; }\n'
        f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 60\n"
    )
    script.chmod(0o755)
    adding = node.begin("ADD")
    wait_until(pid_file.exists, "the script runs")
    pid = int(pid_file.read_text())
    adding.kill()

    wait_until(lambda: not alive(pid), "the script has died with cni-chain")


def test_a_caller_that_ignores_sigchld_gets_its_network_all_the_same(node: Node) -> None:
    done = subprocess.run(
        [node.program],
        input=json.dumps(node.request()).encode(),
        env=node.attachment("ADD", "c1"),
        capture_output=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),  # no threads here
    )

    assert (done.returncode, json.loads(done.stdout)["ips"]) == (0, node.result()["ips"])


def test_an_interrupted_add_is_undone_by_the_next_del(node: Node) -> None:
    """Ctrl-C in front of a runtime ends the call at once, as SIGTERM does."""
    node.plugin("istio-cni").does("ADD", "sleep 60")
    adding = node.begin("ADD")
    adding.reaches("ADD", "istio-cni")
    adding.kill(signal.SIGINT)

    outcome = node.delete()

    assert outcome.ok
    assert {"DEL cilium-cni", "DEL istio-cni"} <= set(outcome.ran)
