"""What `cni-chain cluster` costs with a thousand pods: `python -m tests.lab.cluster.thousand.answers PROGRAM [PODS]`.

An API server alone has the chart's DaemonSet and its pods, as their controller and kubelets would have left them: there
is no node, and nothing else runs. It takes half a minute.
"""

import http.client
import json
import os
import ssl
import sys
import tempfile
from pathlib import Path

from tests.lab.cluster.apiserver import ADMINISTRATOR, ApiServer, started
from tests.lab.cluster.thousand.simulated import timed
from tests.support.files.cluster import NAMESPACE, Json, daemonset, pod

TIMES = 5
QUESTIONS = (["status"], ["status", "--all"], ["status", "--json"], ["plan", "off"])
MERGE = "application/merge-patch+json"


class Writer:
    """Writes objects, by one connection: a kubectl for each would take minutes."""

    def __init__(self, server: ApiServer) -> None:
        unverified = ssl._create_unverified_context()  # noqa: S323  # the server has signed its certificate itself
        self._connection = http.client.HTTPSConnection(server.address.removeprefix("https://"), context=unverified)

    def write(self, method: str, path: str, document: Json, kind: str = "application/json") -> None:
        """One request, which the server has to accept."""
        headers = {"Authorization": f"Bearer {ADMINISTRATOR}", "Content-Type": kind}
        self._connection.request(method, path, json.dumps(document), headers)
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status < 300, said

    def pod(self, made: Json) -> None:
        """A pod with its status."""
        made["metadata"].pop("creationTimestamp")
        made["spec"].pop("priorityClassName")  # no controller has made the classes
        status = made.pop("status")
        for container in status["containerStatuses"]:
            container |= {"image": "x", "imageID": "x"}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        self.write("POST", path, made)
        self.write("PATCH", f"{path}/{made['metadata']['name']}/status", {"status": status}, MERGE)


def fill(server: ApiServer, count: int) -> None:
    """Have the DaemonSet, done, and its pods."""
    server.kubectl("create", "namespace", NAMESPACE)
    of = daemonset("on", count, observedGeneration=1, numberMisscheduled=0)
    status = of.pop("status")
    of["metadata"].pop("generation")
    server.apply(of)
    writer = Writer(server)
    writer.write(
        "PATCH", f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/cni-chain/status", {"status": status}, MERGE
    )
    for number in range(count):
        writer.pod(pod(f"node-{number:04}", of, generation="2"))


def main(words: list[str]) -> int:
    """Ask each question several times."""
    program, count = os.path.abspath(words[0]), int(words[1]) if len(words) > 1 else 1000
    with (
        tempfile.TemporaryDirectory() as folder,
        started(Path(folder), "--disable-admission-plugins=ServiceAccount,Priority") as server,
    ):
        fill(server, count)
        environ = {"PATH": f"{server.program.parent}:/usr/bin:/bin", "HOME": folder}
        file = str(server.kubeconfig("admin"))
        for asked in QUESTIONS:
            runs = [timed([program, "cluster", *asked, "--kubeconfig", file], environ) for _ in range(TIMES)]
            assert {one.status for one in runs} == {0}, runs[0].said
            seconds, cpu = sorted(one.seconds for one in runs), sorted(one.cpu for one in runs)
            size = max(one.size for one in runs) / 1024
            print(
                f"cluster {' '.join(asked)}: {seconds[TIMES // 2]:.1f} s (slowest {seconds[-1]:.1f}), "
                f"{cpu[TIMES // 2]:.2f} s of CPU with kubectl's, largest process {size:.0f} MB",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
