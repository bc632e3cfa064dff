"""Istio's agent as the pod that it is: the token that istio-cni asks with is bound to it, and dies with it."""

import contextlib
from collections.abc import Iterator

from tests.support.agents.node import ISTIO_FILE, ISTIO_RUN, MESH, AgentNode
from tests.support.agents.writers import ACCOUNT, ADVISED
from tests.support.sandbox.node import Json, wait_for
from tests.support.stand_ins.process import PLACE, Process

KUBECONFIG = f"{ISTIO_RUN}/istio-cni-kubeconfig"
TOKENS = f"{PLACE}/tokens"
HOST, PORT = "127.0.0.1", "6444"


class AgentPod:
    """Its parts come and go as one. Fragment, plugin and kubeconfig stay while it is away."""

    def __init__(self, node: AgentNode) -> None:
        self._node = node
        self._generation = 0
        self._kubeconfig = node.sandbox.path(KUBECONFIG)
        self._tokens = node.sandbox.path(TOKENS)
        self._tokens.write_text("token")  # as the writers have it from their start

    def _issue(self) -> str:
        """A token for a new pod; the one before counts no more."""
        self._generation += 1
        token = f"token-{self._generation}"
        self._tokens.write_text(token)
        self._node.sandbox.path(f"{ACCOUNT}/token").write_text(token)
        return token

    def goes(self) -> None:
        """It was deleted more than some 10 s ago: by then the API takes its token no more."""
        self._node.istio_writer.stop()
        self._node.istio.stop()
        self._tokens.write_text("")

    def comes_back(self) -> None:
        """Another one is there, and has written a kubeconfig with its own token."""
        token = self._issue()
        self._node.istio.start()
        self._node.istio_writer.start()
        wait_for(lambda: token in self._kubeconfig.read_text(), "Istio's agent has written its kubeconfig", 60)


@contextlib.contextmanager
def agent_pod(node: AgentNode, *settings: str) -> Iterator[AgentPod]:
    """Istio's agent as a pod with these settings (none: those that are advised), until the end of the block."""
    plain, stand_ins = node.kubernetes, node.stand_ins
    serves = ["--tls", f"--tokens={TOKENS}", f"--address={HOST}:{PORT}", f"--ambient={MESH}"]
    api = Process(node.sandbox, "kubernetes", *serves, files="kubernetes-tls")
    api.news()  # what an earlier case has left
    pod = AgentPod(node)
    node.kubernetes, node.stand_ins = api, (*stand_ins, api)
    api.start()
    try:
        asks = ["--api-protocol=https", f"--api-host={HOST}", f"--api-port={PORT}"]
        with node.istio_as(*(settings or ADVISED), *asks):
            node.wait_for_file(ISTIO_FILE, "istio-cni")
            yield pod
    finally:
        api.close()
        node.kubernetes, node.stand_ins = plain, stand_ins


def owners_with_limit(node: AgentNode, seconds: float) -> list[Json]:
    """The owners of the facade that is shipped, Istio with that `timeoutSeconds`."""
    owners: list[Json] = node.shipped("1.0.0")["plugins"][0]["owners"]
    return [owner | ({"timeoutSeconds": seconds} if owner["name"] == "istio" else {}) for owner in owners]
