"""What an administrator does to a live node: a new version, the facade in an old conflist's place, and the way back."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.runtimes.kubelet import Kubelet, collect
from tests.support.sandbox.node import BANDWIDTH, BIN, BRIDGE, FACADE, NET, PORTMAP, TUNING, whole_list

# The conflist that both agents edited, and that the facade replaces. It sorts behind the facade and may stay.
OLD = "05-cilium.conflist"
CO_EDITED = whole_list(BRIDGE, TUNING, PORTMAP, BANDWIDTH, version="1.0.0")
WORKERS, PODS = 4, 6


class Versions:
    """New versions, each in a directory of its own beside the others; a link is replaced in one step."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._entry = kubelet.node.sandbox.path(f"{BIN}/cni-chain")
        self._first = self._entry.readlink()
        self._all = kubelet.node.sandbox.path("/opt/cni/cni-chain")
        self.installed: list[str] = []

    def install_next(self) -> None:
        version = f"next-{len(self.installed) + 1}"
        self.installed.append(version)
        # Not by this process: what a thread starts meanwhile would hold the program open for writing, and it can't run.
        subprocess.run(["cp", "--archive", self._all / self._first.parent.name, self._all / version], check=True)  # noqa: S607
        self._point_to(self._first.parent.with_name(version) / self._first.name)

    def _point_to(self, target: Path) -> None:
        temporary = self._entry.with_name(".cni-chain.new")
        temporary.symlink_to(target)
        temporary.rename(self._entry)

    def remove_all(self) -> None:
        self._point_to(self._first)
        for version in self.installed:
            shutil.rmtree(self._all / version)


@pytest.fixture
def versions(kubelet: Kubelet) -> Iterator[Versions]:
    versions = Versions(kubelet)
    yield versions
    versions.remove_all()


def test_the_executable_is_replaced_under_load(kubelet: Kubelet, versions: Versions) -> None:
    """A new version comes again and again while pods come and go: not one call fails."""

    def come_and_go(worker: int) -> None:
        for n in range(PODS):
            kubelet.end(kubelet.run(f"pod-{worker}-{n}"))

    with ThreadPoolExecutor(WORKERS) as threads:
        workers = [threads.submit(come_and_go, worker) for worker in range(WORKERS)]
        while not all(worker.done() for worker in workers):
            versions.install_next()
            time.sleep(0.2)
    for worker in workers:
        worker.result()

    assert len(versions.installed) > 3
    assert [line["msg"] for line in kubelet.log("ADD", "CHECK", "DEL") if line.get("code")] == []


def test_from_an_old_conflist_to_the_facade_and_back(kubelet: Kubelet) -> None:
    """Pods made under each are ended under the other, and under their own; no address stays behind."""
    net = kubelet.node.sandbox.path(NET)
    facade = (net / FACADE).read_text()

    def to(file: str, content: str) -> None:
        """Within the directory: containerd doesn't see what is moved in from another."""
        (net / ".tmp").write_text(content)
        (net / ".tmp").rename(net / file)

    def back() -> None:
        (net / FACADE).unlink()

    to(OLD, json.dumps(CO_EDITED))
    kubelet.rewrite(back, OLD)
    old = [kubelet.run(f"old-{n}") for n in range(3)]
    logged = kubelet.node.log()
    kubelet.rewrite(lambda: to(FACADE, facade), FACADE)
    kubelet.end(old[0])
    new = [kubelet.run(f"new-{n}") for n in range(3)]
    kubelet.end(old[1], new[0])
    addresses = {kubelet.client.status(sandbox).ip for sandbox in (old[2], *new[1:])}
    leases, records = kubelet.node.leases(), kubelet.records()
    kubelet.rewrite(back, OLD)
    kubelet.end(old[2], new[1])
    forth = kubelet.run("forth")
    kubelet.rewrite(lambda: to(FACADE, facade), FACADE)
    kubelet.end(forth, new[2])

    assert [line for line in logged if line["verb"] == "ADD"] == []
    assert sorted(addresses) == leases
    assert len(records) == 2
    assert kubelet.node.leases() == []
    # containerd gives a DEL to the conflist of the day, so that nobody told us of new[1]: a record stays until a GC.
    # CRI-O gives it to the plugins of the ADD.
    assert len(kubelet.records()) == (0 if kubelet.runtime.checks else 1)
    collect(kubelet.node)
