"""Pods in and out of the mesh where both agents are well, and after a reboot."""

from concurrent.futures import ThreadPoolExecutor

from tests.support.agents.node import MESH, PLAIN
from tests.support.mesh.kubelet import MeshKubelet

PODS = 20


def test_twenty_pods_in_and_out_of_the_mesh(kubelet: MeshKubelet) -> None:
    """All at once: each is reached by the next one, from in to out and from out to in; Istio has those of the mesh."""
    namespaces = [MESH, PLAIN] * (PODS // 2)
    of_before = kubelet.enrolled()
    with kubelet.watched() as watch, ThreadPoolExecutor(PODS) as threads:
        pods = list(threads.map(kubelet.start, [f"pod-{n}" for n in range(PODS)], namespaces))
        met = list(threads.map(kubelet.answers, pods, pods[1:] + pods[:1]))
        enrolled = kubelet.enrolled() - of_before
        seen = watch.look()
        taken, records = kubelet.agents.addresses(), kubelet.records()
        list(threads.map(kubelet.end, [pod.sandbox for pod in pods]))

    given = {address: f"{pod.namespace}/{pod.name}" for pod in pods for address in pod.addresses}
    assert met == [{pod.name} for pod in pods[1:] + pods[:1]]
    assert taken == given
    assert len(given) == 2 * PODS
    assert len(records) == PODS
    assert enrolled == {pod.who for pod in pods if pod.namespace == MESH}
    assert seen == set(given.values())
    assert watch.outside == []


def test_after_a_reboot_no_pod_of_the_mesh_is_ahead_of_its_agent(kubelet: MeshKubelet) -> None:
    """Both files are on the disk, and Cilium's agent is first: Istio's plugin can't do anything yet, and says so."""
    kubelet.start("web", MESH)
    kubelet.start("job", PLAIN)
    of_before = kubelet.records()
    kubelet.agents.reboot_with(kubelet.runtime)
    with kubelet.watched() as watch:
        kubelet.agents.cilium.start()
        kubelet.runtime.ready()
        told = kubelet.refused("early", MESH)
        kubelet.agents.restore()
        kubelet.end(*kubelet.client.sandboxes())  # CRI-O has forgotten them by itself
        records = kubelet.records()
        web, job = kubelet.start("web", MESH), kubelet.start("job", PLAIN)
        met = kubelet.answers(job, web)
        seen = watch.look()
        kubelet.end(web.sandbox, job.sandbox)

    assert "istio/istio-cni: " in told
    assert "/istio-cni-kubeconfig: no such file or directory" in told
    assert len(of_before) == 2
    assert (len(of_before), records) == (2, [])
    assert met == {"web"}
    assert seen == {f"{MESH}/web", f"{PLAIN}/job"}
    assert watch.outside == []
