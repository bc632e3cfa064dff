"""`cni-chain owner` on a node with pods: what is listed, what is changed, and what is refused."""

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cni_chain.change import draft
from tests.support.files.node import CONF, FACADE, Json, Node, Result, at, run, wait_until

pytestmark = pytest.mark.root  # elsewhere the facade would have to allow unsafe permissions, and be another one

SHIPPED = (CONF / "00-cni-chain.conflist").read_text()


def owner(node: Node, *arguments: str) -> Result:
    return node.run("owner", *arguments)


def done(node: Node, *arguments: str) -> str:
    result = owner(node, *arguments)
    assert (result.status, result.stderr) == (0, "")
    return result.stdout


def refused(node: Node, *arguments: str) -> str:
    before = node.facade.read_bytes()
    result = owner(node, *arguments)
    assert (result.status, result.stdout) == (1, "")
    assert node.facade.read_bytes() == before
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


def written(change: Callable[[list[Json]], object]) -> str:
    """The shipped facade after a change of its owners: the same keys in the same order, in the layout of `install`."""
    document = json.loads(SHIPPED)
    change(document["plugins"][0]["owners"])
    return draft.text_of(document)


def owners(node: Node) -> list[Json]:
    listed = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    assert isinstance(listed, list)
    return listed


def names(node: Node) -> list[str]:
    return [entry["name"] for entry in owners(node)]


def test_the_owners_are_listed_in_their_order(node: Node) -> None:
    assert done(node, "list").splitlines() == [
        f"network cilium  {FACADE}",
        "",
        "#  OWNER             MAY RUN     RUNS        NOT FOR",
        "1  cilium  required  cilium-cni  cilium-cni",
        "2  istio   required  istio-cni   istio-cni   istio-system/istio-cni-node-*",
        "3  local   optional  anything    portmap",
    ]


def test_the_list_tells_what_keeps_new_pods_waiting(node: Node) -> None:
    node.clear("istio")
    node.write("old.d/10-old.conf", {"type": "old"})

    told = done(node, "list")

    waits = "/etc/cni/chain.d/istio.d: new pods wait for istio's CNI configuration in /etc/cni/chain.d/istio.d"
    assert f"{waits}\n[owner-without-fragment]\n" in told
    assert told.endswith("/etc/cni/chain.d/old.d isn't listed, so nothing in it is run.\n")


def test_the_list_is_for_programs_too(node: Node) -> None:
    (listed,) = json.loads(done(node, "list", "--json"))["facades"]

    assert listed["owners"][1] == {
        "name": "istio",
        "required": True,
        "types": ["istio-cni"],
        "exempt": [{"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}],
        "directory": "/etc/cni/chain.d/istio.d",
        "usable": True,
        "plugins": ["istio-cni"],
        "error": None,
    }


def test_a_mesh_is_taken_out_and_nothing_else_of_the_file_changes(node: Node) -> None:
    told = done(node, "remove", "istio")

    assert node.facade.read_text() == written(lambda owners: owners.pop(1))
    assert "warning: without istio-cni every new pod is outside the mesh; running pods keep" in told
    assert (node.chain_dir / "istio.d/10-istio.conf").exists()
    assert node.run("verify").status == 0


def test_an_agent_that_was_uninstalled_too_early_is_taken_out(node: Node) -> None:
    node.clear("istio")
    (node.bin_dir / "istio-cni").unlink()
    assert node.run("show").status == 1

    done(node, "remove", "istio")

    assert node.run("show").status == 0


def test_of_two_that_are_gone_each_can_be_taken_out(node: Node) -> None:
    node.clear("istio")
    node.clear("local")
    node.change_owner("local", required=True)

    done(node, "remove", "istio")
    done(node, "remove", "local")

    assert node.run("show").status == 0


def test_a_second_run_changes_nothing_and_says_so(node: Node) -> None:
    done(node, "remove", "istio")
    inode = node.facade.stat().st_ino

    assert done(node, "remove", "istio", "--if-present").endswith(
        "istio is not an owner; the owners are cilium, local.\nNothing to change.\n"
    )
    assert done(node, "require", "cilium").endswith("cilium is already required.\nNothing to change.\n")
    assert done(node, "add", "cilium:cilium-cni").endswith("cilium is already an owner.\nNothing to change.\n")
    assert node.facade.stat().st_ino == inode


@pytest.mark.parametrize(
    ("where", "order"),
    [
        ([], ["cilium", "istio", "local", "linkerd"]),
        (["--before", "istio"], ["cilium", "linkerd", "istio", "local"]),
        (["--after", "istio"], ["cilium", "istio", "linkerd", "local"]),
        (["--after", "local"], ["cilium", "istio", "local", "linkerd"]),
    ],
    ids=str,
)
def test_an_owner_is_added_where_it_is_to_run(node: Node, where: list[str], order: list[str]) -> None:
    told = done(node, "add", "linkerd:linkerd-cni", "--optional", "--exempt", "linkerd-cni/linkerd-cni-", *where)

    assert names(node) == order
    assert owners(node)[order.index("linkerd")] == {
        "name": "linkerd",
        "types": ["linkerd-cni"],
        "required": False,
        "exempt": [{"namespace": "linkerd-cni", "podNamePrefix": "linkerd-cni-"}],
    }
    assert told.startswith("create   /etc/cni/chain.d/linkerd.d/\n")
    assert (node.chain_dir / "linkerd.d").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("mesh", ["linkerd:linkerd-cni", "consul:consul-cni", "kuma:kuma-cni"])
def test_why_an_owner_is_not_added_is_said_once(node: Node, mesh: str) -> None:
    assert refused(node, "add", mesh).count("'s CNI configuration") == 1


def test_a_required_owner_whose_agent_has_written_nothing_is_refused_since_pods_would_wait(node: Node) -> None:
    error = refused(node, "add", "kuma:kuma-cni")

    assert "not changed, because then new pods wait for kuma's CNI configuration" in error
    assert error.endswith(
        "[owner-without-fragment]: add it with --optional, install its agent, then cni-chain owner require kuma "
        "(docs/guides/add-a-mesh-later.md)\n"
    )
    assert not (node.chain_dir / "kuma.d").exists()
    dry = json.loads(done(node, "add", "kuma:kuma-cni", "--force", "--dry-run", "--json"))
    assert [(one["id"], one["severity"]) for one in dry["findings"]] == [("owner-without-fragment", "error")]
    assert "warning: from now on new pods wait for kuma's CNI configuration" in done(
        node, "add", "kuma:kuma-cni", "--force"
    )


def test_an_owner_is_removed_whose_agent_is_uninstalled_though_what_is_left_can_not_run_alone(node: Node) -> None:
    """As doctor advises: no pod starts because of that owner, so the node can't get worse."""
    node.change_facade(owners=[{"name": "calico", "types": ["calico"]}, {"name": "local"}])
    assert "If calico is uninstalled: cni-chain owner remove calico." in " ".join(node.run("doctor").stdout.split())

    told = done(node, "remove", "calico")

    assert "warning: from now on portmap can't be first" in told
    assert names(node) == ["local"]


def test_who_comes_while_another_command_is_at_work_is_told_where(node: Node) -> None:
    opened = os.open(node.net_dir, os.O_RDONLY)
    fcntl.flock(opened, fcntl.LOCK_EX)

    told = f"cni-chain: {FACADE.rpartition('/')[0]}: another cni-chain command is changing it; try again\n"
    assert refused(node, "remove", "istio") == told
    assert node.run("uninstall").stderr == told
    os.close(opened)
    done(node, "remove", "istio")


def test_first_optional_then_required_is_the_way(node: Node) -> None:
    done(node, "add", "kuma:kuma-cni", "--optional")
    assert "new pods wait for kuma's CNI configuration" in refused(node, "require", "kuma")
    node.write("kuma.d/kuma-cni.conf", {"type": "kuma-cni"})
    node.install("kuma-cni")

    done(node, "require", "kuma")

    assert owners(node)[-1] == {
        "name": "kuma",
        "types": ["kuma-cni"],
        "required": True,
        "exempt": [{"namespace": "kube-system", "podNamePrefix": "kuma-cni-node-"}],
    }
    assert node.run("show").status == 0


def test_an_owner_becomes_optional_and_that_has_a_price(node: Node) -> None:
    told = done(node, "optional", "istio")

    assert node.facade.read_text() == written(lambda owners: owners[1].update(required=False))
    assert "warning: a new pod that starts while istio has no usable fragment starts without it" in told


def test_what_makes_the_network_can_t_be_taken_out(node: Node) -> None:
    assert "istio-cni can't be first" in refused(node, "remove", "cilium")


def test_nor_on_a_node_whose_pods_wait_for_another_owner_anyway(node: Node) -> None:
    node.change_owner("local", required=True)
    node.clear("local")

    assert "[plugin-never-first]" in refused(node, "remove", "cilium")
    assert "not changed" not in done(node, "remove", "istio")


def test_nor_can_the_only_owner(node: Node) -> None:
    node.change_facade(owners=[{"name": "cilium"}])

    assert "cilium is the only owner, and a facade needs one: add another first" in refused(node, "remove", "cilium")


def test_a_dry_run_shows_the_difference_and_changes_nothing(node: Node) -> None:
    before = node.facade.stat()

    told = done(node, "remove", "istio", "--dry-run")

    assert f"--- {FACADE}\n+++ {FACADE}\n" in told
    assert '\n-      {"name": "istio",  "types": ["istio-cni"],\n' in told
    assert told.endswith("1 change, none made (--dry-run).\n")
    after = node.facade.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    planned = json.loads(done(node, "remove", "istio", "--dry-run", "--json"))
    assert planned["changes"][0]["path"] == FACADE
    assert planned["changes"][0]["diff"].startswith("---")


def test_unknown_keys_and_large_numbers_stay_where_they_are(node: Node) -> None:
    node.change_facade(future={"a": [1, 18446744073709551617, 1.25, "\u00e9/"]})
    before = json.loads(node.facade.read_bytes())
    before["plugins"][0]["owners"].pop(1)

    done(node, "remove", "istio")

    assert json.dumps(json.loads(node.facade.read_bytes())) == json.dumps(before)  # the order counts, too


def test_a_key_that_is_there_twice_is_left_to_a_person(node: Node) -> None:
    node.facade.write_text(SHIPPED.replace('{"name": "istio",', '{"name": "mesh", "name": "istio",'))

    assert refused(node, "remove", "istio") == (
        f"cni-chain: {FACADE}: key plugins[0].owners[1].name exists twice; remove one of them first\n"
    )


def test_the_file_keeps_its_mode(node: Node) -> None:
    node.facade.chmod(0o600)

    done(node, "remove", "istio")

    assert node.facade.stat().st_mode & 0o7777 == 0o600


def test_a_runtime_that_reads_meanwhile_never_sees_half_a_facade(node: Node) -> None:
    seen = set()
    end = threading.Event()

    def look() -> None:
        while not end.is_set():
            seen.add(node.facade.read_bytes())

    def is_seen() -> bool:
        return node.facade.read_bytes() in seen

    reader = threading.Thread(target=look)
    reader.start()
    wait_until(is_seen, "a look at the facade")
    for _ in range(2):
        for words in (("add", "x", "--optional"), ("remove", "x")):
            done(node, *words)
            wait_until(is_seen, "a look at the facade")
    end.set()
    reader.join()

    assert node.facade.read_text() == written(lambda _: None)
    assert len(seen) == 3
    for text in seen:
        json.loads(text)


def test_the_temporary_file_lies_where_containerd_notices_its_renaming(node: Node) -> None:
    done(node, "remove", "istio")

    assert [path.name for path in node.net_dir.iterdir()] == ["00-cni-chain.conflist"]


def test_of_several_facades_one_must_be_named(node: Node) -> None:
    other = node.net_dir / "10-other.conflist"
    other.write_text(SHIPPED.replace("cilium", "other", 1))

    assert "several facades: name one with --conf: " in refused(node, "remove", "istio")

    done(node, "remove", "istio", "--conf", "/etc/cni/net.d/10-other.conflist")
    assert names(node) == ["cilium", "istio", "local"]
    assert '"istio"' not in other.read_text()


def test_without_a_facade_there_is_nothing_to_change(node: Node) -> None:
    node.facade.unlink()

    for arguments in (["list"], ["remove", "istio"]):
        result = owner(node, *arguments)
        assert (result.status, result.stdout) == (1, "")
        assert "/etc/cni/net.d: no facade here" in result.stderr


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"logLevel": "loud"}, "key logLevel: must be one of"),
        ({"owners": [{"name": "a"}, {"name": "a"}]}, "'a' is listed twice"),
    ],
)
def test_a_facade_that_is_wrong_already_is_left_to_a_person(node: Node, keys: Json, message: str) -> None:
    node.change_facade(**keys)

    assert message in refused(node, "remove", "istio")


def test_a_facade_without_a_list_of_owners_is_not_given_one(node: Node) -> None:
    node.change_facade(remove=("owners",))

    assert f"{FACADE}: key owners: missing" in refused(node, "add", "x", "--optional")


def test_a_facade_without_owners_is_listed_as_the_fault_that_it_is(node: Node) -> None:
    node.change_facade(remove=("owners",), owner=[{"name": "cilium"}])

    result = owner(node, "list")
    assert result.status == 1
    assert "1  cilium  not listed" in result.stdout
    assert (
        f"{at(node, 'owner')}: key owners: missing: 'owner' is not a key of cni-chain; did you mean owners?"
        in " ".join(result.stdout.split())
    )
    (listed,) = json.loads(owner(node, "list", "--json").stdout)["facades"]
    assert listed["problems"] == ["key owners: missing: 'owner' is not a key of cni-chain; did you mean owners?"]


def test_a_link_is_not_written_through(node: Node, tmp_path: Path) -> None:
    node.facade.rename(tmp_path / "real")
    node.facade.symlink_to(tmp_path / "real")

    assert "is a link, and no runtime would notice the change" in refused(node, "remove", "istio")


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "A"],
        ["add", "a:"],
        ["add", "a", "--exempt", "ns"],
        ["add", "a", "--before", "cilium", "--after", "istio"],
        ["remove"],
        ["frob"],
        ["list", "--distro", "unknown"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(node: Node, arguments: list[str]) -> None:
    before = node.facade.read_bytes()

    result = owner(node, *arguments)

    assert (result.status, result.stdout) == (2, "")
    assert node.facade.read_bytes() == before


def test_an_unknown_owner_is_named(node: Node) -> None:
    for arguments in (["require", "kuma"], ["remove", "kuma"], ["add", "x", "--optional", "--before", "kuma"]):
        assert refused(node, *arguments).endswith("kuma is not an owner; the owners are cilium, istio, local\n")


def test_a_misspelt_owner_stops_a_script_before_it_uninstalls_the_agent(node: Node) -> None:
    assert refused(node, "remove", "istoi").endswith(
        "istoi is not an owner; did you mean istio? The owners are cilium, istio, local\n"
    )


def test_the_list_has_the_findings_with_their_owners(node: Node) -> None:
    node.clear("istio")

    (listed,) = json.loads(done(node, "list", "--json"))["facades"]

    assert [(one["id"], one["owner"]) for one in listed["findings"]] == [("owner-without-fragment", "istio")]


@pytest.mark.parametrize(
    ("given", "told", "entry"),
    [
        (
            "linkerd",
            "linkerd may contribute linkerd-cni, and is skipped for the pods linkerd-cni/linkerd-cni-*.",
            {
                "types": ["linkerd-cni"],
                "required": False,
                "exempt": [{"namespace": "linkerd-cni", "podNamePrefix": "linkerd-cni-"}],
            },
        ),
        ("linkerd:other", "linkerd may contribute other.", {"types": ["other"], "required": False}),
        ("edge", "edge may contribute plugins of any type (edge:TYPE,… limits it).", {"required": False}),
        ("edge:sbr,tuning", "edge may contribute sbr, tuning.", {"types": ["sbr", "tuning"], "required": False}),
    ],
    ids=lambda value: value.partition(" ")[0] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_new_owner_may_do_is_said_also_without_types(node: Node, given: str, told: str, entry: Json) -> None:
    said = done(node, "add", given, "--optional")

    assert told in " ".join(said.split())
    assert owners(node)[-1] == {"name": given.partition(":")[0]} | entry


@pytest.mark.parametrize("command", ["list", "add", "remove", "require", "optional"])
def test_the_help_tells_what_a_command_does_and_its_exit_status(program: str, command: str) -> None:
    told = run(program, "owner", command, "--help")

    assert told.status == 0
    assert "Exit status:" in told.stdout
    assert "Before you uninstall an agent, remove its owner" in " ".join(run(program, "owner", "--help").stdout.split())
