"""`cni-chain cat`: the chain's files in order, and what each plugin would get."""

import json
from pathlib import Path

import pytest

from tests.support.files.node import CILIUM, CONF, FACADE, ISTIO, LOCAL, Json, Node, run


def content(path: Path) -> str:
    return path.read_text().rstrip("\n")


def test_the_facade_comes_first_then_every_owners_files_in_order(node: Node) -> None:
    shown = [
        f"# {FACADE}",
        content(node.facade),
        "",
        f"# {CILIUM}",
        content(node.chain_dir / "cilium.d/05-cilium.conflist"),
        "",
        f"# {ISTIO}",
        content(node.chain_dir / "istio.d/10-istio.conf"),
        "",
        f"# {LOCAL}/10-portmap.conf",
        content(node.chain_dir / "local.d/10-portmap.conf"),
    ]

    assert node.run("cat") == (0, "\n".join(shown) + "\n", "")


def remarks(node: Node) -> dict[str, str]:
    (facade,) = json.loads(node.run("cat", "--json").stdout)["facades"]
    return {one["file"]: one["remark"] for one in facade["files"] if one["remark"]}


def test_what_does_not_count_is_there_with_its_reason(node: Node) -> None:
    node.write("local.d/20-portmap.conf", {"type": "portmap"})
    node.write("local.d/30-old.conf.bak", "secret")
    node.write("mesh.d/10-mesh.conf", {"type": "mesh"})
    (node.chain_dir / "README").touch()

    result = node.run("cat")

    assert result.status == 0
    assert f"# {LOCAL}/30-old.conf.bak\n#   ignored: doesn't end in .conf, .conflist or .json\n" in result.stdout
    assert "secret" not in result.stdout
    assert remarks(node) == {
        f"{LOCAL}/20-portmap.conf": f"portmap is not run: {LOCAL}/10-portmap.conf has it first",
        f"{LOCAL}/30-old.conf.bak": "ignored: doesn't end in .conf, .conflist or .json",
        "/etc/cni/chain.d/mesh.d": f"not read: {FACADE} doesn't list this owner",
        "/etc/cni/chain.d/README": "ignored: not named <owner>.d",
    }


def test_what_a_link_out_of_the_owners_directory_leads_to_is_not_shown(node: Node, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("root:secret:")
    (node.chain_dir / "local.d/30-out.conf").symlink_to(tmp_path / "shadow")

    result = node.run("cat")

    assert result.status == 1
    assert f"# {LOCAL}/30-out.conf\n#   refused: a link out of the owner's directory, to" in result.stdout
    assert "secret" not in result.stdout
    assert "secret" not in node.run("cat", "--json").stdout


def test_what_an_owner_may_not_contribute_is_told_at_its_file(node: Node) -> None:
    node.write("cilium.d/05-cilium.conflist", (CONF / "examples/cilium/1.14-portmap.conflist").read_text())

    assert remarks(node) == {CILIUM: "portmap is not run: not one of the types that cilium may contribute"}


def test_a_broken_file_is_shown_with_what_is_wrong(node: Node) -> None:
    node.write("istio.d/10-istio.conf", '{"type": "istio-cni",')

    result = node.run("cat")

    assert result.status == 1
    assert f"# {ISTIO}\n#   broken: not JSON: " in result.stdout
    assert '\n{"type": "istio-cni",\n' in result.stdout


def test_an_owner_without_files_is_said_to_have_none(node: Node) -> None:
    node.clear("istio")
    node.clear("local")
    (node.chain_dir / "local.d").rmdir()

    assert remarks(node) == {
        "/etc/cni/chain.d/istio.d": "no fragment",
        LOCAL: "the directory doesn't exist",
    }


def test_nothing_in_a_file_moves_the_cursor(node: Node) -> None:
    node.write("local.d/10-portmap.conf", '{"type":\t"portmap",\n "a": "\x1b[2J"')

    shown = node.run("cat").stdout

    assert "\x1b" not in shown
    assert '{"type":\t"portmap",\n "a": "\\x1b[2J"' in shown


def test_without_a_facade_there_is_nothing_to_show(node: Node) -> None:
    node.facade.unlink()

    assert node.run("cat") == (
        1,
        "",
        "cni-chain: /etc/cni/net.d: no facade here: no file has a plugin of type cni-chain\n",
    )
    assert json.loads(node.run("cat", "--json").stdout)["facades"] == []


def effective(node: Node, *arguments: str) -> Json:
    (facade,) = json.loads(node.run("cat", "--effective", "--json", *arguments).stdout)["facades"]
    assert isinstance(facade, dict)
    return facade


def test_effective_is_what_each_plugin_would_get(node: Node) -> None:
    told = effective(node)

    assert (told["network"], told["cniVersion"], told["error"], told["pod"]) == ("cilium", "1.1.0", None, None)
    first, second, third = (one["stdin"] for one in told["delegates"])
    assert first == {
        "type": "cilium-cni",
        "enable-debug": False,
        "log-file": "/var/run/cilium/cilium-cni.log",
        "name": "cilium",
        "cniVersion": "1.1.0",
    }
    assert second["prevResult"] == "<the result so far, as cilium-cni returns it, in 1.1.0>"
    assert (second["name"], second["exclude_namespaces"]) == ("cilium", ["kube-system"])
    assert third == {
        "type": "portmap",
        "snat": True,
        "name": "cilium",
        "cniVersion": "1.1.0",
        "prevResult": "<the result so far, as istio-cni returns it, in 1.1.0>",
        "runtimeConfig": {"portMappings": "<from the runtime>"},
    }


def test_effective_has_each_plugin_below_its_owner_and_file(node: Node) -> None:
    result = node.run("cat", "--effective")

    assert result.status == 0
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# ADD of a new pod, network cilium, cniVersion 1.1.0",
        f"# 1 cilium/cilium-cni  {CILIUM}",
        "#   not asked for its versions",
        f"# 2 istio/istio-cni  {ISTIO}",
        "#   not asked for its versions",
        f"# 3 local/portmap  {LOCAL}/10-portmap.conf",
        "#   not asked for its versions",
    ]
    documents = "\n".join("" if line.startswith("#") else line for line in lines).split("\n\n\n")
    assert [json.loads(one)["type"] for one in documents if one.strip()] == ["cilium-cni", "istio-cni", "portmap"]


def test_a_pod_that_an_owner_exempts_skips_it(node: Node) -> None:
    node.clear("istio")

    agent = effective(node, "--pod", "istio-system/istio-cni-node-x7k2p")
    other = effective(node, "--pod", "default/istio-cni-node-x7k2p")

    assert (agent["exempt"], agent["error"]) == (["istio"], None)
    assert [one["type"] for one in agent["delegates"]] == ["cilium-cni", "portmap"]
    assert agent["delegates"][1]["stdin"]["prevResult"] == "<the result so far, as cilium-cni returns it, in 1.1.0>"
    assert (other["exempt"], other["error"]["code"]) == ([], 11)
    assert "# owner istio is skipped: it exempts this pod" in (
        node.run("cat", "--effective", "--pod", "istio-system/istio-cni-node-x7k2p").stdout
    )


def test_a_pod_that_gets_no_network_is_told_why(node: Node) -> None:
    node.clear("istio")

    result = node.run("cat", "--effective")

    assert result.status == 1
    assert "# It gets error 11 and no network: waiting for istio's CNI" in result.stdout


@pytest.mark.parametrize("pod", ["web-1", "/web-1", "default/", "a/b/c", ""])
def test_a_pod_is_named_by_namespace_and_name(node: Node, pod: str) -> None:
    result = node.run("cat", "--effective", "--pod", pod)

    assert (result.status, result.stdout) == (2, "")


def test_a_pod_is_for_effective_only(node: Node) -> None:
    assert node.run("cat", "--pod", "default/web-1").status == 2


def test_it_is_what_a_plugin_really_gets(pods: Node) -> None:
    """Compared with what the recording plugins got, each in a version that it speaks."""
    pods.uninstall("portmap")  # the answer of the one before is remembered
    pods.plugin("portmap").supports("0.4.0", "1.0.0")
    portmap = {"type": "portmap", "snat": True, "big": 2**60, "capabilities": {"portMappings": True}}
    pods.fragment("local", "10-portmap.conf", portmap)
    pods.add("c2", runtimeConfig={"portMappings": []})
    got = {call.type: call.conf for call in pods.calls if call.verb == "ADD"}

    arguments = ["--effective", "--json", "--net-dir", str(pods.net_dir), "--bin-dir", str(pods.bin_dir)]
    result = run(pods.program, "cat", *arguments)

    (facade,) = json.loads(result.stdout)["facades"]
    assert len(facade["delegates"]) == 3
    for one in facade["delegates"]:
        expected = got[one["type"]]
        if "prevResult" in expected:
            expected["prevResult"] = one["stdin"]["prevResult"]
            assert expected["cniVersion"] in one["stdin"]["prevResult"]
        if "runtimeConfig" in expected:
            expected["runtimeConfig"] = {"portMappings": "<from the runtime>"}
        assert (one["stdin"], one["remark"]) == (expected, None)
