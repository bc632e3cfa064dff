"""A node with both agents, from which a test takes one away for a while."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.agents.node import SHIPPED, AgentNode
from tests.support.agents.writers import ADVISED, CLEANS_UP
from tests.support.runtimes.daemons import Runtime
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import FACADE, NET, Json
from tests.support.stand_ins.cilium import addresses as endpoint_addresses
from tests.support.stand_ins.orders import ENROLMENT_FAILS
from tests.support.stand_ins.process import Process


class MeshNode(AgentNode):
    """The facade as it is shipped, and pods that reach each other."""

    def __init__(self, sandbox: Sandbox, program: Path, tools: Path, cilium: str) -> None:
        super().__init__(sandbox, program, tools, cilium)
        self.cilium = Process(sandbox, "cilium", "--datapath")
        self.stand_ins = (self.cilium, self.istio, self.kubernetes)
        self.lay_shipped_facade()

    def lay_shipped_facade(self) -> None:
        """As it is in conf/, to the byte."""
        self.sandbox.path(f"{NET}/{FACADE}").write_bytes(SHIPPED.read_bytes())

    @contextlib.contextmanager
    def without(self, agent: str, how: str) -> Iterator[None]:
        """For as long as the block runs an agent is stopped, killed, unable (Istio's) or uninstalled (Istio's)."""
        process, writer = getattr(self, agent), self.writer(agent)
        if how == "unable":
            process.order(ENROLMENT_FAILS)
        else:
            (process.kill if how == "killed" else process.stop)()
            # A rollout leaves the agent's files alone.
            (writer.stop if how == "uninstalled" else writer.kill)()
        try:
            yield
        finally:
            self.restore()

    def reboot_with(self, runtime: Runtime) -> None:
        """A reboot, up to where the runtime is back and no agent is: their files are on the disk, /run is empty."""
        self.close()
        runtime.reboot()
        self.istio_writer = self.new_istio_writer(*ADVISED, CLEANS_UP)  # what it installs from was there, too

    def endpoints(self) -> list[str]:
        """The IDs of the containers that Cilium's agent has an endpoint for."""
        return sorted(name.partition(":")[0] for name in self.agent_state()["endpoints"])

    def replayed(self) -> set[str]:
        """The containers whose endpoints Cilium's agent has deleted from its plugin's queue."""
        replays = [call.note["request"] for call in self.cilium.calls() if call.call == "REPLAY" and call.note["known"]]
        return {request.split(":")[1] for request in replays}

    def addresses(self) -> dict[str, str]:
        """Which pod's endpoint has which address. One that no endpoint has followed is the agent's to take back."""
        known: dict[str, Json] = self.agent_state()["endpoints"]
        return {
            address: f"{endpoint['k8s-namespace']}/{endpoint['k8s-pod-name']}"
            for endpoint in known.values()
            for address in endpoint_addresses(endpoint)
        }
