"""What `cni-chain verify` finds in owners' directories, and in how their plugins stand together."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.files.node import CILIUM, CONF, FACADE, ISTIO, LOCAL, Json, Node, at


def cilium(**keys: object) -> Json:
    return {"plugins": [{"type": "cilium-cni", **keys}]}


def test_a_required_owner_without_a_fragment_is_an_error_where_the_fragment_is_missing(node: Node) -> None:
    node.clear("istio")

    (finding,) = node.findings()

    assert finding.startswith("/etc/cni/chain.d/istio.d: new pods wait for istio's CNI configuration in /etc")


@pytest.mark.parametrize(
    ("owner", "type_", "hint"),
    [
        ("linkerd", "linkerd-cni", 'put one with "plugins": [] here as its seed, under a name without "linkerd"'),
        ("consul", "consul-cni", "put one with loopback here as its seed (conf/examples/consul)"),
    ],
)
def test_an_agent_that_waits_for_its_seed(node: Node, owner: str, type_: str, hint: str) -> None:
    owners = [
        {"name": "cilium"},
        {"name": owner, "types": [type_], "exempt": [{"namespace": "a", "podNamePrefix": "b"}]},
    ]
    for name in ("istio", "local"):
        shutil.rmtree(node.chain_dir / f"{name}.d")
    node.change_facade(owners=owners)
    (node.chain_dir / f"{owner}.d").mkdir()

    (finding,) = node.findings()

    assert finding.startswith(f"/etc/cni/chain.d/{owner}.d: new pods wait for {owner}'s CNI configuration")
    for command in ("verify", "doctor"):
        told = json.loads(node.run(command, "--json").stdout)["findings"]
        (one,) = [one for one in told if owner in one["what"]]
        assert (one["id"], hint in one["do"]) == ("owner-without-fragment", True)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("", ": warning: empty"),
        ("[]", ":1:1: warning: not a JSON object"),
        ('{"type": "a"', ":1:13: warning: not JSON: Expecting ',' delimiter"),
        ("{}", ": neither a plugin (key type) nor a list of them (key plugins)"),
        ('{"plugins": [{"type": "a"},\n {"type": 5}]}', ":2:3: key plugins[1].type: must be the name of a plugin"),
        ('{"plugins": [\n {}]}', ":2:2: key plugins[0].type: must be the name of a plugin"),
        ('{"type": "cni-chain"}', ":1:2: key type: cni-chain can't run itself"),
        ('{"type": "a",\n "cniVersions": 1}', ":2:2: key cniVersions: must be a list of strings"),
    ],
)
def test_a_fragment_at_fault_says_where(node: Node, content: str, finding: str) -> None:
    node.write("local.d/50-bad.conf", content)

    assert node.findings() == [f"{LOCAL}/50-bad.conf{finding}"]


@pytest.mark.parametrize("command", ["verify", "cat", "doctor"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_link_to_what_never_ends_is_not_read(node: Node, tmp_path: Path, command: str, inside: bool) -> None:
    pipe = (node.chain_dir / "local.d" if inside else tmp_path) / "pipe"
    os.mkfifo(pipe)
    (node.chain_dir / "local.d/50-pipe.conf").symlink_to(pipe)

    result = node.run(command)

    assert result.status == 1
    assert f"{LOCAL}/50-pipe.conf" in result.stdout
    told = "not a regular file" if inside else "a link out of the owner's directory"
    assert told in " ".join(result.stdout.split())


def test_names_that_are_nearly_a_fragments(node: Node) -> None:
    for name in (
        "20-a.conf.bak",
        "30-b.CONF",
        ".40-c.conf",
        "a.conf.cilium_bak",
        "ZZZ-kubeconfig",
        "x.tmp.json",
        "README",
    ):
        (node.chain_dir / "local.d" / name).touch()
    (node.chain_dir / "local.d/50-dir.conf").mkdir()

    assert node.findings() == [
        f"{LOCAL}/20-a.conf.bak: warning: ignored: doesn't end in .conf, .conflist or .json",
        f"{LOCAL}/30-b.CONF: warning: ignored: doesn't end in .conf, .conflist or .json",
        f"{LOCAL}/50-dir.conf: warning: ignored: not a regular file",
        f"{LOCAL}/x.tmp.json: warning: ignored: a temporary file (*.tmp*)",
    ]


def test_directories_that_nobody_runs(node: Node) -> None:
    node.write("mesh.d/10-mesh.conf", {"type": "mesh"})
    (node.chain_dir / "Other").mkdir()

    assert node.findings() == [
        "/etc/cni/chain.d/Other: warning: ignored: not named <owner>.d",
        f"/etc/cni/chain.d/mesh.d: warning: not run: {FACADE} doesn't list this owner",
    ]


def test_a_plugin_that_an_earlier_file_has(node: Node) -> None:
    node.write("local.d/20-again.conf", {"type": "portmap"})

    assert node.findings() == [
        f"{LOCAL}/20-again.conf:2:2: warning: portmap is not run: {LOCAL}/10-portmap.conf has it first"
    ]


def test_a_plugin_that_is_filtered_out_is_told_only_if_no_other_owner_runs_it(node: Node) -> None:
    node.write("cilium.d/05-cilium.conflist", (CONF / "examples/cilium/1.14-portmap.conflist").read_text())

    assert node.findings() == []

    node.clear("local")

    assert node.findings() == [
        (
            f"{CILIUM}:11:7: warning: portmap is not run, and no other owner has it: not one of the types that "
            "cilium may contribute"
        )
    ]


def test_a_capability_that_the_runtime_will_never_send(node: Node) -> None:
    node.change_facade(capabilities={"bandwidth": True, "portMappings": False})

    assert node.findings() == [
        f"{LOCAL}/10-portmap.conf:6:20: portmap never gets portMappings: {FACADE} doesn't declare that capability"
    ]


@pytest.mark.parametrize(
    "plugin", ["portmap", "bandwidth", "tuning", "istio-cni", "linkerd-cni", "kuma-cni", "consul-cni"]
)
def test_plugins_that_can_not_be_first(node: Node, plugin: str) -> None:
    node.install(plugin)
    for owner in ("cilium", "istio"):
        node.clear(owner)
    node.change_facade(owners=[{"name": "local", "exempt": [{"namespace": "a", "podNamePrefix": "b"}]}])
    for owner in ("cilium", "istio"):
        (node.chain_dir / f"{owner}.d").rmdir()
    node.write("local.d/10-portmap.conf", {"type": plugin})

    assert node.findings() == [
        f"{LOCAL}/10-portmap.conf:2:2: {plugin} can't be first: it changes the result of an earlier plugin"
    ]


def test_who_waits_for_a_required_owner_is_not_called_first(node: Node) -> None:
    node.clear("cilium")

    assert len(node.findings()) == 1


def test_cilium_behind_another_plugin_needs_a_chaining_mode(node: Node) -> None:
    node.install("ptp")
    node.write("base.d/10-ptp.conf", {"type": "ptp"})
    owners = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    node.change_facade(owners=[{"name": "base"}, *owners])

    assert node.findings() == [
        f'{CILIUM}:6:8: cilium-cni is not first: without "chaining-mode" it refuses the result of the plugin before it'
    ]

    node.change_facade(of_list={"name": "generic-veth"})

    assert node.findings() == [
        (
            f"{CILIUM}:6:8: warning: cilium-cni chains only because of the network's name generic-veth: "
            'write "chaining-mode"'
        )
    ]

    node.write("cilium.d/05-cilium.conflist", cilium(**{"chaining-mode": "generic-veth"}))

    assert node.findings() == []


@pytest.mark.parametrize("network", ["aws-cni", "azure", "flannel", "generic-veth"])
def test_a_networks_name_that_makes_a_first_cilium_chain(node: Node, network: str) -> None:
    node.change_facade(of_list={"name": network})

    assert node.findings() == [
        (
            f"{at(node, 'name', network)}: key name: {network} switches cilium-cni, which is first, to chaining; "
            "rename the network"
        )
    ]


def test_a_chaining_mode_with_nothing_before_it(node: Node) -> None:
    node.write("cilium.d/05-cilium.conflist", cilium(**{"chaining-mode": "generic-veth"}))

    assert node.findings() == [
        f"{CILIUM}:5:4: cilium-cni is first, but its chaining-mode generic-veth needs a plugin before it"
    ]


def test_one_type_in_two_places_of_a_chain(node: Node) -> None:
    node.write("more.d/10-portmap.conf", {"type": "portmap"})
    owners = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    node.change_facade(owners=[*owners, {"name": "more"}])

    assert node.findings() == [
        (
            f"/etc/cni/chain.d/more.d/10-portmap.conf:2:2: warning: portmap runs twice for a pod: it is also in "
            f"{LOCAL}/10-portmap.conf"
        )
    ]


def test_istio_that_lets_pods_go_when_the_api_fails(node: Node) -> None:
    node.write("istio.d/10-istio.conf", (CONF / "examples/istio/1.30-ambient.conf").read_text())

    (finding,) = node.findings()

    assert finding.startswith(f"{ISTIO}:4:3: warning: istio-cni lets a pod run outside the mesh if it can't look up")


def test_a_mesh_whose_own_agent_would_wait_for_itself(node: Node) -> None:
    node.change_owner("istio", exempt=[])

    assert node.findings() == [
        (
            f"{at(node, 'name', 'istio')}: warning: owner istio exempts no pod: if the agent that installs "
            "istio-cni runs in a pod without host network, that pod waits for itself"
        )
    ]


def test_a_type_that_is_misspelt_is_told_at_the_facades_key_and_no_agent_is_blamed(node: Node) -> None:
    node.change_owner("istio", types=["istio-cnii"])

    assert node.findings() == [
        (
            f"{FACADE}:38:6: key types: owner istio may run only istio-cnii, and /etc/cni/chain.d/istio.d has "
            "istio-cni; did you mean istio-cni?"
        )
    ]


def test_no_owner_with_a_delegate(node: Node) -> None:
    shutil.rmtree(node.chain_dir)
    node.change_facade(owners=[{"name": "cilium", "required": False}])

    finding, waiting = node.findings()

    assert waiting == "/etc/cni/chain.d/cilium.d: warning: owner cilium: the directory doesn't exist"
    assert finding.endswith(
        ": no CNI plugin for this pod in /etc/cni/chain.d: neither the node's agents nor its administrator have "
        "configured one (cilium); on the node, `cni-chain show --all` shows why"
    )


def test_an_owners_directory_without_its_ending_is_told_with_the_command_that_renames_it(node: Node) -> None:
    (node.chain_dir / "istio.d").rename(node.chain_dir / "istio")

    waits, ignored = json.loads(node.run("verify", "--json").stdout)["findings"]

    assert waits["id"] == "owner-without-fragment"
    assert waits["do"].startswith("Rename /etc/cni/chain.d/istio to /etc/cni/chain.d/istio.d")
    assert (ignored["what"], ignored["do"]) == (
        "ignored: the directory of owner istio is /etc/cni/chain.d/istio.d",
        "mv /etc/cni/chain.d/istio /etc/cni/chain.d/istio.d",
    )


def test_a_plugin_that_is_not_executable_gets_the_command_that_makes_it_so(node: Node) -> None:
    (node.bin_dir / "istio-cni").chmod(0o644)

    (finding,) = json.loads(node.run("verify", "--json").stdout)["findings"]

    assert (finding["id"], finding["owner"]) == ("plugin-not-executable", "istio")
    assert finding["do"].startswith("chmod +x /opt/cni/bin/istio-cni.")


def test_only_a_node_whose_runtime_may_call_check_is_warned_of_its_timeout(node: Node) -> None:
    node.change_facade(timeouts={"CHECK": 10})
    assert any("timeouts.CHECK" in finding for finding in node.findings())

    (node.root / "run/containerd").mkdir(parents=True)
    (node.root / "run/containerd/containerd.sock").touch()

    assert node.findings() == []


def test_a_directory_that_another_facade_runs_is_not_unlisted(node: Node) -> None:
    other = json.loads(node.facade.read_bytes()) | {"name": "storage"}
    other["plugins"][0]["owners"] = [{"name": "mesh"}]
    (node.net_dir / "10-storage.conflist").write_text(json.dumps(other))
    node.write("mesh.d/10-mesh.conf", {"type": "mesh"})
    node.install("mesh")

    ids = [one["id"] for one in json.loads(node.run("verify", "--json").stdout)["findings"]]

    assert ids == ["facade-second"]
    assert [one["unlisted"] for one in node.json("show")["facades"]] == [[], []]
    assert "isn't listed" not in node.run("owner", "list", "--conf", FACADE).stdout
    node.write("stray.d/10-stray.conf", {"type": "stray"})
    assert [one["unlisted"] for one in node.json("show")["facades"]] == [["/etc/cni/chain.d/stray.d"]] * 2


@pytest.mark.parametrize(
    ("name", "type_", "advice"),
    [
        ("istio", "istio-cni", "cni-chain owner add istio:istio-cni"),
        ("mesh", "mesh", "cni-chain owner add mesh"),
    ],
)
def test_a_directory_without_an_owner_gets_the_command_that_makes_it_one(
    node: Node, name: str, type_: str, advice: str
) -> None:
    owners = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    node.change_facade(owners=[one for one in owners if one["name"] != name])
    node.write(f"{name}.d/10-{name}.conf", {"type": type_})

    (finding,) = json.loads(node.run("verify", "--json").stdout)["findings"]

    assert (finding["id"], finding["do"]) == (
        "owner-not-listed",
        f"Make it an owner ({advice}), or remove the directory.",
    )


@pytest.mark.root
@pytest.mark.parametrize(
    ("path", "mode", "user", "command"),
    [
        (ISTIO, 0o666, 0, f"chmod go-w {ISTIO}"),
        (ISTIO, 0o644, 1000, f"chown root {ISTIO}"),
        (ISTIO, 0o666, 1000, f"chown root {ISTIO} && chmod go-w {ISTIO}"),
        ("/etc/cni/chain.d/istio.d", 0o777, 0, "chmod go-w /etc/cni/chain.d/istio.d"),
    ],
)
def test_what_is_refused_for_its_owner_or_mode_gets_the_command_that_mends_it(
    node: Node, path: str, mode: int, user: int, command: str
) -> None:
    file = node.root / path.removeprefix("/")
    file.chmod(mode)
    os.chown(file, user, 0)

    (finding,) = json.loads(node.run("verify", "--json").stdout)["findings"]

    assert (finding["id"], finding["path"]) == ("fragment-unusable", path)
    assert finding["do"].startswith(f"{command}. If ")


def test_a_file_is_named_as_it_is_called_inside_the_tree(node: Node) -> None:
    node.write("istio.d/10-istio.conf", "{")

    (finding,) = json.loads(node.run("verify", "--json").stdout)["findings"]

    assert f"cni-chain verify {ISTIO} checks it" in finding["do"]
