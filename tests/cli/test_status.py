"""`cni-chain status`: a node at a glance, and scripts that wait until a pod gets the whole chain.

test_rules.py compares its verdict with that of the other commands on every node of the grid.
"""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from cni_chain import __version__
from tests.support.files.node import FACADE, WEB, Node, Result, run
from tests.support.files.tree import CONF

VERSION = f"version   cni-chain {__version__}\n"
ISTIO = (CONF / "chain.d/istio.d/10-istio.conf").read_bytes()


def test_a_node_on_which_all_is_well(node: Node) -> None:
    node.log.parent.mkdir(parents=True, exist_ok=True)

    assert node.run("status") == Result(
        0,
        "✓ network cilium: a new pod gets the whole chain, 3 plugins\n"
        "  ✓ cilium  cilium-cni\n"
        "  ✓ istio   istio-cni\n"
        "  ✓ local   portmap (optional)\n"
        "\n"
        "pods      0 recorded, none stranded\n"
        f"runtime   none is installed here; {FACADE} sorts first\n{VERSION}",
        "",
    )


def test_an_owner_says_what_it_waits_for(node: Node) -> None:
    node.clear("istio")

    status, stdout, stderr = node.run("status", "-o", "wide")

    lines = stdout.splitlines()
    assert (status, stderr) == (1, "")
    assert lines[0] == "✗ network cilium: no new pod gets a network"
    assert lines[1] == "  ✓ cilium  cilium-cni"
    assert lines[2].startswith("  ✗ istio   ")
    assert "/etc/cni/chain.d/istio.d" in lines[2]
    assert lines[2].endswith("[owner-without-fragment]")
    assert lines[3] == "  ✓ local   portmap (optional)"
    assert lines[-1] == "1 error: cni-chain doctor" or lines[-1].startswith("1 error, ")


def test_in_text_no_owner_takes_more_than_two_lines(node: Node) -> None:
    node.clear("istio")

    lines = node.run("status").stdout.splitlines()

    first = next(number for number, line in enumerate(lines) if line.startswith("  ✗ istio"))
    assert lines[first + 1].startswith(" " * 12)
    assert lines[first + 2] == "  ✓ local   portmap (optional)"


def test_an_optional_owner_that_has_nothing_is_no_fault(node: Node) -> None:
    node.clear("local")
    node.log.parent.mkdir(parents=True, exist_ok=True)

    status, stdout, _ = node.run("status")

    assert status == 0
    assert "  – local   nothing to run (optional)\n" in stdout


def test_without_a_facade_no_pod_gets_the_chain(node: Node) -> None:
    node.facade.unlink()

    status, stdout, _ = node.run("status")

    assert status == 1
    assert stdout.startswith("✗ No new pod gets the chain: there is no facade\n  ✗ ")
    assert "[facade-missing]" in stdout


def test_a_facade_that_waits_is_the_reason(node: Node) -> None:
    node.facade.rename(f"{node.facade}.ready")
    (node.net_dir / "05-cilium.conflist").write_text('{"name": "cilium", "plugins": [{"type": "cilium-cni"}]}')

    status, stdout, _ = node.run("status", "-o", "wide")
    document = node.json("status")

    assert status == 1
    assert stdout.startswith(
        "✗ No new pod gets the chain: there is no facade\n"
        f"  ✗ the migration is not finished: the facade waits as {FACADE}.ready [facade-waiting]\n"
    )
    assert [(one["id"], one["severity"]) for one in document["findings"]] == [("facade-waiting", "warning")]
    assert (document["whole"], document["errors"], document["warnings"]) == (False, 0, 1)


@pytest.mark.parametrize("name", ["/etc/cni/net.d/00-cni-chain.conflist.ready", "/elsewhere.conflist"])
def test_a_facade_that_no_runtime_takes_gives_no_pod_its_chain(node: Node, name: str) -> None:
    node.facade.rename(node.root / name.removeprefix("/"))

    status, stdout, _ = node.run("status", "-o", "wide", "--conf", name)
    document = node.json("status", "--conf", name)

    assert status == 1
    assert stdout.startswith(f"✗ network cilium: no runtime takes {name}, which is not in /etc/cni/net.d\n  ✓ cilium")
    assert (document["whole"], document["facades"][0]["whole"], document["facades"][0]["inPlace"]) == (False,) * 3
    assert "not in /etc/cni/net.d: no runtime takes this file\n" in node.run("show", "--conf", name).stdout


def test_an_owner_whose_types_have_a_typo_is_the_one_that_pods_wait_for(node: Node) -> None:
    node.change_owner("istio", types=["istio-cnii"])

    lines = node.run("status", "-o", "wide").stdout.splitlines()

    assert lines[0] == "✗ network cilium: no new pod gets a network"
    assert lines[2].startswith("  ✗ istio   key types: owner istio may run only istio-cnii")
    assert lines[2].endswith("did you mean istio-cni? [owner-types-exclude-all]")
    assert [one["errors"] for one in node.json("status")["facades"][0]["owners"]] == [
        [],
        ["owner-types-exclude-all"],
        [],
    ]
    assert len([line for line in lines if "owner-types-exclude-all" in line]) == 1


def test_no_owner_is_well_while_the_facade_is_refused(node: Node) -> None:
    node.facade.write_text(node.facade.read_text().replace('"owners"', '"ownrs"'))

    lines = node.run("status", "-o", "wide").stdout.splitlines()

    assert lines[:4] == [
        "✗ network cilium: no new pod gets a network",
        "  – cilium  cilium-cni",
        "  – istio   istio-cni",
        "  – local   portmap",
    ]
    assert lines[4].endswith("[facade-key-invalid]")


def test_what_keeps_pods_from_the_chain_is_below_the_owners(node: Node) -> None:
    (node.net_dir / "00-aaa.conflist").write_text('{"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "b"}]}')

    status, stdout, _ = node.run("status")

    assert status == 1
    assert stdout.startswith("✗ network cilium: no new pod gets this chain\n")
    assert "[facade-outsorted]" in stdout.replace("\n", " ")


@pytest.mark.root
def test_it_counts_the_pods_and_has_the_last_failure(pods: Node) -> None:
    pods.add("c2", CNI_ARGS=WEB)
    pods.strands("c2")
    pods.plugin("istio-cni").fails("ADD", "no token", code=7)
    pods.add("c3", CNI_ARGS="K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart")

    plugins = ["--bin-dir", str(pods.bin_dir)]
    status, stdout, _ = pods.run("status", "-o", "wide", *plugins)
    document = pods.json("status", *plugins)

    assert status == 1
    assert "pods      3 recorded, 2 stranded\n" in stdout
    assert stdout.count(": ADD shop/cart: istio/istio-cni: no token (error 7)\n") == 1
    assert document["pods"] == {"recorded": 3, "stranded": 2}
    failure = document["lastFailure"]
    assert {key: failure[key] for key in ("verb", "pod", "code", "msg", "times")} == {
        "verb": "ADD",
        "pod": "shop/cart",
        "code": 7,
        "msg": "istio/istio-cni: no token",
        "times": 1,
    }


def test_two_facades_are_judged_by_themselves(node: Node) -> None:
    other = json.loads(node.facade.read_bytes()) | {"name": "storage"}
    other["plugins"][0]["owners"] = [{"name": "absent"}]
    (node.net_dir / "10-storage.conflist").write_text(json.dumps(other))

    document = node.json("status")

    assert [one["network"] for one in document["facades"]] == ["cilium", "storage"]
    assert document["whole"] is False
    assert [one["waitsFor"] is None for one in document["facades"][1]["owners"]] == [False]


def test_who_waits_gets_the_answer_as_soon_as_the_chain_is_whole(node: Node) -> None:
    node.log.parent.mkdir(parents=True, exist_ok=True)
    node.clear("istio")
    command = [node.program, "status", "--wait", "5m", "--root", str(node.root)]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"]}, text=True) as waiting:
        assert waiting.poll() is None
        node.write("/etc/cni/chain.d/istio.d/10-istio.conf", ISTIO)
        stdout, _ = waiting.communicate(timeout=120)

    assert waiting.returncode == 0
    assert stdout.startswith("✓ network cilium: a new pod gets the whole chain")
    assert time.monotonic() - began < 120


def test_who_waits_for_nothing_is_told_at_the_end(node: Node) -> None:
    node.clear("istio")

    status, stdout, _ = node.run("status", "--wait", "1s")

    assert status == 1
    assert "  ✗ istio" in stdout


@pytest.mark.parametrize("wait", ["soon", "5", "s", "-1s", "½s"])
def test_a_time_that_is_none_is_wrong_usage(node: Node, wait: str) -> None:
    status, stdout, stderr = node.run("status", "--wait", wait)

    assert (status, stdout) == (2, "")
    assert "is not a time span like 90s, 30m, 12h or 7d" in stderr


def test_where_nothing_can_be_read_it_cant_tell(program: str, tmp_path: Path) -> None:
    (tmp_path / "net.d").write_text("")

    status, stdout, stderr = run(program, "status", "--net-dir", str(tmp_path / "net.d"))

    assert (status, stdout) == (3, "")
    assert stderr == f"cni-chain: can't tell: {tmp_path}/net.d: can't be read: Not a directory\n"


@pytest.mark.root
def test_who_is_not_root_is_sent_to_sudo(node: Node) -> None:
    node.net_dir.chmod(0)
    not_root = ["unshare", "--user", node.program]  # without a mapping: no user has rights of root in it

    status, stdout, stderr = run("/usr/bin/env", *not_root, "status", "--root", str(node.root))

    assert (status, stdout) == (3, "")
    assert stderr.startswith("cni-chain: can't tell: /etc/cni/net.d: can't be read: Permission denied")
