"""What the lab's agents take from their charts, and how their pods are counted."""

import base64
from typing import Any

import pytest

from tests.lab.rollout.agents import istio
from tests.lab.rollout.agents.guide import blocks
from tests.lab.rollout.agents.inside import cilium_agent, install_cni
from tests.support.stand_ins.calls import Call

NETNS = "/var/run/netns/cni-1"


def pod(address: str = "10.244.1.7") -> dict[str, Any]:
    return {"metadata": {"namespace": "mesh", "name": "web-1"}, "status": {"podIP": address}}


def enrolment(name: str = "web-1", status: int = 200, address: str = "10.244.1.7") -> Call:
    mask = base64.b64encode(b"\xff" * 4).decode()
    body = {"PodNamespace": "mesh", "PodName": name, "Netns": NETNS}
    ips = [{"Address": {"IP": address, "Mask": mask}}]
    return Call("istio-node-agent", "POST /cmdadd", status, body=body | {"IPs": ips})


@pytest.mark.parametrize(
    ("calls", "is_there", "expected"),
    [
        pytest.param([enrolment()], True, True, id="answered"),
        pytest.param([], True, False, id="never asked"),
        pytest.param([enrolment(status=500)], True, False, id="refused"),
        pytest.param([enrolment(status=500), enrolment()], True, True, id="refused, then answered"),
        pytest.param([enrolment("web-2")], True, False, id="another pod"),
        pytest.param([enrolment(address="10.244.1.8")], True, False, id="an address of an earlier sandbox"),
        pytest.param([enrolment()], False, False, id="a sandbox that is gone"),
    ],
)
def test_a_pod_is_in_the_mesh_if_the_add_of_its_sandbox_was_answered(
    calls: list[Call], is_there: bool, expected: bool
) -> None:
    assert istio.is_enrolled(pod(), calls, lambda netns: is_there and netns == NETNS) == expected


def test_the_installer_takes_what_istios_chart_sets() -> None:
    given = {"CHAINED_CNI_PLUGIN": "false", "CNI_CONF_NAME": "10-istio.conf", "REPAIR_ENABLED": "true"}
    found = install_cni.command(given)
    assert {"--chained-cni-plugin=false", "--cni-conf-name=10-istio.conf"} < set(found)
    assert not [word for word in found if "repair" in word]


def test_the_agent_has_routes_to_the_nodes_that_have_a_range() -> None:
    addresses = [{"type": "Hostname", "address": "node2"}, {"type": "InternalIP", "address": "192.0.2.12"}]
    nodes = [
        {"metadata": {"name": "node1"}, "spec": {"podCIDR": "10.244.1.0/24"}, "status": {"addresses": []}},
        {"metadata": {"name": "node2"}, "spec": {"podCIDR": "10.244.2.0/24"}, "status": {"addresses": addresses}},
        {"metadata": {"name": "node3"}, "spec": {}, "status": {"addresses": []}},
    ]
    assert cilium_agent.routes(nodes, "node1") == {"10.244.2.0/24": "192.0.2.12"}


def test_the_guides_steps_are_found_in_their_order() -> None:
    steps = blocks("live-cluster", "Steps")
    marks = ("preset=cilium+istio-ambient", "cni.confPath=", "state=on", "cniConfDir=")
    assert [[mark for mark in marks if mark in step] for step in steps] == [[mark] for mark in marks]
    assert "state=off" in blocks("live-cluster", "Roll back")[0]
