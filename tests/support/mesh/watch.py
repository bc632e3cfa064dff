"""A watch over a runtime's list of running pods: who of the mesh is on it must have been enrolled before."""

import contextlib
import threading
from collections.abc import Iterator

from tests.support.agents.node import MESH
from tests.support.runtimes.cri import Client, CriError
from tests.support.stand_ins.istio import enrolments
from tests.support.stand_ins.process import Process

PAUSE_SECONDS = 0.05


class Watch:
    """What was seen so far."""

    def __init__(self, client: Client, istio: Process) -> None:
        self.pods: set[str] = set()
        self.outside: list[str] = []  # pods of the mesh that nobody had enrolled
        self._client = client
        self._istio = istio
        self._sandboxes: set[str] = set()
        self._lock = threading.Lock()

    def look(self) -> set[str]:
        """Look once more; all pods that were seen so far."""
        with self._lock:
            found = {}
            for sandbox, (namespace, name) in self._client.running().items():
                if sandbox not in self._sandboxes:
                    with contextlib.suppress(CriError):  # it has ended since
                        found[sandbox] = namespace, name, self._client.status(sandbox).netns
            who = enrolled(self._istio)  # read after the list: who is on it was enrolled before
            for sandbox, (namespace, name, netns) in found.items():
                self._sandboxes.add(sandbox)
                self.pods.add(f"{namespace}/{name}")
                if namespace == MESH and (namespace, name, netns) not in who:
                    self.outside.append(f"{namespace}/{name} in {netns}")
            return set(self.pods)

    @contextlib.contextmanager
    def looking_on(self) -> Iterator[None]:
        """Look again and again for as long as the block runs."""
        over = threading.Event()

        def look_on() -> None:
            while not over.wait(PAUSE_SECONDS):
                self.look()

        thread = threading.Thread(target=look_on)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def enrolled(istio: Process) -> set[tuple[str, str, str]]:
    """Whom Istio's agent has answered that it is enrolled: namespace, name, and where its own network is."""
    told = [call.body for call in enrolments(istio.calls())]
    return {(pod["PodNamespace"], pod["PodName"], pod["Netns"]) for pod in told}
