"""`cni-chain cluster` with the real kubectl, of a real API server, by users who may do this and not that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import available
from tests.lab.cluster.apiserver import ApiServer, free_ports, started
from tests.support.files.cluster import Json, ago, pod, probe_event
from tests.support.files.person import Result, run
from tests.support.gomodules import NotBuiltError
from tests.support.helm import PRESET, Helm

NAMESPACE, WHY = "cni-chain", "/etc/cni/net.d: Read-only file system"
LISTS = {"apiGroups": ["", "apps"], "resources": ["pods", "daemonsets"], "verbs": ["list"]}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}
RBAC = "rbac.authorization.k8s.io"
# Each user's rules, and whether they are for all namespaces.
USERS: dict[str, tuple[list[Json], bool]] = {
    "lists": ([LISTS], True),
    "events": ([LISTS, EVENTS], True),
    "local": ([LISTS, EVENTS], False),
    "nobody": ([], True),
}


class Cluster:
    """A server that has the chart, with two nodes: one is ready, and one says why it isn't."""

    def __init__(self, server: ApiServer, program: str, helm: Helm) -> None:
        self.server, self._program = server, program
        [daemonset] = [one for one in helm.template("--set", f"preset={PRESET}") if one["kind"] == "DaemonSet"]
        server.apply(*(_named("Namespace", name) for name in (NAMESPACE, "elsewhere")))
        server.apply(_named("ServiceAccount", "default") | {"metadata": {"name": "default", "namespace": NAMESPACE}})
        server.apply(daemonset, *(one for name in USERS for one in _rights(name)))
        numbers = ("desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled", "numberReady")
        status = {**dict.fromkeys(numbers, 2), "numberMisscheduled": 0, "numberAvailable": 1, "observedGeneration": 1}
        self._patch("daemonset", "cni-chain", status)
        self.names = [
            self._pod(pod(f"node-{number}", daemonset, generation="1", ready=number == 1)) for number in (1, 2)
        ]
        event = probe_event(self.names[1], WHY, verdict="refuses")
        server.apply(event | {"metadata": {"name": "why", "namespace": NAMESPACE}, "firstTimestamp": ago(90)})

    def _pod(self, made: Json) -> str:
        made["metadata"].pop("creationTimestamp")
        made["spec"].pop("priorityClassName")  # no controller has made the classes
        status = made.pop("status")
        for container in status["containerStatuses"]:
            container |= {"image": "x", "imageID": "x"}
        self.server.apply(made)
        name = str(made["metadata"]["name"])
        self._patch("pod", name, status)
        return name

    def _patch(self, kind: str, name: str, status: Json) -> None:
        words = ("patch", kind, name, f"--namespace={NAMESPACE}", "--subresource=status", "--type=merge")
        self.server.kubectl(*words, f"--patch={json.dumps({'status': status})}")

    def run(self, user: str, *words: str, server: str = "") -> Result:
        """A command about the cluster, as a user."""
        file = self.server.kubeconfig(user, user)
        if server:
            file.write_text(file.read_text().replace(self.server.address, server))
        path = f"{self.server.program.parent}:/usr/bin:/bin"
        environ = {"PATH": path, "HOME": str(self.server.folder)}
        return run(self._program, "cluster", *words, "--kubeconfig", str(file), environ=environ)


def _named(kind: str, name: str) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


def _rights(user: str) -> list[Json]:
    rules, everywhere = USERS[user]
    kind = "ClusterRole" if everywhere else "Role"
    metadata = {"name": user} if everywhere else {"name": user, "namespace": NAMESPACE}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": user},
            "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
        },
    ]


@pytest.fixture(scope="module")
def cluster(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with available():
        helm = Helm(tmp_path_factory.mktemp("helm"))
    try:
        with started(tmp_path_factory.mktemp("cluster"), tokens=tuple(USERS)) as server:
            yield Cluster(server, program, helm)
    except NotBuiltError as error:
        pytest.skip(f"by design: half an hour of building, by make cluster: {error}")


def nodes(result: Result) -> list[tuple[str, bool, list[str]]]:
    """Each node, whether it is as wanted, and why not."""
    (daemonset,) = json.loads(result.stdout)["daemonSets"]
    return [(one["name"], one["ready"] and one["current"], one["reasons"]) for one in daemonset["nodes"]]


@pytest.mark.parametrize(
    ("user", "options", "reasons", "notes"),
    [
        ("lists", (), [], ["You may not list the events", "You may not read logs", "Why node-2 is not ready"]),
        ("events", (), [WHY], ["You may not read logs"]),
        ("local", ("--namespace", NAMESPACE), [WHY], ["You may not list the DaemonSets", "You may not read logs"]),
    ],
    ids=["two lists", "and events", "one namespace"],
)
def test_each_right_adds_what_it_can_and_its_absence_is_said(
    cluster: Cluster, user: str, options: tuple[str, ...], reasons: list[str], notes: list[str]
) -> None:
    result = cluster.run(user, "status", *options, "--json")

    assert (result.status, result.stderr) == (1, "")
    assert nodes(result) == [("node-2", False, reasons), ("node-1", True, [])]
    said = json.loads(result.stdout)["notes"]
    assert [note[: len(begun)] for note, begun in zip(said, notes, strict=True)] == notes


def test_who_may_nothing_is_told_in_the_server_s_words(cluster: Cluster) -> None:
    result = cluster.run("nobody", "status", "--namespace", NAMESPACE)

    assert (result.status, result.stdout) == (3, "")
    assert result.stderr == (
        'cni-chain: kubectl: daemonsets.apps is forbidden: User "nobody" cannot list resource "daemonsets" in API '
        'group "apps" in the namespace "cni-chain"\n'
    )


def test_whom_the_server_does_not_know_is_told_to_log_in(cluster: Cluster) -> None:
    result = cluster.run("stranger", "status")

    assert (result.status, result.stdout) == (3, "")
    assert "Unauthorized" in result.stderr
    assert result.stderr.endswith("log in, or name another user's file with --kubeconfig\n")


def test_a_server_that_is_away_is_one_line(cluster: Cluster) -> None:
    [port] = free_ports(1)

    result = cluster.run("lists", "status", server=f"https://127.0.0.1:{port}")

    assert (result.status, result.stdout) == (3, "")
    assert result.stderr.startswith("cni-chain: kubectl: ")
    assert "refused" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_wait_ends_where_the_node_refuses_and_plan_says_what_comes_first(cluster: Cluster) -> None:
    waited, planned = cluster.run("events", "wait", "--timeout", "60s"), cluster.run("events", "plan")

    assert (waited.status, waited.stderr) == (1, f"cni-chain: node-2 refuses: {WHY}\n")
    assert planned.status == 1
    assert planned.stdout.splitlines()[2] == "✗ first: node-2 refuses"


def test_kubectl_finds_it_as_its_plugin(cluster: Cluster, program: str, tmp_path: Path) -> None:
    (tmp_path / "kubectl-cni_chain").symlink_to(Path(program).absolute())
    (tmp_path / "kubectl_complete-cni_chain").symlink_to(Path(program).absolute())
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
    kubectl, file = str(cluster.server.program), cluster.server.kubeconfig("events", "events")

    words = ("cni-chain", "status", "--kubeconfig", str(file), "--kubectl", kubectl)
    result, completed = (run(kubectl, *words, environ=environ) for words in (words, ("__complete", "cni-chain", "w")))

    assert (result.status, result.stdout.splitlines()[0]) == (1, "✗ cni-chain/cni-chain: 1 of 2 nodes is prepared")
    assert completed.stdout == "wait\tWait until every node is as it is wanted.\n:4\n"
