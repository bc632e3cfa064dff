"""The node that most tests start from."""

import pytest

from tests.support.files.node import Node


@pytest.fixture
def node(host: Node) -> Node:
    """Three required owners with one plugin each: cilium has cilium-cni, istio istio-cni, local portmap."""
    host.owner("cilium", "cilium-cni")
    host.owner("istio", "istio-cni")
    host.owner("local", "portmap")
    return host
