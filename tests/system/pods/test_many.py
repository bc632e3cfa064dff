"""As many pods as a node may have, all at once, while the agents never stop writing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.lab.demo.agents import agents
from tests.support.sandbox.node import STATE, Answer, Node, Pod, addresses

PODS = 110  # a kubelet's limit, unless it is told otherwise


def test_a_whole_node_comes_and_goes_at_once(node: Node) -> None:
    """Every ADD and every DEL succeeds, no address is given twice, and nothing stays."""
    ports = [{"hostPort": 20000 + n, "containerPort": 8080, "protocol": "tcp"} for n in range(PODS)]
    pods = [Pod(f"pod-{n}", capabilities={"portMappings": [port]}) for n, port in enumerate(ports)]
    batch(node, "add", pods)

    with agents(node):
        added = at_once(lambda pod: node.cni("add", pod), pods)
        given = [address for answer in added for address in addresses(answer.result)]
        leases = node.leases()
        deleted = at_once(lambda pod: node.cni("del", pod), pods)
    batch(node, "delete", pods)

    assert len(set(given)) == PODS
    assert sorted(given) == leases
    assert [answer for answer in deleted if answer.status] == []
    assert node.leases() == []
    assert [file.name for file in node.sandbox.path(STATE).iterdir() if not file.name.startswith(".")] == []


def batch(node: Node, verb: str, pods: list[Pod]) -> None:
    node.sandbox.run("ip", "-batch", "-", stdin="".join(f"netns {verb} {pod.name}\n" for pod in pods))


def at_once(call: Callable[[Pod], Answer], pods: list[Pod]) -> list[Answer]:
    with ThreadPoolExecutor(len(pods)) as threads:
        return list(threads.map(call, pods))
