"""Section 2 of the contract: what the keys of an owner do."""

import pytest

from tests.support.files.node import Node

NODE_AGENT = {"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}


def pod(namespace: str, name: str) -> str:
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_UID=1"


def test_an_owner_contributes_only_its_own_types(host: Node) -> None:
    """An agent that writes a whole conflist contributes only its own plugin."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", types=["istio-cni"])
    whole = {"cniVersion": "0.3.1", "name": "cni", "plugins": [{"type": "cilium-cni"}, {"type": "istio-cni"}]}
    host.fragment("istio", "05-cilium.conflist", whole)

    assert host.add().ran == ["ADD cilium-cni", "ADD istio-cni"]


def test_an_owner_with_nothing_but_other_types_has_no_usable_fragment(host: Node) -> None:
    host.owner("cilium", "cilium-cni", types=["calico"])

    outcome = host.add()

    assert (outcome.code, outcome.ran) == (11, [])


@pytest.mark.parametrize("directory", [True, False], ids=["empty-directory", "no-directory"])
def test_a_required_owner_without_a_fragment_fails_add_before_anything_ran(node: Node, directory: bool) -> None:
    node.owner("linkerd")
    if directory:
        node.folder("linkerd")

    outcome = node.add()

    assert (outcome.code, outcome.ran, node.records) == (11, [], [])
    assert "linkerd" in outcome.msg
    assert str(node.chain_dir / "linkerd.d") in outcome.msg


@pytest.mark.parametrize("directory", [True, False], ids=["empty-directory", "no-directory"])
def test_an_owner_that_is_not_required_may_have_no_fragment(node: Node, directory: bool) -> None:
    node.owner("linkerd", required=False)
    if directory:
        node.folder("linkerd")

    assert node.add().ran == ["ADD cilium-cni", "ADD istio-cni", "ADD portmap"]


@pytest.mark.parametrize(
    ("args", "exempt"),
    [
        pytest.param(pod("istio-system", "istio-cni-node-x7"), True, id="the-agents-pod"),
        pytest.param("K8S_POD_NAME=istio-cni-node-1;K8S_POD_NAMESPACE=istio-system", True, id="other-order"),
        pytest.param(pod("tenant", "istio-cni-node-x7"), False, id="a-tenants-pod-of-that-name"),
        pytest.param(pod("istio-system", "istiod-5"), False, id="another-pod-there"),
        pytest.param(pod("istio-system", "my-istio-cni-node-x7"), False, id="no-prefix"),
        pytest.param(pod("istio-system-2", "istio-cni-node-x7"), False, id="a-longer-namespace"),
        pytest.param("K8S_POD_NAME=istio-cni-node-x7", False, id="no-namespace"),
        pytest.param("K8S_POD_NAMESPACE=istio-system", False, id="no-pod-name"),
        pytest.param("", False, id="no-args"),
    ],
)
def test_exempt_skips_an_owner_for_its_own_pods_alone(host: Node, args: str, exempt: bool) -> None:
    """By namespace and pod-name prefix from CNI_ARGS; both are needed."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni", exempt=[NODE_AGENT])

    assert host.add(CNI_ARGS=args).ran == ["ADD cilium-cni"] + ["ADD istio-cni"] * (not exempt)


def test_an_owner_is_not_required_for_the_pods_that_it_exempts(host: Node) -> None:
    """The agent's own pod must be able to start, before the agent has written anything."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", exempt=[{"namespace": "kube-system", "podNamePrefix": "x"}, NODE_AGENT])

    assert host.add(CNI_ARGS=pod("default", "web")).code == 11
    assert host.add(CNI_ARGS=pod("istio-system", "istio-cni-node-x7")).ran == ["ADD cilium-cni"]


def test_an_exempt_pod_never_sees_that_owner_in_its_life(host: Node) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni", exempt=[NODE_AGENT])
    agent = pod("istio-system", "istio-cni-node-x7")

    assert host.add(CNI_ARGS=agent).ok
    assert host.check_pod(CNI_ARGS=agent).ran == ["CHECK cilium-cni"]
    assert host.delete(CNI_ARGS=agent).ran == ["DEL cilium-cni"]
    assert host.delete(CNI_ARGS=agent).ran == ["DEL cilium-cni"]


@pytest.mark.parametrize(
    ("keys", "marks"),
    [
        pytest.param({}, [1, 1], id="default"),
        pytest.param({"duplicates": "first"}, [1, 1], id="first"),
        pytest.param({"duplicates": "all"}, [1, 1, 2], id="all"),
    ],
)
def test_of_two_files_with_the_same_type_the_first_wins(host: Node, keys: dict[str, str], marks: list[int]) -> None:
    """The first file by name, unless duplicates is "all"; within one file all run."""
    host.owner("cilium", **keys)
    host.fragment("cilium", "20.conf", {"type": "cilium-cni", "mark": 2})
    host.fragment("cilium", "10.conflist", {"plugins": [{"type": "cilium-cni", "mark": 1}] * 2})

    assert [call.conf["mark"] for call in host.add().calls] == marks


def test_different_owners_may_have_the_same_type(host: Node) -> None:
    host.owner("cilium", "portmap")
    host.owner("local", "portmap")

    assert host.add().ran == ["ADD portmap", "ADD portmap"]


@pytest.mark.parametrize(("key", "verb"), [("disableCheck", "CHECK"), ("disableGC", "GC")])
@pytest.mark.parametrize("where", ["owner", "conflist"])
def test_an_owner_can_be_left_out_of_check_and_gc(host: Node, where: str, key: str, verb: str) -> None:
    """The owner's key, and a conflist fragment's own."""
    host.owner("cilium", "cilium-cni")
    owners, lists = ({key: True}, {}) if where == "owner" else ({}, {key: True})
    host.owner("istio", **owners)
    host.fragment("istio", "10.conflist", {"plugins": [{"type": "istio-cni"}], **lists})
    host.add()

    outcome = host.gc(["c1"]) if verb == "GC" else host.check_pod()

    assert outcome.ran == [f"{verb} cilium-cni"]


def test_without_gc_for_an_owner_its_stale_attachments_still_get_del(host: Node) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni", disableGC=True)
    host.add()

    assert host.gc([]).ran == ["DEL istio-cni", "DEL cilium-cni", "GC cilium-cni"]


def test_a_failing_del_of_an_owner_may_be_ignored(host: Node) -> None:
    """onDelError "ignore": it is logged and counts as done."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni", onDelError="ignore")
    host.plugin("istio-cni").fails("DEL", "the agent is gone")
    host.add()

    outcome = host.delete()

    assert outcome.ok
    assert outcome.ran == ["DEL istio-cni", "DEL cilium-cni"]
    assert host.records == []
    assert "the agent is gone" in host.log.read_text()


def test_a_failing_del_is_retried_by_default(host: Node) -> None:
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni")
    host.plugin("istio-cni").fails("DEL", "the agent is gone")
    host.add()

    assert host.delete().code == 7
    assert len(host.records) == 1
