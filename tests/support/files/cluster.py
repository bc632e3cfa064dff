"""A cluster as kubectl tells of it: the chart's DaemonSet, its pods, and a kubectl that answers with them."""

from __future__ import annotations

import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from cni_chain import __version__
from cni_chain.cluster.kubectl import LOG_SECONDS
from tests.support.files.person import Result, run

Json = dict[str, Any]

BASE = Path(__file__).resolve().parents[3] / "deploy/kustomize/base/cni-chain.yaml"
NAMESPACE = "cni-chain"

# A kubectl that answers from a file: the first answer whose words are all among those that it is called with.
PROGRAM = """#!{python} -IS
import json, sys, time
from pathlib import Path
here = Path(__file__).parent
with (here / "asked").open("a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
calls = len((here / "asked").read_text().splitlines())
for words, status, stdout, stderr, seconds, after in json.loads((here / "answers.json").read_text()):
    if calls > after and all(word in sys.argv[1:] for word in words):
        time.sleep(seconds)
        sys.stdout.write(stdout)
        sys.stderr.write(stderr)
        sys.exit(status)
sys.exit(f"no answer to {{sys.argv[1:]}}")
"""


def ago(seconds: float) -> str:
    """A time as the API server writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


def forbidden(resource: str, scope: str = "at the cluster scope") -> str:
    """What kubectl 1.36 prints for a user without the right to list something."""
    group = "apps" if resource.startswith("daemonsets") else ""
    return (
        f'Error from server (Forbidden): {resource} is forbidden: User "jane" cannot list resource '
        f'"{resource.partition(".")[0]}" in API group "{group}" {scope}\n'
    )


class Kubectl:
    """A kubectl of this test's own, in a folder for PATH."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        program = folder / "kubectl"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        self._answers: list[tuple[list[str], int, str, str, float, int]] = []

    def answers(
        self,
        *words: str,
        stdout: str = "",
        stderr: str = "",
        status: int = 0,
        seconds: float = 0,
        after: int = 0,
        first: bool = False,
    ) -> None:
        """Answer so to a call that has these words, and comes after so many others."""
        answer = (list(words), status, stdout, stderr, seconds, after)
        self._answers.insert(0 if first else len(self._answers), answer)
        (self.folder / "answers.json").write_text(json.dumps(self._answers))

    def refuses(self, *words: str, stderr: str) -> None:
        """Refuse such a call from now on."""
        self.answers(*words, stderr=stderr, status=1, first=True)

    def lists(self, kind: str, items: list[Json]) -> None:
        """Answer to a list of a kind."""
        self.answers("get", kind, stdout=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), first=True)

    def has(self, *daemonsets: Json, pods: list[Json] = [], events: list[Json] = []) -> None:  # noqa: B006  # read only
        """Have these objects, and no log."""
        self.lists("daemonsets.apps", list(daemonsets))
        self.lists("pods", pods)
        self.lists("events", events)

    def logs(self, pod: str, *lines: Json) -> None:
        """Have the end of an agent's log."""
        self.answers("logs", pod, stdout="".join(f"{json.dumps(line)}\n" for line in lines), first=True)

    @property
    def asked(self) -> list[list[str]]:
        """The words of each call."""
        file = self.folder / "asked"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Cluster(Kubectl):
    """The same, with the program whose commands ask it."""

    def __init__(self, folder: Path, program: str) -> None:
        super().__init__(folder)
        self.program = program

    def run(self, *words: str) -> Result:
        """A command about the cluster, asked again if a log may have come later than it is waited for."""
        told, was_late = self._run(*words)
        for _ in range(4):
            if not was_late or words[0] == "wait":  # which asks again by itself
                break
            told, was_late = self._run(*words)
        return told

    def _run(self, *words: str) -> tuple[Result, bool]:
        asked, begun = len(self.asked), time.monotonic()
        told = run(self.program, "cluster", *words, environ={"PATH": f"{self.folder}:/usr/bin:/bin"})
        has_read = any(words[0] == "logs" for words in self.asked[asked:])
        return told, has_read and time.monotonic() - begun >= LOG_SECONDS

    def json(self, *words: str) -> Json:
        document: Json = json.loads(self.run(*words, "--json").stdout)
        return document


def daemonset(state: str = "on", desired: int = 1, **changed: Any) -> Json:
    """The chart's, as the API server has it when all is done; `changed` are members of its status, and others."""
    found: Json = next(one for one in yaml.safe_load_all(BASE.read_text()) if one["kind"] == "DaemonSet")
    found["metadata"] |= {"generation": 2, "annotations": {"deprecated.daemonset.template.generation": "2"}}
    found["metadata"]["annotations"]["meta.helm.sh/release-name"] = "cni-chain"
    found["metadata"]["namespace"] = changed.pop("namespace", NAMESPACE)
    found["metadata"]["name"] = changed.pop("name", found["metadata"]["name"])
    container = found["spec"]["template"]["spec"]["containers"][0]
    container["args"] = [f"--state={state}" if word.startswith("--state=") else word for word in container["args"]]
    found["spec"] |= changed.pop("spec", {})
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberReady",
    )
    found["status"] = {**dict.fromkeys(names, desired), "observedGeneration": 2, **changed}
    return found


def pod(node: str, of: Json, *, ready: bool = True, since: float = 300, generation: str = "2", **changed: Any) -> Json:
    """An agent's pod on a node, as the DaemonSet's controller and the kubelet make it."""
    template = copy.deepcopy(of["spec"]["template"])
    status = {
        "phase": "Running",
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": str(ready), "lastTransitionTime": ago(since)},
        ],
        "containerStatuses": [
            {"name": "agent", "ready": ready, "restartCount": 0, "state": {"running": {"startedAt": ago(since)}}}
        ],
    }
    labels = {**template["metadata"]["labels"], "pod-template-generation": generation}
    metadata = {"name": f"cni-chain-{node}", "namespace": of["metadata"]["namespace"], "labels": labels}
    metadata["creationTimestamp"] = ago(since + 5)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | changed.pop("metadata", {}),
        "spec": {**template["spec"], "nodeName": node, **changed.pop("spec", {})},
        "status": status | changed,
    }


def line(*reasons: str, **changed: Any) -> Json:
    """A line of an agent's log that says what its node is."""
    known = {"time": ago(60), "state": "on", "reached": "on", "ready": not reasons, "refused": False}
    return {
        **known,
        "reasons": list(reasons),
        "version": __version__,
        "owners": {"cilium": None, "istio": None, "local": None},
        "pods": 12,
        "stranded": 0,
        "findings": {},
        **changed,
    }


def probe_event(pod: str, *reasons: str, verdict: str = "not ready", seconds: float = 60) -> Json:
    """What a kubelet 1.36 writes for a redirect of the liveness probe."""
    body = "\n".join([f"{verdict}: on is wanted, and the node is prepared", *reasons, ""])
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "type": "Warning",
        "reason": "ProbeWarning",
        "involvedObject": {"kind": "Pod", "name": pod, "namespace": NAMESPACE},
        "message": f"Liveness probe warning: Probe terminated redirects, Response body: {body}",
        "lastTimestamp": ago(seconds),
    }
