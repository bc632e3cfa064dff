"""What `cni-chain doctor` finds about kubeconfigs: whose pod is gone, and which only records name any more.

Tokens that have expired are in test_doctor.py.
"""

import json
from pathlib import Path

import pytest

from tests.cli.test_doctor import record, state, step, token
from tests.support.files.node import CILIUM, Json, Node

pytestmark = pytest.mark.root

RUN_DIR = "/run/istio-cni"
POD = "5f0c6e0a-93c5-4d5e-9f0b-0d6a4f7f2b11"
ANOTHER = "0d3b5a52-6d5e-4a2f-8a57-2a2f6f1f9c34"
BOUND = {"namespace": "istio-system", "pod": {"name": "istio-cni-node-x7k2p", "uid": POD}, "node": {"name": "node1"}}
PODS = "var/lib/kubelet/pods"

PRESENT, BEFORE = "/etc/cni/chain.d/cilium.d/calico-kubeconfig", "/etc/cni/net.d/calico-kubeconfig"


@pytest.fixture(autouse=True)
def _like_a_node(node: Node) -> None:
    (node.root / "var/log").mkdir(parents=True)
    state(node).mkdir(parents=True)
    state(node).chmod(0o700)


def at(node: Node, path: str) -> Path:
    return node.root / path.removeprefix("/")


def findings(node: Node) -> list[Json]:
    found: list[Json] = json.loads(node.run("doctor", "--json").stdout)["findings"]
    return found


def istio_with(node: Node, token: str) -> None:
    """Istio's kubeconfig has that token."""
    at(node, RUN_DIR).mkdir(parents=True)
    at(node, f"{RUN_DIR}/istio-cni-kubeconfig").write_text(f"    token: {token}\n")
    istio = json.loads((node.chain_dir / "istio.d/10-istio.conf").read_bytes())
    node.write("istio.d/10-istio.conf", istio | {"cni_agent_run_dir": RUN_DIR})


def kubelet_has(node: Node, *pods: str, pods_dir: str = PODS) -> None:
    for pod in pods:
        (node.root / pods_dir / pod).mkdir(parents=True)


@pytest.mark.parametrize(
    "pods_dir", [PODS, "var/lib/k0s/kubelet/pods", "var/snap/microk8s/common/var/lib/kubelet/pods"]
)
def test_a_token_that_has_died_with_its_pod(node: Node, pods_dir: str) -> None:
    istio_with(node, token(3600, **{"kubernetes.io": BOUND}))
    kubelet_has(node, ANOTHER, pods_dir=pods_dir)

    (one,) = findings(node)

    kind = (one["severity"], one["id"], one["path"])
    assert kind == ("error", "token-revoked", f"{RUN_DIR}/istio-cni-kubeconfig")
    assert one["what"] == (
        "istio-cni reads this to ask the Kubernetes API, and its token is bound to the pod "
        "istio-system/istio-cni-node-x7k2p, which is gone from this node"
    )
    assert "Unauthorized" in one["why"]
    assert "in the mesh or outside it" in one["why"]


@pytest.mark.parametrize("pods", [[], [POD], [ANOTHER, POD]], ids=["no kubelet here", "alone", "among others"])
def test_a_token_whose_pod_is_there_or_unknown_is_no_fault(node: Node, pods: list[str]) -> None:
    istio_with(node, token(3600, **{"kubernetes.io": BOUND}))
    kubelet_has(node, *pods)

    assert findings(node) == []


@pytest.mark.parametrize("claim", [None, [], {"pod": None}, {"pod": {"uid": "../../etc"}}, {"pod": {"uid": 1}}])
def test_a_token_that_names_no_pod_is_no_fault(node: Node, claim: object) -> None:
    istio_with(node, token(3600, **{"kubernetes.io": claim}))
    kubelet_has(node, ANOTHER)

    assert findings(node) == []


def test_a_token_that_has_expired_too_is_told_once(node: Node) -> None:
    istio_with(node, token(-7300, **{"kubernetes.io": BOUND}))
    kubelet_has(node, ANOTHER)

    assert [one["id"] for one in findings(node)] == ["token-expired"]


def calico_moved(node: Node, *, pods: int = 1, type_: str = "calico") -> None:
    """Calico writes to its owner's directory now; pods that were made before have records."""
    node.change_owner("cilium", types=["calico"])
    node.install("calico")
    conf = {"type": type_, "kubernetes": {"kubeconfig": BEFORE}}
    node.write("cilium.d/05-cilium.conflist", {"plugins": [conf | {"type": "calico"} | kubeconfig(PRESENT)]})
    at(node, PRESENT).write_text(f"token: {token(3600)}")
    for number in range(pods):
        record(node, f"c{number}", delegates=[step(owner="cilium", type=type_, path=CILIUM, conf=conf)])


def kubeconfig(path: str) -> Json:
    return {"kubernetes": {"kubeconfig": path}}


BY_STATE = {
    "missing": ("", "The file doesn't exist: DEL can't delete these pods with it."),
    "expired": (
        f"token: {token(-7300)}",
        "Its token expired 2h ago: DEL can't delete these pods with it (Unauthorized).",
    ),
    "valid": (
        f"token: {token(36000)}",
        "No agent renews its token: after it has expired, DEL can't delete these pods with it (Unauthorized).",
    ),
}


@pytest.mark.parametrize(("content", "why"), BY_STATE.values(), ids=list(BY_STATE))
def test_records_that_name_a_kubeconfig_of_before(node: Node, content: str, why: str) -> None:
    calico_moved(node, pods=5)
    if content:
        at(node, BEFORE).write_text(content)

    (one,) = findings(node)

    assert (one["severity"], one["id"], one["path"]) == ("warning", "record-kubeconfig", BEFORE)
    assert one["what"] == (
        "cilium/calico of 5 attachments reads this at DEL, and no fragment names it now: "
        "a/b eth0 (c0), a/b eth0 (c1), a/b eth0 (c2) and 2 more"
    )
    then = f" DEL then tries once more with the owner's present configuration, which names {PRESENT}."
    assert one["why"] == why + then
    assert f"ln -sf {PRESENT} {BEFORE}" in one["do"]


def test_records_of_an_owner_that_has_nothing_now(node: Node) -> None:
    calico_moved(node)
    node.clear("cilium")

    (one,) = [one for one in findings(node) if one["id"] == "record-kubeconfig"]

    assert "The owner has no present configuration with a kubeconfig" in one["why"]


def test_records_whose_kubeconfig_leads_to_the_present_one_are_no_fault(node: Node) -> None:
    calico_moved(node)
    at(node, BEFORE).symlink_to(PRESENT)

    assert findings(node) == []


def test_records_of_a_plugin_whose_del_asks_nobody_are_no_fault(node: Node) -> None:
    calico_moved(node, type_="linkerd-cni")

    assert findings(node) == []
