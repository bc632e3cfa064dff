"""What is left when something goes wrong: nothing, or what is needed to try again."""

import pytest

from tests.support.sandbox.namespaces import kill
from tests.support.sandbox.node import (
    BIN,
    BRIDGE,
    CHAIN,
    DEVICE,
    HOST_DEVICE,
    IPAM,
    OWNERS,
    PORTMAP,
    STATE,
    TUNING,
    UNMASQUERADED,
    Node,
    addresses,
    calls,
    single,
    types,
    wait_for,
    whole_list,
)

PORT = {"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}
HANGS = """\
#!/bin/sh
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}' ;;
ADD) touch /run/reached && exec sleep 600 ;;
esac
"""
# A text where the plugin wants an object: it refuses this at ADD, and at DEL as well.
UNREADABLE_SYSCTL = TUNING | {"sysctl": "net.core.somaxconn=1024"}
NO_SUCH_SYSCTL = TUNING | {"sysctl": {"net.core.no_such_thing": "1"}}


def test_a_failing_third_plugin_takes_the_others_back(node: Node) -> None:
    """The error is the plugin's own, under its owner's name; the pod can be added once it is repaired."""
    node.fragment("local.d/05-tuning.conf", single(NO_SUCH_SYSCTL))

    with node.pod("web", portMappings=[PORT]) as pod:
        failed = node.cni("add", pod)
        left = node.leases(), node.inside("web", "ip", "-brief", "link")
        node.remove("local.d/05-tuning.conf")
        node.cni("add", pod).succeeded()
        node.cni("del", pod).succeeded()

    assert failed.error["msg"].startswith("local/tuning: ")
    assert "no_such_thing" in failed.error["msg"]
    assert left[0] == []
    assert "eth0" not in left[1]
    ran = [(call["type"], call["command"]) for call in calls(node.log()[0])]
    forward = ["bridge", "tuning", "tuning"]
    assert [(t, "ADD") for t in forward] + [(t, "DEL") for t in forward[::-1]] == ran


@pytest.mark.parametrize("way", ["its-own-del", "another-pod"])
def test_a_mistake_does_not_outlive_its_correction(node: Node, way: str) -> None:
    """The real tuning refuses it at ADD and at DEL, so that nothing can be undone until the fragment is right."""
    node.fragment("istio.d/10-istio.conf", single(UNREADABLE_SYSCTL))

    with node.pod("web") as pod, node.pod("other") as other:
        failed, kept = node.cni("add", pod), node.cni("del", pod)
        leases = node.leases()
        node.fragment("istio.d/10-istio.conf", single(TUNING))
        if way == "its-own-del":
            node.cni("del", pod).succeeded()
        else:
            node.sandbox.run("sh", "-c", f"touch -d '1 hour ago' {STATE}/.stranded/* {STATE}/.stranded")
            node.cni("add", other).succeeded()
            node.cni("del", other).succeeded()

    assert failed.error["msg"].startswith("istio/tuning: ")
    assert "rollback: istio/tuning: " in failed.error["details"]
    assert kept.error["msg"].startswith("istio/tuning: ")
    assert len(leases) == 1, "an address is kept while a plugin behind it could not be undone"
    assert node.leases() == []


def test_a_required_owner_is_waited_for(node: Node) -> None:
    """No fragment: error 11 with the owner's name, and nothing has run; the next try finds it and works."""
    node.remove("istio.d/10-istio.conf")

    with node.pod("web") as pod:
        refused = node.cni("add", pod)
        leases = node.leases()
        node.fragment("istio.d/10-istio.conf", single(TUNING))
        node.cni("add", pod).succeeded()
        node.cni("del", pod).succeeded()

    assert refused.error["code"] == 11
    assert "istio" in refused.error["msg"] + refused.error.get("details", "")
    assert leases == []
    assert "delegates" not in node.log()[0]


def test_a_missing_binary_stops_an_add_before_it_starts(node: Node) -> None:
    """Every binary is looked for first: no address is taken for a pod that can't be finished."""
    node.fragment("local.d/30-absent.conf", single({"type": "absent"}))

    with node.pod("web") as pod:
        refused = node.cni("add", pod)
        leases = node.leases()

    assert refused.error["code"] == 11
    assert "absent" in refused.error["msg"]
    assert leases == []


@pytest.mark.parametrize("as_told_by", ["containerd", "cri-o"])
def test_del_after_the_namespace_is_gone(node: Node, as_told_by: str) -> None:
    """The namespace was destroyed with the pod: containerd gives no path then, CRI-O one that doesn't exist."""
    node.fragment("cilium.d/05-cilium.conflist", whole_list(UNMASQUERADED))
    with node.pod("gone", portMappings=[PORT]) as pod:
        node.cni("add", pod).succeeded()

    node.cni("del", pod, netns="" if as_told_by == "containerd" else None).succeeded()

    assert node.leases() == []


def test_del_again_and_again(node: Node) -> None:
    """Runtimes say DEL at least twice, the second time without a namespace; and also when there was no ADD."""
    with node.pod("web", portMappings=[PORT]) as pod:
        node.cni("del", pod).succeeded()
        node.cni("add", pod).succeeded()
        node.cni("del", pod).succeeded()
        node.cni("del", pod).succeeded()
    node.cni("del", pod, netns="").succeeded()


def test_del_runs_what_add_ran(node: Node) -> None:
    """All three owners changed or emptied their directories meanwhile: the pod goes as it came."""
    with node.pod("web", portMappings=[PORT]) as pod:
        [address] = addresses(node.cni("add", pod).result)
        before = node.leases()
        moved = BRIDGE | {"bridge": "elsewhere", "ipam": IPAM | {"dataDir": "/run/elsewhere"}}
        node.fragment("cilium.d/05-cilium.conflist", whole_list(moved))
        node.remove("istio.d/10-istio.conf")
        node.fragment("local.d/10-portmap.conf", single({"type": "no-longer-portmap"}))
        node.remove("local.d/20-bandwidth.conf")
        node.cni("check", pod).succeeded()
        node.cni("del", pod).succeeded()

    assert [address] == before
    assert node.leases() == []
    assert not node.sandbox.path("/run/elsewhere").exists()
    assert types(node.log()[-1]) == ["bandwidth", "portmap", "tuning", "bridge"]


def test_del_of_a_pod_whose_plugin_was_removed(node: Node) -> None:
    """The binary alone is missing: DEL fails and the address stays taken. The owner is gone too: the pod may go."""
    with node.pod("web", portMappings=[PORT]) as pod:
        node.cni("add", pod).succeeded()
        node.sandbox.path(f"{BIN}/tuning").unlink()
        failed = node.cni("del", pod)
        leases = node.leases()
        node.remove("istio.d/10-istio.conf")
        node.cni("del", pod).succeeded()

    assert failed.error["msg"].startswith("istio/tuning: ")
    assert "not found" not in failed.err  # containerd would take that for success
    assert len(leases) == 1
    assert node.leases() == []


def test_del_of_one_pod_leaves_its_neighbour_alone(node: Node) -> None:
    """Rules, leases and interfaces of the other pod stay, and so does its port."""
    second = PORT | {"hostPort": 18081}
    with node.pod("one", portMappings=[PORT]) as one, node.pod("two", portMappings=[second]) as two:
        node.cni("add", one).succeeded()
        [address] = addresses(node.cni("add", two).result)
        node.cni("del", one).succeeded()
        with node.serving(two):
            answer = node.http("http://192.0.2.2:18081/", "outside")
        leases = node.leases()
        node.cni("check", two).succeeded()
        node.cni("del", two).succeeded()

    assert answer.get("body") == "two"
    assert [address] == leases


def test_check_finds_what_somebody_broke(node: Node) -> None:
    """CHECK looks at the kernel's state: a setting that somebody changed is its owner's failure."""
    with node.pod("web") as pod:
        node.cni("add", pod).succeeded()
        node.inside("web", "sh", "-c", "echo 7 >/proc/sys/net/core/somaxconn")
        broken = node.cni("check", pod)
        node.cni("del", pod).succeeded()

    assert broken.error["msg"].startswith("istio/tuning: ")


def test_a_killed_add_is_undone_by_del(node: Node) -> None:
    """The runtime kills at its deadline, amid the last plugin: the record says what may have run."""
    hangs, reached = node.sandbox.path(f"{BIN}/hangs"), node.sandbox.path("/run/reached")
    hangs.write_text(HANGS)
    hangs.chmod(0o755)
    node.fragment("local.d/30-hangs.conf", single({"type": "hangs"}))

    with node.pod("web", portMappings=[PORT]) as pod:
        with node.starting("add", pod) as process:
            wait_for(reached.exists, "the plugin that hangs")
            kill(process)
        leases = node.leases()
        node.cni("del", pod).succeeded()
    for file in (hangs, reached):
        file.unlink()

    assert len(leases) == 1
    assert node.leases() == []
    assert types(node.log()[-1]) == ["hangs", "bandwidth", "portmap", "tuning", "bridge"]


def test_a_file_that_others_may_write_is_refused(node: Node) -> None:
    """Whoever may write a fragment chooses what root runs: it must be root alone."""
    node.sandbox.path(f"{CHAIN}/istio.d/10-istio.conf").chmod(0o666)

    with node.pod("web") as pod:
        refused = node.cni("add", pod)

    assert refused.error["code"] == 7
    assert "10-istio.conf" in refused.error["msg"]


def test_a_pod_that_was_added_twice_has_one_address(node: Node) -> None:
    """A runtime that lost its memory adds the pod again: what the first ADD did is undone before the second."""
    with node.pod("web", portMappings=[PORT]) as pod:
        node.cni("add", pod).succeeded()
        [address] = addresses(node.cni("add", pod).result)
        leases = node.leases()
        node.cni("del", pod).succeeded()

    assert [address] == leases


def test_portmap_needs_the_port_only_once(node: Node) -> None:
    """`duplicates: first`: an owner's second file with the same plugin doesn't run it again."""
    node.fragment("local.d/15-portmap-again.conf", single(PORTMAP, "1.0.0"))

    with node.pod("web", portMappings=[PORT]) as pod:
        node.cni("add", pod).succeeded()
        node.cni("del", pod).succeeded()

    assert types(node.log()[0]).count("portmap") == 1


@pytest.mark.parametrize("first_one", ["still there", "gone"])
def test_a_container_that_comes_again_in_another_namespace(node: Node, first_one: str) -> None:
    """As podman does, with a DEL that failed in between: what is left is deleted where it was, and the device moves."""
    node.facade(plugin={"owners": [{"name": "cilium"}, OWNERS[1]]})
    node.fragment("cilium.d/05-cilium.conflist", whole_list(HOST_DEVICE))
    tuning = node.sandbox.path(f"{BIN}/tuning")

    with node.device() as plug, node.pod("first") as pod, node.pod("second") as second:
        node.cni("add", pod).succeeded()
        away = tuning.rename(tuning.with_name("tuning.away"))
        failed = node.cni("del", pod)
        away.rename(tuning)
        if first_one == "gone":
            node.sandbox.run("ip", "netns", "delete", "first")
            plug()
        [address] = addresses(node.cni("add", pod, netns=second.netns).result)
        inside = node.inside("second", "ip", "-brief", "address")
        node.cni("del", pod, netns=second.netns).succeeded()
        node.sandbox.run("ip", "link", "show", DEVICE)

    assert failed.error["msg"].startswith("istio/tuning: ")
    assert address in inside
