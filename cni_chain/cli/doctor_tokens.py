"""The doctor's look at the tokens with which plugins ask the Kubernetes API. Reads only; nothing is asked of the API.

The plugins of Linkerd, Kuma and Consul, Istio's and mostly Calico's, have no agent to ask: they read a kubeconfig that
their agent writes and renews. If the agent has ended, or renews another file, the token in it expires after some hours.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any

from cni_chain.cli import agent_traps
from cni_chain.cli.attached import words
from cni_chain.cli.doctor_words import Node, Trouble, plugins_in
from cni_chain.cli.plugins import ISTIO, MULTUS
from cni_chain.cli.tree import Tree

# In a kubeconfig, which is YAML or JSON; a JWT has three parts (RFC 7519).
_TOKEN = re.compile(r"""["']?token["']?\s*:\s*["']?([\w-]+\.[\w-]+\.[\w-]*)""")
_TOKEN_FILE = re.compile(r"""["']?tokenFile["']?\s*:\s*["']?(/[^\s"',}]+)""")


def check(node: Node) -> Iterator[Trouble]:
    """Yield the kubeconfigs of the chain's plugins, and of Multus before it, whose token has expired."""
    confs = [link.conf for survey in node.surveys for part in survey.parts for link in part.links]
    confs += [conf for name in node.directory.names for conf in plugins_in(node, name) if conf.get("type") in MULTUS]
    users: dict[str, str] = {}
    for conf in confs:
        for path in _kubeconfigs(conf):
            users.setdefault(path, str(conf.get("type")))
    now = time.time()
    for path, user in users.items():
        expires = _expiry(node.tree, path)
        if expires is not None and expires < now:
            yield Trouble(
                "token-expired",
                path,
                f"{user} reads this to ask the Kubernetes API, and its token expired {words(now - expires)} ago",
                "The API answers Unauthorized: no new pod starts that the plugin has to ask about.",
                "Restart its agent on this node, which writes the file again; if that doesn't help, it writes another "
                "file, or the node's clock is wrong.",
            )


def _kubeconfigs(conf: dict[str, Any]) -> Iterator[str]:
    yield from (path for _, path in agent_traps.credentials(conf))
    directory, given = conf.get("cni_agent_run_dir"), conf.get("kubeconfig")
    if conf.get("type") == ISTIO and isinstance(directory, str):  # Istio 1.24 and later
        yield f"{directory}/istio-cni-kubeconfig"
    if conf.get("type") in MULTUS and isinstance(given, str) and given.startswith("/"):
        yield given


def _expiry(tree: Tree, path: str) -> float | None:
    """Return when the token of a kubeconfig expires, None if it has none that says so."""
    try:
        text = tree.read(path).decode()
        named = _TOKEN_FILE.search(text)
        token = tree.read(named[1]).decode().strip() if named else (found := _TOKEN.search(text)) and found[1]
    except (OSError, ValueError):
        return None
    return None if not token else _expires(token)


def _expires(token: str) -> float | None:
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return None
    expires = claims.get("exp") if isinstance(claims, dict) else None
    return float(expires) if isinstance(expires, (int, float)) else None
