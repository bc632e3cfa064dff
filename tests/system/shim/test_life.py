"""Laying the shim, taking it away, and what becomes of it when pods, proxies and Cilium come and go."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_chain.mesh.shim import kernel
from tests.support.bpf.balancer import END
from tests.support.bpf.node import removed
from tests.support.shim.campaign import services
from tests.support.shim.node import ShimNode, answers
from tests.support.shim.pod import MeshedPod

SERVICE = services(4)[0]
ASKED, BACKEND = (SERVICE.address, SERVICE.port), (SERVICE.backend, SERVICE.backend_port)
EGRESS = ("dev", "lo", "egress")
OF_OTHERS = ("protocol", "ip", "bpf", "bytecode", "1,6 0 0 0")  # a program of one instruction: nothing matches


def told(node: ShimNode) -> tuple[str, int] | None:
    """What the proxy takes for the destination of a connection to the service."""
    [found] = answers(node.told([ASKED]))
    return found


def test_off_leaves_nothing_and_the_proxy_is_told_the_backends_address_again(node: ShimNode) -> None:
    with node.meshed():
        node.on()
        with_it = told(node)
        done = node.shim("off")

        assert (done.returncode, done.stdout) == (0, "Taken from 1 pod and 1 proxy.\n"), done.stderr
        assert (with_it, told(node), node.leftovers()) == (ASKED, BACKEND, [])
        assert node.shim("off").stdout == "Taken from 0 pods and 0 proxies.\n"
        assert node.shim("status").stdout == "The shim is off.\n"


def test_a_file_where_a_namespace_was_is_passed_over(node: ShimNode) -> None:
    stale = node.node.sandbox.path("/run/netns/stale")
    stale.touch()
    with node.meshed():
        node.on()
        status, found = node.status()
        done = node.shim("off")
    stale.unlink()

    assert (status, [one["netns"] for one in found["pods"]]) == (0, [node.pod.path])
    assert (done.returncode, node.leftovers()) == (0, []), done.stderr


def test_a_kernel_that_takes_no_such_program_says_why() -> None:
    with pytest.raises(OSError, match=r"^\[Errno \d+\] .+ \(R0 !read_ok\)$"):
        kernel.load("cnichain_bad", END, b"Apache-2.0", kernel.SCHED_CLS)


def test_what_others_have_on_lo_stays(node: ShimNode) -> None:
    node.pod.run("tc", "qdisc", "add", "dev", "lo", "clsact")
    node.pod.run("tc", "filter", "add", *EGRESS, "prio", "7", *OF_OTHERS)
    before = node.pod.run("tc", "filter", "show", *EGRESS)
    with node.meshed():
        node.on()
        with_it = told(node)
        node.shim("off")

    assert (with_it, node.pod.run("tc", "filter", "show", *EGRESS)) == (ASKED, before)
    assert "clsact" in node.pod.run("tc", "qdisc", "show", "dev", "lo")


def test_a_filter_that_came_later_keeps_what_it_is_attached_to(node: ShimNode) -> None:
    with node.meshed():
        node.on()
        node.pod.run("tc", "filter", "add", *EGRESS, "prio", "7", *OF_OTHERS)
        node.shim("off")

    assert "bytecode" in node.pod.run("tc", "filter", "show", *EGRESS)


def test_if_one_pod_can_not_be_laid_none_is(node: ShimNode) -> None:
    with node.meshed(), MeshedPod.made(node.node.sandbox, "taken") as taken:
        taken.run("tc", "qdisc", "add", "dev", "lo", "clsact")
        taken.run("tc", "filter", "add", *EGRESS, "prio", "15001", *OF_OTHERS)

        done = node.shim("on", "--pod", node.pod.path, "--pod", taken.path, "--proxy", str(node.proxy))

        assert (done.returncode, done.stdout, node.leftovers()) == (1, "", [])
        assert done.stderr == (
            f"cni-chain: {taken.path}: somebody else's filter has the priority 15001 on lo already\n"
        )


def test_laid_again_it_begins_anew_and_is_there_once(node: ShimNode) -> None:
    with node.meshed():
        node.on("--dry-run")
        counted = told(node)
        node.on()
        status, found = node.status()
        listed = node.pod.run("tc", "filter", "show", *EGRESS)

        assert (counted, told(node), status) == (BACKEND, ASKED, 0)
        assert ([one["learned"] for one in found["pods"]], [one["asked"] for one in found["proxies"]]) == ([0], [0])
        assert listed.count("handle 0x1 cnichain_learn") == 2
    node.shim("off")
    assert node.leftovers() == []


def test_pods_that_come_later_share_a_proxy(node: ShimNode) -> None:
    with node.meshed(), MeshedPod.made(node.node.sandbox, "later") as later, later.proxied(node.proxy):
        node.on()
        done = node.shim("on", "--pod", later.path, "--proxy", str(node.proxy))
        assert done.returncode == 0, done.stderr

        assert [answers(node.told([ASKED], pod=pod)) for pod in (node.pod, later)] == [[ASKED], [ASKED]]


def test_a_pod_takes_its_filters_with_it(node: ShimNode) -> None:
    with node.meshed():
        with MeshedPod.made(node.node.sandbox, "gone") as gone:
            done = node.shim("on", "--pod", gone.path, "--proxy", str(node.proxy))
            assert done.returncode == 0, done.stderr
            assert node.status()[0] == 0
        status, found = node.status()

        assert (status, found["pods"], len(found["proxies"])) == (1, [], 1)
    node.shim("off")
    assert node.leftovers() == []


def test_a_proxy_that_has_started_again_is_missing_until_it_is_given(node: ShimNode) -> None:
    with node.maps():
        node.on()
        removed(node.proxy)  # as the runtime does with the container's
        wait_until_gone(node)
        status = node.shim("status")
        node.proxy.mkdir()
        with node.pod.proxied(node.proxy):
            node.on()
            working, found = node.status()

    assert status.returncode == 1
    assert "run mesh shim on for the new one" in status.stdout
    assert working == 0
    assert sorted(str(one["cgroup"]) for one in found["proxies"]) == [str(node.proxy), "None"]
    node.shim("off")
    assert node.leftovers() == []


def wait_until_gone(node: ShimNode) -> None:
    """The kernel lets go of a cgroup's links with a delay."""
    deadline = time.monotonic() + 30
    while node.status()[1]["proxies"][0]["cgroup"] is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_if_cilium_makes_itself_another_map_the_status_says_so(node: ShimNode) -> None:
    with node.meshed():
        node.on()
        assert node.status()[1]["pods"][0]["stale"] is False
    with node.meshed():
        stale = node.status()[1]["pods"][0]["stale"]
        text = node.shim("status").stdout
        before = told(node)
        node.on()

        assert (stale, before, told(node)) == (True, BACKEND, ASKED)
    assert "Cilium has replaced its map since" in text


def test_pods_and_proxies_may_be_given_by_a_process(node: ShimNode) -> None:
    with node.meshed(), process_in(node.pod, node.applications) as inside, process_in(node.pod, node.proxy) as proxy:
        done = node.shim("on", "--pod", inside, "--proxy", proxy)
        assert done.returncode == 0, done.stderr
        _, found = node.status()

        assert told(node) == ASKED
    assert [one["cgroup"] for one in found["proxies"]] == [str(node.proxy)]


@contextlib.contextmanager
def process_in(pod: MeshedPod, cgroup: Path) -> Iterator[str]:
    """A process of the pod in a cgroup: its number on the node."""
    script = f"echo ready && echo 0 > {cgroup}/cgroup.procs && echo $$ && exec sleep 600"
    # Not by ip, which would hide /sys.
    with pod.sandbox.running("nsenter", f"--net={pod.path}", "sh", "-c", script) as process:
        assert process.stdout
        yield process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--pod", "/proc/1/ns/net", "is the node's own network namespace"),
        ("--pod", "/run/netns/none", "No such file or directory"),
        ("--pod", "/etc/hostname", "Invalid argument"),
        ("--proxy", "/etc", "is not a cgroup of version 2"),
        ("--pod", "", "--pod: is empty"),
        ("--proxy", "", "--proxy: is empty"),
        ("--proxy", "999999999", "process 999999999: No such file or directory"),
    ],
)
def test_what_is_no_pod_or_no_proxy_is_refused(node: ShimNode, option: str, value: str, why: str) -> None:
    with node.maps():
        given = {"--pod": node.pod.path, "--proxy": str(node.proxy)} | {option: value}
        done = node.shim("on", *(word for pair in given.items() for word in pair))

        assert (done.returncode, done.stdout, node.leftovers()) == (1 if value else 2, "", [])
        assert why in done.stderr


def test_a_program_for_every_process_of_the_node_is_refused(node: ShimNode) -> None:
    root = node.node.top.parent
    with node.maps():
        done = node.shim("on", "--pod", node.pod.path, "--proxy", str(root))

    assert (done.returncode, node.leftovers()) == (1, [])
    assert f"{root}: is the cgroup of all processes" in done.stderr


def test_every_word_of_it_says_that_it_is_an_experiment(node: ShimNode) -> None:
    with node.meshed():
        laid = node.shim("on", "--pod", node.pod.path, "--proxy", str(node.proxy)).stdout
        listed = node.shim("status").stdout

    assert [text.count("This is an experiment") for text in (laid, listed)] == [1, 1]
    assert all(
        "xperiment" in node.node.run("mesh", *words, "--help").stdout for words in ([], ["shim"], ["shim", "on"])
    )
