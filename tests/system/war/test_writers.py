"""What the agents' own writers do when a setting is wrong or missing, and which command of cni-chain says so."""

import json
import re

import pytest

from tests.support.agents.split_node import CILIUM_D, ISTIO_D, SplitNode
from tests.support.agents.writers import CLEANS_UP, EXCLUSIVE, SOURCE, Writer
from tests.support.sandbox.node import BIN, FACADE, NET, wait_for

OWN = "05-cilium.conflist"
CHAINED = "--chained-cni-plugin=true"


def wait_until_ready(istio: Writer, times: int = 1) -> None:
    wait_for(lambda: [one["ready"] for one in istio.said].count("true") >= times, "Istio is ready")


def wait_for_file(node: SplitNode, directory: str, name: str) -> None:
    wait_for(lambda: name in node.names(directory), f"{directory}/{name} is written")


@pytest.mark.parametrize("version", ["1.20", "1.18"])
def test_with_the_settings_of_conf_helm_nothing_is_found(node: SplitNode, version: str) -> None:
    """Both agents write, the chain is whole, and neither command has anything to say."""
    istio = node.istio()
    node.cilium(version=version).start()
    istio.start()
    wait_until_ready(istio)
    wait_for_file(node, CILIUM_D, OWN)

    assert (node.names(CILIUM_D), node.names(ISTIO_D)) == ([OWN], ["10-istio.conf"])
    assert (node.verified(), node.diagnosed()) == ([], [])


def test_cilium_whose_directory_was_missing_writes_but_never_watches(node: SplitNode) -> None:
    """It makes the directory and its file, and then doesn't see that the file is gone: new pods wait, as is told."""
    node.sandbox.path(CILIUM_D).rmdir()
    istio, cilium = node.istio(), node.cilium()
    istio.start()
    cilium.start()
    wait_until_ready(istio)
    wait_for(lambda: "Failed to watch CNI configuration directory" in cilium.log, "Cilium has lost its watch")
    wait_for_file(node, CILIUM_D, OWN)
    assert node.verified() == []

    node.sandbox.path(f"{CILIUM_D}/{OWN}").unlink()

    # A watch that is there puts it back at once (the next test); here nothing but a restart does.
    assert node.names(CILIUM_D) == []
    [finding] = node.verified()
    assert "new pods wait for cilium's CNI configuration" in finding
    look = "runs on this node, and that it writes to /etc/cni/chain.d/cilium.d."
    assert look in node.told("owner-without-fragment")["do"]

    cilium.stop()
    assert node.names(CILIUM_D) == []  # so it had not been written by the one that ran
    cilium.start()
    wait_for_file(node, CILIUM_D, OWN)
    assert node.verified() == []


def test_cilium_in_its_own_directory_puts_its_file_back_and_others_away(node: SplitNode) -> None:
    """Deleted, edited, joined by another's: its directory is as it wants it. (exclusive=true is right there.)"""
    cilium = node.cilium()
    cilium.start()
    wait_for_file(node, CILIUM_D, OWN)
    file = node.sandbox.path(f"{CILIUM_D}/{OWN}")
    whole = file.read_bytes()

    file.unlink()
    wait_for_file(node, CILIUM_D, OWN)
    file.write_bytes(whole.replace(b"cilium-cni", b"another"))
    wait_for(lambda: file.read_bytes() == whole, "Cilium's file is as it was")
    node.fragment("cilium.d/10-istio.conf", {"cniVersion": "0.3.1", "name": "istio-cni", "type": "istio-cni"})

    wait_for(lambda: node.names(CILIUM_D) == [OWN, "10-istio.conf.cilium_bak"], "the other file is put away")
    assert all("cilium.d" not in finding for finding in node.verified())


WAITS = "failed to write CNI configuration file"
NO_FRAGMENT = ["error: new pods wait for cilium's CNI configuration"]
NO_PORTMAP = "warning: portmap is not run, and no other owner has it"


@pytest.mark.parametrize(
    ("setting", "said", "written", "verified"),
    [
        ("--cni-chaining-mode=portmap", "successfully wrote", ["cilium-cni", "portmap"], [NO_PORTMAP]),
        (
            "--cni-chaining-mode=flannel",
            "successfully wrote",
            ["flannel", "portmap", "cilium-cni"],
            [
                "error: cilium-cni is first, but its chaining-mode flannel needs a plugin before it",
                "warning: flannel is not run, and no other owner has it",
                NO_PORTMAP,
            ],
        ),
        ("--cni-chaining-mode=generic-veth", f"{WAITS} .*: invalid CNI chaining mode", [], NO_FRAGMENT),
        ("--cni-chaining-mode=aws-cni", f"{WAITS} .*: no matching CNI configurations", [], NO_FRAGMENT),
        ("--cni-chaining-target=aws-cni", f"{WAITS} .*: no matching CNI configurations", [], NO_FRAGMENT),
    ],
)
def test_cilium_told_to_chain_by_itself(
    node: SplitNode, setting: str, said: str, written: list[str], verified: list[str]
) -> None:
    """What it writes in its own directory in each mode, or waits for in vain, and what verify makes of that."""
    node.istio().start()
    cilium = node.cilium(CILIUM_D, EXCLUSIVE, setting)
    cilium.start()
    wait_for_file(node, ISTIO_D, "10-istio.conf")
    wait_for(lambda: any(re.search(said, one["msg"]) for one in cilium.said), f"Cilium says: {said}")

    assert [plugin for name in node.names(CILIUM_D) for plugin in node.plugins(f"{CILIUM_D}/{name}")] == written
    found = [re.sub(r": /\S+:", ":", one) for one in node.verified()]
    assert len(found) == len(verified), found
    assert all(one.startswith(expected) for one, expected in zip(found, verified, strict=True)), found


@pytest.mark.parametrize("ending", ["json", "conflist"])
def test_istio_told_a_name_that_does_not_end_in_conf_writes_without_end(node: SplitNode, ending: str) -> None:
    """Never ready, deaf to SIGTERM; what it writes is usable all the same, so pods start, and verify warns."""
    node.cilium().start()
    istio = node.istio(
        ISTIO_D, "--chained-cni-plugin=false", f"--cni-conf-name=10-istio.{ending}", "--enable-ambient-detection-retry"
    )
    istio.start()
    wait_for(lambda: istio.log.count("Wrote CNI config to") >= 3, "Istio has written again and again")
    wait_for_file(node, CILIUM_D, OWN)

    assert {one["ready"] for one in istio.said} == {"false"}
    [finding] = node.verified()
    assert finding.startswith(f"warning: {ISTIO_D}/10-istio.{ending}: Istio's agent treats a single plugin in a file")
    assert "set cniConfFileName to a name that ends in .conf" in finding
    assert any("ends in .conf" in one["what"] for one in node.diagnosed())
    assert [link["type"] for link in node.asked("show")["facades"][0]["chain"]] == ["cilium-cni", "istio-cni"]
    assert not istio.stop(seconds=3), "SIGTERM has ended it"


def test_istio_left_chained_in_its_own_directory_waits_for_ever(node: SplitNode) -> None:
    """There is no list to append itself to, so no pod starts; doctor names the setting."""
    node.cilium().start()
    istio = node.istio(ISTIO_D, CHAINED)
    istio.start()
    wait_for(lambda: "Waiting for CNI network config file" in istio.log, "Istio waits")
    wait_for_file(node, CILIUM_D, OWN)

    assert node.names(ISTIO_D) == []
    [finding] = node.verified()
    assert "new pods wait for istio's CNI configuration" in finding
    assert "chained=false, or its agent waits forever" in node.told("owner-without-fragment")["do"]


def test_istio_left_in_net_d_edits_the_facade_once_it_is_restarted(node: SplitNode) -> None:
    """Running, it leaves the facade alone; after a restart it appends itself. No pod gets past its empty directory."""
    facade = node.sandbox.path(f"{NET}/{FACADE}")
    untouched = facade.read_bytes()
    facade.unlink()
    node.cilium(NET, "--cni-exclusive=false").start()
    wait_for_file(node, NET, OWN)
    istio = node.istio(NET, CHAINED)
    istio.start()
    wait_until_ready(istio)
    assert node.plugins(f"{NET}/{OWN}") == ["cilium-cni", "istio-cni"]
    node.cilium(CILIUM_D).start()
    wait_for_file(node, CILIUM_D, OWN)

    node.install_facade()

    wait_for(lambda: f'preempted by \\"{NET}/{FACADE}\\"' in istio.log, "Istio has seen the facade")
    assert facade.read_bytes() == untouched

    istio.stop()
    istio.start()
    wait_for(lambda: node.plugins(f"{NET}/{FACADE}") == ["cni-chain", "istio-cni"], "Istio has edited the facade")

    waiting, beside = (finding for finding in node.verified() if finding.startswith("error"))
    assert "new pods wait for istio's CNI configuration" in waiting
    assert beside.endswith("istio-cni beside cni-chain: an agent has edited the facade")
    edited = node.told("facade-edited")
    assert edited["severity"] == "error"
    assert "for Istio: cniConfDir, and chained=false" in edited["do"]
    with node.pod("web-1") as pod:
        error = node.cni("add", pod).error
    assert (error["code"], error["msg"].partition(" in ")[0]) == (11, "waiting for istio's CNI configuration")

    # Moved to its directory without its plugin taken out of the facade: it would run twice.
    istio.stop()
    moved = node.istio()
    moved.start()
    wait_for_file(node, ISTIO_D, "10-istio.conf")
    assert "runs twice for a pod" in node.told("facade-edited")["why"]
    node.install_facade()
    assert node.verified() == []
    assert moved.runs


def test_cilium_left_in_net_d_renames_the_facade_again_and_again(node: SplitNode) -> None:
    """Pods then miss every other owner's plugin; doctor names the file, the agent and the way back."""
    node.istio().start()
    cilium = node.cilium(NET, EXCLUSIVE)
    cilium.start()
    wait_for(lambda: node.names(NET) == [f"{FACADE}.cilium_bak", OWN], "Cilium has renamed the facade")

    assert node.plugins(f"{NET}/{OWN}") == ["cilium-cni"]  # what every runtime takes now
    [finding] = node.verified()
    assert finding.endswith(f"Cilium's agent has renamed the facade {FACADE}")
    [renamed] = node.diagnosed()
    assert (renamed["id"], renamed["severity"]) == ("facade-renamed", "error")
    assert renamed["path"] == f"{NET}/{FACADE}.cilium_bak"
    assert "cni.confPath=/etc/cni/chain.d/cilium.d" in renamed["do"]

    node.install_facade()
    wait_for(lambda: node.names(NET) == [f"{FACADE}.cilium_bak", OWN], "Cilium has renamed it again")

    cilium.stop()  # as the doctor says: to its directory, and the facade back
    node.cilium().start()
    wait_for_file(node, CILIUM_D, OWN)
    node.sandbox.path(f"{NET}/{FACADE}.cilium_bak").rename(node.sandbox.path(f"{NET}/{FACADE}"))
    wait_for_file(node, ISTIO_D, "10-istio.conf")
    assert all(finding.startswith("warning") for finding in node.verified())


def test_istio_that_cleans_up_takes_its_fragment_and_its_plugin_along(node: SplitNode) -> None:
    """New pods wait, fail closed, until the owner is taken out; its own agent's pod gets past."""
    istio = node.istio(ISTIO_D, "--chained-cni-plugin=false", "--cni-conf-name=10-istio.conf", CLEANS_UP)
    node.cilium().start()
    istio.start()
    wait_until_ready(istio)
    wait_for_file(node, CILIUM_D, OWN)
    plugin = node.sandbox.path(f"{BIN}/istio-cni")
    assert plugin.exists()

    assert istio.stop()

    assert node.names(ISTIO_D) == []
    assert not plugin.exists()
    assert node.sandbox.path(f"{SOURCE}/istio-cni").exists()
    [finding] = node.verified()
    assert "new pods wait for istio's CNI configuration" in finding
    assert "cni-chain owner remove istio" in node.told("owner-without-fragment")["do"]
    with node.pod("web-1") as pod:
        assert node.cni("add", pod).error["code"] == 11
    effective = node.asked("cat", "--effective", "--pod", "istio-system/istio-cni-node-x7k2p")
    assert [one["type"] for one in effective["facades"][0]["delegates"]] == ["cilium-cni"]

    node.sandbox.run(f"{BIN}/cni-chain", "owner", "remove", "istio")

    assert json.loads(node.sandbox.path(f"{NET}/{FACADE}").read_bytes())["plugins"][0]["owners"][0]["name"] == "cilium"
    assert [one for one in node.verified() if one.startswith("error")] == []
