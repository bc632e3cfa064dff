"""The agents, at work beside whatever else happens on a node."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.support.sandbox.namespaces import members
from tests.support.sandbox.node import CHAIN, USUAL, Node

AGENTS = ("cilium", "istio")
REWRITE_SECONDS = 0.02
SCRIPT = Path(__file__).with_name("agent.py")


@contextlib.contextmanager
def agents(node: Node) -> Iterator[dict[int, str]]:
    """Each rewrites its own file without end, from before the block to after it: process → agent."""
    with contextlib.ExitStack() as stack:
        processes: dict[int, str] = {}
        for owner, _, file, conf in USUAL:
            if owner in AGENTS:
                arguments = [owner, f"{CHAIN}/{file}", json.dumps(conf), str(REWRITE_SECONDS)]
                command = node.sandbox.python(SCRIPT, *arguments)
                process = stack.enter_context(node.sandbox.running(*command))
                processes |= dict.fromkeys(members(process), owner)
        yield processes


def generations(node: Node) -> dict[str, int]:
    """How often each agent has written its file: it counts in there."""
    found = {}
    for owner, _, file, _ in USUAL:
        if owner in AGENTS:
            conf = json.loads(node.sandbox.path(f"{CHAIN}/{file}").read_text())
            [plugin] = conf.get("plugins", [conf])
            found[owner] = plugin["generation"]
    return found
