"""The cluster: etcd, API server, controllers and scheduler are real; nodes, and what a kubelet does, are kwok's.

No agent runs on such a node: its pod becomes ready because kwok writes so.
"""

import contextlib
import datetime
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.lab.cluster.apiserver import ApiServer, start, started
from tests.lab.cluster.daemon import built, wait_until
from tests.support import gomodules
from tests.support.helm import CHART, Helm, Json

NAMESPACE, RELEASE = "cni-chain", "cni-chain"
READER = "reader"  # may list pods and DaemonSets, and nothing else
BUILD = Path(__file__).with_name("build")
WRITES = ("create", "update", "patch", "delete", "deletecollection")
READS = [{"apiGroups": ["", "apps"], "resources": ["pods", "daemonsets"], "verbs": ["get", "list"]}]

Writes = Counter[tuple[str, str, str]]


class Simulated:
    """The cluster, with Helm, and what its API server has logged of each request."""

    def __init__(self, server: ApiServer, helm: Helm, kwok: subprocess.Popen[bytes]) -> None:
        self.server, self._helm, self._kwok = server, helm, kwok

    @property
    def _options(self) -> list[str]:
        server = ("--kube-apiserver", self.server.address, "--kube-insecure-skip-tls-verify", "--kube-token", "admin")
        return ["--namespace", NAMESPACE, *server]

    def helm(self, *words: str) -> None:
        """Call Helm as the administrator."""
        self._helm.printed(words[0], RELEASE, str(CHART), *words[1:], *self._options)

    def get(self, *words: str) -> Json:
        """An object, or a list of them."""
        found: Json = json.loads(self.server.kubectl("get", *words, "--namespace", NAMESPACE, "--output=json"))
        return found

    def rolled_out(self) -> bool:
        """Whether the controller has seen the last change, and every node has its pod."""
        daemonset = self.get("daemonset", RELEASE)
        status, wanted = daemonset["status"], daemonset["status"]["desiredNumberScheduled"]
        seen = status.get("observedGeneration") == daemonset["metadata"]["generation"]
        return seen and bool(wanted) and status.get("updatedNumberScheduled") == status.get("numberAvailable") == wanted

    def events(self, since: float) -> Counter[str]:
        """The events that were made since a moment, in all namespaces, by their reasons."""
        path = '{range .items[*]}{.metadata.creationTimestamp} {.reason}{"\\n"}{end}'
        lines = self.server.kubectl("get", "events", "--all-namespaces", f"--output=jsonpath={path}").splitlines()
        found = (line.split() for line in lines)
        return Counter(reason for at, reason in found if datetime.datetime.fromisoformat(at).timestamp() >= since)

    def die(self) -> None:
        """Have all nodes die at once: nobody renews their leases any more. Until the controller has seen some of it."""
        before = self._ready()
        self._kwok.kill()
        wait_until(lambda: self._ready() < before * 0.9, "pods of dead nodes aren't ready", seconds=300)

    def _ready(self) -> int:
        """How many pods are ready."""
        return sum(map(_is_ready, self.get("pods")["items"]))

    def requests(self, since: float) -> Writes:
        """Who has done what with which resource since a moment; leases apart, they are each node's heartbeat."""
        found: Writes = Counter()
        with (self.server.folder / "audit.log").open() as file:
            for line in file:
                event = json.loads(line)
                of = event.get("objectRef") or {}
                moment = datetime.datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
                if moment >= since and of.get("resource") != "leases":
                    what = "/".join(word for word in (of.get("resource"), of.get("subresource")) if word)
                    found[who(event["userAgent"]), event["verb"], what] += 1
        return found


def _is_ready(pod: Json) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"]["conditions"])


def who(agent: str) -> str:
    """A program by what it calls itself."""
    return agent.partition("/")[0]


def node(number: int) -> Json:
    """One that kwok plays."""
    name = f"node-{number:04}"
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
    }


@contextlib.contextmanager
def cluster(folder: Path, count: int) -> Iterator[Simulated]:
    """One with so many nodes, all Ready, and a namespace that admits the agents. Raises NotBuiltError."""
    kube, kwok = built("kube"), gomodules.built(BUILD, "kwok")
    helm = Helm(folder)
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
    (folder / "audit.yaml").write_text(json.dumps(policy | {"rules": [{"level": "Metadata"}]}))
    audit = ("--audit-policy-file", f"{folder}/audit.yaml", "--audit-log-path", f"{folder}/audit.log")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(started(folder, *audit, tokens=(READER,)))
        ours = ["--kubeconfig", str(server.kubeconfig("admin"))]
        key = f"{folder}/accounts.key"
        start(
            stack,
            folder,
            kube / "kube-controller-manager",
            *(*ours, "--leader-elect=false", "--use-service-account-credentials=false"),
            *("--service-account-private-key-file", key, "--cert-dir", f"{folder}/certificates"),
            *("--bind-address", "127.0.0.1", "--secure-port", "0"),
        )
        start(
            stack,
            folder,
            kube / "kube-scheduler",
            *(*ours, "--leader-elect=false", "--bind-address", "127.0.0.1", "--secure-port", "0"),
        )
        player = start(
            stack,
            folder,
            kwok / "kwok",
            *(*ours, "--config", str(kwok / "stages.yaml"), "--node-ip", "192.0.2.1"),
            *("--manage-all-nodes=false", "--manage-nodes-with-annotation-selector", "kwok.x-k8s.io/node=fake"),
            *("--node-lease-duration-seconds", "40", "--server-address", "127.0.0.1:0"),
        )
        _fill(server, count)
        yield Simulated(server, helm, player)


def _fill(server: ApiServer, count: int) -> None:
    admits = {"pod-security.kubernetes.io/enforce": "privileged"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": admits}}
    version = "rbac.authorization.k8s.io/v1"
    role = {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": READER}, "rules": READS}
    binding = {
        "apiVersion": version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": READER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": READER},
        "subjects": [{"kind": "User", "name": READER}],
    }
    server.apply(namespace, role, binding)
    server.kubectl("create", "-f", "-", stdin="\n---\n".join(json.dumps(node(number)) for number in range(count)))
    wait_until(lambda: _ready(server) == count, f"{count} nodes are Ready", seconds=300)
    server.kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={NAMESPACE}", "--timeout=60s")


def _ready(server: ApiServer) -> int:
    """How many nodes are Ready."""
    path = '{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
    return server.kubectl("get", "nodes", f"--output=jsonpath={path}").split().count("True")


def ago(seconds: float) -> str:
    """A time as the API server writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


class Timed(NamedTuple):
    """What a program did, and what it took, with all that it had started."""

    status: int
    text: str
    said: str
    seconds: float
    cpu: float
    size: int  # KB, of the largest process


def timed(command: list[str], environ: dict[str, str]) -> Timed:
    """Run a program."""
    begun = time.monotonic()
    read, write = os.pipe()
    wrong, errors = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, errors, 2)]
    number = os.posix_spawn(command[0], command, environ, file_actions=actions)
    os.close(write)
    os.close(errors)
    with open(read, encoding="utf-8") as output, open(wrong, encoding="utf-8") as others:
        text, said = output.read(), others.read()
    _, status, usage = os.wait4(number, 0)
    seconds = time.monotonic() - begun
    cpu = usage.ru_utime + usage.ru_stime
    return Timed(os.waitstatus_to_exitcode(status), text, said, seconds, cpu, usage.ru_maxrss)
