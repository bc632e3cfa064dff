"""What `cni-chain verify` finds in a facade, and around it in the runtime's directory."""

import json
from collections.abc import Callable

import pytest

from tests.support.files.node import FACADE, ISTIO, Json, Node, at


@pytest.mark.parametrize(
    ("keys", "place", "message"),
    [
        (
            {"name": "a/b"},
            "name",
            "key name: invalid: must be letters, digits, '_', '.' and '-', beginning with a let",
        ),
        ({"cniVersion": "2.0.0"}, "cniVersion", "key cniVersion: cni-chain doesn't support 2.0.0, only 0.1.0, 0.2.0"),
        ({"cniVersions": ["1.0.0", "1.2.0"]}, "1.2.0", "key cniVersions[1]: cni-chain doesn't support 1.2.0, only"),
        ({"cniVersion": "1.1.0"}, "cniVersion", "warning: key cniVersion: 1.1.0 is too new for containerd before"),
        ({"cniVersion": ""}, "cniVersion", "warning: key cniVersion: missing or not a string; write 1.0.0"),
        (
            {"loadOnlyInlinedPlugins": False},
            "loadOnlyInlinedPlugins",
            "warning: key loadOnlyInlinedPlugins: must be true, or contai",
        ),
        (
            {"loadOnlyInlinedPlugin": True},
            "loadOnlyInlinedPlugin",
            "warning: key loadOnlyInlinedPlugin: runtimes don't",
        ),
    ],
)
def test_traps_of_the_list(node: Node, keys: Json, place: str, message: str) -> None:
    node.change_facade(of_list=keys)

    (finding,) = node.findings()

    assert finding.startswith(f"{at(node, place)}: {message}")


def test_a_list_that_lets_runtimes_add_plugins_says_from_where(node: Node) -> None:
    node.change_facade(remove=("loadOnlyInlinedPlugins",))

    assert node.findings() == [
        (
            f"{FACADE}:1:1: warning: key loadOnlyInlinedPlugins: must be true, or containerd 2.1, CRI-O 1.33 and later "
            "run every /etc/cni/net.d/cilium/*.conf after cni-chain"
        )
    ]


def test_true_as_a_text_is_true_as_runtimes_read_it(node: Node) -> None:
    node.change_facade(of_list={"loadOnlyInlinedPlugins": "True"})

    assert node.findings() == []


@pytest.mark.parametrize(
    ("keys", "place", "message"),
    [
        ({"logLevel": "loud"}, "logLevel", "key logLevel: must be one of error, info, debug"),
        (
            {"timeouts": {"DEL": 44}},
            "DEL",
            "warning: key timeouts.DEL: too short: cilium-cni needs up to 45 s for DEL while its",
        ),
        (
            {"timeouts": {"CHECK": 30}},
            "CHECK",
            "warning: key timeouts.CHECK: too short: cilium-cni needs up to 31 s for CHECK",
        ),
        ({"mesh": {}}, "mesh", "key mesh.serviceAddress: missing: must be one of warn, enforce"),
        ({"mesh": {"serviceAddress": "on"}}, "serviceAddress", "key mesh.serviceAddress: must be one of warn, enforce"),
        (
            {"capabilities": {"portMappings": 1}},
            "capabilities",
            "key capabilities: must be an object of true and fal",
        ),
    ],
)
def test_traps_of_cni_chains_own_keys(node: Node, keys: Json, place: str, message: str) -> None:
    node.clear("local")
    node.change_facade(**keys)

    (finding,) = node.findings()

    assert finding.startswith(f"{at(node, place)}: {message}")


def test_no_capabilities_at_all_is_warned_of(node: Node) -> None:
    node.clear("local")
    node.change_facade(remove=("capabilities",))

    assert node.findings() == [
        (
            f"{FACADE}:12:3: warning: key capabilities: missing, so runtimes pass no port mapping, "
            "bandwidth or annotation to any plugin"
        )
    ]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("requird", True, "key owners[2].requird: unknown key; did you mean required?"),
        ("exmept", [], "key owners[2].exmept: unknown key; did you mean exempt?"),
        (
            "colour",
            "red",
            (
                "key owners[2].colour: unknown key; the keys here are disableCheck, disableGC, duplicates, exempt, "
                "name, onDelError, required, timeoutSeconds, types"
            ),
        ),
        ("duplicates", "last", "key owners[2].duplicates: must be one of first, all"),
    ],
)
def test_traps_of_an_owners_keys(node: Node, key: str, value: object, message: str) -> None:
    node.change_owner("local", **{key: value})

    assert node.findings() == [f"{at(node, key)}: {message}"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("chaindir", "/etc/cni/chain.d", "key chaindir: unknown key; did you mean chainDir?"),
        ("log_file", "", "key log_file: unknown key; did you mean logFile?"),
        ("owner", [], "key owner: unknown key; did you mean owners?"),
        ("multusNamespace", "kube-system", "warning: key multusNamespace: cni-chain doesn't know it"),
    ],
)
def test_a_key_that_comes_near_a_known_one_is_an_error(node: Node, key: str, value: object, message: str) -> None:
    keys: Json = {key: value}
    node.change_facade(**keys)

    assert node.findings() == [f"{at(node, key)}: {message}"]


def test_a_verb_of_the_timeouts_too(node: Node) -> None:
    node.change_facade(timeouts={"Del": 60, "START": 1})

    assert node.findings() == [
        f"{at(node, 'Del')}: key timeouts.Del: unknown key; did you mean timeouts.DEL?",
        f"{at(node, 'START')}: warning: key timeouts.START: cni-chain doesn't know it",
    ]


def test_owner_for_owners_is_said_once_where_it_stands(node: Node) -> None:
    owners = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    node.change_facade(remove=("owners",), owner=owners)

    assert node.findings() == [
        f"{at(node, 'owner')}: key owners: missing: 'owner' is not a key of cni-chain; did you mean owners?"
    ]


def misspell_owners(node: Node) -> None:
    owners = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    node.change_facade(remove=("owners",), owner=owners)


@pytest.mark.parametrize("command", ["verify", "show", "doctor"])
@pytest.mark.parametrize(
    "misspell",
    [
        misspell_owners,
        lambda node: node.change_owner("istio", exmept=[]),
        lambda node: node.change_owner("istio", type=["istio-cni"]),
        lambda node: node.change_facade(chaindir="/etc/cni/chain.d"),
    ],
    ids=["owner", "exmept", "type", "chaindir"],
)
def test_no_command_calls_a_misspelt_facade_fine(node: Node, command: str, misspell: Callable[[Node], None]) -> None:
    misspell(node)

    result = node.run(command)

    assert result.status == 1
    assert "did you mean" in " ".join(result.stdout.split())


def test_a_key_that_is_missing_is_where_its_object_is(node: Node) -> None:
    node.change_owner("local", exempt=[{"namespace": "a"}])
    line = int(at(node, "namespace", "a").split(":")[1]) - 1

    (finding,) = node.findings()

    assert finding.startswith(f"{FACADE}:{line}:7: key owners[2].exempt[0].podNamePrefix: missing: ")


def test_a_timeout_that_would_kill_cilium_while_its_agent_is_away(node: Node) -> None:
    node.change_owner("cilium", timeoutSeconds=20)

    assert node.findings() == [
        (
            f"{at(node, 'timeoutSeconds')}: warning: key timeoutSeconds: too short: cilium-cni needs up to 45 s for "
            "DEL while its agent is stopped"
        )
    ]


def append(node: Node, type_: str) -> None:
    """Put one more plugin into the facade, as an agent does that edits the first file that it finds."""
    plugins = json.loads(node.facade.read_bytes())["plugins"]
    node.change_facade(of_list={"plugins": [*plugins, {"type": type_}]})


def test_an_agent_that_has_edited_the_facade(node: Node) -> None:
    append(node, "istio-cni")

    place = at(node, "type", "istio-cni")
    assert node.findings() == [
        f"{place}: istio-cni beside cni-chain: an agent has edited the facade",
        f"{place}: warning: istio-cni runs twice for a pod: the facade has it, and {ISTIO} has it too",
    ]


def test_cni_chain_twice_in_one_list(node: Node) -> None:
    append(node, "cni-chain")
    line = node.facade.read_text().splitlines().index('   "type": "cni-chain"') + 1

    assert node.findings() == [
        f"{FACADE}:{line}:4: the facade has cni-chain twice: every plugin of the chain would run twice"
    ]


def test_one_key_twice(node: Node) -> None:
    text = node.facade.read_text().replace('"cniVersion"', '"name": "before",\n"cniVersion"', 1)
    node.facade.write_text(text)

    (finding,) = node.findings()

    assert finding.endswith(": warning: key name: exists twice; this one is used")


def test_a_list_in_a_file_that_no_runtime_reads_as_one(node: Node) -> None:
    node.facade.rename(node.net_dir / "00-cni-chain.conf")

    assert node.findings() == [
        "/etc/cni/net.d/00-cni-chain.conf: runtimes read a list of plugins only from a file that does end in .conflist"
    ]


def test_a_facade_may_be_a_single_plugin(node: Node) -> None:
    document = json.loads(node.facade.read_bytes())
    node.facade.unlink()
    single = document["plugins"][0] | {"name": "cilium", "cniVersion": "1.0.0"}
    (node.net_dir / "00-cni-chain.conf").write_text(json.dumps(single))

    assert node.findings() == []


def test_a_file_that_containerd_takes_instead(node: Node) -> None:
    (node.net_dir / "00-bridge.conf").write_text('{"type": "bridge"}')

    assert node.findings() == ["/etc/cni/net.d/00-bridge.conf: sorts before 00-cni-chain.conflist (it has bridge)"]


def test_multus_may_be_before_the_facade(node: Node) -> None:
    node.facade.rename(node.net_dir / "01-cni-chain.conflist")
    (node.net_dir / "00-multus.conf").write_text('{"type": "multus-shim"}')

    assert node.findings() == []


def test_a_first_file_that_is_broken_takes_the_network_away(node: Node) -> None:
    (node.net_dir / "00-a.conf").write_text("{}}")
    (node.net_dir / "99-z.conf").write_text("")

    assert node.findings() == [
        "/etc/cni/net.d/00-a.conf:1:3: not JSON: Extra data",
        "/etc/cni/net.d/99-z.conf: warning: empty",
    ]


def test_a_directory_named_like_the_network(node: Node) -> None:
    (node.net_dir / "cilium").mkdir()

    assert node.findings() == [
        (
            "/etc/cni/net.d/cilium: warning: has the name of the network of 00-cni-chain.conflist: runtimes with "
            "libcni 1.3 or later look for plugins here; remove it"
        )
    ]


def test_no_facade_at_all(node: Node) -> None:
    node.facade.unlink()

    assert node.findings() == ["/etc/cni/net.d: no facade here: no file has a plugin of type cni-chain"]


def test_a_facade_that_is_broken(node: Node) -> None:
    node.facade.write_text('{"name": "cilium"')

    assert node.findings() == ["/etc/cni/net.d/00-cni-chain.conflist:1:18: not JSON: Expecting ',' delimiter"]


def test_a_facade_whose_type_is_misspelt_is_named_and_nothing_is_missing(node: Node) -> None:
    node.facade.write_text(node.facade.read_text().replace('"cni-chain"', '"cni-chian"'))

    place = f"{FACADE}:{node.facade.read_text().count(chr(10), 0, node.facade.read_text().index('cni-chian')) + 1}"
    (finding,) = node.findings()
    assert finding.startswith(place)
    assert finding.endswith(": the plugin's type is cni-chian; did you mean cni-chain?")
    assert finding.partition(": ")[0] in node.run("show").stderr
    assert node.run("owner", "remove", "istio").stderr.endswith("did you mean cni-chain?\n")


def test_a_facade_that_is_not_json_is_not_reported_as_missing(node: Node) -> None:
    node.facade.write_text(node.facade.read_text()[:-20])

    (finding,) = json.loads(node.run("doctor", "--json").stdout)["findings"]

    assert (finding["id"], finding["path"]) == ("first-file-invalid", FACADE)
    assert finding["do"].startswith("The file is meant as the facade: correct it here")


def test_a_directory_that_does_not_exist_is_told_from_an_empty_one(node: Node) -> None:
    for command in ("show", "cat"):
        result = node.run(command, "--net-dir", "/nonexistent")
        assert result.stderr == "cni-chain: /nonexistent: no facade here: the directory doesn't exist\n"
    assert node.findings("--net-dir", "/nonexistent") == ["/nonexistent: no facade here: the directory doesn't exist"]


def test_an_empty_directory_of_no_owner_is_no_fault(node: Node) -> None:
    """`install --no-facade` creates one for each owner that it assumes."""
    (node.chain_dir / "mesh.d").mkdir()

    assert node.findings() == []


def test_a_key_of_the_list_that_is_misspelt_is_told_with_the_one_that_was_meant(node: Node) -> None:
    node.change_facade(of_list={"loadOnlyInlinedPlugin": True})

    assert node.findings() == [
        (
            f"{at(node, 'loadOnlyInlinedPlugin')}: warning: key loadOnlyInlinedPlugin: runtimes don't know it; "
            "did you mean loadOnlyInlinedPlugins?"
        )
    ]
