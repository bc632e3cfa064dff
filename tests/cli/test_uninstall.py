"""`cni-chain uninstall`: no pod is without a network meanwhile, and none without its DEL afterwards."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_chain.change import install
from tests.support.files.node import BEFORE, CONF, FACADE, Json, Node, Result, bare_node, wait_until
from tests.support.sandbox.node import is_frozen

ASIDE = f"{FACADE}.uninstalled"


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    """A node on which cni-chain is installed in front of Cilium's own conflist."""
    node = bare_node(tmp_path / "node", program, network=True)
    node.fragments(cilium="cilium-cni", istio="istio-cni")
    for directory in (node.programs / "0.0.1/_internal", node.chain_dir / "local.d"):
        directory.mkdir(parents=True)
    (node.programs / "0.0.1/cni-chain").write_text("#!/bin/sh\n")
    node.link.symlink_to("../cni-chain/0.0.1/cni-chain")
    node.facade.write_bytes((CONF / "00-cni-chain.conflist").read_bytes())
    (node.root / "etc/logrotate.d/cni-chain").write_text(install.LOGROTATE)
    return node


def uninstall(node: Node, *arguments: str) -> Result:
    return node.run("uninstall", *arguments)


def done(node: Node, *arguments: str) -> str:
    result = uninstall(node, *arguments)
    assert (result.status, result.stderr) == (0, "")
    return result.stdout


def refused(node: Node, *arguments: str) -> str:
    before = node.files()
    result = uninstall(node, *arguments)
    assert (result.status, result.stdout) == (1, "")
    assert node.files() == before
    return result.stderr


def taken(node: Node) -> list[str]:
    """What a runtime sees, in its order."""
    endings = (".conf", ".conflist", ".json")
    return sorted(path.name for path in node.net_dir.iterdir() if path.name.endswith(endings))


def test_what_the_agent_has_kept_of_the_facade_goes_with_it(node: Node) -> None:
    copy = node.root / "var/lib/cni/chain/.facade-etc-cni-net.d"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(node.facade.read_bytes())

    assert "remove  /var/lib/cni/chain/.facade-etc-cni-net.d\n" in done(node)

    assert not copy.parent.exists()


def test_the_runtime_takes_the_configuration_of_before_and_all_else_is_gone(node: Node) -> None:
    told = done(node)

    assert taken(node) == ["05-cilium.conflist"]
    assert f"The runtime then takes {BEFORE}.\n" in told
    assert not node.link.is_symlink()
    assert not node.programs.exists()
    assert not (node.root / "etc/logrotate.d/cni-chain").exists()
    assert (node.bin_dir / "cilium-cni").exists()


@pytest.mark.parametrize(("text", "stays"), [('.TH CNI-CHAIN 8 "" "cni-chain 0.0.1"\n', False), ("mine\n", True)])
def test_the_manual_page_goes_unless_it_is_somebody_elses(node: Node, text: str, stays: bool) -> None:
    page = node.write("/usr/local/share/man/man8/cni-chain.8", text)

    done(node)

    assert page.exists() is stays


def test_its_directory_goes_too_unless_it_has_something_else(node: Node) -> None:
    """On Debian `install` makes it, because only its parent is there."""
    page = node.write("/usr/local/share/man/man8/cni-chain.8", '.TH CNI-CHAIN 8 "" "cni-chain 0.0.1"\n')
    other = node.write("/usr/local/share/man/man8/other.8", "")

    done(node)
    assert other.exists()

    other.unlink()
    page.write_text('.TH CNI-CHAIN 8 "" "cni-chain 0.0.1"\n')
    assert "remove  /usr/local/share/man/man8/\n" in done(node)
    assert not page.parent.exists()
    assert page.parent.parent.exists()


def test_fragments_are_their_owners_and_stay(node: Node) -> None:
    told = done(node)

    assert "/etc/cni/chain.d stays: cilium.d, istio.d.\n" in told
    assert (node.chain_dir / "cilium.d/10.conf").exists()
    assert not (node.chain_dir / "local.d").exists()


def test_the_facade_is_put_aside_under_a_name_that_nobody_reads(node: Node) -> None:
    text = node.facade.read_bytes()

    done(node)

    assert (node.root / ASIDE.lstrip("/")).read_bytes() == text


def test_a_second_run_changes_nothing_and_says_so(node: Node) -> None:
    done(node)
    before = node.files()

    assert done(node).endswith("Nothing to change.\n")
    assert node.files() == before


def test_a_dry_run_changes_nothing_and_tells_what_the_real_one_does(node: Node) -> None:
    before = node.files()

    planned = json.loads(done(node, "--dry-run", "--json"))
    assert node.files() == before
    made = json.loads(done(node, "--json"))

    assert (planned.pop("dryRun"), made.pop("dryRun")) == (True, False)
    assert planned == made
    assert planned["changes"][0]["action"] == "rename"
    gone = {change["path"].strip("/") for change in made["changes"] if change["action"] == "remove"}
    assert gone <= set(before)
    assert not gone & set(node.files())


def test_without_a_configuration_behind_it_the_facade_stays(node: Node) -> None:
    (node.net_dir / "05-cilium.conflist").unlink()

    error = refused(node)

    assert f"no configuration is left for the runtime once {FACADE} is gone" in error
    assert "(--restore FILE), or pass --leave-node-without-network" in error
    told = done(node, "--leave-node-without-network")
    assert "warning: no new pod gets a network: " in told
    assert taken(node) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "it can't be read"),
        ('{"name": "x", "plugins": []}', "it names no plugin"),
        ('{"name": "x", "plugins": [{"type": "gone-cni"}]}', "no plugin gone-cni in /opt/cni/bin"),
    ],
)
def test_a_configuration_that_gives_no_network_is_none(node: Node, text: str, fault: str) -> None:
    (node.net_dir / "05-cilium.conflist").write_text(text)

    error = refused(node)

    assert f"{BEFORE}: the runtime would take this file, and " in error
    assert fault in error


def test_a_facade_that_can_not_be_read_is_not_left_in_the_way(node: Node) -> None:
    node.facade.write_text("{")

    error = refused(node)

    assert f"{FACADE}: the runtime takes this file, and it can't be read: not JSON: " in error
    assert "if it is the facade, remove it" in error
    node.facade.unlink()
    done(node)
    assert taken(node) == [BEFORE.rpartition("/")[2]]


@pytest.mark.parametrize(("command", "name"), [("uninstall", "x.uninstalled"), ("doctor", "x.cilium_bak")])
def test_a_pipe_of_such_a_name_holds_nobody_up(node: Node, command: str, name: str) -> None:
    (node.net_dir / "00-cni-chain.conflist").unlink()
    os.mkfifo(node.net_dir / name)

    assert "cni-chain" in node.run(command).stdout


def test_multus_alone_is_no_network(node: Node) -> None:
    node.conflist("00-multus.conf", "multus-cni-network", "multus")
    node.install("multus")
    (node.net_dir / "05-cilium.conflist").unlink()

    assert "no configuration is left for the runtime" in refused(node)
    node.conflist("05-cilium.conflist", "cilium", "cilium-cni")
    assert f"The runtime then takes {BEFORE}.\n" in done(node)


def test_the_one_that_cilium_renamed_is_put_back_before_the_facade_goes(node: Node) -> None:
    renamed = node.net_dir / "05-cilium.conflist.cilium_bak"
    (node.net_dir / "05-cilium.conflist").rename(renamed)
    assert f"--restore {BEFORE}.cilium_bak" in refused(node)

    changes = json.loads(done(node, "--restore", f"{BEFORE}.cilium_bak", "--json"))["changes"]

    assert [change["path"] for change in changes[:2]] == [BEFORE, FACADE]
    assert (node.net_dir / "05-cilium.conflist").read_bytes() == renamed.read_bytes()
    assert taken(node) == ["05-cilium.conflist"]


def test_the_copy_that_migrate_made_is_put_back_before_the_facade_goes(node: Node) -> None:
    copy = f"{BEFORE}.before-cni-chain"
    node.path(BEFORE).rename(node.path(copy))
    assert f"restore the previous one (--restore {copy}), or " in refused(node)

    done(node, "--restore", copy)

    assert taken(node) == ["05-cilium.conflist"]


def test_on_a_node_born_with_the_facade_the_first_owner_s_file_takes_its_place(node: Node) -> None:
    node.path(BEFORE).unlink()
    fragment = "/etc/cni/chain.d/cilium.d/05-cilium.conflist"
    written = {"cniVersion": "0.3.1", "name": "cilium", "plugins": [{"type": "cilium-cni"}]}
    node.write(fragment, written)
    assert f"restore the first owner's own (--restore {fragment}), or " in refused(node)

    told = done(node, "--restore", fragment)

    assert f"The runtime then takes {BEFORE}.\n" in told
    assert taken(node) == ["05-cilium.conflist"]


@pytest.mark.parametrize("change", [{"name": "other"}, {"plugins": []}, {"name": "a/b"}])
def test_an_owner_s_file_that_no_runtime_would_take_for_the_network_is_not_named(node: Node, change: Json) -> None:
    node.path(BEFORE).unlink()
    written = {"cniVersion": "0.3.1", "name": "cilium", "plugins": [{"type": "cilium-cni"}]}
    node.write("/etc/cni/chain.d/cilium.d/05-cilium.conflist", written | change)

    assert "restore the previous one (--restore FILE), or " in refused(node)


@pytest.mark.parametrize(
    ("name", "text"),
    [("05.conflist", "{}"), ("05.txt", '{"plugins": [{"type": "cilium-cni"}]}'), ("05.conflist", "nothing")],
)
def test_what_is_no_configuration_isn_t_put_back(node: Node, name: str, text: str) -> None:
    (node.root / name).write_text(text)

    assert f"/{name}: " in refused(node, "--restore", f"/{name}")


def test_one_of_that_name_that_differs_is_not_overwritten(node: Node) -> None:
    (node.root / "05-cilium.conflist").write_text('{"name": "x", "plugins": [{"type": "cilium-cni"}]}')

    assert f"{BEFORE}: exists and differs from /05-cilium.conflist" in refused(node, "--restore", "/05-cilium.conflist")


@pytest.mark.parametrize("name", ["cilium:c1:eth0", "other:c1:eth0", ".damaged-cilium:c1:eth0", ".new-cilium:c1:eth0"])
def test_while_a_pod_has_a_record_what_its_del_needs_stays(node: Node, name: str) -> None:
    record = node.leave_record(name)

    error = refused(node)
    assert "/var/lib/cni/chain: 1 attachment with a record, whose DEL needs the program" in error
    assert "--keep-program" in error

    told = done(node, "--keep-program")
    assert taken(node) == ["05-cilium.conflist"]
    assert "The program, /etc/cni/chain.d and /var/lib/cni/chain stay: 1 attachment with a record." in told
    assert record.exists()
    assert node.link.exists()
    assert (node.chain_dir / "local.d").exists()


def test_the_rest_goes_when_the_last_pod_of_that_time_is_gone(node: Node) -> None:
    record = node.leave_record()
    done(node, "--keep-program")
    assert "1 attachment with a record" in refused(node)
    record.unlink()

    done(node)

    assert not node.link.is_symlink()
    assert not (node.root / "var/lib/cni/chain").exists()


def test_the_facade_that_was_put_aside_tells_where_the_records_are(node: Node) -> None:
    document = node.read(FACADE)
    document["plugins"][0]["stateDir"] = "/srv/state"
    node.facade.write_text(json.dumps(document))
    (node.root / "srv/state").mkdir(parents=True)
    (node.root / "srv/state/cilium:c1:eth0").write_text("{}")
    done(node, "--keep-program")

    assert "/srv/state: 1 attachment with a record" in refused(node)

    (node.root / ASIDE.lstrip("/")).rename(f"{node.facade}.undone")  # as `migrate undo` leaves it
    assert "/srv/state: 1 attachment with a record" in refused(node)


def test_state_that_is_nobody_s_record_is_left_to_a_person(node: Node) -> None:
    node.leave_record().unlink()
    (node.root / "var/lib/cni/chain/notes").write_text("mine")

    assert "/var/lib/cni/chain stays: notes.\n" in done(node)


def test_another_facade_needs_the_program_too(node: Node) -> None:
    other = node.net_dir / "10-other.conflist"
    other.write_text((CONF / "00-cni-chain.conflist").read_text().replace("cilium", "other", 1))
    assert "several facades: name one with --conf" in refused(node)

    told = done(node, "--conf", FACADE)

    assert "Everything but the facade stays, because other facades need it: /etc/cni/net.d/10-other.conflist.\n" in told
    assert node.link.exists()


def test_a_link_that_leads_elsewhere_is_not_ours(node: Node) -> None:
    node.link.unlink()
    node.link.symlink_to("/usr/local/bin/cni-chain")

    assert "/opt/cni/bin/cni-chain: points to /usr/local/bin/cni-chain, not into /opt/cni/cni-chain" in refused(node)


def test_a_rotation_that_somebody_has_changed_stays(node: Node) -> None:
    (node.root / "etc/logrotate.d/cni-chain").write_text("# mine\n")

    assert "/etc/logrotate.d/cni-chain stays, because it was edited.\n" in done(node)


def test_if_a_step_fails_the_facade_is_back(node: Node) -> None:
    (node.root / "var/lib/cni/chain/.lock/in-the-way").mkdir(parents=True)
    before = node.files()

    result = uninstall(node)

    assert (result.status, result.stdout) == (1, "")
    assert "/var/lib/cni/chain/.lock: Directory not empty; nothing was changed\n" in result.stderr
    assert {name: held[:2] for name, held in node.files().items()} == {name: held[:2] for name, held in before.items()}


def test_a_plugin_that_the_configuration_of_before_has_lost_is_warned_of(node: Node) -> None:
    told = done(node)
    assert f"warning: {BEFORE} has no istio-cni: new pods run without it until you move its agent" in told
    assert "has no cilium-cni" not in told


def test_one_that_has_every_plugin_of_the_chain_is_not(node: Node) -> None:
    node.conflist("05-cilium.conflist", "cilium", "cilium-cni", "istio-cni")

    assert "warning" not in done(node)


def test_without_cni_chain_there_is_nothing_to_do(program: str, tmp_path: Path) -> None:
    bare = bare_node(tmp_path / "node", program, network=True)

    assert done(bare) == "Nothing to change.\n"


@pytest.fixture
def installed(program: str, tmp_path: Path) -> Node:
    """A node on which the frozen program has installed itself."""
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    node = bare_node(tmp_path / "node", program, network=True)
    node.fragments(cilium="cilium-cni", istio="istio-cni")
    assert node.run_apart("install", "--chain-dir", str(node.chain_dir)).status == 0
    return node


@contextlib.contextmanager
def running(*command: str | Path) -> Iterator[int]:
    """A call of the plugin that waits for its standard input, begun by a command; yields its process."""
    environ = {f"CNI_{name}": "x" for name in ("CONTAINERID", "NETNS", "IFNAME", "PATH")} | {"CNI_COMMAND": "ADD"}
    environ["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin"
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as call:
        wait_until(lambda: "cni-chain" in os.readlink(f"/proc/{call.pid}/exe"), "the call runs")
        try:
            yield call.pid
        finally:
            call.kill()


def elsewhere(source: Path, target: Path, program: Path) -> list[str | Path]:
    """A command that runs a program where, for it alone, `source` is mounted at `target`."""
    return [
        "/usr/bin/unshare",
        "--mount",
        "/bin/sh",
        "-c",
        'mount --bind "$1" "$2" && exec "$3"',
        "sh",
        source,
        target,
        program,
    ]


@pytest.mark.root
def test_the_installed_program_takes_itself_away(installed: Node) -> None:
    result = installed.run_apart("uninstall", program=str(installed.link))

    assert (result.status, result.stderr) == (0, "")
    assert not installed.programs.exists()
    assert not installed.link.is_symlink()
    assert taken(installed) == ["05-cilium.conflist"]


@pytest.mark.root
def test_a_program_that_is_just_running_is_not_taken_away_under_it(installed: Node) -> None:
    before = installed.files()
    with running(installed.link) as process:
        result = installed.run_apart("uninstall")

    assert result.status == 1
    assert f"is running (process {process}); try again when it has ended" in result.stderr
    assert installed.files() == before


@pytest.mark.root
def test_nor_is_it_if_its_caller_sees_it_under_another_path(installed: Node, tmp_path: Path) -> None:
    """An agent's container has the node's `/opt` below `/host`."""
    (tmp_path / "host").mkdir()
    before = installed.files()
    command = elsewhere(installed.root / "opt", tmp_path / "host", tmp_path / "host/cni/bin/cni-chain")
    with running(*command) as process:
        result = installed.run_apart("uninstall")

    assert result.status == 1
    assert f"is running (process {process})" in result.stderr
    assert installed.files() == before


@pytest.mark.root
def test_another_file_system_s_program_of_the_same_path_is_another_program(installed: Node, tmp_path: Path) -> None:
    """A container's own: to look at its path alone would keep this node's program for as long as it runs."""
    theirs = shutil.copytree(installed.root / "opt", tmp_path / "theirs", symlinks=True)
    with running(*elsewhere(theirs, installed.root / "opt", installed.link)) as process:
        assert os.readlink(f"/proc/{process}/exe") == str(installed.link.resolve())
        result = installed.run_apart("uninstall")

    assert (result.status, result.stderr) == (0, "")
    assert not installed.programs.exists()


@pytest.mark.root
def test_of_many_running_programs_five_are_named(installed: Node) -> None:
    with contextlib.ExitStack() as calls:
        processes = sorted(calls.enter_context(running(installed.link)) for _ in range(7))
        result = installed.run_apart("uninstall")

    assert f"is running (processes {', '.join(map(str, processes[:5]))} and 2 more); try again" in result.stderr


def test_how_the_agents_move_back_and_what_stays_beside_the_previous_configuration(node: Node) -> None:
    shipped = "chain.d/istio.d/10-istio.conf"
    (node.root / "etc/cni" / shipped).write_bytes((CONF / shipped).read_bytes())
    copy = node.net_dir / "05-cilium.conflist.before-cni-chain"
    copy.write_text("{}")

    told = done(node, "--keep-program")

    assert (
        f"/etc/cni/net.d keeps {node.facade.name}.uninstalled, {copy.name}: no runtime reads that, and it is yours to "
        "remove.\n"
    ) in told
    assert (
        "Then move Istio back to /etc/cni/net.d, with the settings that it had before; as a rule:\n"
        "          helm upgrade istio-cni istio/cni --namespace istio-system \\\n"
    ) in told
    assert (
        "              --set cniConfDir=/etc/cni/net.d \\\n"
        "              --set chained=true \\\n"
        "              --set cniConfFileName=\n"
    ) in told
    assert (
        "Then move Cilium back after it. Its agent writes the list anew when it starts, so cordon the node until the "
        "list has istio-cni again.\n"
        "          kubectl cordon NODE\n"
        "          helm upgrade cilium cilium/cilium --namespace kube-system \\\n"
    ) in told
    assert (
        "              --set cni.confPath=/etc/cni/net.d \\\n"
        "              --set cni.exclusive=false\n"
        "          kubectl --namespace kube-system rollout status ds/cilium\n"
        "          kubectl uncordon NODE\n"
    ) in told
