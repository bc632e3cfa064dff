"""What a real API server says of the chart: its objects, its pods, their rights, and the start-up taint's policy."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from tests.conftest import available
from tests.lab.cluster.apiserver import ADMINISTRATOR, ApiServer, started
from tests.support.gomodules import NotBuiltError
from tests.support.helm import CHART, DEPLOY, PRESET, Helm, Json

WITH_PRESET = ("--set", f"preset={PRESET}")
KEY, OTHER = "example.org/starting", "example.org/other"
TAINT = ("--set", f"startupTaint.enabled=true,startupTaint.image=example.org/kubectl:1,startupTaint.key={KEY}")
ACCOUNT = "cni-chain-startup-taint"


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    with available():
        return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="module")
def server(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One with the chart, and its start-up taint, in a namespace that admits it."""
    try:
        with started(tmp_path_factory.mktemp("cluster")) as server:
            namespaces = [namespace("cni-chain", "privileged"), namespace("baseline", "baseline")]
            server.apply(*namespaces)
            server.apply(*[account(name) for name in ("cni-chain", "baseline")])
            server.apply(*helm.template(*WITH_PRESET, *TAINT))
            yield server
    except NotBuiltError as error:
        pytest.skip(f"by design: half an hour of building, by make cluster: {error}")


def namespace(name: str, admits: str) -> Json:
    labels = {"pod-security.kubernetes.io/enforce": admits}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def account(namespace: str) -> Json:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": namespace}}


def node(name: str) -> Json:
    taints = [{"key": KEY, "effect": "NoSchedule"}, {"key": OTHER, "effect": "NoSchedule"}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"c": "d"}},
        "spec": {"taints": taints},
    }


def pod_of(objects: list[Json], name: str, namespace: str, **spec: str) -> Json:
    """A pod as the DaemonSet's controller makes it."""
    [daemonset] = [one for one in objects if one["kind"] == "DaemonSet"]
    template = daemonset["spec"]["template"]
    metadata = template["metadata"] | {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] | spec}


def test_the_server_knows_every_field_of_the_chart(helm: Helm, server: ApiServer) -> None:
    for given in (WITH_PRESET, (*WITH_PRESET, *TAINT), (*WITH_PRESET, "--set", "distro=gke")):
        printed = server.apply(
            *helm.template(*given), options=("--server-side", "--force-conflicts", "--dry-run=server")
        )
        assert "daemonset.apps/cni-chain" in printed
    for objects in (helm.kustomized(DEPLOY / "kustomize/on"), reporter()):
        assert "daemonset.apps/" in server.apply(
            *objects, options=("--server-side", "--force-conflicts", "--dry-run=server")
        )


def reporter() -> list[Json]:
    """What goes with the rule for the Node Readiness Controller, whose own kind this server doesn't know."""
    return list(yaml.safe_load_all((DEPLOY / "node-readiness-controller/reporter.yaml").read_text()))


def test_an_agents_pod_has_no_token_and_its_account_no_rights(helm: Helm, server: ApiServer) -> None:
    server.apply(pod_of(helm.template(*WITH_PRESET), "agent", "cni-chain"))

    spec = json.loads(server.kubectl("get", "pod", "agent", "--namespace", "cni-chain", "--output", "json"))["spec"]
    assert "volumes" not in spec
    assert "volumeMounts" not in spec["containers"][0]
    who = f"--as=system:serviceaccount:cni-chain:{spec['serviceAccountName']}"
    for verb, what in (("get", "nodes"), ("patch", "nodes"), ("list", "pods"), ("create", "pods"), ("get", "secrets")):
        assert server.call("auth", "can-i", verb, what, who, "--namespace", "cni-chain").stdout == "no\n"


def test_a_namespace_that_does_not_admit_the_pods_says_why(helm: Helm, server: ApiServer) -> None:
    pod = pod_of(helm.template(*WITH_PRESET), "agent", "baseline")

    done = server.call("apply", "-f", "-", stdin=json.dumps(pod))

    assert done.returncode == 1
    assert 'violates PodSecurity "baseline:latest"' in done.stderr


def test_a_release_goes_from_step_to_step_and_back_and_leaves_nothing(helm: Helm, server: ApiServer) -> None:
    where = ("--namespace", "steps", "--kube-apiserver", server.address, "--kube-insecure-skip-tls-verify")
    server.apply(namespace("steps", "privileged"))

    def helmed(command: str, *words: str) -> str:
        return helm.printed(command, "steps", *words, *where, "--kube-token", ADMINISTRATOR)

    def wanted() -> str:
        path = "jsonpath={.spec.template.spec.containers[0].args[1]}"
        return server.kubectl("get", "daemonset", "steps", "--namespace", "steps", f"--output={path}")

    said = helmed("install", str(CHART), *WITH_PRESET)
    assert "send Cilium to its directory" in said
    assert wanted() == "--state=prepared"
    helmed("upgrade", str(CHART), "--reuse-values", "--set", "state=on")
    assert wanted() == "--state=on"
    helmed("rollback", "1")
    assert wanted() == "--state=prepared"
    helmed("uninstall")
    kinds = "daemonsets,pods,serviceaccounts,configmaps,secrets,resourcequotas"
    assert server.call("get", kinds, "--namespace", "steps").stdout == ""


def test_a_mesh_that_was_taken_out_comes_back_by_what_the_refusal_says(helm: Helm, server: ApiServer) -> None:
    where = ("--namespace", "again", "--kube-apiserver", server.address, "--kube-insecure-skip-tls-verify")
    server.apply(namespace("again", "privileged"))
    upgrade = ("upgrade", "--install", "again", CHART, *where, "--kube-token", ADMINISTRATOR, "--reuse-values")
    helm.printed(*upgrade, "--set", "preset=cilium", "--set", "without={istio}")

    refused = helm.run(*upgrade, *WITH_PRESET).stderr

    [_, hint] = refused.split("cilium, istio, local; ")
    helm.printed(*upgrade, *WITH_PRESET, *shlex.split(hint)[:2])
    path = "jsonpath={.spec.template.spec.containers[0].args[1:4]}"
    wanted = server.kubectl("get", "daemonset", "again", "--namespace", "again", f"--output={path}")
    assert wanted.split() == ["--state=prepared", "--owner=cilium:cilium-cni", "--owner=istio:istio-cni"]


@pytest.fixture(scope="module")
def token(helm: Helm, server: ApiServer) -> str:
    """Of a pod on the node `mine`, as its kubelet asks for one."""
    server.apply(node("mine"), node("theirs"))
    objects = helm.template(*WITH_PRESET, *TAINT)
    server.apply(pod_of(objects, "untainting", "cni-chain", nodeName="mine"))
    bound = ("--bound-object-kind", "Pod", "--bound-object-name", "untainting")
    token = server.kubectl("create", "token", ACCOUNT, "--namespace", "cni-chain", *bound).strip()
    # A policy counts some seconds after it was created.
    until = time.monotonic() + 60
    while not patched(server, token, "theirs", LABEL, "--dry-run=server"):
        assert time.monotonic() < until, "the policy does not count"
        time.sleep(0.5)
    return token


OFF = [{"op": "test", "path": "/spec/taints/0/key", "value": KEY}, {"op": "remove", "path": "/spec/taints/0"}]
LABEL = [{"op": "add", "path": "/metadata/labels/a", "value": "b"}]


def patched(server: ApiServer, token: str, name: str, patch: list[Json], *options: str) -> str:
    """What the server says to a patch of a node; nothing if it agrees."""
    words = ("patch", "node", name, "--type=json", f"--patch={json.dumps(patch)}", *options)
    return server.call(*words, token=token).stderr


REFUSED: list[tuple[str, str, list[Json], str]] = [
    ("another node", "theirs", OFF, "only the node of the pod that has the token"),
    ("another taint", "mine", [{"op": "remove", "path": "/spec/taints/1"}], f"only the taint {KEY}, and only off"),
    (
        "a taint put on",
        "mine",
        [{"op": "add", "path": "/spec/taints/-", "value": {"key": "a/b", "effect": "NoExecute"}}],
        "only off",
    ),
    (
        "its own taint made worse",
        "mine",
        [{"op": "replace", "path": "/spec/taints/0/effect", "value": "NoExecute"}],
        "only off",
    ),
    ("a label", "mine", LABEL, "nothing else of the node"),
    ("an annotation", "mine", [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}], "nothing else"),
    ("a cordon", "mine", [{"op": "add", "path": "/spec/unschedulable", "value": True}], "nothing else of the node"),
    ("a provider's name", "mine", [{"op": "add", "path": "/spec/providerID", "value": "a://b"}], "nothing else"),
    ("a finalizer", "mine", [{"op": "add", "path": "/metadata/finalizers", "value": ["a/b"]}], "nothing else"),
    ("its taint off and a label", "mine", [*OFF, *LABEL], "nothing else of the node"),
    ("all taints", "mine", [{"op": "remove", "path": "/spec/taints"}], "only off"),
]


@pytest.mark.parametrize(("name", "patch", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_the_token_can_do_nothing_but(server: ApiServer, token: str, name: str, patch: list[Json], reason: str) -> None:
    said = patched(server, token, name, patch)

    assert "ValidatingAdmissionPolicy" in said
    assert reason in said


def test_the_token_can_not_touch_a_nodes_status_or_anything_else(server: ApiServer, token: str) -> None:
    for words in (
        ("patch", "node", "mine", "--subresource=status", "--patch={}"),
        ("get", "pods"),
        ("delete", "node", "mine"),
    ):
        assert "Forbidden" in server.call(*words, token=token).stderr


def test_the_token_takes_its_own_taint_off_its_own_node(server: ApiServer, token: str) -> None:
    assert patched(server, token, "mine", OFF) == ""

    left = server.kubectl("get", "node", "mine", "--output=jsonpath={.spec.taints[*].key}").split()
    # The server itself has put this one on the new node.
    assert sorted(left) == sorted([OTHER, "node.kubernetes.io/not-ready"])


def test_others_are_not_bound_by_the_policy(server: ApiServer, token: str) -> None:
    del token  # the nodes are there
    server.kubectl("label", "node", "theirs", "a=b")


@pytest.fixture
def kubectl(server: ApiServer, token: str, tmp_path: Path) -> Path:
    """A folder with kubectl as the second container has it: the API server, and the token, are known to it."""
    known = shlex.join(server.options(token))
    script = f'case $1 in --server=*) known= ;; *) known="{known}" ;; esac\nexec {server.program} $known "$@"\n'
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{script}")
    (tmp_path / "kubectl").chmod(0o755)
    return tmp_path


class Readyz(BaseHTTPRequestHandler):
    """The agent's answers, one after the other; the last one is repeated."""

    answers: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        """Answer with the next status."""
        self.send_response(self.answers[0] if len(self.answers) == 1 else self.answers.pop(0))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_the_second_container_takes_the_taint_off_when_the_agent_is_ready(
    helm: Helm, server: ApiServer, kubectl: Path
) -> None:
    server.apply(node("mine"))
    Readyz.answers = [503, 503, 200]
    agent = HTTPServer(("127.0.0.1", 0), Readyz)
    threading.Thread(target=agent.serve_forever, daemon=True).start()
    objects = helm.template(*WITH_PRESET, *TAINT, "--set", f"port={agent.server_address[1]}")
    container = pod_of(objects, "a", "b")["spec"]["containers"][1]
    environment = {"PATH": f"{kubectl}:/usr/bin:/bin", "HOME": str(kubectl), "NODE": "mine", "KEY": KEY}

    with subprocess.Popen(
        [*container["command"], *container["args"]], env=environment, start_new_session=True
    ) as shell:
        try:
            until = time.monotonic() + 60
            while server.kubectl("get", "node", "mine", "--output=jsonpath={.spec.taints[*].key}") != OTHER:
                assert time.monotonic() < until, "the taint is still there"
                time.sleep(0.5)
            assert Readyz.answers == [200]
        finally:
            os.killpg(shell.pid, signal.SIGKILL)
            agent.shutdown()
            agent.server_close()
