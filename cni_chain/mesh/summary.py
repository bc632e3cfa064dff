"""What a mesh sees of this node, at a glance: do services' addresses reach it, and are the newest pods captured?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from cni_chain.agents.registry import MESHES
from cni_chain.mesh import check, pods, verdict
from cni_chain.mesh.capture import State
from cni_chain.mesh.pods import MeshPod
from cni_chain.node.attachments import StateDir
from cni_chain.node.errors import UnreadableError
from cni_chain.plugin import verdicts
from cni_chain.plugin.verdicts import Verdict

MOST = 10  # pods that are looked at: each takes some milliseconds, and `status` is asked often


class Summary(NamedTuple):
    """The verdict on services' addresses; the newest pods with a mesh's plugin, and how many older ones there are."""

    addresses: Verdict
    pods: list[MeshPod]
    others: int

    @property
    def states(self) -> Mapping[State, int]:
        """How many of the pods are in each state."""
        return Counter(pod.capture.state for pod in self.pods)

    @property
    def is_lost(self) -> bool:
        """Whether services' addresses don't reach the mesh."""
        return self.addresses.verdict == verdicts.BROKEN

    @property
    def is_unknown(self) -> bool:
        """Whether it is unknown if they do."""
        return self.addresses.verdict == verdicts.UNKNOWN

    @property
    def partly(self) -> list[MeshPod]:
        """The pods of which some connections don't go through a proxy, or end nowhere."""
        return [pod for pod in self.pods if pod.capture.state is State.PARTLY]

    def services(self) -> str:
        """Return the verdict on services' addresses as a sentence."""
        return f"{self.addresses.verdict}: {self.addresses.why}"

    def captured(self) -> str:
        """Return how many pods are in which state, as a sentence."""
        if not self.pods:
            return "no pod with a mesh's plugin is recorded"
        counts = [f"{number} {state}" for state, number in self.states.items()]
        which = f" of the newest {len(self.pods)} of {len(self.pods) + self.others} pods" if self.others else ""
        return f"{', '.join(counts)}{which}: cni-chain mesh pods"

    def document(self) -> dict[str, Any]:
        """Return the same as members of a JSON object."""
        counts = {
            name: self.states.get(state, 0)
            for name, state in (
                ("captured", State.CAPTURED),
                ("partly", State.PARTLY),
                ("not", State.NOT),
                ("unknown", State.UNKNOWN),
            )
        }
        return {
            "serviceAddress": {"verdict": self.addresses.verdict, "why": self.addresses.why, "do": self.addresses.do},
            "pods": {**counts, "notLookedAt": self.others},
        }


def look(states: Iterable[StateDir]) -> Summary:
    """Look at this system, of whose records `states` are the content. What can't be looked at is unknown."""
    newest, others = _newest(states)
    return Summary(verdicts.kept() or _verdict(), list(pods.look([newest])), others)


def _verdict() -> Verdict:
    try:
        judged = verdict.judge(check.gather(None, None, [], config=None, probing=True))
    except UnreadableError as error:
        return Verdict(verdicts.UNKNOWN, str(error))
    return Verdict(judged.verdict, judged.why, judged.do)


def _newest(states: Iterable[StateDir]) -> tuple[StateDir, int]:
    """Return the newest pods with a mesh's plugin, as if one directory had them, and how many older ones there are."""
    found = [
        entry
        for state in states
        for entry in state.entries
        if any(delegate.type in MESHES for delegate in entry.record.delegates)
    ]
    newest = StateDir("")
    newest.entries = sorted(found, key=lambda entry: -entry.record.created)[:MOST]
    return newest, len(found) - len(newest.entries)
