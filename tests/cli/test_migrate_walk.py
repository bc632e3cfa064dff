"""The whole way on one node: the plan, the write, the agents move, the switch, and back."""

import json
import os
import re
import stat
import time
from pathlib import Path

import pytest

from tests.support.files.node import CHAIN, CONF, FACADE, NET, TAKEN_AWAY, WAITING, Node, node_before, run
from tests.support.files.schemas import members

pytestmark = pytest.mark.root

LIST = f"{NET}/05-cilium.conflist"
CILIUM = f"{CHAIN}/cilium.d/05-cilium.conflist"
ISTIO = f"{CHAIN}/istio.d/10-istio.conf"


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    return node_before(tmp_path / "node", program, "cilium-portmap-istio")


@pytest.fixture
def written(node: Node) -> Node:
    assert node.migrate("write").status == 0
    node.cilium_moves()
    return node


@pytest.mark.parametrize(
    ("programs", "told"),
    [
        (["containerd"], "containerd takes it: it sorts first in /etc/cni/net.d"),
        (["crio"], "CRI-O takes it: it sorts first in /etc/cni/net.d"),
        (["containerd", "crio"], "containerd and CRI-O both take it: it sorts first in /etc/cni/net.d"),
    ],
)
def test_only_a_runtime_that_is_installed_takes_the_list(node: Node, programs: list[str], told: str) -> None:
    (node.root / "usr/bin").mkdir(parents=True)
    for program in programs:
        (node.root / "usr/bin" / program).touch()

    assert told in node.migrate("plan").stdout


def test_the_plan_tells_everything_and_changes_nothing(node: Node) -> None:
    before = node.files()

    status, stdout, stderr = node.migrate("plan")

    assert (status, stderr) == (0, "")
    assert node.files() == before
    for told in (
        f"network portmap  {LIST}, cniVersion 1.0.0",
        "sorts first in /etc/cni/net.d; neither containerd nor CRI-O is installed here",
        "1  cilium-cni  cilium  cilium.d/05-cilium.conflist  to be written",
        "2  portmap     local   local.d/10-portmap.conf      to be written",
        "3  istio-cni   istio   istio.d/10-istio.conf        to be written",
        "Proof  3 plugins, in the same order, each get the same configuration as before.",
        "    --set cni.confPath=/etc/cni/chain.d/cilium.d \\\n",
        "    --set cniConfDir=/etc/cni/chain.d/istio.d \\\n",
    ):
        assert told in stdout


def test_the_steps_move_cilium_before_the_switch_and_istio_after_it(node: Node) -> None:
    steps = node.json("migrate", "plan")["steps"]

    assert [step["id"] for step in steps] == [
        "write",
        "move-cilium",
        "switch",
        "move-istio",
        "alone-cilium",
        "check",
        "clean",
    ]
    assert "don't restart or move Istio" in steps[0]["text"]
    assert "--set cni.exclusive=true" in steps[4]["commands"][0]
    assert not any("crictl" in command for step in steps for command in step["commands"])


def test_an_istio_of_before_its_own_chart_has_its_values_below_cni_and_is_pinned_first(
    program: str, tmp_path: Path
) -> None:
    document = node_before(tmp_path / "old", program, "cilium-istio-1.22").json("migrate", "plan")

    (istio,) = [one for one in document["settings"] if one["owner"] == "istio"]
    assert "--set cni.cniConfDir=/etc/cni/chain.d/istio.d --set cni.chained=false" in istio["commands"][0]
    assert any("cniConfFileName=05-cilium.conflist, still chained" in step["text"] for step in document["steps"])


def test_the_settings_are_those_of_conf_helm(node: Node) -> None:
    for owner, file in (("cilium", "cilium-values.yaml"), ("istio", "istio-cni-values.yaml")):
        setting = next(one for one in node.json("migrate", "plan")["settings"] if one["owner"] == owner)
        given = dict(re.findall(r"--set ([\w.]+)=(\S+)", setting["commands"][0]))
        shipped = {}
        above = ""
        for line in (CONF / "helm" / file).read_text().splitlines():
            if match := re.fullmatch(r"((?:  )?)(\w+):(?: (\S+))?", line):
                above = "" if not match[1] else above
                shipped[above + match[2]] = match[3]
                above = f"{match[2]}." if match[3] is None else above

        assert given == {key: value for key, value in shipped.items() if value is not None}


def test_write_puts_fragments_in_place_and_a_facade_that_no_runtime_sees(node: Node) -> None:
    seen = node.what_runtimes_see()

    status, stdout, stderr = node.migrate("write")

    assert (status, stderr) == (0, "")
    assert node.what_runtimes_see() == seen
    assert f"written  {WAITING}\n" in stdout
    for directory in ("cilium.d", "local.d", "istio.d"):
        assert stat.S_IMODE(node.path(f"{CHAIN}/{directory}").stat().st_mode) == 0o755
    assert node.path(f"{LIST}.before-cni-chain").read_bytes() == node.path(LIST).read_bytes()
    assert node.read(WAITING)["plugins"][0]["owners"] == [
        {"name": "cilium", "types": ["cilium-cni"]},
        {"name": "local", "required": False},
        {
            "name": "istio",
            "types": ["istio-cni"],
            "exempt": [{"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}],
        },
    ]


def test_write_twice_changes_nothing_the_second_time(node: Node) -> None:
    node.migrate("write")
    before = node.files()

    status, stdout, _ = node.migrate("write")

    assert status == 0
    assert stdout.startswith("Nothing to change")
    assert node.files() == before


def test_a_list_that_root_alone_may_read_makes_fragments_that_root_alone_may_read(node: Node) -> None:
    node.path(LIST).chmod(0o600)

    node.migrate("write")

    for path in (CILIUM, ISTIO, f"{LIST}.before-cni-chain"):
        assert stat.S_IMODE(node.path(path).stat().st_mode) == 0o600


def test_an_interrupted_write_is_finished_by_the_next(node: Node) -> None:
    node.migrate("write")
    whole = {path: content for path, (_, content, _) in node.files().items()}
    node.path(ISTIO).unlink()
    node.path(WAITING).unlink()

    assert node.migrate("write").status == 0

    assert {path: content for path, (_, content, _) in node.files().items()} == whole


def test_write_that_fails_at_its_last_file_leaves_nothing(node: Node) -> None:
    node.path(WAITING).mkdir()
    before = node.files()

    status, stdout, stderr = node.migrate("write")

    assert (status, stdout) == (1, "")
    assert stderr == f"cni-chain: {WAITING}: is not a regular file, so it is not changed; nothing was changed\n"
    assert node.files() == before


def test_what_an_agent_has_written_already_is_left_alone(written: Node) -> None:
    before = written.files()

    assert written.migrate("write").status == 0

    assert written.files() == before


def test_linkerds_empty_seed_gets_the_plugin(program: str, tmp_path: Path) -> None:
    node = node_before(tmp_path / "node", program, "cilium-linkerd")
    seed = f"{CHAIN}/linkerd.d/10-seed.conflist"
    node.write(seed, (CONF / "examples/linkerd/10-seed.conflist").read_bytes())

    assert node.migrate("write").status == 0

    assert [plugin["type"] for plugin in node.read(seed)["plugins"]] == ["linkerd-cni"]


def test_switch_is_one_rename(written: Node) -> None:
    inode = written.path(WAITING).stat().st_ino
    before = written.files()

    status, stdout, stderr = written.migrate("switch")

    assert (status, stderr) == (0, "")
    assert f"{FACADE} is in place" in stdout
    after = written.files()
    assert written.path(FACADE).stat().st_ino == inode
    renamed = {WAITING[1:]: FACADE[1:]}
    assert {renamed.get(path, path): file for path, file in before.items()} == after
    assert written.what_runtimes_see()[0] == "00-cni-chain.conflist"


def test_after_the_switch_show_has_the_chain_and_verify_finds_nothing(written: Node) -> None:
    written.migrate("switch")

    shown = json.loads(run(written.program, "show", "--json", "--root", str(written.root)).stdout)

    (facade,) = shown["facades"]
    assert facade["first"]
    assert facade["newPod"] is None
    assert [link["type"] for link in facade["chain"]] == ["cilium-cni", "portmap", "istio-cni"]
    report = json.loads(run(written.program, "verify", "--json", "--root", str(written.root)).stdout)
    assert [finding["what"][:40] for finding in report["findings"] if finding["severity"] == "error"] == []


def test_a_list_that_a_mesh_leaves_after_the_switch_is_not_written_by_an_agent_that_has_not_moved(
    written: Node,
) -> None:
    written.migrate("switch")
    written.change_list(plugins=written.plugins()[:2])  # Istio has moved, and its old agent stripped the list
    after = time.time() + 60
    os.utime(written.path(LIST), (after, after))

    ids = {one["id"] for one in written.json("verify")["findings"]}
    written.change_list(plugins=[written.plugins()[0] | {"enable-debug": True}])
    os.utime(written.path(LIST), (after, after))
    of_cilium = {one["id"] for one in written.json("verify")["findings"]}

    assert ("agent-writes-net-dir" in ids, "agent-writes-net-dir" in of_cilium) == (False, True)


def test_undo_is_the_rename_back_and_keeps_the_fragments(written: Node) -> None:
    before = written.files()
    written.migrate("switch")

    status, stdout, stderr = written.migrate("undo")

    assert (status, stderr) == (0, "")
    assert stdout.startswith(f"{LIST} is active again; the facade waits as {TAKEN_AWAY}\n")
    renamed = {WAITING[1:]: TAKEN_AWAY[1:]}
    assert written.files() == {renamed.get(path, path): file for path, file in before.items()}
    assert written.migrate("switch").status == 0


def test_after_the_undo_doctor_knows_that_it_was_undone(written: Node) -> None:
    written.migrate("switch")
    written.migrate("undo")

    result = run(written.program, "doctor", "--json", "--root", str(written.root))

    findings = {one["id"]: one for one in json.loads(result.stdout)["findings"]}
    assert findings["facade-waiting"]["what"] == f"the migration was undone: the facade waits as {TAKEN_AWAY}"
    assert "facade-missing" not in findings


@pytest.mark.parametrize(
    ("option", "state", "waiting"), [("switch", "switched", WAITING), ("undo", "undone", TAKEN_AWAY)]
)
def test_switch_and_undo_twice_change_nothing_the_second_time(
    written: Node, option: str, state: str, waiting: str
) -> None:
    written.migrate("switch")
    written.migrate(option)
    before = written.files()

    again = written.migrate(option)

    assert again.status == 0
    assert members(written.migrate(option, "--json").stdout) == {
        "netDir": NET,
        "chainDir": CHAIN,
        "state": state,
        "facade": FACADE,
        "waiting": waiting,
        "changed": [],
    }
    assert written.files() == before


def test_a_switched_node_has_nothing_to_migrate(written: Node) -> None:
    written.migrate("switch")
    before = written.files()

    for arguments in (("plan",), ("write",), ("status",)):
        assert f"{FACADE} is in place" in written.migrate(*arguments).stdout
    assert written.files() == before


def test_undo_warns_of_a_plugin_that_the_old_list_has_lost(written: Node) -> None:
    written.migrate("switch")
    written.change_list(plugins=written.plugins()[:2])  # Istio has moved, and its old agent stripped the list

    status, stdout, _ = written.migrate("undo")

    assert status == 0
    assert f"warning: {LIST} has no istio-cni: new pods run without it" in stdout


@pytest.mark.parametrize(
    ("case", "owner", "file"),
    [
        ("flannel-linkerd-k3s", "linkerd", "10-seed.conflist"),
        ("cilium-linkerd", "linkerd", "10-seed.conflist"),
        ("calico-kuma", "kuma", "kuma-cni.conf"),
        ("kindnet-consul", "consul", "10-seed.conflist"),
    ],
)
def test_a_mesh_that_moves_first_takes_its_credentials_along_and_itself_out_of_the_list(
    program: str, tmp_path: Path, case: str, owner: str, file: str
) -> None:
    node = node_before(tmp_path / "node", program, case)
    fragment = f"{CHAIN}/{owner}.d/{file}"
    node.migrate("write")
    if case.startswith("cilium"):
        node.cilium_moves()
    if case.startswith("calico"):
        node.agent_writes(f"{CHAIN}/calico.d/10-calico.conflist")
    *others, mesh = node.types()
    text = node.path(fragment).read_text()
    node.write(fragment, text.replace(NET, f"{CHAIN}/{owner}.d"))
    node.change_list(plugins=node.plugins()[:-1])

    status, stdout, stderr = node.migrate("switch")

    assert (status, stderr) == (0, "")
    assert f"{CHAIN}/{owner}.d" in text.replace(NET, f"{CHAIN}/{owner}.d") != text
    assert "where its agent has moved it" in " ".join(stdout.split())
    shown = json.loads(run(program, "show", "--json", "--root", str(node.root)).stdout)
    assert [link["type"] for link in shown["facades"][0]["chain"]] == [*others, mesh]


def test_a_facade_that_was_edited_while_it_waits_is_the_one_that_counts(written: Node) -> None:
    facade = written.read(WAITING)
    facade["plugins"][0]["owners"][2]["exempt"] = [{"namespace": "mesh", "podNamePrefix": "istio-cni-node-"}]
    written.write(WAITING, facade)

    assert written.migrate("switch").status == 0

    assert written.read(FACADE) == facade


def test_the_dry_look_tells_what_is_in_the_way_of_the_switch(node: Node) -> None:
    node.migrate("write")

    status, stdout, _ = node.migrate("plan")

    assert status == 0
    assert "What `switch` refuses now" in stdout
    (refusal,) = node.json("migrate", "plan")["refusals"]
    assert (refusal["id"], refusal["override"]) == ("cilium-not-moved", True)
    assert refusal["message"].startswith(f"{CILIUM}: is still the copy that migrate wrote")


def test_json_has_the_whole_plan(node: Node) -> None:
    document = node.json("migrate", "plan")

    assert list(document) == [
        "schemaVersion", "kind", "toolVersion", "host", "root", "netDir", "chainDir", "state", "facade", "waiting",
        "live", "owners", "facadeDocument", "unusable", "proof", "settings", "steps", "refusals",
    ]  # fmt: skip
    assert document["state"] == "live"
    assert document["live"]["plugins"] == node.types()
    files = [file for owner in document["owners"] for file in owner["files"]]
    assert [file["action"] for file in files] == ["write", "write", "write"]
    assert node.json("migrate", "write")["changed"][-2:] == [WAITING, f"{LIST}.before-cni-chain"]
    assert node.json("migrate", "plan")["state"] == "written"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--write"],
        ["write", "--add", "cilium"],
        ["switch", "--without", "cilium"],
        ["plan", "--owner", "local"],
        ["plan", "--owner", "Local:portmap"],
        ["plan", "--owner", "a:portmap", "--owner", "b:portmap"],
        ["switch", "--owner", "a:portmap"],
        ["plan", "--runtime", "docker"],
        ["switch", "--override", "everything"],
        ["plan", "--facade", "00-cni-chain.conf"],
        ["plan", "--facade", "../x.conflist"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(node: Node, arguments: list[str]) -> None:
    before = node.files()

    status, stdout, stderr = node.migrate(*arguments)

    assert (status, stdout) == (2, "")
    assert stderr.count("Error: ") + stderr.count("cni-chain: ") == 1
    assert node.files() == before


def test_the_help_has_examples_every_option_and_the_exit_status(program: str) -> None:
    for command, told in {
        "": ("Examples:", "plan", "write", "switch", "undo", "status"),
        "plan": ("Examples:", "Exit status:", "--owner", "--add", "--without", "--runtime", "--facade", "--json"),
        "write": ("Exit status:", "--owner", "--add", "--without", "--net-dir", "--chain-dir", "--bin-dir", "--root"),
        "switch": ("Exit status:", "--override", "--without"),
        "undo": ("Exit status:", "--runtime"),
        "status": ("Exit status:", "--json"),
    }.items():
        status, stdout, _ = run(program, "migrate", *command.split(), "--help")
        assert (status, [words for words in told if words not in stdout]) == (0, [])
        assert "\\b" not in stdout  # Click's mark of a block, as it must not be shown
