"""`cni-chain agent`, killed at each step that changes the node: pods have one network, and the next start goes on.

The system calls that change names are the steps: the agent is killed before one of them, each in a run of its own.
"""

from tests.support.sandbox.daemon import CILIUM, ISTIO, LIST, Node
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET

CALLS = "rename,renameat2,mkdir,symlink,unlink"
MOST = 60


def killed(node: Node, state: str, at: int) -> bool:
    """Run an agent that is killed at its step `at`; return whether it came so far."""
    trace = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", "/tmp/trace"]  # noqa: S108
    inject = ["-e", f"inject={CALLS}:signal=KILL:when={at}"]
    with node.running([*trace, *inject, f"{BIN}/cni-chain", "agent", "--state", state]) as agent:
        agent.wait_until(lambda: agent.last["ready"] is True or agent.process.poll() is not None, "ready or killed", 60)
        return agent.process.poll() is not None or agent.last["ready"] is not True


def has_one_network(node: Node) -> None:
    """What the runtime takes is the whole facade or the whole list."""
    active = node.active()
    assert active in (FACADE, "05-cilium.conflist")
    if active == FACADE:
        assert node.call("ADD", "c1", "/run/netns/c1")[0] == 0
        assert node.call("DEL", "c1", "/run/netns/c1")[0] == 0
    else:
        assert [plugin["type"] for plugin in node.read(LIST)["plugins"]] == ["cilium-cni", "istio-cni"]


def test_killed_at_every_step_it_leaves_one_network_and_the_next_start_goes_on(traced: Node) -> None:
    steps = {}
    for state, reached in (("prepared", "prepared"), ("on", "on"), ("off", "off")):
        for at in range(1, MOST):
            begin(traced, state)
            if not killed(traced, state, at):
                break
            steps[state] = at
            has_one_network(traced)
            with traced.agent(state) as agent:
                agent.wait_ready(reached)
            has_one_network(traced)

    assert (steps["prepared"] >= 4, steps["on"] >= 1, steps["off"] >= 1) == (True, True, True), steps


def begin(node: Node, state: str) -> None:
    """Bring the node to where the way to a state begins."""
    node.sandbox.run("sh", "-c", f"rm -rf {NET}/* /etc/cni/chain.d/* /etc/logrotate.d/cni-chain")
    node.share(CILIUM, ISTIO)
    if state == "prepared":
        return
    with node.agent("prepared") as agent:
        agent.wait_ready("prepared")
    node.moves("cilium")
    if state == "off":
        with node.agent("on") as agent:
            agent.wait_ready("on")


def test_killed_at_every_step_while_it_follows_a_changed_list_it_goes_on_to_on_all_the_same(traced: Node) -> None:
    changed = ISTIO | {"ambient_enabled": False}
    at = 0
    for at in range(1, MOST):
        begin(traced, "prepared")
        traced.share()
        with traced.agent("prepared") as agent:
            agent.wait_ready("prepared")
        traced.share(CILIUM, changed)
        if not killed(traced, "prepared", at):
            break
        has_one_network(traced)
        traced.moves("cilium")
        with traced.agent("on") as agent:
            agent.wait_ready("on")
        has_one_network(traced)
        assert not traced.read(f"{CHAIN}/istio.d/10-istio.conf")["ambient_enabled"]

    assert at > 5
