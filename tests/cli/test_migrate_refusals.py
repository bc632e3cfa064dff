"""What `migrate` doesn't do, one by one: nothing has changed, and one line names the file and what would help."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from tests.support.files.migrating import CHAIN, FACADE, NET, WAITING, Before

pytestmark = pytest.mark.root

LIST = f"{NET}/05-cilium.conflist"
CILIUM = f"{CHAIN}/cilium.d/05-cilium.conflist"
ISTIO = f"{CHAIN}/istio.d/10-istio.conf"

MakeNode = Callable[[str], Before]


@pytest.fixture
def make(program: str, tmp_path: Path) -> MakeNode:
    return lambda case: Before(tmp_path / case, program, case)


@pytest.fixture
def node(make: MakeNode) -> Before:
    return make("cilium-istio")


@pytest.fixture
def ready(node: Before) -> Before:
    """Written, and Cilium has moved: nothing is in the way of the switch."""
    assert node.migrate("--write").status == 0
    node.cilium_moves()
    return node


def refused(node: Before, *arguments: str) -> str:
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


# Of the list.


def test_no_list(node: Before) -> None:
    node.path(LIST).unlink()

    assert refused(node) == f"{NET}: no .conf, .conflist or .json of a runtime here: nothing to migrate"


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
def test_a_list_that_no_runtime_takes(node: Before, content: str, message: str) -> None:
    node.write(LIST, content)

    assert refused(node) == LIST + message


def test_multus_first(node: Before) -> None:
    node.install("multus-shim")
    node.write(f"{NET}/00-multus.conf", {"name": "multus-cni-network", "type": "multus-shim", "cniVersion": "1.0.0"})

    assert refused(node).startswith(f"{NET}/00-multus.conf: Multus is first, and runs another list")


def test_plugins_that_newer_runtimes_append_from_a_directory(node: Before) -> None:
    node.write(f"{NET}/cilium/50-more.conf", {"type": "tuning"})

    assert refused(node).startswith(f"{NET}/cilium/50-more.conf: containerd 2.1, CRI-O 1.33 and later append ")
    node.change_list(loadOnlyInlinedPlugins=True)
    assert node.migrate().status == 0


def test_a_facade_of_another_name_in_use_already(node: Before) -> None:
    node.write(f"{NET}/00-mine.conflist", {"name": "a", "plugins": [{"type": "cni-chain"}]})

    assert refused(node) == f"{NET}/00-mine.conflist: is a facade, so this node uses cni-chain already"


def test_an_owner_in_two_places_of_the_chain_with_the_option_that_solves_it(make: MakeNode) -> None:
    node = make("cilium-on-aws")
    plugins = node.plugins()
    node.change_list(plugins=[plugins[0], plugins[2], plugins[1], plugins[3]])

    reason = refused(node)

    assert reason.startswith(f"{LIST}: owner aws has aws-cni and egress-cni with portmap between them")
    assert "--owner aws:aws-cni,portmap,egress-cni" in reason
    assert node.migrate("--owner", "aws:aws-cni,portmap,egress-cni").status == 0
    assert node.migrate("--owner", "local:aws-cni,portmap,egress-cni").status == 0


def test_an_owner_for_a_plugin_that_the_list_does_not_have(node: Before) -> None:
    assert refused(node, "--owner", "a:portmap") == f"{LIST}: --owner a:portmap: the list has no portmap"


def test_a_literal_runtime_config_that_a_plugin_could_read_is_a_difference(make: MakeNode) -> None:
    node = make("azure-cilium-by-name")
    node.change_list(plugins=[node.plugins()[0] | {"runtimeConfig": {"dns": {"servers": ["192.0.2.1"]}}}])

    status, stdout, _ = node.migrate()

    assert status == 1
    assert "Proof  not the same as before:" in stdout
    assert 'runtimeConfig: before {"dns": {"servers": ["192.0.2.1"]}}, after nothing' in " ".join(stdout.split())
    assert node.migrate("--write").status == 1
    assert not node.path(CHAIN).exists()
    assert node.document("--write")["proof"]["same"] is False


# Of the place.


def test_a_name_that_does_not_sort_before_the_list(node: Before) -> None:
    node.path(LIST).rename(node.path(f"{NET}/00-a.conflist"))
    reason = (
        f"{NET}/00-a.conflist: sorts before 00-cni-chain.conflist, so no runtime would take the facade: "
        "choose another name, --facade NAME"
    )

    assert refused(node, "--write") == reason
    assert node.migrate("--write", "--facade", "0-cni-chain.conflist").status == 0
    assert node.path(f"{NET}/0-cni-chain.conflist.ready").exists()


def test_a_name_that_another_file_has(node: Before) -> None:
    node.write(FACADE, {"name": "other", "plugins": [{"type": "bridge"}]})

    assert refused(node) == f"{FACADE}: exists and is not a facade: choose another name, --facade NAME"


def test_a_file_that_sorts_first_came_after_the_write(ready: Before) -> None:
    ready.write(f"{NET}/00-a.conflist", {"name": "cilium", "plugins": [{"type": "cilium-cni"}]})

    status, _, stderr = ready.migrate("--switch")

    assert status == 1
    assert f"{NET}/00-a.conflist: sorts before 00-cni-chain.conflist" in stderr
    assert f"the runtime now takes {NET}/00-a.conflist, the fragments were written from {LIST}" in stderr


# Of fragments.


def test_a_fragment_that_is_there_and_says_otherwise(node: Before) -> None:
    istio = node.plugins()[1]
    node.write(ISTIO, istio | {"exclude_namespaces": ["kube-system", "dmz"]})
    before = node.files()

    status, stdout, stderr = node.migrate("--write")

    assert (status, stdout) == (1, "")
    assert node.files() == before
    told = " ".join(stderr.split())
    assert f'2 istio-cni ({ISTIO}): exclude_namespaces[1]: before nothing, after "dmz"' in told
    assert f"{LIST}: plugins would not get the same configuration as before; nothing was written" in told


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        ("{", 0o644, "is not usable yet"),
        ('{"type": "a/b"}', 0o644, "fragment refused"),
        ('{"type": "istio-cni"}', 0o666, "writable by users other than root"),
    ],
)
def test_a_fragment_that_the_plugin_would_not_take(node: Before, content: str, mode: int, words: str) -> None:
    node.write(ISTIO, content, mode)
    before = node.files()

    status, _, stderr = node.migrate("--write")

    assert status == 1
    assert ISTIO in stderr
    assert words in stderr
    assert node.files() == before


def test_a_list_that_has_lost_what_it_had_at_the_first_write(ready: Before) -> None:
    ready.change_list(plugins=ready.plugins()[:1])

    assert refused(ready, "--write").startswith(
        f"{LIST}.before-cni-chain: the fragments were written from this copy, and "
    )


# Of the order.


def test_switch_before_write(node: Before) -> None:
    assert refused(node, "--switch") == f"{WAITING}: nothing to switch to; run cni-chain migrate --write first"


def test_a_cilium_that_has_not_moved(ready: Before) -> None:
    ready.path(CILIUM).unlink()
    ready.migrate("--write")

    reason = refused(ready, "--switch")

    assert reason.startswith(
        f"{CILIUM}: is still the copy that migrate wrote, so Cilium still writes to {NET}, and unless "
    )
    assert "--despite cilium-not-moved" in reason
    assert ready.migrate("--switch", "--despite", "cilium-not-moved").status == 0


def test_a_cilium_that_has_written_into_net_d_since(ready: Before) -> None:
    later(ready.path(LIST))

    reason = refused(ready, "--switch")

    assert reason.startswith(f"{LIST}: is newer than {CILIUM}, so Cilium may still write here")
    assert ready.migrate("--switch", "--despite", "cilium-writes-net-dir").status == 0


def test_a_cilium_that_sets_files_aside(ready: Before) -> None:
    old = ready.write(f"{NET}/87-podman.conflist.cilium_bak", "{}")
    ready.cilium_moves()  # after that
    time.sleep(0.02)
    ready.path(CILIUM).write_bytes(ready.path(CILIUM).read_bytes())
    assert ready.document("--switch")["refusals"] == []
    ready.migrate("--undo")
    time.sleep(0.02)

    old.rename(ready.path(f"{NET}/10-kindnet.conflist.cilium_bak"))

    assert refused(ready, "--switch").startswith(
        f"{NET}/10-kindnet.conflist.cilium_bak: Cilium renamed this file after {CILIUM}"
    )


def test_a_facade_that_cilium_has_set_aside(ready: Before) -> None:
    ready.write(f"{FACADE}.cilium_bak", "{}")

    assert refused(ready, "--switch").startswith(f"{FACADE}.cilium_bak: Cilium has renamed the facade to this: ")


def test_an_istio_whose_fragment_is_not_there(ready: Before) -> None:
    ready.path(ISTIO).unlink()

    status, _, stderr = ready.migrate("--switch")

    assert status == 1
    assert f"{LIST}: has istio-cni, but {CHAIN}/istio.d has no fragment with it: Istio would append itself" in stderr
    assert not ready.path(FACADE).exists()


def test_an_istio_that_edits_whatever_is_first(make: MakeNode) -> None:
    node = make("cilium-istio-1.22")
    node.migrate("--write")
    node.cilium_moves()

    reason = refused(node, "--switch")

    assert "Istio before 1.27 appends itself to the first file" in reason
    assert "set cniConfFileName to 05-cilium.conflist first" in reason
    assert node.migrate("--switch", "--despite", "istio-edits-first-file").status == 0


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
    node.migrate("--write")

    reason = refused(node, "--switch")

    assert reason.startswith(
        f"{CHAIN}/{owner}.d/{file}: is still the copy that migrate wrote, so {owner}'s agent still edits"
    )
    node.agent_writes(f"{CHAIN}/{owner}.d/{file}")
    assert node.migrate("--switch").status == 0


def test_a_plugin_that_is_not_installed(ready: Before) -> None:
    (ready.root / "opt/cni/bin/istio-cni").unlink()

    reason = refused(ready, "--switch")

    assert reason.startswith(f"{WAITING}: no new pod would get a network: istio/istio-cni: no plugin istio-cni in ")


def test_cni_chain_itself_not_installed(ready: Before) -> None:
    (ready.root / "opt/cni/bin/cni-chain").chmod(0o644)

    assert (
        refused(ready, "--switch")
        == "/opt/cni/bin/cni-chain: is missing or not executable: run cni-chain install first"
    )


def test_a_list_that_has_changed_since(ready: Before) -> None:
    plugins = ready.plugins()
    stamp = ready.path(LIST).stat().st_mtime_ns
    ready.change_list(plugins=[plugins[0] | {"enable-debug": True}, plugins[1]])
    os.utime(ready.path(LIST), ns=(stamp, stamp))

    reason = refused(ready, "--switch")

    assert (
        reason
        == f"{LIST}: cilium-cni has changed since the fragments were written: run cni-chain migrate --write again"
    )


def test_a_fragment_that_has_changed_since(ready: Before) -> None:
    fragment = ready.read(CILIUM)
    fragment["plugins"][0]["enable-debug"] = 0
    ready.write(CILIUM, fragment)

    reason = refused(ready, "--switch")

    assert reason == f"1 cilium-cni ({CILIUM}): enable-debug: before false, after 0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, 'name: before "cilium", after "other"'),
        ({"cniVersion": "1.0.0"}, 'cniVersions: before ["0.3.1"], after ["1.0.0"]'),
        ({"disableCheck": True}, "1 cilium-cni (" + CILIUM + "): disableCheck: before false, after true"),
    ],
)
def test_a_waiting_facade_that_is_another_network(ready: Before, change: dict[str, object], words: str) -> None:
    ready.write(WAITING, ready.read(WAITING) | change)

    status, _, stderr = ready.migrate("--switch")

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
def test_a_waiting_facade_that_is_none(ready: Before, content: str, words: str) -> None:
    ready.write(WAITING, content)

    reason = refused(ready, "--switch")

    assert reason.startswith(WAITING)
    assert words in reason


def meanwhile(node: Before, does: Callable[[Path], object]) -> Thread:
    """An agent that watches the directory and does that to the facade as soon as it sees it."""

    def watch() -> None:
        until = time.monotonic() + 30
        while not node.path(FACADE).exists():
            assert time.monotonic() < until
            time.sleep(0.001)
        does(node.path(FACADE))

    thread = Thread(target=watch)
    thread.start()
    return thread


def test_a_facade_that_an_exclusive_cilium_takes_away_at_once(ready: Before) -> None:
    cilium = meanwhile(ready, lambda facade: facade.rename(f"{facade}.cilium_bak"))

    status, stdout, stderr = ready.migrate("--switch")

    cilium.join()
    assert (status, stdout) == (1, "")
    assert stderr.startswith(f"cni-chain: {FACADE}: was removed again at once (by Cilium, if {FACADE}.")


def test_a_facade_that_an_agent_edits_at_once(ready: Before) -> None:
    def append(facade: Path) -> None:
        document = json.loads(facade.read_bytes())
        document["plugins"].append({"type": "istio-cni"})
        facade.write_text(json.dumps(document))

    istio = meanwhile(ready, append)

    status, _, stderr = ready.migrate("--switch")

    istio.join()
    assert status == 1
    assert stderr.startswith(f"cni-chain: {FACADE}: an agent edited it at once: run cni-chain migrate --undo")
    assert ready.migrate("--undo").status == 0


def test_undo_without_a_list_to_go_back_to(ready: Before) -> None:
    ready.migrate("--switch")
    ready.path(LIST).unlink()

    assert refused(ready, "--undo") == f"{NET}: no .conf, .conflist or .json of a runtime here: nothing to migrate"


def test_undo_to_another_network(ready: Before) -> None:
    ready.migrate("--switch")
    ready.change_list(name="other")

    assert refused(ready, "--undo").startswith(f"{LIST}: is network other, not cilium: ")


def test_a_refusal_in_json_is_whole_and_the_status_the_same(node: Before) -> None:
    node.migrate("--write")

    status, stdout, _ = node.migrate("--switch", "--json")

    document = json.loads(stdout)
    assert status == 1
    assert (document["state"], document["changed"], len(document["refusals"])) == ("written", [], 1)
