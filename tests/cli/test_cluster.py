"""`cni-chain cluster`: what is told of a cluster whose kubectl answers with documents of the API server.

The answers are shaped as those of an API server 1.36; `tests/release/test_cluster_asked.py` asks a real one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cni_chain import __version__
from tests.support.files.cluster import (
    NAMESPACE,
    Cluster,
    Json,
    ago,
    daemonset,
    forbidden,
    line,
    pod,
    probe_event,
)
from tests.support.files.person import Result, run

WHY = "/etc/cni/chain.d/istio.d: has no fragment yet"
REFUSAL = "/etc/cni/net.d/05-cilium.conflist: has changed since the fragments were written"


@pytest.fixture
def cluster(tmp_path: Path, program: str) -> Cluster:
    """One whose kubectl answers nothing yet."""
    return Cluster(tmp_path / "bin", program)


def agent_of(name: str, namespace: str, path: str, *, updated: bool = True) -> Json:
    """A DaemonSet of an agent of the network, with the directory in which it writes."""
    volumes = [{"name": "cni", "hostPath": {"path": path}}, {"name": "run", "hostPath": {"path": "/run"}}]
    status = {"observedGeneration": 1, "desiredNumberScheduled": 2, "numberAvailable": 2}
    return {
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": {"template": {"spec": {"volumes": volumes}}},
        "status": {**status, "updatedNumberScheduled": 2 if updated else 1},
    }


def first(document: Json) -> Json:
    """The first node of the first DaemonSet."""
    node: Json = document["daemonSets"][0]["nodes"][0]
    return node


# A cluster on which all is well.


def test_where_all_is_well_two_lists_are_asked_for_and_nothing_else(cluster: Cluster) -> None:
    of = daemonset("on", 2)
    cluster.has(of, pods=[pod("node-1", of), pod("node-2", of)])

    status, stdout, stderr = cluster.run("status")

    assert (status, stderr) == (0, "")
    assert stdout.splitlines()[0] == "✓ cni-chain/cni-chain: 2 of 2 nodes are on"
    asked = [words[:2] for words in cluster.asked]
    assert asked == [["get", "daemonsets.apps"], ["config", "view"], ["get", "pods"]]


@pytest.mark.parametrize(
    ("server", "is_raw"),
    [
        ("https://192.0.2.1:6443", True),
        ("https://rancher.example/k8s/clusters/c-1", False),
        ("", False),
    ],
    ids=["its own address", "behind a proxy's path", "in a pod"],
)
def test_many_pods_are_handed_through_where_that_asks_the_same_server(
    cluster: Cluster, server: str, is_raw: bool
) -> None:
    """Older kubectls drop the path of the server's address with --raw, and ask another cluster."""
    of = daemonset("on", 1)
    cluster.has(of, pods=[pod("node-1", of)])
    cluster.answers("config", "view", stdout=server)
    path = "/api/v1/namespaces/cni-chain/pods?labelSelector="
    path += "app.kubernetes.io%2Fname%3Dcni-chain%2Capp.kubernetes.io%2Finstance%3Dcni-chain"
    cluster.answers("get", "--raw", path, stdout=json.dumps({"items": [pod("node-1", of)]}), first=True)

    assert cluster.run("status").status == 0
    assert any("--raw" in words for words in cluster.asked) == is_raw


def test_the_document_says_the_same(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    cluster.has(of, pods=[pod("node-1", of)])

    document = cluster.json("status")

    (release,) = document["daemonSets"]
    assert document["done"] is True
    assert release["owners"] == ["cilium:cilium-cni", "istio:istio-cni", "local"]
    assert (release["version"], release["state"], release["holds"]) == (__version__, "on", [])
    assert release["counts"] == {"prepared": 0, "on": 1, "off": 0, "notReady": 0, "withoutPod": 0}
    assert first(document)["reached"] == "on"


def test_many_nodes_that_are_as_wanted_are_counted_unless_all_are_asked_for(cluster: Cluster) -> None:
    of = daemonset("on", 30)
    cluster.has(of, pods=[pod(f"node-{number}", of) for number in range(30)])

    assert "and 30 nodes as wanted (--all lists them)" in cluster.run("status").stdout
    names = [row.split()[0] for row in cluster.run("status", "--all").stdout.splitlines() if row.startswith("node-")]
    assert names == [f"node-{number}" for number in range(30)]


# A node that is not ready, and where its reasons come from.


def not_ready(cluster: Cluster, **changed: object) -> str:
    """A cluster with one node that isn't ready; the name of its pod."""
    of = daemonset("on", 1, numberAvailable=0)
    made = pod("node-1", of, ready=False, **changed)  # type: ignore[arg-type]  # members of its status
    cluster.has(of, pods=[made])
    return str(made["metadata"]["name"])


def test_the_reasons_are_those_of_the_agent_s_log_with_its_owners_and_pods(cluster: Cluster) -> None:
    name = not_ready(cluster)
    owners = {"cilium": None, "istio": WHY}
    cluster.logs(
        name, line("long ago"), line(WHY, owners=owners, pods=7, stranded=1, findings={"owner-empty": 1}), {"did": "x"}
    )

    node = first(cluster.json("status"))

    assert (node["reasons"], node["source"], node["refused"], node["reached"]) == ([WHY], "log", False, "on")
    assert node["owners"] == [
        {"name": "cilium", "ready": True, "why": None},
        {"name": "istio", "ready": False, "why": WHY},
    ]
    assert (node["pods"], node["stranded"]) == (7, 1)
    assert node["findings"] == [{"id": "owner-empty", "count": 1}]


def test_without_the_right_to_logs_they_are_those_of_the_pod_s_event(cluster: Cluster) -> None:
    name = not_ready(cluster)
    older, other = probe_event(name, "older", seconds=900), probe_event("cni-chain-node-2", "another's")
    cluster.lists("events", [probe_event(name, REFUSAL, verdict="refuses"), older, other])
    cluster.refuses("logs", stderr=forbidden("pods"))

    status, stdout, _ = cluster.run("status")

    assert status == 1
    assert f"    {REFUSAL}\n    (by the pod's last event)\n" in stdout
    assert "You may not read logs in cni-chain (get pods/log)" in stdout
    assert first(cluster.json("status"))["refused"] is True


def test_without_any_right_beside_the_two_lists_it_says_what_is_missing(cluster: Cluster) -> None:
    not_ready(cluster)
    cluster.refuses("get", "events", stderr=forbidden("events", 'in the namespace "cni-chain"'))
    cluster.refuses("logs", stderr=forbidden("pods"))

    document = cluster.json("status")

    assert document["notes"] == [
        "You may not list the events of cni-chain, which have the reasons of nodes that aren't ready.",
        "You may not read logs in cni-chain (get pods/log), which have each node's reasons and owners.",
        "Why node-1 is not ready is not known yet.",
    ]
    assert (first(document)["reasons"], first(document)["reached"]) == ([], None)


def test_an_event_of_yesterday_is_no_reason_of_today(cluster: Cluster) -> None:
    name = not_ready(cluster)
    cluster.lists("events", [probe_event(name, REFUSAL, seconds=86400)])
    cluster.refuses("logs", stderr=forbidden("pods"))

    assert first(cluster.json("status"))["reasons"] == []


WAITING = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "example.org/agent:1"'}}
ENDED = {"terminated": {"exitCode": 1, "reason": "Error", "message": "starting\n--listen 127.0.0.1:9753: in use\n"}}
CRASHING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        (
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: no free ports."},
                ],
                "containerStatuses": [],
                "phase": "Pending",
            },
            ["not scheduled: 0/3 nodes are available: no free ports."],
        ),
        (
            {"containerStatuses": [{"name": "agent", "ready": False, "restartCount": 0, "state": WAITING}]},
            ['container agent: ImagePullBackOff: Back-off pulling image "example.org/agent:1"'],
        ),
        (
            {
                "containerStatuses": [
                    {"name": "agent", "ready": False, "restartCount": 3, "state": CRASHING, "lastState": ENDED}
                ]
            },
            [
                "container agent: CrashLoopBackOff: back-off 40s restarting failed container",
                "the agent has ended with status 1 (Error): --listen 127.0.0.1:9753: in use",
            ],
        ),
        (
            {
                "containerStatuses": [
                    {"name": "agent", "ready": True, "restartCount": 0, "state": {"running": {}}},
                ]
            },
            ["the node's kubelet does not answer: see kubectl get node"],
        ),
        (
            {"phase": "Failed", "reason": "Evicted", "message": "the node was low on memory", "containerStatuses": []},
            ["the pod has failed: the node was low on memory"],
        ),
    ],
    ids=["port taken", "no image", "crash", "node gone", "evicted"],
)
def test_what_kubernetes_itself_knows_needs_no_other_right(cluster: Cluster, status: Json, reasons: list[str]) -> None:
    not_ready(cluster, **status)

    node = first(cluster.json("status"))

    assert (node["reasons"], node["source"]) == (reasons, "kubernetes")
    assert not [words for words in cluster.asked if words[0] == "logs"]


def test_a_pod_that_is_to_go_from_a_node_that_is_gone_says_so(cluster: Cluster) -> None:
    containers = [{"name": "agent", "ready": True, "restartCount": 0, "state": {"running": {}}}]
    leaving = {"name": "old", "deletionTimestamp": ago(300)}
    for status, reason in (
        ({"containerStatuses": containers}, "the node's kubelet does not answer: see kubectl get node"),
        ({}, "its pod is being deleted"),
    ):
        not_ready(cluster, **status, metadata=leaving)
        assert first(cluster.json("status"))["reasons"] == [reason]


def test_a_pod_that_is_not_scheduled_is_named_by_the_node_that_it_is_for(cluster: Cluster) -> None:
    of = daemonset("on", 1, numberAvailable=0)
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    cluster.has(of, pods=[pod("", of, ready=False, spec={"nodeName": "", "affinity": {"nodeAffinity": affinity}})])

    assert first(cluster.json("status"))["name"] == "node-1"


def test_a_namespace_that_admits_no_pod_is_told_by_the_controller_s_event(cluster: Cluster) -> None:
    cluster.has(daemonset("on", 3, currentNumberScheduled=0, updatedNumberScheduled=0, numberAvailable=0))
    why = 'pods "cni-chain-" is forbidden: violates PodSecurity "baseline:latest": host namespaces'
    about = {"kind": "DaemonSet", "name": "cni-chain", "namespace": NAMESPACE}
    event = {"type": "Warning", "reason": "FailedCreate", "involvedObject": about, "message": f"Error creating: {why}"}
    told = cluster.run("status").stdout
    cluster.lists("events", [{**event, "lastTimestamp": ago(5)}])

    assert "3 nodes should have a pod and have none: kubectl --namespace cni-chain describe daemonset" in " ".join(
        told.split()
    )
    assert cluster.json("status")["daemonSets"][0]["holds"] == [f"no pod can be made: Error creating: {why}"]


# A roll-out on its way.


def rolling(cluster: Cluster, *, ready: bool, **changed: object) -> Json:
    """Of three nodes the first has the new pod."""
    of = daemonset("on", 3, updatedNumberScheduled=1, numberAvailable=3 if ready else 2, **changed)
    before = daemonset("prepared", 3)
    old = [pod(name, before, generation="1") for name in ("node-2", "node-10")]
    cluster.has(of, pods=[pod("node-1", of, ready=ready), *old])
    return of


def test_a_node_that_is_not_ready_holds_the_others_by_name(cluster: Cluster) -> None:
    rolling(cluster, ready=False)
    cluster.logs("cni-chain-node-1", line(WHY))

    (release,) = cluster.json("status")["daemonSets"]

    assert release["holds"] == ["node-1 is not ready, and no other node changes before: at most 1 node at a time"]
    assert [(node["name"], node["current"]) for node in release["nodes"]] == [
        ("node-1", True),
        ("node-2", False),
        ("node-10", False),
    ]
    assert release["counts"] == {"prepared": 2, "on": 0, "off": 0, "notReady": 1, "withoutPod": 0}


@pytest.mark.parametrize(
    ("changed", "hold"),
    [
        ({}, "2 nodes still have the old pod; the controller replaces 1 at a time"),
        (
            {"spec": {"updateStrategy": {"type": "OnDelete"}}},
            "OnDelete: 2 nodes change when you delete the pod: node-2, node-10",
        ),
        (
            {"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "40%"}}}},
            "2 nodes still have the old pod; the controller replaces 2 at a time",
        ),
        ({"observedGeneration": 1}, "the DaemonSet controller has not seen the last change yet"),
    ],
    ids=["one by one", "OnDelete", "a share", "not seen"],
)
def test_what_holds_a_roll_out_where_every_node_is_ready(cluster: Cluster, changed: Json, hold: str) -> None:
    rolling(cluster, ready=True, **changed)

    assert cluster.json("status")["daemonSets"][0]["holds"][0] == hold


def test_of_a_node_with_an_old_and_a_new_pod_the_new_one_counts(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    leaving = pod("node-1", of, metadata={"name": "old", "deletionTimestamp": ago(3)}, generation="1")
    cluster.has(of, pods=[pod("node-1", of), leaving])

    assert [node["pod"] for node in cluster.json("status")["daemonSets"][0]["nodes"]] == ["cni-chain-node-1"]


def test_pods_of_a_server_that_labels_no_generation_are_told_apart_by_their_arguments(cluster: Cluster) -> None:
    of, before = daemonset("on", 2), daemonset("prepared", 2)
    cluster.has(of, pods=[pod("node-1", of, generation=""), pod("node-2", before, generation="")])

    nodes = cluster.json("status")["daemonSets"][0]["nodes"]
    assert {node["name"]: node["current"] for node in nodes} == {"node-1": True, "node-2": False}


# Several, or none.


def test_two_charts_in_one_cluster_are_named(cluster: Cluster) -> None:
    one, two = daemonset("on", 1), daemonset("on", 1, name="second", namespace="other")
    cluster.has(one, two, pods=[pod("node-1", one)])

    assert "There are 2 DaemonSets of cni-chain, and a node takes one: cni-chain/cni-chain, other/second." in (
        cluster.run("status").stdout
    )
    for option in (("--release", "second"), ("--namespace", "other")):
        assert [one["name"] for one in cluster.json("status", *option)["daemonSets"]] == ["second"]


def test_a_cluster_without_any_is_not_fine(cluster: Cluster) -> None:
    cluster.has(agent_of("cilium", "kube-system", "/etc/cni/net.d"))

    assert (cluster.run("status").status, cluster.json("status")["daemonSets"]) == (1, [])
    assert "there is no DaemonSet of cni-chain" in cluster.run("plan").stderr


def test_who_may_read_one_namespace_only_is_told_so(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    cluster.has(of, pods=[pod("node-1", of)])
    cluster.answers("config", "view", stdout="team")
    cluster.refuses("get", "daemonsets.apps", "--all-namespaces", stderr=forbidden("daemonsets.apps"))

    for options, looked in (((), "team"), (("--namespace", NAMESPACE), NAMESPACE)):
        status, stdout, _ = cluster.run("status", *options)
        assert (status, f"only {looked} was looked at" in " ".join(stdout.split())) == (0, True)
        asked = [words for words in cluster.asked if words[:2] == ["get", "daemonsets.apps"]]
        assert asked[-1][2:4] == ["--namespace", looked]


# A kubectl that gives no answer.

REFUSED = "The connection to the server localhost:8080 was refused - did you specify the right host or port?"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"E1129 16:29:31.000000   16868 memcache.go:265] x\n{REFUSED}\n", f"kubectl: {REFUSED}"),
        ('error: context "nosuch" does not exist\n', 'kubectl: context "nosuch" does not exist'),
        (
            "error: You must be logged in to the server (Unauthorized)\n",
            (
                "kubectl: You must be logged in to the server (Unauthorized); log in, or name another user's file "
                "with --kubeconfig"
            ),
        ),
        (forbidden("daemonsets.apps"), f"kubectl: {forbidden('daemonsets.apps').partition(': ')[2].strip()}"),
        ("", "kubectl: ended with status 1 and no message"),
    ],
    ids=["not reachable", "no context", "not logged in", "forbidden", "silent"],
)
@pytest.mark.parametrize("command", ["status", "plan"])
def test_whatever_kubectl_refuses_is_one_line_and_status_3(
    cluster: Cluster, command: str, said: str, told: str
) -> None:
    cluster.answers("config", stdout="default")
    cluster.answers("get", stderr=said, status=1)

    assert cluster.run(command) == Result(3, "", f"cni-chain: {told}\n")


def test_no_kubectl_at_all_is_said(tmp_path: Path, program: str) -> None:
    result = run(program, "cluster", "status", environ={"PATH": str(tmp_path)})

    assert result == Result(
        3,
        "",
        "cni-chain: kubectl: can't be run: No such file or directory; install kubectl, or name it with --kubectl\n",
    )


def test_what_somebody_else_has_written_is_neither_a_command_nor_moves_the_cursor(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    of["metadata"]["annotations"]["meta.helm.sh/release-name"] = "x; rm -rf ~ #\n\x1b[2J"
    cluster.has(of, pods=[pod("node1", of, ready=False)])
    hostile = {"owners": {"\x1b[2J": 5}, "findings": {"\x1b[1m": None}, "pods": 1}
    cluster.logs("cni-chain-node1", line("\x1b]0;x\x07\ny", refused=True) | hostile)

    planned, told, told_of_one = (cluster.run(*words) for words in (["plan", "off"], ["status"], ["status", "node1"]))

    assert "rm -rf" not in planned.stdout
    assert [result.stdout for result in (planned, told, told_of_one) if "\x1b" in result.stdout] == []
    node = first(cluster.json("status"))
    assert (node["reasons"], node["owners"], node["findings"]) == (["\x1b]0;x\x07\ny"], None, None)


def test_a_log_that_no_agent_has_written_says_nothing(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    cluster.has(of, pods=[pod("node1", of, ready=False)])
    cluster.answers("logs", stdout="[" * 100_000 + "\n", first=True)

    assert (cluster.run("status").status, first(cluster.json("status"))["reasons"]) == (1, [])


def test_a_command_line_with_no_plain_directory_is_none_of_an_agent(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    of["spec"]["template"]["spec"]["containers"][0]["args"].append("--chain-dir=/etc/cni/chain.d; rm -rf ~")
    cluster.has(of, pods=[pod("node1", of)])

    assert "rm -rf" not in cluster.run("plan").stdout


def test_a_daemonset_that_selects_no_node_is_not_fine(cluster: Cluster) -> None:
    cluster.has(daemonset("on", 0))

    status, wait = cluster.run("status"), cluster.run("wait", "--timeout", "1s")

    assert (status.status, wait.status) == (1, 1)
    assert "it selects no node: are its nodeSelector, affinity and tolerations right?" in status.stdout


def test_an_answer_that_is_no_list_is_said(cluster: Cluster) -> None:
    cluster.answers("get", stdout="<html>log in first</html>")

    assert cluster.run("status") == Result(
        3, "", "cni-chain: kubectl get daemonsets.apps: its answer is no list in JSON\n"
    )


def test_the_options_of_kubectl_are_passed_on(cluster: Cluster) -> None:
    cluster.has(daemonset("on", 0))
    shutil.move(cluster.folder / "kubectl", cluster.folder / "oc")

    cluster.run("status", "--kubectl", "oc", "--context", "blue", "--kubeconfig", "/a/file")

    assert all(words[-4:] == ["--context", "blue", "--kubeconfig", "/a/file"] for words in cluster.asked)


# wait


def test_wait_ends_when_all_is_as_wanted(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    cluster.has(of, pods=[pod("node-1", of)])

    status, stdout, stderr = cluster.run("wait", "on")

    assert (status, stderr) == (0, "")
    assert "1 of 1 node is on" in stdout


@pytest.mark.parametrize("source", ["log", "event"])
def test_wait_ends_early_where_a_node_refuses_and_says_why(cluster: Cluster, source: str) -> None:
    of = rolling(cluster, ready=False)
    del of
    if source == "log":
        cluster.logs("cni-chain-node-1", line(REFUSAL, refused=True))
    else:
        cluster.refuses("logs", stderr=forbidden("pods"))
        cluster.lists("events", [probe_event("cni-chain-node-1", REFUSAL, verdict="refuses")])

    status, _, stderr = cluster.run("wait", "--timeout", "60s")

    assert (status, stderr) == (1, f"cni-chain: node-1 refuses: {REFUSAL}\n")


def test_wait_goes_on_where_an_agent_is_waited_for_until_the_time_is_over(cluster: Cluster) -> None:
    rolling(cluster, ready=False)
    cluster.logs("cni-chain-node-1", line(WHY))

    status, _, stderr = cluster.run("wait", "--timeout", "1s")

    assert status == 1
    assert stderr.splitlines() == [
        "cni-chain/cni-chain: 0 of 3 nodes are on, waiting for node-1",
        "cni-chain: the time is over",
    ]


def test_wait_goes_on_where_a_node_has_only_begun_to_refuse(cluster: Cluster) -> None:
    """The agent before it may not have ended yet."""
    of = daemonset("on", 1, numberAvailable=0)
    cluster.has(of, pods=[pod("node-1", of, ready=False, since=2)])
    cluster.logs("cni-chain-node-1", line(REFUSAL, refused=True))

    assert cluster.run("wait", "--timeout", "1s").stderr.splitlines()[-1] == "cni-chain: the time is over"


def test_wait_does_not_ask_a_node_that_has_only_begun(cluster: Cluster) -> None:
    """Or each look at a roll-out would read the logs of all that are on their way."""
    of = daemonset("on", 2, numberAvailable=0)
    leaving = pod("node-2", of, metadata={"name": "old", "deletionTimestamp": ago(3)})
    cluster.has(of, pods=[pod("node-1", of, ready=False, since=2), leaving])

    cluster.run("wait", "--timeout", "0s")

    assert not [words for words in cluster.asked if words[0] == "logs"]


def test_wait_for_a_state_that_nobody_has_set_says_so(cluster: Cluster) -> None:
    of = daemonset("prepared", 1)
    cluster.has(of, pods=[pod("node-1", of)])

    status, _, stderr = cluster.run("wait", "on", "--timeout", "0s")

    assert (status, stderr) == (1, "prepared is wanted, not on yet\ncni-chain: the time is over\n")


def test_wait_asks_a_server_again_that_goes_away(cluster: Cluster) -> None:
    rolling(cluster, ready=False)
    look = 5  # calls of kubectl: two lists, the server's address, the events, a log
    cluster.answers("get", stderr=f"{REFUSED}\n", status=1, after=look, first=True)
    of = daemonset("on", 1)
    for kind, found in (("daemonsets.apps", of), ("pods", pod("node-1", of))):
        cluster.answers("get", kind, stdout=json.dumps({"items": [found]}), after=look + 1, first=True)

    status, _, stderr = cluster.run("wait")

    assert (status, stderr.splitlines()[1:]) == (0, [f"kubectl: {REFUSED}; asking again"])


def test_wait_ends_at_once_where_no_server_answers(cluster: Cluster) -> None:
    """The kubeconfig is wrong, then, and no time mends it."""
    cluster.answers("get", stderr=f"{REFUSED}\n", status=1)

    assert cluster.run("wait") == Result(3, "", f"cni-chain: kubectl: {REFUSED}\n")


def test_wait_prints_the_document_alone_on_standard_output(cluster: Cluster) -> None:
    rolling(cluster, ready=False)
    cluster.logs("cni-chain-node-1", line(REFUSAL, refused=True))

    assert cluster.json("wait")["done"] is False


@pytest.mark.parametrize("command", ["wait", "plan"])
def test_a_state_that_is_none_is_wrong_usage(cluster: Cluster, command: str) -> None:
    told = "cni-chain: prepard: must be prepared, on or off; did you mean prepared?\n"
    assert cluster.run(command, "prepard") == Result(2, "", told)


# plan


def planned(cluster: Cluster, state: str, to: str, *agents: Json) -> Json:
    """The plan of a cluster of two nodes, all as wanted."""
    of = daemonset(state, 2)
    cluster.has(of, *agents, pods=[pod("node-1", of), pod("node-2", of)])
    (plan,) = cluster.json("plan", *([to] if to else []))["plans"]
    assert isinstance(plan, dict)
    return plan


CILIUM, ISTIO = ("cilium", "kube-system"), ("istio-cni-node", "istio-system")
SHARED, CILIUMS, ISTIOS = "/etc/cni/net.d", "/etc/cni/chain.d/cilium.d", "/etc/cni/chain.d/istio.d"


@pytest.mark.parametrize(
    ("state", "to", "cilium", "istio", "steps"),
    [
        ("prepared", "", SHARED, SHARED, [("move", "cilium", False), ("set", None, False), ("move", "istio", False)]),
        ("prepared", "", CILIUMS, SHARED, [("move", "cilium", True), ("set", None, False), ("move", "istio", False)]),
        ("on", "", CILIUMS, ISTIOS, [("move", "cilium", True), ("set", None, True), ("move", "istio", True)]),
        ("on", "prepared", CILIUMS, ISTIOS, [("set", None, False)]),
        (
            "on",
            "off",
            CILIUMS,
            ISTIOS,
            [
                ("set", None, False),
                ("move back", "istio", False),
                ("move back", "cilium", False),
                ("uninstall", None, None),
            ],
        ),
    ],
    ids=["nobody moved", "network moved", "all done", "back", "off"],
)
def test_the_steps_to_a_state_in_their_order(
    cluster: Cluster, state: str, to: str, cilium: str, istio: str, steps: list[tuple[str, str | None, bool | None]]
) -> None:
    agents = [agent_of(*CILIUM, cilium), agent_of(*ISTIO, istio)]

    plan = planned(cluster, state, to, *agents)

    assert [(one["action"], one["owner"], one["done"]) for one in plan["steps"]] == steps


@pytest.mark.parametrize(
    ("state", "path", "steps"),
    [
        ("prepared", SHARED, ["cilium", "linkerd", None]),
        ("prepared", "/etc/cni/chain.d/linkerd.d", ["cilium", "linkerd", None]),
        ("off", SHARED, ["cilium", "linkerd", None]),
        ("on", SHARED, ["cilium", None, "linkerd"]),
    ],
    ids=["not moved", "moved", "off", "on already"],
)
def test_a_mesh_that_edits_the_list_in_use_moves_before_on_with_the_nodes_cordoned(
    cluster: Cluster, state: str, path: str, steps: list[str | None]
) -> None:
    """A node would refuse, and without a cordon pods would start outside the mesh."""
    of = daemonset(state, 2)
    owners = ["agent", f"--state={state}", "--owner=cilium:cilium-cni", "--owner=linkerd:linkerd-cni", "--owner=local"]
    of["spec"]["template"]["spec"]["containers"][0]["args"] = owners
    agents = [agent_of(*CILIUM, CILIUMS), agent_of("linkerd-cni", "linkerd-cni", path)]
    cluster.has(of, *agents, pods=[pod("node-1", of), pod("node-2", of)])

    (plan,) = cluster.json("plan", "on")["plans"]

    assert [one["owner"] for one in plan["steps"]] == steps
    said = json.dumps([one["remarks"] for one in plan["steps"]])
    is_told = state != "on" and path == SHARED
    assert ("cordon every node first" in said, "uncordon the nodes" in said) == (is_told, is_told)


def test_a_step_has_the_commands_of_its_agent_and_how_to_undo_it(cluster: Cluster) -> None:
    plan = planned(cluster, "prepared", "on", agent_of(*CILIUM, SHARED), agent_of(*ISTIO, SHARED))

    cilium, set_, istio = plan["steps"]
    assert "--set cni.confPath=/etc/cni/chain.d/cilium.d --set socketLB.hostNamespaceOnly=true" in cilium["commands"][0]
    assert set_["commands"] == [
        "helm upgrade cni-chain <chart> --namespace cni-chain --reuse-values --set state=on",
        "kubectl cni-chain wait on --namespace cni-chain --release cni-chain",
        "helm test cni-chain --namespace cni-chain",
    ]
    assert "--set cniConfDir=/etc/cni/chain.d/istio.d" in istio["commands"][0]
    assert plan["undo"] == ["helm rollback cni-chain --namespace cni-chain"]
    assert plan["pace"] == {"nodes": 2, "atOnce": [], "maxUnavailable": 1, "batches": 2, "seconds": 10}


@pytest.mark.parametrize(("state", "to"), [("prepared", "on"), ("on", "on"), ("off", "off")])
def test_without_a_state_the_plan_is_that_of_the_next_as_its_help_says(cluster: Cluster, state: str, to: str) -> None:
    of = daemonset(state, 1)
    cluster.has(of, pods=[pod("node-1", of)])

    told = cluster.run("plan").stdout

    assert told.splitlines()[0] == f"cni-chain/cni-chain: from {state} to {to}"
    assert ("each 5 s after the one before was ready: 1 time, 5 s at least" in told) == (state != to)
    assert "on, or off where that is the state now" in " ".join(cluster.run("plan", "--help").stdout.split())


def test_nodes_that_are_not_ready_are_replaced_beside_the_pace(cluster: Cluster) -> None:
    of = daemonset("prepared", 3, numberAvailable=2)
    pods = [pod(f"node-{number}", of, ready=number != 2) for number in (1, 2, 3)]
    cluster.has(of, pods=pods)
    cluster.logs("cni-chain-node-2", line(REFUSAL, refused=True))

    status, stdout, _ = cluster.run("plan")

    assert status == 1
    text = " ".join(stdout.split())
    assert "✗ first: node-2 refuses" in text
    assert f"node-2: {REFUSAL}" in text
    assert "At once, whatever maxUnavailable says: node-2, because it is not ready now. 2 nodes, 1 at a time" in text


def test_an_agent_whose_own_roll_out_goes_on_has_not_moved_yet(cluster: Cluster) -> None:
    plan = planned(cluster, "prepared", "on", agent_of(*CILIUM, CILIUMS, updated=False))

    assert (plan["steps"][0]["done"], plan["steps"][0]["text"]) == (
        False,
        "Cilium has /etc/cni/chain.d/cilium.d; its own roll-out has not ended",
    )


def test_a_stranger_in_the_runtime_s_directory_is_named(cluster: Cluster) -> None:
    assert planned(cluster, "on", "", agent_of("kindnet", "kube-system", SHARED))["others"] == ["kube-system/kindnet"]


def test_where_other_namespaces_may_not_be_read_nobody_knows_who_has_moved(cluster: Cluster) -> None:
    of = daemonset("prepared", 1)
    cluster.has(of, pods=[pod("node-1", of)])
    cluster.answers("config", stdout=NAMESPACE)
    cluster.refuses("get", "daemonsets.apps", "--all-namespaces", stderr=forbidden("daemonsets.apps"))

    (plan,) = cluster.json("plan")["plans"]
    assert [one["done"] for one in plan["steps"]] == [None, False, None]


def test_without_helm_the_argument_is_named(cluster: Cluster) -> None:
    of = daemonset("prepared", 1)
    del of["metadata"]["annotations"]["meta.helm.sh/release-name"]
    cluster.has(of, pods=[pod("node-1", of)])

    (plan,) = cluster.json("plan")["plans"]
    assert "Helm has not made this DaemonSet: its agent's argument becomes --state=on" in plan["steps"][1]["remarks"]
    assert plan["undo"] == ["the argument --state=prepared again"]


# The plugin of kubectl.


def test_under_the_name_of_a_plugin_of_kubectl_it_is_about_the_cluster(cluster: Cluster) -> None:
    of = daemonset("on", 1)
    cluster.has(of, pods=[pod("node-1", of)])
    plugin, completion = (cluster.folder / name for name in ("kubectl-cni_chain", "kubectl_complete-cni_chain"))
    for link in (plugin, completion):
        link.symlink_to(os.path.abspath(cluster.program))
    environ = {"PATH": f"{cluster.folder}:/usr/bin:/bin"}

    assert run(str(plugin), "status", environ=environ) == cluster.run("status")
    assert run(str(completion), "wait", "o", environ=environ).stdout == "on\noff\n:4\n"
