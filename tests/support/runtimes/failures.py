"""Every kind of failure that an operator meets, made on a node with a runtime: what a kubelet is told of each."""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.support.runtimes.kubelet import Kubelet, collect
from tests.support.runtimes.steer import steered
from tests.support.sandbox.node import CHAIN

Broken = contextlib.AbstractContextManager[None]


class Failure(NamedTuple):
    """What is wrong, in words; what makes it so; what to do about it; and the verb that fails."""

    name: str
    cause: Callable[[Kubelet], Broken]
    remedy: str
    verb: str = "ADD"


@contextlib.contextmanager
def no_fragment(kubelet: Kubelet) -> Iterator[None]:
    kubelet.node.remove("istio.d/10-istio.conf")
    yield


@contextlib.contextmanager
def half_a_fragment(kubelet: Kubelet) -> Iterator[None]:
    kubelet.node.sandbox.path(f"{CHAIN}/istio.d/10-istio.conf").write_text('{"type": "tuning", "sysctl": {')
    yield


@contextlib.contextmanager
def unsafe_fragment(kubelet: Kubelet) -> Iterator[None]:
    kubelet.node.sandbox.path(f"{CHAIN}/istio.d/10-istio.conf").chmod(0o666)
    yield


@contextlib.contextmanager
def no_binary(kubelet: Kubelet) -> Iterator[None]:
    with kubelet.without("tuning"):
        yield


@contextlib.contextmanager
def no_cni_chain(kubelet: Kubelet) -> Iterator[None]:
    with kubelet.without("cni-chain"):
        yield


@contextlib.contextmanager
def wrong_key(kubelet: Kubelet) -> Iterator[None]:
    kubelet.facade({"timeouts": {"ADD": "long"}})
    yield


@contextlib.contextmanager
def no_state(kubelet: Kubelet) -> Iterator[None]:
    kubelet.facade({"stateDir": "/sys/cni-chain"})
    yield


@contextlib.contextmanager
def slow(kubelet: Kubelet) -> Iterator[None]:
    kubelet.facade({"timeouts": {"ADD": 10}})  # the plugin before it must come through, on a busy machine too
    with steered(kubelet.node, "tuning") as it:
        it.hangs("ADD")
        yield


def fails(verb: str, msg: str) -> Callable[[Kubelet], Broken]:
    @contextlib.contextmanager
    def cause(kubelet: Kubelet) -> Iterator[None]:
        with steered(kubelet.node, "tuning") as it:
            it.fails(verb, msg)
            yield

    return cause


@contextlib.contextmanager
def crashes(kubelet: Kubelet) -> Iterator[None]:
    with steered(kubelet.node, "tuning") as it:
        it.crashes("ADD", "panic: no such thing")
        yield


@contextlib.contextmanager
def not_undone(kubelet: Kubelet) -> Iterator[None]:
    # The runtime deletes the namespace before the retry. bridge (plugins/main/bridge, cmdDel) frees the address and
    # returns then: the addresses that it masquerades it reads in the namespace.
    kubelet.leaves_masquerade = True
    with steered(kubelet.node, "tuning") as tuning, steered(kubelet.node, "portmap") as portmap:
        portmap.fails("ADD", "no rules today")
        tuning.fails("DEL", "the agent is away")
        yield


FAILURES = (
    Failure(
        "A required owner has no fragment yet",
        no_fragment,
        "Look at the owner's agent: does its pod run on this node, and is its CNI configuration directory the one that "
        "the message names? The pod starts by itself once the fragment is there. The agent's own pod needs an `exempt` "
        "entry.",
    ),
    Failure(
        "A fragment is not JSON",
        half_a_fragment,
        "The agent has written the file wrong, or only half of it. `cni-chain verify` names line and column.",
    ),
    Failure(
        "A fragment is writable by users other than root",
        unsafe_fragment,
        "`chown root` and `chmod go-w` the file; if the agent writes it so, `allowUnsafePermissions`.",
    ),
    Failure(
        "A plugin's binary is missing",
        no_binary,
        "The agent that installs it has not done so, or to another directory. Nothing has been run for the pod.",
    ),
    Failure(
        "A plugin fails",
        fails("ADD", "the agent is away"),
        "The words are the plugin's own: look at its agent. What ran before it has been undone.",
    ),
    Failure(
        "A plugin ends without an answer",
        crashes,
        "It crashed, or it isn't a CNI plugin. The last of what it wrote to stderr is in cni-chain's log.",
    ),
    Failure(
        "A plugin hangs",
        slow,
        "Look at its agent. `timeouts` is the budget of the whole verb, `timeoutSeconds` that of one owner's calls.",
    ),
    Failure(
        "A plugin fails, and then another one's DEL",
        not_undone,
        "The first error is what matters. The record is kept: the address is freed by the next DEL or GC.",
    ),
    Failure("A key of the facade is wrong", wrong_key, "Correct it; `cni-chain verify` names line and column."),
    Failure("The state directory can't be written", no_state, "Correct `stateDir`, or the disk. Nothing has been run."),
    Failure(
        "cni-chain itself is missing",
        no_cni_chain,
        "These are the runtime's words: `/opt/cni/bin/cni-chain`, or the file it links to, does not exist. "
        "Install it again.",
    ),
    Failure(
        "A plugin's CHECK fails",
        fails("CHECK", "not as it was"),
        "CRI-O alone calls CHECK, after each ADD. If it is the plugin's fault: `disableCheck` for its owner.",
        "CHECK",
    ),
    Failure(
        "A plugin's DEL fails",
        fails("DEL", "the agent is away"),
        "The pod stays Terminating and the kubelet tries again; its address stays taken. Look at the plugin's agent. "
        'To let pods go without it: `"onDelError": "ignore"` for its owner.',
        "DEL",
    ),
    Failure(
        "A plugin's binary is missing at DEL",
        no_binary,
        "Install it again. If its agent was uninstalled: once its owner has no fragment left either, the pod goes.",
        "DEL",
    ),
)


def told(kubelet: Kubelet, failure: Failure) -> str:
    """Make it happen, let a kubelet try, and set everything right again. What the kubelet was told."""
    before = kubelet.run("web") if failure.verb == "DEL" else ""
    with failure.cause(kubelet):
        said = kubelet.not_stopped(before) if before else kubelet.refused("web")
    kubelet.reset()
    kubelet.end(*kubelet.client.sandboxes())
    collect(kubelet.node)
    return kubelet.anonymous(said)


def block(said: dict[str, dict[str, str]]) -> str:
    """The part of docs/evidence/runtimes.md about failures: by failure, by runtime, what a kubelet was told."""
    parts = []
    for failure in FAILURES:
        lines = [f"{runtime}: {words}" for runtime, words in said[failure.name].items()]
        parts.append("\n".join([f"### {failure.name}", "", failure.remedy, "", "```", *lines, "```", ""]))
    return "\n".join(parts)
