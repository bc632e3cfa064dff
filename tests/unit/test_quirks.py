"""Others' words: which say that the pod's namespace is gone, and which must not reach containerd."""

from __future__ import annotations

import pytest

from cni_chain.plugin import quirks
from cni_chain.plugin.errors import CNIError

NETNS = "/run/netns/cni-5d1f"

GONE = [
    pytest.param(NETNS, f"failed to open netns {NETNS}: no such file or directory", id="path"),
    pytest.param(NETNS, f'failed to open netns "{NETNS}": no such file or directory', id="quoted"),
    pytest.param(NETNS, f"statfs {NETNS}\nno such file or directory", id="on-the-next-line"),
    pytest.param(NETNS, f"namespace ({NETNS}) not found", id="in-parentheses"),
    pytest.param(NETNS, f"Failed: {NETNS.upper()}: No Such File Or Directory", id="capitals"),
    pytest.param(NETNS, f"{NETNS} is used; open {NETNS}: no such file or directory", id="second-time"),
    # plugins/cilium-cni/cmd/cmd.go of 1.18, Del, with a path and with none
    pytest.param(
        NETNS, f"opening netns pinned at {NETNS}: open {NETNS}: no such file or directory", id="cilium-1.18-path"
    ),
    pytest.param("", "opening netns pinned at : open : no such file or directory", id="cilium-1.18-no-path"),
    pytest.param("", "unable to open netns: no such file or directory", id="netns"),
    pytest.param("", "network namespace not found", id="network-namespace"),
    pytest.param(NETNS, "network namespace: not found", id="network-namespace-with-a-path"),
]
NOT_THE_NAMESPACE = [
    # pkg/server/server.go of Multus 4.3: what its daemon puts in front of every error
    pytest.param(
        NETNS,
        f'CmdDel (shim): CNI request failed with status 400: ContainerID:"c1" Netns:"{NETNS}" IfName:"eth0" '
        "ERRORED: error deleting: dial unix /var/run/cilium/cilium.sock: connect: no such file or directory",
        id="multus-server",
    ),
    pytest.param("", 'Netns:"" IfName:"eth0" ERRORED: dial unix /x.sock: no such file or directory', id="multus-empty"),
    pytest.param(NETNS, f'{NETNS}: ippool "default-v4" not found', id="ippool"),
    pytest.param("", 'netns c1: ippool "x" not found', id="ippool-empty"),
    pytest.param(NETNS, f"open {NETNS}-other: no such file or directory", id="a-longer-path"),
    pytest.param(NETNS, f"open {NETNS}/ns: no such file or directory", id="below-it"),
    pytest.param("", "exec my-netns: not found", id="a-plugins-name"),
    pytest.param("", "open : no such file or directory", id="another-empty-path"),
    pytest.param("", "link eth0 not found", id="link"),
    pytest.param(NETNS, f"{NETNS}: permission denied", id="other-words"),
]


@pytest.mark.parametrize(("netns", "said"), GONE)
def test_these_words_say_that_the_namespace_is_gone(netns: str, said: str) -> None:
    assert quirks.namespace_is_gone(said, netns)


@pytest.mark.parametrize(("netns", "said"), NOT_THE_NAMESPACE)
def test_these_say_it_of_something_else(netns: str, said: str) -> None:
    assert not quirks.namespace_is_gone(said, netns)


@pytest.mark.parametrize(
    ("said", "back"),
    [
        ('failed to find "eth0" in containerNS: Link not found ', True),
        ('failed to find "net1" in containerNS: Link not found ', False),
        ('failed to find "eth0" in containerNS: operation not permitted', False),
        ("Link not found", False),
    ],
)
def test_host_device_says_when_its_device_is_back(said: str, back: bool) -> None:
    """plugins/main/host-device/host-device.go of v1.9.1, moveLinkOut."""
    assert quirks.device_is_back(said, "eth0") == back


@pytest.mark.parametrize("words", ["not found", "Not found", "no such file or directory", "not\nfound"])
def test_what_containerd_takes_for_success_is_worded_otherwise(words: str) -> None:
    error = quirks.without_not_found(CNIError(7, f"link eth0 {words}", f"{words} twice: {words}"))

    for text in (error.document("1.1.0")["msg"], error.details):
        assert "not found" not in str(text)
        assert "no such file or directory" not in str(text)
