"""Plugins that fail or hang, and namespaces that vanish: what a kubelet is told, and that every pod can end."""

import pytest

from tests.support.runtimes.cri import CriError
from tests.support.runtimes.kubelet import Kubelet, collect, driver
from tests.support.runtimes.steer import steered
from tests.support.sandbox.node import HOST_DEVICE, OWNERS, UNMASQUERADED, calls, wait_for, whole_list

FORWARD = ["bridge", "tuning", "portmap", "bandwidth"]
OWNER = {"bridge": "cilium", "tuning": "istio", "portmap": "local", "bandwidth": "local"}


@pytest.mark.parametrize("plugin", FORWARD)
def test_an_add_that_fails(kubelet: Kubelet, plugin: str) -> None:
    """Whichever it is, the kubelet is told whose, what ran is undone, and the pod runs once the plugin works."""
    with steered(kubelet.node, plugin) as it:
        it.fails("ADD", "the agent is away")
        told = kubelet.refused("web")
        leases = kubelet.node.leases()
        it.works()
        kubelet.end(kubelet.run("web"))

    assert f"{OWNER[plugin]}/{plugin}: the agent is away" in told
    assert leases == []
    forward = FORWARD[: FORWARD.index(plugin) + 1]
    ran = [(call["type"], call["command"]) for call in calls(kubelet.log("ADD")[0])]
    assert ran == [*((t, "ADD") for t in forward), *((t, "DEL") for t in forward[::-1])]


@pytest.mark.parametrize("plugin", FORWARD)
def test_a_del_that_fails_and_then_works(kubelet: Kubelet, plugin: str) -> None:
    """The pod can't be stopped until its plugin works; meanwhile its address is nobody else's."""
    sandbox = kubelet.run("web")
    address = kubelet.client.status(sandbox).ip

    with steered(kubelet.node, plugin) as it:
        it.fails("DEL", "the agent is away")
        with pytest.raises(CriError) as failed:
            kubelet.client.stop(sandbox)
        with pytest.raises(CriError):
            kubelet.client.stop(sandbox)
        other = kubelet.run("other")
        others = kubelet.client.status(other).ip
        it.works()
        kubelet.end(sandbox, other)

    assert f"{OWNER[plugin]}/{plugin}: the agent is away" in str(failed.value)
    assert others != address


def test_an_add_that_hangs_past_the_kubelets_deadline(kubelet: Kubelet) -> None:
    """containerd kills us, CRI-O waits for our own deadline. Neither leaves anything, and the next try works."""
    kubelet.facade({"timeouts": {"ADD": 20}})

    with steered(kubelet.node, "portmap") as it:
        it.hangs("ADD")
        with pytest.raises(CriError) as failed:
            kubelet.client.run(kubelet.pod("web"), timeout=10)  # as long as the other plugins may take
        assert it.reached()
        wait_for(lambda: not kubelet.node.leases() and not kubelet.records(), "the end of it", 60)
        it.works()
        kubelet.end(kubelet.run_at_last("web"))

    # Our own clock says the first; the daemon, whose clock may be a moment ahead, the second.
    assert failed.value.code in ("DEADLINE_EXCEEDED", "CANCELLED")


def test_an_add_that_hangs_past_our_own_deadline(kubelet: Kubelet) -> None:
    """The kubelet is told which plugin it was, and of the limit; the same at every try, so that events aggregate."""
    kubelet.facade({"timeouts": {"ADD": 10}})

    with steered(kubelet.node, "tuning") as it:
        it.hangs("ADD")
        told = {kubelet.anonymous(kubelet.refused("web")) for _ in range(2)}
        leases = kubelet.node.leases()

    [said] = told
    assert "istio/tuning: did not end in time and was killed" in said
    assert "timeouts.ADD is 10 s" in said
    assert leases == []


def test_a_del_that_hangs(kubelet: Kubelet) -> None:
    """It is killed at its deadline; the pod goes once the plugin answers."""
    kubelet.facade({"timeouts": {"DEL": 10}})
    sandbox = kubelet.run("web")

    with steered(kubelet.node, "tuning") as it:
        it.hangs("DEL")
        with pytest.raises(CriError) as failed:
            kubelet.client.stop(sandbox)
        it.works()
        kubelet.end(sandbox)

    assert "istio/tuning: " in str(failed.value)


def test_a_check_that_fails(kubelet: Kubelet) -> None:
    """CRI-O CHECKs every pod that it adds, and one that fails doesn't start; containerd never asks."""
    with steered(kubelet.node, "tuning") as it:
        it.fails("CHECK", "not as it was")
        if kubelet.runtime.checks:
            assert "istio/tuning: not as it was" in kubelet.refused("web")
        else:
            kubelet.end(kubelet.run("web"))


def test_a_refused_pod_with_a_device_can_be_ended(kubelet: Kubelet) -> None:
    """All was undone, and the runtime's DEL after it finds no interface: host-device says so, and it is no failure."""
    kubelet.facade({"owners": [{"name": "cilium"}, OWNERS[1]]})
    kubelet.node.fragment("cilium.d/05-cilium.conflist", whole_list(HOST_DEVICE))

    with kubelet.node.device() as plug:
        with steered(kubelet.node, "tuning") as it:
            it.fails("ADD", "the agent is away")
            told = kubelet.refused("web")
        plug()
        kubelet.end(*kubelet.client.sandboxes())
        kubelet.end(kubelet.run("web"))

    assert "istio/tuning: the agent is away" in told


def test_a_namespace_that_vanished(kubelet: Kubelet) -> None:
    """Somebody removed it: containerd then gives no path, CRI-O one that doesn't exist. The pod goes all the same."""
    kubelet.node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    sandbox = kubelet.run("web")
    netns = kubelet.client.status(sandbox).netns

    kubelet.node.sandbox.run("umount", "--lazy", netns)
    kubelet.node.sandbox.run("rm", netns)
    kubelet.end(sandbox)

    assert kubelet.node.leases() == []


def lost(kubelet: Kubelet) -> str:
    """A pod whose ADD failed and whose DEL failed too; what the kubelet was told. Containerd 1.6 keeps it."""
    with steered(kubelet.node, "bridge") as bridge, steered(kubelet.node, "portmap") as portmap:
        portmap.fails("ADD", "no ports today")
        bridge.fails("DEL", "no way back")
        return kubelet.refused("lost")


def test_a_failed_add_that_could_not_be_undone(kubelet: Kubelet) -> None:
    """containerd 1.6 tries again by itself. The others forget the pod; our record frees its address at the next GC."""
    kubelet.node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    other = kubelet.run("other")
    kept = kubelet.node.leases(), kubelet.records()

    told = lost(kubelet)
    leases, records = kubelet.node.leases(), kubelet.records()
    known = set(kubelet.client.sandboxes()) - {other}
    if known:
        kubelet.end(*known)
    elif kubelet.runtime.checks:
        kubelet.runtime.restart()  # it calls GC at its start
        kubelet.runtime.ready()
    else:
        collect(kubelet.node, other)
    wait_for(lambda: (kubelet.node.leases(), kubelet.records()) == kept, "the address of the pod that is lost")
    kubelet.end(other)

    assert "local/portmap: no ports today" in told
    assert bool(known) is kubelet.runtime.keeps_failed
    assert (len(leases), len(records)) == (2, 2)


@pytest.mark.parametrize("verb", ["add", "del"])
def test_the_next_call_for_a_lost_pod_frees_it(kubelet: Kubelet, verb: str) -> None:
    """Whatever the runtime does about it: an ADD or a DEL for the same attachment first undoes what the record says."""
    kubelet.node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    lost(kubelet)
    [line] = [line for line in kubelet.log("ADD") if line.get("code")]
    leases = kubelet.node.leases()
    with kubelet.node.pod("again") as pod:
        attachment = (f"-id={line['containerID']}", f"-netns={pod.netns}")
        driver(kubelet.node, *attachment, verb)
        again = kubelet.node.leases()
        driver(kubelet.node, *attachment, "del")
    kubelet.end(*kubelet.client.sandboxes())

    assert len(leases) == 1
    assert len(again) == (1 if verb == "add" else 0)
