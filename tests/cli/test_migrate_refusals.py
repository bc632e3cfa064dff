"""What `migrate` doesn't do, one by one: nothing has changed, and one line names the file and what would help."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from cni_chain.migrate import moves
from cni_chain.migrate.plan import Paths
from cni_chain.migrate.site import Site
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree
from tests.support.files.node import CHAIN, FACADE, NET, WAITING, Node, Result, node_before

pytestmark = pytest.mark.root

LIST = f"{NET}/05-cilium.conflist"
CILIUM = f"{CHAIN}/cilium.d/05-cilium.conflist"
ISTIO = f"{CHAIN}/istio.d/10-istio.conf"

MakeNode = Callable[[str], Node]


@pytest.fixture
def make(program: str, tmp_path: Path) -> MakeNode:
    return lambda case: node_before(tmp_path / case, program, case)


@pytest.fixture
def node(make: MakeNode) -> Node:
    return make("cilium-istio")


@pytest.fixture
def ready(node: Node) -> Node:
    """Written, and Cilium has moved: nothing is in the way of the switch."""
    assert node.migrate("write").status == 0
    node.cilium_moves()
    return node


def refused(node: Node, *arguments: str) -> str:
    """The only reason that is given; nothing has changed."""
    before = node.files()
    status, stdout, stderr = node.migrate(*arguments)
    assert (status, stdout) == (1, "")
    assert node.files() == before
    first, *rest = stderr.splitlines()
    assert rest in ([], ["cni-chain: not switched; nothing was changed"])
    return first.removeprefix("cni-chain: ")


def later(path: Path) -> None:
    """As if it had been written just now."""
    os.utime(path, ns=(time.time_ns() + 10**9,) * 2)


@pytest.mark.parametrize("text", ['{"cniVersion":"0.3.1","name":"cilium","plugins":[{"type":"cilium-cni"}]}', '{"cni'])
def test_what_an_agent_has_written_since_the_plan_is_not_replaced(node: Node, text: str) -> None:
    """Its agent has just moved; a copy in its place would be of its old settings, and it may not write again."""
    site = Site(Tree(str(node.root)), Paths(NET, CHAIN, os.path.basename(FACADE)), ["/opt/cni/bin"])
    made, _ = site.make({})
    written = node.write(CILIUM, text)

    with pytest.raises(RefusedError, match=f"{CILIUM}: another process has just written this file; try again"):
        moves.write(site.tree, site.paths, made)

    assert (written.read_text(), node.path(WAITING).exists()) == (text, False)


# Of the list.


def test_no_list(node: Node) -> None:
    node.path(LIST).unlink()

    assert refused(node, "plan") == f"{NET}: no .conf, .conflist or .json of a runtime here: nothing to migrate"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"name": "a",\n "plugins": [}', ":2:14: not JSON: Expecting value"),
        ("", ": empty"),
        ("[]", ":1:1: not a JSON object"),
        ('{"name": "a", "plugins": []}', ": key plugins: must be a list with a plugin, or no runtime takes it"),
        ('{"name": "a"}', ": key plugins: must be a list with a plugin, or no runtime takes it"),
        (
            '{"name": "a", "plugins": [{"typ": "b"}]}',
            ": key plugins[0].type: must be the name of a plugin, or no runtime takes it",
        ),
        (
            '{"name": "a", "plugins": [{"type": "b", "capabilities": {"c": 1}}]}',
            ": key plugins[0].capabilities: must be an object of true and false",
        ),
        (
            '{"name": "a", "cniVersion": "9.0.0", "plugins": [{"type": "b"}]}',
            ": key cniVersion: cni-chain doesn't support '9.0.0'",
        ),
        (
            '{"plugins": [{"type": "b"}]}',
            ": key name: missing: must be letters, digits, '_', '.' and '-', beginning with a letter or digit",
        ),
    ],
)
def test_a_list_that_no_runtime_takes(node: Node, content: str, message: str) -> None:
    node.write(LIST, content)

    assert refused(node, "plan") == LIST + message


def test_multus_first(node: Node) -> None:
    node.install("multus-shim")
    node.write(f"{NET}/00-multus.conf", {"name": "multus-cni-network", "type": "multus-shim", "cniVersion": "1.0.0"})

    assert refused(node, "plan").startswith(f"{NET}/00-multus.conf: Multus is first, and runs another list")


def test_plugins_that_newer_runtimes_append_from_a_directory(node: Node) -> None:
    node.write(f"{NET}/cilium/50-more.conf", {"type": "tuning"})

    assert refused(node, "plan").startswith(f"{NET}/cilium/50-more.conf: containerd 2.1, CRI-O 1.33 and later append ")
    node.change_list(loadOnlyInlinedPlugins=True)
    assert node.migrate("plan").status == 0


def test_a_facade_of_another_name_in_use_already(node: Node) -> None:
    node.write(f"{NET}/00-mine.conflist", {"name": "a", "plugins": [{"type": "cni-chain"}]})

    assert refused(node, "plan") == f"{NET}/00-mine.conflist: is a facade, so this node uses cni-chain already"


def test_an_owner_in_two_places_of_the_chain_with_the_option_that_solves_it(make: MakeNode) -> None:
    node = make("cilium-on-aws")
    plugins = node.plugins()
    node.change_list(plugins=[plugins[0], plugins[2], plugins[1], plugins[3]])

    reason = refused(node, "plan")

    assert reason.startswith(f"{LIST}: owner aws has aws-cni and egress-cni with portmap between them")
    assert "--owner aws:aws-cni,portmap,egress-cni" in reason
    assert node.migrate("plan", "--owner", "aws:aws-cni,portmap,egress-cni").status == 0
    assert node.migrate("plan", "--owner", "local:aws-cni,portmap,egress-cni").status == 0


def test_an_owner_for_a_plugin_that_the_list_does_not_have(node: Node) -> None:
    assert refused(node, "plan", "--owner", "a:portmap") == f"{LIST}: --owner a:portmap: the list has no portmap"


def test_a_literal_runtime_config_that_a_plugin_could_read_is_a_difference(make: MakeNode) -> None:
    node = make("azure-cilium-by-name")
    node.change_list(plugins=[node.plugins()[0] | {"runtimeConfig": {"dns": {"servers": ["192.0.2.1"]}}}])

    status, stdout, _ = node.migrate("plan")

    assert status == 1
    assert "Proof  not the same as before:" in stdout
    assert 'runtimeConfig: before {"dns": {"servers": ["192.0.2.1"]}}, after nothing' in " ".join(stdout.split())
    assert node.migrate("write").status == 1
    assert not node.path(CHAIN).exists()
    assert node.json("migrate", "write")["proof"]["same"] is False


# Of the place.


def test_a_name_that_does_not_sort_before_the_list(node: Node) -> None:
    node.path(LIST).rename(node.path(f"{NET}/00-a.conflist"))
    reason = (
        f"{NET}/00-a.conflist: sorts before 00-cni-chain.conflist, so no runtime would take the facade: "
        "choose another name, --facade NAME"
    )

    assert refused(node, "write") == reason
    assert node.migrate("write", "--facade", "0-cni-chain.conflist").status == 0
    assert node.path(f"{NET}/0-cni-chain.conflist.ready").exists()


def test_a_name_that_another_file_has(node: Node) -> None:
    node.write(FACADE, {"name": "other", "plugins": [{"type": "bridge"}]})

    assert refused(node, "plan") == f"{FACADE}: exists and is not a facade: choose another name, --facade NAME"


@pytest.mark.parametrize("command", ["plan", "write", "switch", "undo", "status"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"name": "cilium",', ":1:19: not JSON: "),
        (
            '{"name": "cilium", "plugins": [{"type": "cni-chian"}]}',
            ":1:33: the plugin's type is cni-chian; did you mean ",
        ),
        ("", ": empty"),
    ],
)
def test_a_facade_in_place_that_is_broken_is_to_be_corrected(
    ready: Node, command: str, content: str, what: str
) -> None:
    ready.migrate("switch")
    ready.write(FACADE, content)

    reason = refused(ready, command)

    assert reason.startswith(f"{FACADE}{what}")
    assert reason.endswith("; correct it: cni-chain verify checks it")


@pytest.mark.parametrize("command", ["switch", "status"])
@pytest.mark.parametrize("content", ["", "{"])
def test_a_waiting_facade_that_is_broken_is_to_be_written_again(ready: Node, command: str, content: str) -> None:
    ready.write(WAITING, content)

    assert refused(ready, command).endswith("; run cni-chain migrate write again")
    assert ready.migrate("write").status == 0
    assert ready.migrate("switch").status == 0


def test_a_file_that_sorts_first_came_after_the_write(ready: Node) -> None:
    ready.write(f"{NET}/00-a.conflist", {"name": "cilium", "plugins": [{"type": "cilium-cni"}]})

    status, _, stderr = ready.migrate("switch")

    assert status == 1
    assert f"{NET}/00-a.conflist: sorts before 00-cni-chain.conflist" in stderr
    assert f"the runtime now takes {NET}/00-a.conflist, the fragments were written from {LIST}" in stderr


# Of fragments.


def test_a_fragment_that_is_there_and_says_otherwise(node: Node) -> None:
    istio = node.plugins()[1]
    node.write(ISTIO, istio | {"exclude_namespaces": ["kube-system", "dmz"]})
    before = node.files()

    status, stdout, stderr = node.migrate("write")

    assert (status, stdout) == (1, "")
    assert node.files() == before
    told = " ".join(stderr.split())
    assert f'2 istio-cni ({ISTIO}): exclude_namespaces[1]: before nothing, after "dmz"' in told
    assert f"{LIST}: plugins would not get the same configuration as before; nothing was written" in told


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("{", 0o644, "is not complete yet"),
        ('{"type": "a/b"}', 0o644, "is refused"),
        ('{"type": "istio-cni"}', 0o666, "writable by users other than root"),
    ],
)
def test_a_fragment_that_the_plugin_would_not_take(node: Node, content: str, mode: int, words: str) -> None:
    node.write(ISTIO, content, mode)
    before = node.files()

    status, _, stderr = node.migrate("write")

    assert status == 1
    assert ISTIO in stderr
    assert words in stderr
    assert node.files() == before


def test_a_list_that_has_lost_what_it_had_at_the_first_write(ready: Node) -> None:
    ready.change_list(plugins=ready.plugins()[:1])

    assert refused(ready, "write").startswith(
        f"{LIST}: no longer has istio-cni, which its copy {LIST}.before-cni-chain has: Istio's agent removes its plugin"
    )
    assert ready.migrate("write", "--without", "istio").status == 0


def test_a_list_that_istio_has_left_never_becomes_a_facade_without_istio_by_the_advice_of_the_messages(
    ready: Node,
) -> None:
    """Istio's agent takes its plugin out when it stops, here between the write and the switch."""
    ready.change_list(plugins=ready.plugins()[:1])
    later(ready.path(LIST))
    ways = (
        "Istio's agent removes its plugin when it stops, and new pods start without it now: wait until the list has "
        "it again, or move Istio (its commands: cni-chain migrate status), and switch when it has written"
    )
    assert refused(ready, "switch") == (
        f"{LIST}: istio-cni was removed since the fragments were written, and {ISTIO} is still the copy that migrate "
        f"wrote: {ways} [list-changed]"
    )
    assert ways in refused(ready, "write")

    ready.path(f"{LIST}.before-cni-chain").unlink()
    left_out = (
        f"{ISTIO}: has istio-cni, but {LIST} lacks istio-cni, so the facade would leave owner istio out and new pods "
        "would start outside the mesh: wait until the list has istio-cni again (its agent adds it when it runs), or "
        "keep it with cni-chain migrate write --add istio, or leave it out with --without istio"
    )
    assert refused(ready, "write") == left_out
    status, stdout, stderr = ready.migrate("plan")
    assert (status, stderr) == (1, f"cni-chain: {left_out}\n")
    assert "Steps" not in stdout

    status, stdout, _ = ready.migrate("write", "--without", "istio")
    assert status == 0
    assert "cni-chain migrate switch --without istio\n" in stdout
    assert "cni-chain migrate switch --without istio\n" in ready.migrate("status", "--without", "istio").stdout
    (write, *_, switch) = [
        step["commands"][0]
        for step in ready.json("migrate", "plan", "--without", "istio")["steps"]
        if step["id"] in ("write", "switch")
    ]
    assert (write, switch) == ("cni-chain migrate write --without istio", "cni-chain migrate switch --without istio")
    assert refused(ready, "switch") == f"{left_out} [owner-not-listed]"
    assert not ready.path(FACADE).exists()

    assert ready.migrate("write", "--add", "istio").status == 0
    assert ready.migrate("switch").status == 0
    assert [owner["name"] for owner in ready.read(FACADE)["plugins"][0]["owners"]] == ["cilium", "istio"]
    assert "required" not in ready.read(FACADE)["plugins"][0]["owners"][1]


def test_a_mesh_that_runs_here_is_not_left_out_because_cilium_wrote_last(make: MakeNode) -> None:
    """In the war for one list the mesh's plugin is in it for a moment only."""
    node = make("cilium-1.20")
    agent = "/var/run/istio-cni/pluginevent.sock"
    node.write(agent, b"")

    for command in ("plan", "write"):
        _, _, stderr = node.migrate(command)
        assert f"{agent}: Istio's CNI agent runs on this node, but {LIST} lacks istio-cni, so" in stderr
    assert not node.path(f"{NET}/{FACADE.rpartition('/')[2]}.ready").exists()

    for choice in ("--add", "--without"):
        assert node.migrate("plan", choice, "istio").status == 0


def test_a_list_that_istio_has_left_is_switched_once_istio_has_moved_or_is_back(ready: Node) -> None:
    whole = ready.plugins()
    ready.change_list(plugins=whole[:1])
    later(ready.path(LIST))
    assert ready.json("migrate", "switch")["refusals"] != []

    ready.change_list(plugins=whole)
    assert ready.json("migrate", "switch")["refusals"] == []
    ready.migrate("undo")
    ready.change_list(plugins=whole[:1])
    ready.agent_writes(ISTIO)
    assert ready.json("migrate", "switch")["refusals"] == []


@pytest.mark.parametrize("stripped", [True, False])
def test_a_mesh_that_has_moved_as_printed_is_switched_with_what_its_agent_has_written(
    ready: Node, stripped: bool
) -> None:
    """The printed settings change istio-cni's configuration on purpose; its agent may change more."""
    istio = ready.plugins()[1]
    (move,) = [one for one in ready.json("migrate", "status")["settings"] if one["owner"] == "istio"]
    assert "--set ambient.enableAmbientDetectionRetry=true" in move["commands"][0]
    if stripped:
        ready.change_list(plugins=ready.plugins()[:1])
    ready.write(ISTIO, istio | {"enable_ambient_detection_retry": True, "plugin_log_level": "debug"})

    if stripped:
        assert "if it has moved, keep it with cni-chain migrate write --add istio" in refused(ready, "write")
    else:
        assert ready.migrate("write").status == 0
    status, stdout, stderr = ready.migrate("switch")

    assert (status, stderr) == (0, "")
    told = " ".join(stdout.split())
    written = f"its agent has written this itself, in {ISTIO}"
    assert f"istio-cni: enable_ambient_detection_retry: before false, after true: {written}" in told
    assert f'istio-cni: plugin_log_level: before "info", after "debug": {written}' in told


def test_a_difference_that_no_agent_has_made_ends_with_its_id_and_what_to_do(make: MakeNode) -> None:
    node = make("cilium-portmap-istio")
    node.migrate("write")
    node.cilium_moves()
    portmap = f"{CHAIN}/local.d/10-portmap.conf"
    node.write(portmap, node.read(portmap) | {"snat": False})

    status, stdout, stderr = node.migrate("switch")

    assert (status, stdout) == (1, "")
    assert stderr.splitlines() == [
        f"cni-chain: 2 portmap ({portmap}): snat: before nothing, after false",
        (
            f"cni-chain: {WAITING}: plugins would not get the same configuration as before: correct what is named "
            "above, or remove it and run cni-chain migrate write again [configuration-differs]"
        ),
        "cni-chain: not switched; nothing was changed",
    ]
    assert [one["id"] for one in node.json("migrate", "status")["refusals"]] == ["configuration-differs"]


def test_the_order_of_the_plugins_is_never_an_agents_own_affair(ready: Node) -> None:
    ready.agent_writes(ISTIO)
    facade = ready.read(WAITING)
    facade["plugins"][0]["owners"].reverse()
    ready.write(WAITING, facade)

    assert f'1 cilium-cni ({ISTIO}): type: before "cilium-cni", after "istio-cni"' in ready.migrate("switch").stderr
    assert not ready.path(FACADE).exists()


# Of the order.


def test_switch_before_write(node: Node) -> None:
    assert refused(node, "switch") == f"{WAITING}: nothing to switch to; run cni-chain migrate write first"


def test_a_cilium_that_has_not_moved(ready: Node) -> None:
    ready.path(CILIUM).unlink()
    ready.migrate("write")

    reason = refused(ready, "switch")

    assert reason.startswith(
        f"{CILIUM}: is still the copy that migrate wrote, so Cilium still writes to {NET}, and unless "
    )
    assert "--override cilium-not-moved" in reason
    assert ready.migrate("switch", "--override", "cilium-not-moved").status == 0


def test_a_cilium_that_has_written_into_net_d_since(ready: Node) -> None:
    older = f"{NET}/05-cilium.conf"
    ready.write(older, ready.plugins()[0] | {"name": "cilium", "cniVersion": "0.3.1", "enable-debug": True})
    later(ready.path(older))
    ready.write(f"{NET}/01-cilium.conflist", ready.path(LIST).read_bytes())

    (reason,) = [one for one in ready.json("migrate", "switch")["refusals"] if one["id"] == "agent-writes-net-dir"]

    assert reason["override"] is True
    assert reason["message"].startswith(f"{older}: is newer than {CILIUM}, and Cilium's part of it has changed")


def test_a_list_that_a_mesh_has_written_again_with_what_it_had_is_no_sign_of_cilium(ready: Node) -> None:
    ready.agent_writes(LIST)
    later(ready.path(LIST))

    assert ready.migrate("switch").status == 0


def test_a_cilium_that_sets_files_aside(ready: Node) -> None:
    old = ready.write(f"{NET}/87-podman.conflist.cilium_bak", "{}")
    ready.cilium_moves()  # after that
    time.sleep(0.02)
    ready.path(CILIUM).write_bytes(ready.path(CILIUM).read_bytes())
    assert ready.json("migrate", "switch")["refusals"] == []
    ready.migrate("undo")
    time.sleep(0.02)

    old.rename(ready.path(f"{NET}/10-kindnet.conflist.cilium_bak"))

    assert refused(ready, "switch").startswith(
        f"{NET}/10-kindnet.conflist.cilium_bak: Cilium renamed this file after {CILIUM}"
    )


def test_a_facade_that_cilium_has_set_aside(ready: Node) -> None:
    ready.write(f"{FACADE}.cilium_bak", "{}")

    assert refused(ready, "switch").startswith(f"{FACADE}.cilium_bak: Cilium has renamed the facade to this: ")


def test_an_istio_whose_fragment_is_not_there(ready: Node) -> None:
    ready.path(ISTIO).unlink()

    status, _, stderr = ready.migrate("switch")

    assert status == 1
    assert f"{LIST}: has istio-cni, but {CHAIN}/istio.d has no fragment with it: Istio would append itself" in stderr
    assert not ready.path(FACADE).exists()


def test_an_istio_that_edits_whatever_is_first(make: MakeNode) -> None:
    node = make("cilium-istio-1.22")
    node.migrate("write")
    node.cilium_moves()

    reason = refused(node, "switch")

    assert "Istio before 1.27 appends itself to the first file" in reason
    assert "set cniConfFileName to 05-cilium.conflist first" in reason
    assert node.migrate("switch", "--override", "istio-edits-first-file").status == 0


@pytest.mark.parametrize(
    ("case", "owner", "file"),
    [
        ("flannel-linkerd-k3s", "linkerd", "10-seed.conflist"),
        ("calico-kuma", "kuma", "kuma-cni.conf"),
        ("kindnet-consul", "consul", "10-seed.conflist"),
    ],
)
def test_an_agent_that_edits_every_list(make: MakeNode, case: str, owner: str, file: str) -> None:
    node = make(case)
    node.migrate("write")
    if case.startswith("calico"):
        node.agent_writes(f"{CHAIN}/calico.d/10-calico.conflist")

    reason = refused(node, "switch")

    assert reason.startswith(
        f"{CHAIN}/{owner}.d/{file}: is still the copy that migrate wrote, so {owner}'s agent still edits"
    )
    node.agent_writes(f"{CHAIN}/{owner}.d/{file}")
    assert node.migrate("switch").status == 0


def test_a_calico_whose_kubeconfig_lies_beside_the_list_moves_before_the_switch(make: MakeNode) -> None:
    """Pods that are made before would keep in their records a kubeconfig that nobody renews any more."""
    node = make("calico")
    node.write(f"{NET}/calico-kubeconfig", "")
    node.migrate("write")
    fragment = f"{CHAIN}/calico.d/10-calico.conflist"

    reason = refused(node, "switch")

    assert reason.startswith(
        f"{fragment}: is still the copy that migrate wrote: pods that are made before Calico moves would keep "
        f"{NET}/calico-kubeconfig in their records"
    )
    assert "--override calico-not-moved" in reason
    text = node.path(fragment).read_text()
    node.write(f"{CHAIN}/calico.d/calico-kubeconfig", "")
    node.write(fragment, text.replace(f"{NET}/calico-kubeconfig", f"{CHAIN}/calico.d/calico-kubeconfig"))
    assert node.migrate("switch").status == 0


def test_a_plugin_that_is_not_installed(ready: Node) -> None:
    (ready.root / "opt/cni/bin/istio-cni").unlink()

    reason = refused(ready, "switch")

    assert reason.startswith(f"{WAITING}: no new pod would get a network: istio/istio-cni: no plugin istio-cni in ")


def test_cni_chain_itself_not_installed(ready: Node) -> None:
    (ready.root / "opt/cni/bin/cni-chain").chmod(0o644)

    assert refused(ready, "switch") == (
        "/opt/cni/bin/cni-chain: is missing or not executable: run cni-chain install first [program-missing]"
    )


def test_a_list_that_has_changed_since(ready: Node) -> None:
    plugins = ready.plugins()
    stamp = ready.path(LIST).stat().st_mtime_ns
    ready.change_list(plugins=[plugins[0] | {"enable-debug": True}, plugins[1]])
    os.utime(ready.path(LIST), ns=(stamp, stamp))

    reason = refused(ready, "switch")

    assert (
        reason == f"{LIST}: cilium-cni has changed since the fragments were written: run cni-chain migrate write again "
        "[list-changed]"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, 'name: before "cilium", after "other"'),
        ({"cniVersion": "1.0.0"}, 'cniVersions: before ["0.3.1"], after ["1.0.0"]'),
        ({"disableCheck": True}, "1 cilium-cni (" + CILIUM + "): disableCheck: before false, after true"),
    ],
)
def test_a_waiting_facade_that_is_another_network(ready: Node, change: dict[str, object], words: str) -> None:
    ready.write(WAITING, ready.read(WAITING) | change)

    status, _, stderr = ready.migrate("switch")

    assert status == 1
    assert words in stderr
    assert not ready.path(FACADE).exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ('{"name": "cilium", "plugins": [{"type": "bridge"}]}', "is not a facade"),
        ('{"name": "cilium", "plugins": [{"type": "cni-chain", "stateDir": "here"}]}', "key stateDir"),
        (
            '{"name": "cilium", "plugins": [{"type": "cni-chain", "chainDir": "/other", "owners": [{"name": "a"}]}]}',
            "pass the same --chain-dir",
        ),
        ('{"name": "cilium", "plugins": [{"type": "cni-chain", "owner": [{"name": "a"}]}]}', "did you mean owners?"),
        (
            '{"name": "cilium", "plugins": [{"type": "cni-chain", "owners": [{"name": "a"}], "chaindir": "/"}]}',
            "did you mean chainDir?",
        ),
    ],
)
def test_a_waiting_facade_that_is_none(ready: Node, content: str, words: str) -> None:
    ready.write(WAITING, content)

    reason = refused(ready, "switch")

    assert reason.startswith(WAITING)
    assert words in reason


def switched_beside(node: Node, does: Callable[[Path], object]) -> Result:
    """A switch, and an agent that watches the directory and does that to the facade as soon as it sees it.

    Again from the start if the agent stood still for the half second for which the switch looks.
    """

    def watch() -> None:
        until = time.monotonic() + 30
        while not node.path(FACADE).exists():
            assert time.monotonic() < until
            time.sleep(0.001)
        does(node.path(FACADE))

    before = node.root.with_name("before")
    shutil.copytree(node.root, before, symlinks=True)
    tries = 0
    while True:
        thread = Thread(target=watch)
        thread.start()
        result = node.migrate("switch")
        thread.join()
        tries += 1
        if result.status or tries == 10:
            return result
        shutil.rmtree(node.root)
        shutil.copytree(before, node.root, symlinks=True)


def test_a_facade_that_an_exclusive_cilium_takes_away_at_once(ready: Node) -> None:
    status, stdout, stderr = switched_beside(ready, lambda facade: facade.rename(f"{facade}.cilium_bak"))

    assert (status, stdout) == (1, "")
    assert stderr.startswith(f"cni-chain: {FACADE}: was removed again at once (by Cilium, if {FACADE}.")


def test_a_facade_that_an_agent_edits_at_once(ready: Node) -> None:
    def append(facade: Path) -> None:
        document = json.loads(facade.read_bytes())
        document["plugins"].append({"type": "istio-cni"})
        facade.write_text(json.dumps(document))

    status, _, stderr = switched_beside(ready, append)

    assert status == 1
    assert stderr.startswith(f"cni-chain: {FACADE}: an agent edited it at once: run cni-chain migrate undo")
    assert ready.migrate("undo").status == 0


def test_undo_without_a_list_to_go_back_to(ready: Node) -> None:
    ready.migrate("switch")
    ready.path(LIST).unlink()

    copy = f"{LIST}.before-cni-chain"
    assert refused(ready, "undo") == (
        f"{LIST}: the list that was in use before the facade no longer exists, but {copy} is its copy; restore it, "
        f"cp -p {copy} {LIST}, then run cni-chain migrate undo again"
    )
    shutil.copy2(ready.path(copy), ready.path(LIST))
    assert ready.migrate("undo").status == 0


def test_undo_without_a_list_and_without_its_copy(ready: Node) -> None:
    ready.migrate("switch")
    ready.path(LIST).unlink()
    ready.path(f"{LIST}.before-cni-chain").unlink()

    assert refused(ready, "undo") == (
        f"{NET}: no .conf, .conflist or .json of a runtime here: without the facade pods would get no network; the "
        f"first owner's own takes its place with: cni-chain uninstall --keep-program --restore {CILIUM}"
    )
    ready.run("uninstall", "--keep-program", "--restore", CILIUM)
    assert [name for name in sorted(os.listdir(ready.net_dir)) if name.endswith(".conflist")] == ["05-cilium.conflist"]


def test_undo_to_another_network(ready: Node) -> None:
    ready.migrate("switch")
    ready.change_list(name="other")

    assert refused(ready, "undo").startswith(f"{LIST}: is network other, not cilium: ")


def test_a_refusal_in_json_is_whole_and_the_status_the_same(node: Node) -> None:
    node.migrate("write")

    status, stdout, _ = node.migrate("switch", "--json")

    document = json.loads(stdout)
    assert status == 1
    assert (document["state"], document["changed"], len(document["refusals"])) == ("written", [], 1)
