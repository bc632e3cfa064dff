"""`cni-chain gc --forget`: what can't be deleted any more is dropped, and nothing is run for it."""

import pytest

from tests.cli.test_gc import on_a_terminal
from tests.support.files.node import WEB, Node
from tests.support.files.schemas import members

TO_FORGET = (
    "to forget: default/web-1 eth0 (c1): addresses (10.1.0.5/24), rules and endpoints of cilium/cilium-cni, "
    "istio/istio-cni may stay\n"
)


def forget(pods: Node, *arguments: str) -> tuple[int, str, str]:
    return pods.run("gc", "--forget", *arguments)


def test_a_record_is_dropped_with_its_marker_and_no_plugin_is_run(pods: Node) -> None:
    pods.strands("c1")
    before = pods.ran

    assert forget(pods, "c1", "--yes") == (0, f"{TO_FORGET}forgotten: default/web-1 eth0 (c1)\n", "")
    assert (pods.records, pods.stranded, pods.ran) == ([], [], before)


def test_it_is_in_the_log_with_what_may_be_left_behind(pods: Node) -> None:
    pods.strands("c1")
    forget(pods, "c1", "--yes")

    line = pods.log_lines[-1]
    assert (line["verb"], line["pod"], line["level"], line["containerID"]) == ("DEL", "default/web-1", "info", "c1")
    assert line["notes"] == [
        (
            "cni-chain gc --forget: the record was removed and no plugin was run; left behind: addresses "
            "(10.1.0.5/24), rules and endpoints of cilium/cilium-cni, istio/istio-cni may stay"
        )
    ]


def test_it_is_asked_first_and_what_may_stay_is_told(pods: Node) -> None:
    pods.strands("c1")
    command = [pods.program, "gc", "--forget", "c1", "--net-dir", str(pods.net_dir)]
    command += ["--state-dir", str(pods.state_dir)]

    assert on_a_terminal(command, "n\n") == ("Forget 1 attachment, without any plugin's DEL? [y/N]: ", 1)
    assert pods.records == [pods.record("c1")]
    assert on_a_terminal(command, "y\n")[1] == 0
    assert pods.records == []


def test_without_a_terminal_it_does_not_act_unasked(pods: Node) -> None:
    pods.strands("c1")

    status, stdout, stderr = forget(pods, "c1")

    assert (status, stdout) == (2, TO_FORGET)
    assert "pass --yes" in stderr
    assert forget(pods, "c1", "--dry-run") == (0, TO_FORGET, "")
    assert pods.records == [pods.record("c1")]


def test_a_pod_that_runs_is_not_forgotten_for_a_yes_alone(pods: Node) -> None:
    netns = pods.netns("c1")

    why = f"its pod runs: {netns} exists (--force forgets it anyway)"
    refused = (1, "", f"cni-chain: default/web-1 eth0 (c1) is not forgotten: {why}\n")
    assert forget(pods, "c1", "--yes") == refused
    assert pods.record("c1").exists()
    assert forget(pods, "c1", "--yes", "--force")[0] == 0
    assert pods.records == []


def test_a_pod_whose_namespace_is_gone_is_forgotten(pods: Node) -> None:
    pods.loses_its_namespace("c1")

    assert forget(pods, "c1", "--yes")[0] == 0
    assert pods.records == []


def test_where_the_namespace_cant_be_seen_nothing_is_taken_for_gone(pods: Node) -> None:
    pods.call("ADD", "c2", CNI_NETNS="/nowhere/netns/c2")

    status, _, stderr = forget(pods, "c2", "--yes")

    assert (status, "its pod may still run: /nowhere/netns doesn't exist here" in stderr) == (1, True)


@pytest.mark.parametrize("asked", ["d4", "d4e5f6"])
def test_all_interfaces_of_the_one_container_whose_id_begins_so(pods: Node, asked: str) -> None:
    for ifname in ("eth0", "net1"):
        pods.call("ADD", "d4e5f6", ifname, CNI_ARGS=WEB)
    pods.loses_its_namespace("d4e5f6")

    told = forget(pods, asked, "--yes")[1]

    assert told.count("forgotten: default/web-1") == 2
    assert pods.records == [pods.record("c1")]


def test_one_interface_of_a_container_that_has_several(pods: Node) -> None:
    for ifname in ("eth0", "net1"):
        pods.call("ADD", "d4", ifname, CNI_ARGS=WEB)
    pods.loses_its_namespace("d4")

    assert forget(pods, "d4:net1", "--yes")[0] == 0
    assert pods.records == [pods.record("c1"), pods.record("d4")]
    assert "of a container with an interface net9 whose ID begins with 'd4'" in forget(pods, "d4:net9", "--yes")[2]


def test_a_beginning_that_several_containers_have_is_refused(pods: Node) -> None:
    for container in ("d4", "d44", "d5"):
        pods.add(container)
        pods.loses_its_namespace(container)

    status, stdout, stderr = forget(pods, "d", "--yes")

    assert (status, stdout) == (1, "")
    assert stderr == "cni-chain: 'd': several container IDs begin so: d4, d44, d5; give more of the ID\n"
    assert forget(pods, "d4", "--yes")[0] == 0, "an ID in full is that container's"
    assert pods.record("d44").exists()


@pytest.mark.parametrize("asked", ["zz", "", ":eth0"])
def test_an_id_that_nobody_has(pods: Node, asked: str) -> None:
    status, stdout, stderr = pods.run("gc", f"--forget={asked}", "--yes")

    assert (status, stdout) == (1, "")
    assert "cni-chain: no attachment of a container" in stderr
    assert pods.record("c1").exists()


def test_one_that_another_call_works_on_is_left_alone(pods: Node) -> None:
    pods.plugin("istio-cni").does("DEL", "sleep 30")
    running = pods.begin("DEL", "c1")
    running.reaches("DEL", "istio-cni")

    status, stdout, _ = forget(pods, "c1", "--yes")
    running.kill()

    assert (status, stdout.splitlines()[-1]) == (
        1,
        "left alone: default/web-1 eth0 (c1): busy: another call for it is still running",
    )
    assert pods.record("c1").exists()


@pytest.mark.root
@pytest.mark.parametrize("damage", ["text", "mode"])
def test_a_record_that_tells_nothing_needs_force(pods: Node, damage: str) -> None:
    if damage == "text":
        pods.record("c1").write_text("{}\n")
    else:
        pods.record("c1").chmod(0o666)

    refused = forget(pods, "c1", "--yes")
    assert (refused[0], "its record does not show whether its pod runs" in refused[2]) == (1, True)

    assert "of an unknown chain may stay" in forget(pods, "c1", "--yes", "--force")[1]
    assert pods.records == []


def test_json_says_what_was_forgotten(pods: Node) -> None:
    pods.strands("c1")

    dry, done = (members(forget(pods, "c1", "--json", word)[1]) for word in ("--dry-run", "--yes"))

    one = {
        "network": "pods",
        "containerID": "c1",
        "ifname": "eth0",
        "pod": "default/web-1",
        "state": "deleting",
        "left": ["cilium/cilium-cni", "istio/istio-cni"],
        "addresses": ["10.1.0.5/24"],
        "forgotten": False,
        "kept": None,
        "errors": [],
    }
    assert dry == {"dryRun": True, "forget": [one]}
    assert done == {"dryRun": False, "forget": [one | {"forgotten": True}]}


@pytest.mark.parametrize("arguments", [["--force"], ["--forget", "c1", "--older-than", "1h"]], ids=" ".join)
def test_wrong_usage_is_status_2(pods: Node, arguments: list[str]) -> None:
    assert pods.run("gc", *arguments).status == 2
