"""What `show` and `verify` say of each chain."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.files.node import ROOT, Node, shipped_node
from tests.support.owners.chains import CHAINS, Chain

pytestmark = pytest.mark.root


@pytest.fixture(params=CHAINS, ids=[chain.name for chain in CHAINS])
def chain(request: pytest.FixtureRequest) -> Chain:
    """Each chain of the table."""
    chain: Chain = request.param
    return chain


@pytest.fixture
def looked_at(program: str, tmp_path: Path, chain: Chain) -> Node:
    """The same node, to run a person's commands on."""
    node = shipped_node(tmp_path / "node", program)
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


def test_show_lists_the_plugins_in_order_and_what_is_left_out(looked_at: Node, chain: Chain) -> None:
    (facade,) = looked_at.json("show")["facades"]

    listed = [(link["owner"], link["type"], tuple(link["capabilities"])) for link in facade["chain"]]
    assert listed == [(plugin.owner, plugin.type, plugin.gets) for plugin in chain.runs]
    assert [not link["disableCheck"] for link in facade["chain"]] == [plugin.check for plugin in chain.runs]
    assert facade["newPod"] is None
    left_out = [f"{one['file'].removeprefix('/etc/cni/chain.d/')}: {one['type']}" for one in facade["dropped"]]
    assert left_out == list(chain.left_out)
    for one in facade["dropped"]:
        assert one["reason"] == f"not one of the types that {one['owner']} may contribute"


def test_verify_finds_what_is_wrong_with_the_chain_and_nothing_else(looked_at: Node, chain: Chain) -> None:
    found = looked_at.findings()

    assert len(found) == len(chain.findings), found
    for line, end in zip(found, chain.findings, strict=True):
        assert line.endswith(end)


def test_cat_shows_each_plugin_as_it_would_be_asked(looked_at: Node, chain: Chain) -> None:
    result = looked_at.run("cat", "--effective", "--json")

    (facade,) = json.loads(result.stdout)["facades"]
    asked = {(one["owner"], one["type"]): one["stdin"] for one in facade["delegates"]}
    assert list(asked) == [(plugin.owner, plugin.type) for plugin in chain.runs]
    for number, plugin in enumerate(chain.runs):
        conf = asked[plugin.owner, plugin.type]
        assert conf["name"] == chain.network
        assert ("prevResult" in conf) == (number > 0)
        assert sorted(conf.get("runtimeConfig", {})) == sorted(plugin.gets)
