"""The daemon is killed, and the node reboots: pods live on or are ended, and nothing of them is lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.runtimes.cri import CriError
from tests.support.runtimes.daemons import RUN
from tests.support.runtimes.kubelet import Kubelet
from tests.support.runtimes.steer import steered
from tests.support.sandbox.node import UNMASQUERADED, wait_for, whole_list


def test_a_daemon_that_is_killed(kubelet: Kubelet) -> None:
    """kill -9 and a new start: pods from before answer and can be ended, and there are new ones."""
    pod = kubelet.pod("before")
    sandbox = kubelet.client.run(pod)
    kubelet.serve(sandbox, pod)
    address = kubelet.client.status(sandbox).ip

    before = len(kubelet.node.log())
    kubelet.runtime.kill()
    meanwhile = kubelet.body(f"http://{address}:8080/")
    kubelet.runtime.start()
    kubelet.runtime.ready()
    wanted = {"CHECK", "STATUS", "GC"} if kubelet.runtime.checks else set()
    wait_for(lambda: wanted <= {line["verb"] for line in kubelet.node.log()[before:]}, "the calls of its start")
    after = kubelet.run("after")
    addresses = {kubelet.client.status(s).ip for s in (sandbox, after)}
    answered = kubelet.body(f"http://{address}:8080/")
    kubelet.end(sandbox, after)

    assert meanwhile.startswith("before\n")
    assert answered.startswith("before\n")
    assert len(addresses) == 2
    assert address in addresses
    assert [line["msg"] for line in kubelet.node.log() if line.get("code")] == []


def test_a_daemon_that_is_killed_amid_an_add(kubelet: Kubelet) -> None:
    """Nobody waits for the ADD any more: it ends by its own deadline and undoes itself, whatever the daemon knows."""
    kubelet.facade({"timeouts": {"ADD": 20}})
    with steered(kubelet.node, "portmap") as portmap, ThreadPoolExecutor(1) as thread:
        portmap.hangs("ADD")
        call = thread.submit(kubelet.run, "web")
        wait_for(portmap.reached, "the plugin that hangs")
        kubelet.runtime.kill()
        with pytest.raises(CriError):
            call.result()
        kubelet.runtime.start()
        kubelet.runtime.ready()
        wait_for(lambda: not kubelet.node.leases() and not kubelet.records(), "the end of the ADD", 60)
    kubelet.end(*kubelet.client.sandboxes())
    # CRI-O forgets the namespaces that it had pinned.
    for namespace in kubelet.node.sandbox.path(f"{RUN}/ns").glob("*/*"):
        kubelet.node.sandbox.run("umount", f"{RUN}/ns/{namespace.parent.name}/{namespace.name}")
        namespace.unlink()


def test_a_reboot(kubelet: Kubelet) -> None:
    """Processes, namespaces and /run are gone, /var is not: every address is freed, and given again."""
    kubelet.node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    before = [kubelet.run(f"before-{n}") for n in range(3)]
    taken = kubelet.node.leases()

    kubelet.runtime.reboot()
    kubelet.runtime.ready()
    for sandbox in kubelet.client.sandboxes():
        kubelet.end(sandbox)
    # CRI-O frees them by itself, some time after it has answered.
    wait_for(lambda: not kubelet.node.leases() and not kubelet.records(), "every address is free", 60)
    kubelet.end(kubelet.run("after"))

    assert len(before) == len(taken) == 3
