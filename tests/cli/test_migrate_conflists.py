"""Real lists, there and back: split, written, read again by the plugin's own code, and compared value by value."""

import json
from pathlib import Path
from typing import Any

import pytest

from cni_chain.plugin import chain, facade, fragments, request
from cni_chain.plugin.chain import Delegate
from tests.support.files.node import CASES, CHAIN, NET, WAITING, Node, list_of, node_before, run

Json = dict[str, Any]

RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.9/24"}]}


@pytest.fixture(params=CASES)
def node(request: pytest.FixtureRequest, program: str, tmp_path: Path) -> Node:
    return node_before(tmp_path / "node", program, request.param)


def sent_by_libcni(plugin: Json, network: str, version: str, first: bool, given: Json) -> Json:
    """What the plugin of a list gets (SPEC section 3; libcni `buildOneConfig`), but for `capabilities`."""
    sent = {key: value for key, value in plugin.items() if key != "capabilities"}
    sent |= {"name": network, "cniVersion": version}
    if not first:
        sent["prevResult"] = RESULT
    wanted = [name for name, yes in (plugin.get("capabilities") or {}).items() if yes]
    granted = {name: given[name] for name in wanted if name in given}
    if granted:
        sent["runtimeConfig"] = granted
    elif "runtimeConfig" in sent and without_emptiness(sent["runtimeConfig"]) is None:
        del sent["runtimeConfig"]  # told in a remark: nothing is in it, and cni-chain has none
    return sent


def without_emptiness(value: object) -> object:
    if isinstance(value, dict):
        return {key: inner for key, inner in value.items() if without_emptiness(inner) is not None} or None
    return value or None


def chain_on_disk(node: Node) -> tuple[Json, list[Delegate]]:
    """The waiting facade, and the chain that the plugin makes of it."""
    document = node.read(WAITING)
    parsed, problems, unknown = facade.parse(document["plugins"][0])
    assert (problems, unknown) == ([], [])
    assert parsed.owners is not None
    directories = [fragments.read(owner.name, str(node.path(parsed.chain_dir))) for owner in parsed.owners]
    return document, chain.required_delegates(chain.resolve(parsed.owners, directories, ("default", "web-0")))


@pytest.mark.root
@pytest.mark.parametrize("runtime_gives", ["everything", "nothing"])
def test_every_plugin_gets_what_it_got_in_the_same_order(node: Node, runtime_gives: str) -> None:
    plugins, old = node.plugins(), node.read(node.list)
    names = {name for plugin in plugins for name in plugin.get("capabilities") or {}}
    given = {name: {"of": name} for name in names} if runtime_gives == "everything" else {}
    assert node.migrate("write").status == 0

    document, links = chain_on_disk(node)

    assert [link.type for link in links] == [plugin["type"] for plugin in plugins]
    network, version = old["name"], old.get("cniVersion", "0.1.0")
    to_chain = sent_by_libcni(document["plugins"][0], document["name"], document["cniVersion"], True, given)
    for index, (plugin, link) in enumerate(zip(plugins, links, strict=True)):
        before = sent_by_libcni(plugin, network, version, index == 0, given)
        after = request.derive(
            request.own_part(link.conf),
            request.capabilities(link.conf),
            to_chain,
            document["cniVersion"],
            None if index == 0 else RESULT,
        )
        # As text: in Python true is 1, and 1 is 1.0.
        assert json.dumps(after, sort_keys=True) == json.dumps(before, sort_keys=True)


@pytest.mark.root
def test_the_facade_is_the_same_network_for_the_runtime(node: Node) -> None:
    old = node.read(node.list)
    node.migrate("write")

    facade_of = node.read(WAITING)

    for key in ("name", "cniVersion", "cniVersions"):
        assert facade_of.get(key) == old.get(key)
    for key in ("disableCheck", "disableGC"):
        # libcni reads these from lists only, and takes "TRUE" for true.
        is_on = node.list.endswith(".conflist") and str(old.get(key, False)).lower() == "true"
        assert facade_of.get(key, False) is is_on
    assert facade_of["loadOnlyInlinedPlugins"] is True
    wanted = {name for plugin in node.plugins() for name, yes in (plugin.get("capabilities") or {}).items() if yes}
    assert wanted <= set(facade_of["plugins"][0]["capabilities"])


@pytest.mark.root
def test_the_proof_says_so(node: Node) -> None:
    document = node.json("migrate", "plan")

    assert document["proof"]["same"] is True
    assert document["proof"]["differences"] == []
    assert [delegate["type"] for delegate in document["proof"]["delegates"]] == node.types()
    for delegate in document["proof"]["delegates"]:
        assert delegate["differences"] == []


@pytest.mark.root
def test_verify_finds_no_error_in_what_was_written_but_the_plugins_own(node: Node) -> None:
    node.migrate("write")
    node.path(WAITING).rename(node.path(f"{NET}/00-cni-chain.conflist"))

    report = json.loads(run(node.program, "verify", "--json", "--root", str(node.root)).stdout)

    # What the list had wrong already; and no agent runs here that would have written its kubeconfig.
    inherited = (
        "can't be first",
        "needs a plugin before it",
        "switches cilium-cni",
        "is not first",
        "which doesn't exist",
    )
    errors = [finding["what"] for finding in report["findings"] if finding["severity"] == "error"]
    assert [error for error in errors if not any(words in error for words in (*inherited, "no plugin"))] == []


@pytest.mark.root
@pytest.mark.parametrize(
    ("case", "written"),
    [
        ("cilium-istio", {"cilium.d/05-cilium.conflist": "list", "istio.d/10-istio.conf": "single"}),
        (
            "cilium-portmap-istio",
            {
                "cilium.d/05-cilium.conflist": "list",
                "local.d/10-portmap.conf": "single",
                "istio.d/10-istio.conf": "single",
            },
        ),
        ("cilium-1.12", {"cilium.d/05-cilium.conf": "single"}),
        ("cilium-linkerd", {"cilium.d/05-cilium.conflist": "list", "linkerd.d/10-seed.conflist": "list"}),
        (
            "calico-kuma",
            {
                "calico.d/10-calico.conflist": "list",
                "local.d/10-bandwidth.conf": "single",
                "local.d/20-portmap.conf": "single",
                "kuma.d/kuma-cni.conf": "single",
            },
        ),
        (
            "kindnet-consul",
            {
                "local.d/10-ptp.conf": "single",
                "local.d/20-portmap.conf": "single",
                "consul.d/10-seed.conflist": "list",
            },
        ),
        (
            "cilium-on-aws",
            {
                "aws.d/10-aws.conflist": "list",
                "local.d/10-portmap.conf": "single",
                "cilium.d/05-cilium.conflist": "list",
            },
        ),
        (
            "flannel-cilium-bandwidth-between",
            {
                "flannel.d/10-flannel.conflist": "list",
                "local.d/10-portmap.conf": "single",
                "cilium.d/05-cilium.conflist": "list",
                "local-2.d/10-bandwidth.conf": "single",
                "istio.d/10-istio.conf": "single",
            },
        ),
        ("ovn-kubernetes", {"ovn-kubernetes.d/10-ovn-kubernetes.conf": "single"}),
    ],
)
def test_each_agents_file_has_its_own_name_and_form(
    program: str, tmp_path: Path, case: str, written: dict[str, str]
) -> None:
    node = node_before(tmp_path / "node", program, case)
    node.migrate("write")

    there = {
        str(path.relative_to(node.path(CHAIN))): "list" if "plugins" in json.loads(path.read_bytes()) else "single"
        for path in node.path(CHAIN).rglob("*")
        if path.is_file()
    }
    assert there == written
    for file in written:
        fragment = node.read(f"{CHAIN}/{file}")
        assert fragment["cniVersion"] == node.read(node.list)["cniVersion"]
        assert fragment["name"]


@pytest.mark.root
def test_consuls_seed_has_the_plugin_that_consul_wants_before_its_own_and_the_facade_leaves_it_out(
    program: str, tmp_path: Path
) -> None:
    node = node_before(tmp_path / "node", program, "kindnet-consul")
    node.migrate("write")

    seed = node.read(f"{CHAIN}/consul.d/10-seed.conflist")
    owners = node.read(WAITING)["plugins"][0]["owners"]

    assert [plugin["type"] for plugin in seed["plugins"]] == ["loopback", "consul-cni"]
    assert owners[-1] == {
        "name": "consul",
        "types": ["consul-cni"],
        "exempt": [{"namespace": "consul", "podNamePrefix": "consul-cni-"}],
    }


def test_there_are_more_than_twenty_lists_and_the_readme_tells_where_they_come_from() -> None:
    assert len(CASES) > 40
    assert len({list_of(case).read_bytes() for case in CASES}) == len(CASES)
