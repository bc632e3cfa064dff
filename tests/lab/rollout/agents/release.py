"""An agent's Helm release in the lab: installed, moved to its owner's directory by its chart's values, and back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cni_chain.agents.agent import Agent, Chart
from tests.lab.rollout.agents import images
from tests.support.sandbox.namespaces import CHECKOUT
from tests.support.sandbox.node import CHAIN, NET

VALUES = CHECKOUT / "conf/helm"
PATIENCE = "--timeout=300s"


class Cluster(Protocol):
    """What is asked of the lab."""

    def helm(self, *words: str, namespace: str) -> str:
        """Call Helm, as the administrator."""

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What kubectl prints."""

    def get(self, *what: str) -> Any:
        """What there is: a list's items, else the object."""

    def load(self, image: str, archive: Path) -> None:
        """Bring an image to every node, and to those that join later."""


@dataclass(frozen=True)
class Release:
    """One agent's."""

    agent: Agent
    images: Mapping[str, Callable[[], Path]]  # each by its name, and what makes it
    values: Sequence[str]  # Helm's words that name the image, and what the lab differs by

    @property
    def of(self) -> Chart:
        """Its entry in the agents' registry."""
        assert self.agent.chart
        return self.agent.chart

    @property
    def directory(self) -> str:
        """The owner's."""
        return f"{CHAIN}/{self.agent.owner}.d"

    @property
    def path(self) -> str:
        """The chart's directory."""
        return str(images.charts(self.agent.owner) / {"istio": "istio-cni"}.get(self.agent.owner, self.agent.owner))

    def load(self, cluster: Cluster) -> None:
        """Make the images and bring them to all nodes."""
        for image, make in self.images.items():
            cluster.load(image, make())

    def install(self, cluster: Cluster, *words: str) -> None:
        """As its own guide says: it writes to the runtime's directory."""
        cluster.helm(
            "install",
            self.of.release,
            self.path,
            "--create-namespace",
            *self.values,
            *words,
            namespace=self.of.namespace,
        )
        self.rolled_out(cluster)

    def install_moved(self, cluster: Cluster, *words: str, wait: bool = True) -> None:
        """Into its owner's directory from the start, by the values of conf/helm."""
        words = ("-f", str(VALUES / self.of.file), *words)
        cluster.helm(
            "install",
            self.of.release,
            self.path,
            "--create-namespace",
            *self.values,
            *words,
            namespace=self.of.namespace,
        )
        if wait:
            self.rolled_out(cluster)

    def move(self, cluster: Cluster) -> None:
        """To its owner's directory, by the values of conf/helm."""
        self.upgrade(cluster, "-f", str(VALUES / self.of.file))

    def move_back(self, cluster: Cluster, listed: str = "") -> None:
        """To the runtime's directory, where a mesh's agent edits the first list, or the one that is named."""
        values = {**self.of.back, **self.of.shared}
        given = {key: value.format(net_dir=NET, list=listed) for key, value in values.items()}
        self.upgrade(cluster, *_set(given))

    def upgrade(self, cluster: Cluster, *words: str) -> None:
        """Change values, and wait until the agent of each node has them."""
        cluster.helm("upgrade", self.of.release, self.path, "--reuse-values", *words, namespace=self.of.namespace)
        if self.of.restart:
            cluster.kubectl("rollout", "restart", self._daemonset, f"--namespace={self.of.namespace}")
        self.rolled_out(cluster)

    def uninstall(self, cluster: Cluster) -> None:
        """The release, and wait until its pods are gone."""
        cluster.helm("uninstall", self.of.release, "--wait", namespace=self.of.namespace)

    def rolled_out(self, cluster: Cluster) -> None:
        """Wait until each node's agent is ready."""
        cluster.kubectl("rollout", "status", self._daemonset, f"--namespace={self.of.namespace}", PATIENCE)

    @property
    def _daemonset(self) -> str:
        return f"daemonset/{self.of.daemonset}"


def _set(values: Mapping[str, str]) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
