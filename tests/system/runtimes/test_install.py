"""install, upgrade and uninstall on a node whose daemon is never restarted and whose pods live on."""

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from cni_chain import __version__
from tests.conftest import available
from tests.support.runtimes.daemons import DISK, Containerd24, Crio, Runtime
from tests.support.runtimes.fresh import FreshNode, Traffic, fresh
from tests.support.runtimes.kubelet import Kubelet
from tests.support.sandbox.node import (
    BANDWIDTH,
    BIN,
    BRIDGE,
    FACADE,
    NET,
    PORTMAP,
    STATE,
    TUNING,
    is_frozen,
    single,
    whole_list,
)

OWNERS = ("--owner", "cilium:bridge", "--owner", "istio:tuning", "--owner", "local")
OLD = "05-cilium.conflist"
CO_EDITED = whole_list(BRIDGE, TUNING, PORTMAP, BANDWIDTH, version="1.0.0")
INSTALLED = f"{BIN}/cni-chain"
PINNED = "k8s"


class PinnedCrio(Crio):
    """CRI-O that is told which network to take."""

    def _configure(self) -> None:
        super()._configure()
        conf = self.sandbox.path(f"{DISK}/etc/crio.conf")
        conf.write_text(
            conf.read_text().replace("[crio.network]\n", f'[crio.network]\ncni_default_network = "{PINNED}"\n')
        )
        self.sandbox.path("/etc/crio/crio.conf").symlink_to(f"{DISK}/etc/crio.conf")


@contextlib.contextmanager
def node_with(kind: type[Runtime], program: str, tools: Path) -> Iterator[Kubelet]:
    """A node with a daemon and no network; in the end nothing of any pod may be there."""
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    with contextlib.ExitStack() as stack:
        with available():
            kubelet = stack.enter_context(fresh(kind, program, tools))
        yield kubelet
        assert (kubelet.client.sandboxes(), kubelet.node.leases(), kubelet.records()) == ([], [], [])


@pytest.fixture(params=(Containerd24, Crio), ids=("containerd-2.4", "CRI-O-1.34"))
def kubelet(request: pytest.FixtureRequest, program: str, tools: Path) -> Iterator[Kubelet]:
    with node_with(request.param, program, tools) as kubelet:
        yield kubelet


@pytest.fixture
def node(kubelet: Kubelet) -> FreshNode:
    node = kubelet.node
    assert isinstance(node, FreshNode)
    return node


@pytest.fixture
def traffic(kubelet: Kubelet) -> Iterator[Traffic]:
    traffic = Traffic(kubelet)
    yield traffic
    traffic.close()


def agents_write(node: FreshNode) -> None:
    """What the owners' agents put into their directories."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(BRIDGE))
    node.fragment("istio.d/10-istio.conf", single(TUNING))
    node.fragment("local.d/10-portmap.conf", single(PORTMAP, "1.0.0"))


def test_a_node_without_a_network_is_ready_once_its_agents_have_written(
    kubelet: Kubelet, node: FreshNode, traffic: Traffic
) -> None:
    """The daemon sees the facade at once, and isn't ready while the first owner isn't: under CRI-O pods wait."""
    assert not kubelet.client.network().true
    seen = kubelet.runtime.watch()

    told = node.succeeds("bin/cni-chain", "install", *OWNERS)
    seen(FACADE)
    waits = kubelet.client.network()
    early, refused = kubelet.pod("early"), ""
    waiting: Future[str] | None = None
    with ThreadPoolExecutor(1) as thread:
        if kubelet.runtime.family == "CRI-O":
            waiting = thread.submit(kubelet.client.run, early)
        else:
            refused = kubelet.refused("early")
        agents_write(node)
        kubelet.runtime.ready()
    traffic.join(early, waiting.result() if waiting else kubelet.client.run(early))
    traffic.unharmed()
    again = node.succeeds("cni-chain", "install")
    [attachment] = json.loads(node.succeeds("cni-chain", "attachments", "--json"))["attachments"]
    traffic.end_all()

    assert f"create  {NET}/{FACADE}\n" in told
    assert not waits.true
    assert waiting or "waiting for cilium's CNI configuration" in refused
    assert again.endswith("Nothing to change.\n")
    assert [delegate["type"] for delegate in attachment["delegates"]] == ["bridge", "tuning", "portmap"]


def test_an_old_conflist_an_upgrade_and_the_way_back_with_pods_that_live_on(
    kubelet: Kubelet, node: FreshNode, traffic: Traffic
) -> None:
    """Pods of each time end in each later one; a newer version comes beside the old one while they run."""
    before = set[str]()

    def to(file: str, *words: str) -> str:
        """Run a command after which the runtime must have another file."""
        seen = kubelet.runtime.watch()
        told = node.succeeds(*words)
        seen(file)
        return told

    kubelet.rewrite(lambda: node.conflist(OLD, CO_EDITED), OLD)
    kubelet.runtime.ready()
    kubelet.warm_up()
    before |= kubelet.kept()
    old = [traffic.start(f"old-{n}") for n in range(4)]

    nothing_changed = node.succeeds("bin/cni-chain", "install", "--no-facade", *OWNERS)
    agents_write(node)
    traffic.start("meanwhile")
    taken = to(FACADE, "cni-chain", "install", *OWNERS)
    traffic.start("new-0")
    traffic.end("old-0", "meanwhile")

    # What is there becomes an older version: a directory and a link are all that a version is.
    sandbox = node.sandbox
    sandbox.run("mv", f"/opt/cni/cni-chain/{__version__}", "/opt/cni/cni-chain/0.0.1")
    sandbox.run("ln", "-sfn", "../cni-chain/0.0.1/cni-chain", INSTALLED)
    traffic.start("new-1")
    upgraded = node.succeeds("bin/cni-chain", "install")
    traffic.start("new-2")
    traffic.end("new-0", "old-1")
    versions = sorted(path.name for path in sandbox.path("/opt/cni/cni-chain").iterdir())

    refused = node.command("cni-chain", "uninstall")
    back = to(OLD, "cni-chain", "uninstall", "--keep-program")
    traffic.start("back")
    traffic.end("new-1", "old-2", "back")
    traffic.unharmed()
    still_there = node.leases()
    traffic.end("new-2", "old-3")
    collected = node.succeeds("cni-chain", "gc", "--yes")
    node.succeeds("cni-chain", "uninstall")

    assert "Nothing" not in nothing_changed
    assert FACADE not in nothing_changed
    assert f"create  {NET}/{FACADE}\n" in taken
    assert f"link to ../cni-chain/{__version__}/cni-chain" in upgraded
    assert versions == ["0.0.1", __version__]
    assert (refused[0], "with a record" in refused[2]) == (1, True)
    assert f"The runtime then takes {NET}/{OLD}.\n" in back
    assert len(old) == 4
    assert len(still_there) == 2
    # containerd has given their DEL to the old conflist; CRI-O to cni-chain, which they were made with.
    assert collected.count("freed: ") == (0 if kubelet.runtime.checks else 2)
    assert kubelet.left(before) == set()
    assert not sandbox.path(STATE).exists()
    assert not sandbox.path(INSTALLED).is_symlink()
    assert sorted(path.name for path in sandbox.path(NET).iterdir()) == [f"{FACADE}.uninstalled", OLD]


@pytest.mark.parametrize("kind", [PinnedCrio], ids=["CRI-O-1.34"])
def test_crio_takes_the_network_that_it_is_told_and_no_other(kind: type[Runtime], program: str, tools: Path) -> None:
    """So `install` refuses another name, and by force it makes a facade that CRI-O never takes."""
    with node_with(kind, program, tools) as kubelet:
        node, runtime = kubelet.node, kubelet.runtime
        assert isinstance(node, FreshNode)
        agents_write(node)

        status, _, refused = node.command("bin/cni-chain", "install", *OWNERS)
        seen = runtime.watch()
        node.succeeds("bin/cni-chain", "install", *OWNERS, "--force")
        seen(FACADE)
        taken_by_force = kubelet.client.network().true
        seen = runtime.watch()
        node.succeeds("cni-chain", "install", *OWNERS, "--name", PINNED, "--replace-facade")
        seen(FACADE)
        runtime.ready()
        kubelet.end(kubelet.run("web"))
        _, _, stays = node.command("cni-chain", "uninstall")

        assert status == 1
        assert f"/etc/crio/crio.conf: CRI-O's cni_default_network is {PINNED}; the facade is" in refused
        assert not taken_by_force
        assert f"no configuration of network {PINNED}, which /etc/crio/crio.conf sets, is left" in stays
