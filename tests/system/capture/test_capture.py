"""A pod is called captured if, and only if, its connections really end at the proxy. The rules are the meshes' own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cni_chain.mesh.capture import State, redirected
from tests.conftest import available
from tests.support.capture import users as userspace
from tests.support.capture.campaign import compare, judged, seen
from tests.support.capture.meshes import LEGACY, MESHES, Mesh
from tests.support.capture.pod import Pod, stands
from tests.support.capture.proxy import DIRECT, LOOPED, NOBODY, PROXY
from tests.support.sandbox.namespaces import Sandbox, kill, members

# Of each mesh; `python -m tests.lab.capture` compares a thousand.
STATES = 20
EACH = pytest.mark.parametrize("mesh", MESHES, ids=str)


@contextmanager
def users(sandbox: Sandbox) -> Iterator[tuple[str, int]]:
    """A process in a user namespace: its number in the sandbox, and out here."""
    with sandbox.start(*sandbox.python(Path(userspace.__file__))) as process:
        try:
            assert process.stdout
            inside = process.stdout.readline().strip()
            yield inside, max(members(process))
        finally:
            kill(process)


@EACH
def test_a_pod_is_called_captured_exactly_if_its_connections_meet_the_proxy(sandbox: Sandbox, mesh: Mesh) -> None:
    with available(), Pod.made(sandbox, "pod") as pod:
        found = list(compare(pod, mesh, STATES))

    assert [str(one) for one in found if not one.is_right] == []
    assert {one.judged.state for one in found} >= {State.CAPTURED, State.PARTLY}


@EACH
def test_a_pod_is_captured_as_its_mesh_leaves_it(sandbox: Sandbox, mesh: Mesh) -> None:
    """Not enrolled, enrolled, the proxy gone, the rules wiped."""
    with available(), Pod.made(sandbox, "pod") as pod:
        assert (judged(pod, mesh).state, set(pod.reaches().values())) == (State.NOT, {DIRECT})

        mesh.lay(pod)
        with stands(mesh.proxy(pod)):
            assert (judged(pod, mesh).state, set(pod.reaches(mesh.tunnel).values())) == (State.CAPTURED, {PROXY})
            found = seen(pod, mesh)
            assert found.proxy == mesh.proxies[mesh.index]
            assert [redirected(found.fates, direction) for direction in ("out", "in")] == [2, 2]
            assert {listener.in_pod for fate in found.fates for listener in fate.listeners} == {found.proxy.in_pod}

        assert (judged(pod, mesh).state, set(pod.reaches().values())) == (State.PARTLY, {NOBODY})

        pod.wipe()
        with stands(mesh.proxy(pod)):
            assert (judged(pod, mesh).state, set(pod.reaches().values())) == (State.NOT, {DIRECT})


@EACH
def test_a_process_of_the_pod_that_listens_in_the_proxys_place_is_not_taken_for_it(
    sandbox: Sandbox, mesh: Mesh
) -> None:
    """It has neither ztunnel's mark nor the sidecar's user, so its own connections come back to it."""
    with available(), Pod.made(sandbox, "pod") as pod:
        mesh.lay(pod)
        with stands(mesh.proxy(pod, mark=0, user=4242)):
            found = judged(pod, mesh)
            reached = pod.reaches()

    assert {reached["out", family] for family in (4, 6)} == {LOOPED}
    assert found.state is State.PARTLY
    assert "of the pod listens on port" in found.why


@pytest.mark.parametrize("mesh", [mesh for mesh in MESHES if mesh.name == "Kuma"], ids=str)
@pytest.mark.parametrize("owned", [True, False], ids=["a pod's", "not a pod's"])
def test_a_sidecar_in_a_user_namespace_is_known_by_its_number_there(sandbox: Sandbox, mesh: Mesh, owned: bool) -> None:
    """Rules name users by the numbers of the user namespace that owns the pod's network, and of no other."""
    with users(sandbox) as (inside, outside), Pod.made(sandbox, "pod", inside if owned else "") as pod:
        mesh.lay(pod)
        with stands(replace(mesh.proxy(pod), user_namespace=f"/proc/{outside}/ns/user")):
            found = judged(pod, mesh)
            reached = {pod.reaches()["out", family] for family in (4, 6)}

    assert (found.state, reached) == ((State.CAPTURED, {PROXY}) if owned else (State.PARTLY, {LOOPED}))


@pytest.mark.parametrize("mesh", [mesh for mesh in MESHES if mesh.name == "Istio ambient"], ids=str)
def test_a_pod_that_istio_takes_out_of_the_mesh_is_not_captured(sandbox: Sandbox, mesh: Mesh) -> None:
    with available(), Pod.made(sandbox, "pod") as pod:
        mesh.lay(pod)
        mesh.take_away(pod)
        with stands(mesh.proxy(pod)):
            assert (judged(pod, mesh).state, set(pod.reaches().values())) == (State.NOT, {DIRECT})


@pytest.mark.parametrize("mesh", [mesh for mesh in MESHES if mesh.way != LEGACY], ids=str)
def test_a_pod_whose_tables_sleep_is_not_captured(sandbox: Sandbox, mesh: Mesh) -> None:
    """A table of nftables with the flag dormant keeps its rules, and no packet meets them."""
    with available(), Pod.made(sandbox, "pod") as pod:
        mesh.lay(pod)
        for table in pod.run("nft", "list", "tables").splitlines():
            pod.run("nft", "--file", "-", stdin=f"{table} {{ flags dormant; }}")
        with stands(mesh.proxy(pod)):
            assert (judged(pod, mesh).state, set(pod.reaches().values())) == (State.NOT, {DIRECT})


# A table and a chain whose names are no text, as nft takes none and the kernel takes any (linux/netfilter/nf_tables.h).
ODD_NAMES = """
import socket, struct

def attribute(kind, content):
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)

def message(kind, flags, family, resource, body=b""):
    body = struct.pack("=BBH", family, 0, socket.htons(resource)) + body
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body

names = attribute(1, b"\\xff\\xfe\\0"), attribute(3, b"\\xfd\\0")
asked = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
asked.send(
    message(16, 1, 0, 10)
    + message(10 << 8, 0x401, 2, 0, names[0])
    + message(10 << 8 | 3, 0x405, 2, 0, b"".join(names))
    + message(17, 1, 0, 10)
)
assert struct.unpack_from("=i", asked.recv(4096), 16) == (0,)
"""


@pytest.mark.parametrize("mesh", [mesh for mesh in MESHES if mesh.name == "Istio ambient"], ids=str)
def test_names_of_any_bytes_in_a_pod_hide_nothing(sandbox: Sandbox, mesh: Mesh) -> None:
    with available(), Pod.made(sandbox, "pod") as pod:
        mesh.lay(pod)
        pod.run("python3", "-c", ODD_NAMES)
        with stands(mesh.proxy(pod)):
            assert judged(pod, mesh).state == State.CAPTURED
