"""Pods that can't start, and what stays of them: `python -m tests.lab.runtimes.refused PROGRAM` prints it for each.

The same mistake and the same plugins twice on one node, once behind the facade and once in a plain conflist. Each try
is a pod of its own; when the mistake is corrected, the node lives on: a few more pods come and go. Nobody calls GC.
"""

import argparse
import contextlib
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from tests.support.runtimes.cri import CriError
from tests.support.runtimes.daemons import RUNTIMES
from tests.support.runtimes.kubelet import Kubelet
from tests.support.runtimes.nodes import kubelet_on
from tests.support.runtimes.steer import steered
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.inventory import links
from tests.support.sandbox.node import (
    FACADE,
    LEASES,
    NET,
    STATE,
    TUNING,
    UNMASQUERADED,
    Json,
    is_frozen,
    single,
    wait_for,
    whole_list,
)

TRIES = 10
# So many pods come and go where nothing heals; where it does, until it has, and at most for so long.
PODS = 3
PATIENCE = 60.0
PAUSE = 0.5
PLAIN = "05-plain.conflist"
# The mesh's owner takes whatever its file names, so that a type may be misspelt.
OWNERS: list[Json] = [{"name": "cilium", "types": ["bridge"]}, {"name": "istio"}]
# What the state directory holds of no attachment.
OWN = {".lock", ".versions"}


class Left(NamedTuple):
    """What there is of pods."""

    addresses: int
    records: int
    others: int  # beside the records in the state directory
    interfaces: int
    sandboxes: int


NOTHING = Left(0, 0, 0, 0, 0)
Wrong = contextlib.AbstractContextManager[None]


class Outcome(NamedTuple):
    """Of TRIES pods: what their kubelet was told, what was left by then, what stayed, and the seconds in between."""

    told: list[str]
    then: Left
    later: Left
    seconds: float


class Network(ABC):
    """bridge with host-local, and an agent's plugin behind it, in one of the two ways to write that down."""

    name: ClassVar[str]
    patience: ClassVar[float]  # for so long pods come and go, if something is left

    def __init__(self, kubelet: Kubelet) -> None:
        self.kubelet = kubelet
        self.node = kubelet.node
        self.lay()
        self._links = links(self.node.sandbox)

    @abstractmethod
    def lay(self) -> None:
        """As it should be. The runtime has it afterwards."""

    @abstractmethod
    def write(self, agents: Json) -> None:
        """Write the agent's plugin anew."""

    @abstractmethod
    def changing(self, *, usable: bool = True) -> contextlib.AbstractContextManager[None]:
        """Around a change, after which the runtime can use what is there, or maybe not: until it knows."""

    def left(self) -> Left:
        state, known = set(os.listdir(self.node.sandbox.path(STATE))), self.kubelet.records()
        addresses, interfaces = self.node.leases(self.name), links(self.node.sandbox) - self._links
        others = state - {*OWN, *known}
        return Left(len(addresses), len(known), len(others), len(interfaces), len(self.kubelet.client.sandboxes()))

    def forget(self) -> None:
        """Take away by hand what was counted."""
        self.kubelet.clean()
        shutil.rmtree(self.node.sandbox.path(f"{LEASES}/{self.name}"), ignore_errors=True)
        for file in self.node.sandbox.path(STATE).iterdir():
            if file.is_dir():
                shutil.rmtree(file)
            elif file.name not in OWN:
                file.unlink()
        self.kubelet.reset()


class Chained(Network):
    """Behind the facade, which never changes: a fragment of each owner."""

    name = "cilium"
    patience = PATIENCE

    def lay(self) -> None:
        self.node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
        self.write(TUNING)
        self.kubelet.facade({"owners": OWNERS})

    def write(self, agents: Json) -> None:
        self.node.fragment("istio.d/10-istio.conf", single(agents))

    @contextlib.contextmanager
    def changing(self, *, usable: bool = True) -> Iterator[None]:  # noqa: ARG002  # the runtime has only the facade
        yield


class Plain(Network):
    """One conflist, whose plugins the runtime calls itself."""

    name = "plain"
    patience = 0

    def lay(self) -> None:
        self.write(TUNING)
        with self.changing():
            self.node.sandbox.path(f"{NET}/{FACADE}").unlink()

    def write(self, agents: Json) -> None:
        self.node.conflist(PLAIN, whole_list(UNMASQUERADED, agents, name=self.name, version="1.0.0"))

    @contextlib.contextmanager
    def changing(self, *, usable: bool = True) -> Iterator[None]:
        runtime = self.kubelet.runtime
        seen, logged = runtime.watch(), len(runtime.log())
        yield
        if usable or not runtime.needs_binaries:
            seen(PLAIN)
        else:
            # Only its log tells.
            no = f"Error validating CNI config file {NET}/{PLAIN}"
            wait_for(lambda: no in runtime.log()[logged:], f"{runtime.name}: {PLAIN} turned down")


@contextlib.contextmanager
def no_binary(network: Network) -> Iterator[None]:
    with network.kubelet.without("tuning"):
        yield


@contextlib.contextmanager
def away(network: Network) -> Iterator[None]:
    with steered(network.node, "tuning") as it:
        it.fails("ADD", "the agent is away")
        it.fails("DEL", "the agent is away")
        yield


def written(agents: Json) -> Callable[[Network], Wrong]:
    @contextlib.contextmanager
    def wrong(network: Network) -> Iterator[None]:
        network.write(agents)
        yield
        network.write(TUNING)

    return wrong


class Mistake(NamedTuple):
    """What is wrong, in words; what makes it so, for a while; and whether a plugin then has no binary."""

    name: str
    wrong: Callable[[Network], Wrong]
    no_binary: bool = False


MISTAKES = (
    Mistake("A plugin's binary is missing", no_binary, no_binary=True),
    Mistake("A plugin fails at ADD and at DEL", away),
    Mistake("A plugin's type is misspelt", written(TUNING | {"type": "tunning"}), no_binary=True),
    Mistake("A plugin refuses its configuration", written(TUNING | {"sysctl": "net.core.somaxconn=1024"})),
)


def refused(network: Network, mistake: Mistake) -> Outcome:
    """Make the mistake, let pods try, correct it, and let the node live on."""
    kubelet = network.kubelet
    with contextlib.ExitStack() as stack:
        with network.changing(usable=not mistake.no_binary):
            stack.enter_context(mistake.wrong(network))
        told = [kubelet.refused(f"{network.name}-{n}") for n in range(TRIES)]
        then = network.left()
        with network.changing():
            stack.close()
    start = time.monotonic()
    pods = 0
    while pods < PODS or (network.left() != NOTHING and time.monotonic() < start + network.patience):
        # A kubelet ends, again and again, whatever the runtime still knows.
        for sandbox in kubelet.client.sandboxes():
            with contextlib.suppress(CriError):
                kubelet.end(sandbox)
        kubelet.end(kubelet.run_at_last(f"later-{pods}"))
        pods += 1
        time.sleep(PAUSE)
    assert kubelet.log("GC") == []
    return Outcome(told, then, network.left(), time.monotonic() - start)


def both(kubelet: Kubelet, mistake: Mistake) -> tuple[Outcome, Outcome]:
    """Behind the facade, and in a plain conflist. Nothing is left afterwards, whatever happened."""
    outcomes = []
    for kind in (Chained, Plain):
        network = kind(kubelet)
        try:
            outcomes.append(refused(network, mistake))
        finally:
            network.forget()
    return outcomes[0], outcomes[1]


def row(mistake: Mistake, runtime: str, outcomes: tuple[Outcome, Outcome]) -> str:
    """Of the table that `main` prints."""
    ours, plain = outcomes
    lost = f"{plain.then.addresses}, then **{plain.later.addresses}**"
    then = f"{ours.then.addresses} and {ours.then.records}"
    later = f"**{ours.later.addresses} and {ours.later.records}** after {ours.seconds:.0f} s"
    return f"| {mistake.name} | {runtime} | {lost} | {then}, then {later} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.runtimes.refused", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    options = parser.parse_args()
    tools = sandbox_node.tools()
    if tools is None or not is_frozen(options.program):
        parser.error("needs the frozen program and the reference plugins: make frozen tools")
    print(
        f"| what is wrong with {TRIES} pods | runtime | addresses, plain conflist | addresses and records, cni-chain |"
    )
    print("|---|---|---|---|", flush=True)
    for kind in RUNTIMES:
        with kubelet_on(kind, options.program, tools) as kubelet:
            kubelet.reset()
            for mistake in MISTAKES:
                print(row(mistake, kind.name, both(kubelet, mistake)), flush=True)


if __name__ == "__main__":
    main()
