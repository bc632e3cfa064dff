"""The nodes of the table, for calls as a runtime makes them and for a person's commands."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.files.host import ALL_VERSIONS, Host
from tests.support.files.node import ROOT, Node
from tests.support.owners.chains import CHAINS, SENT, Chain


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "chain" in metafunc.fixturenames:
        metafunc.parametrize("chain", CHAINS, ids=[chain.name for chain in CHAINS])


@pytest.fixture
def called(host: Host, chain: Chain) -> Host:
    """A node with the chain's owners, ready to be called. Each plugin leaves a mark in the result."""
    host.network = chain.network
    host.owners += chain.entries
    for file in chain.files:
        owner, _, name = file.partition(".d/")
        host.fragment(owner, name, chain.content(file))
        for conf in chain.plugins(file):
            host.plugin(conf["type"])
    for number, plugin in enumerate(chain.runs):
        versions = ALL_VERSIONS[: ALL_VERSIONS.index(plugin.newest) + 1]
        marked = host.result(plugin.newest, mtu=1400 + number)
        marked["routes"] = [{"dst": f"10.{n}.0.0/16"} for n in range(number + 1)]
        del marked["mtu"]
        host.plugin(plugin.type).supports(*versions).does("ADD", prints=marked)
    return host


@pytest.fixture
def looked_at(program: str, tmp_path: Path, chain: Chain) -> Node:
    """The same node, to run a person's commands on."""
    node = Node(tmp_path / "node", program)
    shutil.rmtree(node.chain_dir)
    node.chain_dir.mkdir()
    for file in chain.files:
        node.write(file, chain.content(file).decode())
        for conf in chain.plugins(file):
            node.install(conf["type"])
            if isinstance(conf.get("ipam"), dict) and conf["ipam"].get("type"):
                node.install(conf["ipam"]["type"])
    for kubeconfig in chain.kubeconfigs:
        (node.root / kubeconfig.lstrip("/")).touch()
    document = json.loads(node.facade.read_bytes())
    document["name"] = chain.network
    document["plugins"][0]["owners"] = chain.entries
    if not ROOT:
        document["plugins"][0]["allowUnsafePermissions"] = True
    node.facade.write_text(json.dumps(document, indent=1))
    return node


@pytest.fixture
def sent() -> dict[str, object]:
    """What the runtime sends beside the facade."""
    return dict(SENT)
