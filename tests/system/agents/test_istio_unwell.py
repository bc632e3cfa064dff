"""Istio's agent, or the Kubernetes API that its plugin asks, is away or fails: no pod of the mesh runs outside it."""

from tests.support.agents.case import Case
from tests.support.agents.node import ISTIO_FILE, ISTIO_RUN, PLAIN
from tests.support.agents.writers import ADVISED
from tests.support.sandbox.node import BIN, CHAIN
from tests.support.stand_ins.orders import ENROLMENT_FAILS, NAMESPACES_FAIL

NOT_ADVISED = tuple(setting for setting in ADVISED if "retry" not in setting)


def test_istios_agent_down(case: Case) -> None:
    """A pod of the mesh is refused and rolled back, at once; others, and the agent's own, start."""
    case.node.istio.stop()
    with case.pod() as pod, case.pod(PLAIN) as plain, case.pod("istio-system", "istio-cni-node-x7k2p") as own:
        refused = case.cni("add", pod)
        interfaces = case.node.pod_interfaces(pod)
        for other in (plain, own):
            case.cni("add", other).succeeded()
            case.cni("del", other).succeeded()
        case.node.istio.start()
        added = case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert refused.error["msg"].startswith("istio/istio-cni: ")
    assert "failed to contact node Istio CNI agent" in refused.text
    assert any(call.startswith("DELETE /v1/endpoint") for call in refused.asked("cilium-agent"))
    assert interfaces == []
    assert len(added.enrolled) == 1


def test_istios_agent_killed(case: Case) -> None:
    """The same with its socket left behind; a pod from before is deleted meanwhile."""
    with case.added() as before, case.pod() as pod:
        case.node.istio.kill()
        refused = case.cni("add", pod)
        case.cni("check", before).succeeded()
        case.cni("del", before).succeeded()

    assert "failed to contact node Istio CNI agent" in refused.text


def test_istios_agent_cant_enrol(case: Case) -> None:
    """It was asked and said no: the pod is taken back."""
    case.node.istio.order(ENROLMENT_FAILS)
    with case.pod() as pod:
        refused = case.cni("add", pod)
        interfaces = case.node.pod_interfaces(pod)

    assert refused.error["msg"].startswith("istio/istio-cni: ")
    assert refused.asked("istio-node-agent") == ["POST /cmdadd 500"]
    assert refused.enrolled == []
    assert interfaces == []


def test_istio_uninstalled(case: Case) -> None:
    """Its own clean-up took fragment and plugin: new pods wait, pods of before and the agent's own get their way."""
    with case.added() as before, case.pod() as pod, case.pod("istio-system", "istio-cni-node-x7k2p") as own:
        case.node.istio_writer.stop()
        files = (f"{CHAIN}/{ISTIO_FILE}", f"{BIN}/istio-cni")
        kept = [path for path in files if case.node.sandbox.path(path).exists()]
        refused = case.cni("add", pod)
        case.cni("add", own).succeeded()
        case.cni("del", own).succeeded()
        checked = case.cni("check", before)
        case.cni("del", before).succeeded()
        case.node.restore()
        added = case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert kept == []
    assert refused.error["code"] == 11
    assert "waiting for istio's CNI configuration" in refused.error["msg"]
    assert f"{CHAIN}/istio.d" in refused.error["msg"]
    assert refused.calls == []
    assert (checked.error["code"], checked.error["msg"].partition(";")[0]) == (
        11,
        f"istio/istio-cni: no plugin istio-cni in {BIN}",
    )
    assert len(added.enrolled) == 1


def test_istios_kubeconfig_gone(case: Case) -> None:
    """As after a reboot, which empties /run, until its agent runs: only that agent's pod starts."""
    kubeconfig = case.node.sandbox.path(f"{ISTIO_RUN}/istio-cni-kubeconfig")
    case.node.istio_writer.kill()
    kept = kubeconfig.read_bytes()
    kubeconfig.unlink()
    with case.pod() as pod, case.pod(PLAIN) as plain, case.pod("istio-system", "istio-cni-node-x7k2p") as own:
        refused = [case.cni("add", pod), case.cni("add", plain)]
        case.cni("add", own).succeeded()
        case.cni("del", own).succeeded()
        kubeconfig.write_bytes(kept)

    for step in refused:
        assert step.error["msg"].startswith("istio/istio-cni: ")
        assert step.asked("istio-node-agent") == []


def test_only_the_namespace_cant_be_looked_up_without_the_advised_setting(case: Case) -> None:
    """The hole in istio-cni itself: the pod runs outside the mesh and nobody is told. `verify` warns of it."""
    with case.node.istio_as(*NOT_ADVISED), case.pod() as pod:
        case.node.wait_for_file(ISTIO_FILE, "istio-cni")
        warned = case.node.operator("verify")
        case.node.kubernetes.order(NAMESPACES_FAIL)
        added = case.cni("add", pod)
        case.cni("del", pod).succeeded()
    advised = case.node.operator("verify")

    assert added.answer.status == 0
    assert len(added.result["ips"]) == 2
    assert "GET /api/v1/namespaces/mesh 503" in " ".join(added.asked("kubernetes"))
    assert added.asked("istio-node-agent") == []
    warning = "istio-cni lets a pod run outside the mesh"
    assert warning in warned.out + warned.err
    assert "enable_ambient_detection_retry" in warned.out + warned.err
    assert warning not in advised.out + advised.err
