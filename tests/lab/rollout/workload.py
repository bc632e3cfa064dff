"""Pods that come and go and are asked all the time: what was lost, and which were outside of what they belong to."""

import contextlib
import copy
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.lab.cluster.daemon import wait_until
from tests.lab.rollout.lab import Lab
from tests.lab.rollout.node import HERE
from tests.support.sandbox.node import SOMAXCONN

TRAFFIC = HERE / "inside/traffic.py"


@dataclass
class Seen:
    """What there was until the end of the block."""

    asked: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    told: dict[str, list[str]] = field(default_factory=dict)
    rounds: int = 0  # of the deployment's restarts

    @property
    def outside(self) -> list[str]:
        """The pods that ran without what the chain's second plugin sets."""
        return sorted(pod for pod, words in self.told.items() if set(words) != {SOMAXCONN})

    def text(self) -> str:
        """It in one line."""
        return (
            f"{len(self.failed)} of {self.asked} requests lost (slowest {self.slowest * 1000:.0f} ms), "
            f"{len(self.outside)} of {len(self.told)} pods outside the mesh, {self.rounds} restarts of the deployment"
        )


class Workload:
    """What is made by workload.yaml."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def apply(self, *, count: int = 6) -> None:
        """Make it, and wait until it runs."""
        still, *services = yaml.safe_load_all((HERE / "conf/workload.yaml").read_text())
        web = copy.deepcopy(still) | {"kind": "Deployment", "metadata": {"name": "web"}}
        web["spec"]["template"]["metadata"]["labels"] = web["spec"]["selector"]["matchLabels"] = {"app": "web"}
        web["spec"] |= {"replicas": count, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 1}}}
        self._lab.apply(still, web, *services)
        self.rolled_out()

    def rolled_out(self, seconds: int = 180) -> float:
        """Wait until every pod that is wanted is ready, and those that are not are gone."""
        for what in ("daemonset/still", "deployment/web"):
            self._lab.rolled_out(what, "default", seconds)
        return wait_until(lambda: not self.ending(), "the end of the old pods", seconds)

    def ending(self) -> list[str]:
        """The pods that are deleted and still there."""
        pods = self._lab.get("pods")
        return [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" in pod["metadata"]]

    def restart(self) -> None:
        """Replace each pod of the deployment."""
        self._lab.kubectl("rollout", "restart", "deployment/web")

    @contextlib.contextmanager
    def asked(self, *, churn: bool = True, services: tuple[str, ...] = ("still", "web")) -> Iterator[Seen]:
        """Traffic as long as the block; with `churn` the deployment is restarted again and again."""
        seen, ended = Seen(), threading.Event()
        sandbox = self._lab.sandbox

        def keep_restarting() -> None:
            while not ended.is_set():
                self.restart()
                self._lab.call("rollout", "status", "deployment/web", "--timeout=120s")
                seen.rounds += 1

        with sandbox.running(*sandbox.python(TRAFFIC, *services)) as traffic:
            thread = threading.Thread(target=keep_restarting)
            if churn:
                thread.start()
            try:
                yield seen
            finally:
                ended.set()
                if churn:
                    thread.join()
            out, _ = traffic.communicate("", 60)
            found = json.loads(out.splitlines()[-1])
            seen.asked, seen.failed, seen.slowest = found["asked"], found["failed"], found["slowest"]
            seen.told = found["told"]

    def settled(self, seconds: float = 60) -> str:
        """Wait until each node has as many records as pods with a network of their own; that, in words."""
        counts: list[tuple[int, int]] = []

        def agree() -> bool:
            pods = [pod["spec"]["nodeName"] for pod in self._lab.get("pods", "--all-namespaces") if _has_network(pod)]
            counts[:] = [(len(node.records()), pods.count(name)) for name, node in self._lab.nodes.items()]
            return all(records == there for records, there in counts)

        with contextlib.suppress(AssertionError):
            wait_until(agree, "as many records as pods", seconds)
        text = ", ".join(
            f"{name} {records} records = {pods} pods"
            for name, (records, pods) in zip(self._lab.nodes, counts, strict=True)
        )
        assert all(records == pods for records, pods in counts), text.replace("=", "and")
        return text

    def settled_without(self, seconds: float = 60) -> str:
        """Wait until there is no record any more: each pod has another configuration's network."""
        wait_until(lambda: not any(node.records() for node in self._lab.nodes.values()), "no record", seconds)
        return f"0 records, {len(self._lab.get('pods'))} pods"


def _has_network(pod: dict[str, Any]) -> bool:
    return not pod["spec"].get("hostNetwork") and "nodeName" in pod["spec"]
