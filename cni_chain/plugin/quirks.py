"""Texts to which a runtime or a real plugin gives a meaning, and what cni-chain does about them. Pure.

Every rule here names the program that it exists for.
"""

from __future__ import annotations

from cni_chain.plugin.errors import CNIError

# How programs say that something doesn't exist. containerd takes a failed DEL with one of these for a success
# (github.com/containerd/go-cni, cni.go, Remove), only in this spelling.
_NOT_FOUND_WORDS = ("not found", "no such file or directory")
_REPLACEMENTS = ("absent", "nothing at that path")

HOST_DEVICE = "host-device"

# What the words must follow where CNI_NETNS doesn't name the namespace. The last is Cilium's up to 1.18 with an empty
# path (plugins/cilium-cni/cmd/cmd.go, Del: "opening netns pinned at %s: %w", of "open : no such file or directory").
_NAMESPACE = ("netns", "network namespace", "netns pinned at : open")
_PART_OF_A_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-./")


def without_not_found(error: CNIError) -> CNIError:
    """Return a failed DEL's error without the words that containerd takes for success."""
    # Words that a line break separates here are joined on the way to the runtime.
    msg, details = " ".join(error.msg.split("\n")), error.details
    for words, others in zip(_NOT_FOUND_WORDS, _REPLACEMENTS, strict=True):
        for spelt in (words, words.capitalize()):
            msg, details = msg.replace(spelt, others), details.replace(spelt, others)
    return CNIError(error.code, msg, details)


def namespace_is_gone(said: str, netns: str) -> bool:
    """Return whether a delegate's own words say that the pod's namespace, at the path `netns` (may be empty), is gone.

    Cilium 1.18 deletes its endpoint and then fails like this at every try; a runtime could never remove the pod. The
    words must follow the namespace directly: Multus' server begins every error with the path (pkg/server/server.go),
    and an address pool that is "not found" is not a namespace.
    """
    text = said.lower()
    subjects = (netns.lower(), *_NAMESPACE) if netns else _NAMESPACE
    return any(_says_of(text, subject) for subject in subjects)


def device_is_back(said: str, ifname: str) -> bool:
    """Return whether host-device says that the pod has no such interface: its device is back where it came from.

    It fails like this at every DEL after its first (plugins/main/host-device/host-device.go, moveLinkOut; its IPAM has
    had its DEL by then). From a plain conflist containerd takes the words for success.
    """
    return said.strip() == f'failed to find "{ifname}" in containerNS: Link not found'


def _says_of(text: str, subject: str) -> bool:
    at = text.find(subject)
    while at >= 0:
        rest = text[at + len(subject) :].lstrip(" \t\n\"'`:;,()[]")
        whole = at == 0 or subject.startswith("/") or text[at - 1] not in _PART_OF_A_WORD
        if whole and rest.startswith(_NOT_FOUND_WORDS):
            return True
        at = text.find(subject, at + 1)
    return False
