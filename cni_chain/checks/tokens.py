"""Rules about the tokens with which plugins ask the Kubernetes API. Reads only; sends no request to the API.

The plugins of Linkerd, Kuma and Consul, Istio's and mostly Calico's, have no agent to ask: they read a kubeconfig that
their agent writes and renews. If the agent has ended, or renews another file, the token in it expires after some hours;
a token that is bound to the agent's pod becomes invalid when that pod is gone. Records keep the configuration of ADD.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain.agents import istio
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.multus import MULTUS
from cni_chain.agents.registry import MESHES
from cni_chain.checks import fragments
from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, Needs, of_node
from cni_chain.checks.wording import counted, listed
from cni_chain.node import attachments
from cni_chain.node.attachments import words
from cni_chain.node.tree import Tree

# In a kubeconfig, which is YAML or JSON; a JWT has three parts (RFC 7519).
_TOKEN = re.compile(r"""["']?token["']?\s*:\s*["']?([\w-]+\.[\w-]+\.[\w-]*)""")
_TOKEN_FILE = re.compile(r"""["']?tokenFile["']?\s*:\s*["']?(/[^\s"',}]+)""")
# Where a kubelet keeps a directory for each pod of its node, by the pod's UID: usually, under k0s, under MicroK8s.
_PODS = (
    "/var/lib/kubelet/pods",
    "/var/lib/k0s/kubelet/pods",
    "/var/snap/microk8s/common/var/lib/kubelet/pods",
)
_ASKS_OF_ALL = ", and istio-cni asks about every pod, in the mesh or outside it"
_UID = re.compile(r"[0-9a-f-]{36}")


EXPIRED = Kind(
    "token-expired",
    ERROR,
    "the token in the kubeconfig of a plugin, or of Multus before the facade, has expired",
    "The API answers Unauthorized: no new pod starts if the plugin has to ask the API about it.",
    "Restart its agent on this node, which writes the file again. If that doesn't help, the agent writes another file, "
    "or the node's clock is wrong.",
)
REVOKED = Kind(
    "token-revoked",
    ERROR,
    "the token in the kubeconfig of a plugin, or of Multus before the facade, is bound to a pod that is gone from this "
    "node",
    "The API answers Unauthorized some 10 s after that pod was deleted: no new pod starts if the plugin has to ask the "
    "API about it.",
    "Check its agent on this node: the agent's next pod writes the file again when it starts. If that pod already "
    "runs, it writes another file: only one of its directory settings was changed.",
)
OF_RECORDS = Kind(
    "record-kubeconfig",
    WARNING,
    "records name a kubeconfig that no fragment names any more, for a plugin that asks the API at DEL",
    "No agent renews its token: after it has expired, DEL can't delete these pods with it (Unauthorized).",
    "Nothing, as long as DEL succeeds with the owner's present configuration, which it tries next. If the pods stay "
    "Terminating, link the file to the present one.",
)


class Token(NamedTuple):
    """The claims of a token: when it expires, and to which pod it is bound (its name, and its UID)."""

    expires: float | None = None
    pod: str = ""
    uid: str = ""


class Delegate(NamedTuple):
    """Whose a kubeconfig is: an owner's plugin."""

    owner: str
    type: str


@of_node(EXPIRED, REVOKED, needs=Needs.NODE)
def tokens(node: Node) -> Iterator[Finding]:
    """Yield the kubeconfigs of the chain's plugins, and of Multus before it, whose token is no longer valid."""
    users: dict[str, str] = {}
    for conf in node.plugins:
        for path in _kubeconfigs(conf):
            users.setdefault(path, str(conf.get("type")))
    now = time.time()
    for path, user in users.items():
        token = _token(node.tree, path)
        reads = f"{user} reads this to ask the Kubernetes API, and its token"
        if token.expires is not None and token.expires < now:
            yield EXPIRED.at(path, f"{reads} expired {words(now - token.expires)} ago")
        elif _is_gone(node.tree, token.uid):
            yield REVOKED.at(
                path,
                f"{reads} is bound to the pod {token.pod}, which is gone from this node",
                why=f"{REVOKED.why.removesuffix('.')}{_ASKS_OF_ALL}." if user == ISTIO.type else "",
            )


@of_node(OF_RECORDS, needs=Needs.NODE)
def recorded(node: Node) -> Iterator[Finding]:
    """Yield the kubeconfigs that only records name: no agent renews their tokens, and a DEL may need them."""
    present: dict[Delegate, list[str]] = {}
    for link in (link for survey in node.surveys for link in survey.delegates):
        present.setdefault(Delegate(link.owner.name, link.type), []).extend(_kubeconfigs(link.conf))
    found: dict[tuple[str, Delegate], list[str]] = {}
    for path, delegate, pod in _needed(node):
        if not _is_among(node.tree, path, present.get(delegate, [])):
            found.setdefault((path, delegate), []).append(pod)
    for (path, delegate), pods in found.items():
        yield _stranded(node.tree, path, delegate, pods, present.get(delegate, []))


def _needed(node: Node) -> Iterator[tuple[str, Delegate, str]]:
    """Yield the kubeconfigs that DELs by record will read: the file, whose it is, the pod."""
    for state in node.states:
        for entry in state.entries:
            pod = attachments.name(entry.attachment, entry.pod)
            for step in (entry.record.delegates[index] for index in entry.record.pending):
                if step.type not in MESHES:  # at DEL these don't ask the API
                    yield from ((path, Delegate(step.owner, step.type), pod) for path in _kubeconfigs(step.conf))


def _is_among(tree: Tree, path: str, present: list[str]) -> bool:
    """Return whether the file `path` is one of `present`, or a link to one of them."""
    real = tree.real(path)
    if path in present or (os.path.islink(real) and os.readlink(real) in present):
        return True
    return os.path.realpath(real) in {os.path.realpath(tree.real(one)) for one in present}


def _stranded(tree: Tree, path: str, delegate: Delegate, pods: list[str], present: list[str]) -> Finding:
    token, now = _token(tree, path), time.time()
    if not os.path.exists(tree.real(path)):
        why = "The file doesn't exist: DEL can't delete these pods with it."
    elif token.expires is not None and token.expires < now:
        why = f"Its token expired {words(now - token.expires)} ago: DEL can't delete these pods with it (Unauthorized)."
    else:
        why = "No agent renews its token: after it has expired, DEL can't delete these pods with it (Unauthorized)."
    if present:
        why += f" DEL then tries once more with the owner's present configuration, which names {present[0]}."
        do = (
            "Nothing, as long as DEL succeeds with that one. If the pods stay Terminating: "
            f"ln -sf {present[0]} {path}, until the last of them is gone."
        )
    else:
        why += " The owner has no present configuration with a kubeconfig, with which DEL could try once more."
        do = (
            f"Check the agent of {delegate.owner}: it must write its fragment. If the agent is uninstalled, and its "
            f"binary {delegate.type} is gone too, DEL continues without it."
        )
    of_pods = counted(len(pods), "attachment")
    what = f"{delegate.owner}/{delegate.type} of {of_pods} reads this at DEL, and no fragment names it now"
    return OF_RECORDS.at(path, f"{what}: {listed(pods)}", why=why, do=do)


def _kubeconfigs(conf: dict[str, Any]) -> Iterator[str]:
    yield from (path for _, path in fragments.credentials(conf))
    directory, given = conf.get("cni_agent_run_dir"), conf.get("kubeconfig")
    if conf.get("type") == ISTIO.type and isinstance(directory, str):  # Istio 1.24 and later
        yield istio.kubeconfig(directory)
    if conf.get("type") in MULTUS.types and isinstance(given, str) and given.startswith("/"):
        yield given


def _token(tree: Tree, path: str) -> Token:
    """Return the claims of the token of a kubeconfig; an empty Token if the file has no token that has claims."""
    try:
        text = tree.read(path).decode()
        named = _TOKEN_FILE.search(text)
        token = tree.read(named[1]).decode().strip() if named else (found := _TOKEN.search(text)) and found[1]
    except (OSError, ValueError):
        return Token()
    return _parsed(token) if token else Token()


def _parsed(token: str) -> Token:
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    import base64  # only a node with tokens needs it

    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return Token()
    expires = _object(claims).get("exp")
    bound = _object(_object(claims).get("kubernetes.io"))
    pod = _object(bound.get("pod"))
    return Token(
        float(expires) if isinstance(expires, (int, float)) else None,
        f"{bound.get('namespace')}/{pod.get('name')}",
        str(pod.get("uid", "")),
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_gone(tree: Tree, uid: str) -> bool:
    """Return whether a pod is gone from this node; False if no kubelet's directory exists that would show it."""
    if not _UID.fullmatch(uid):
        return False
    known = {name for path in _PODS for name in tree.names(path)}
    return bool(known) and uid not in known
