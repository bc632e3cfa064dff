"""cilium-agent, as Cilium's chart starts it: its own writer of the conflist, with what the chart's ConfigMap says.

For the rest of the agent stands a stand-in: it hands out the addresses of the node's range, and has routes for the pods
of this node and for those of the others.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab.rollout.agents.inside import api, asked, health

RUN = "/var/run/cilium"
# The agent's flags that its writer has; each is a file of the ConfigMap.
FLAGS = (
    "write-cni-conf-when-ready",
    "read-cni-conf",
    "cni-exclusive",
    "cni-chaining-mode",
    "cni-chaining-target",
    "cni-log-file",
)


def command(arguments: Sequence[str]) -> list[str]:
    """The writer's command line."""
    directory = next(one.partition("=")[2] for one in arguments if one.startswith("--config-dir="))
    files = [Path(directory, flag) for flag in FLAGS]
    return ["cilium-conf-writer", *(f"--{file.name}={file.read_text().strip()}" for file in files if file.exists())]


def routes(nodes: Sequence[Any], name: str) -> dict[str, str]:
    """The ranges of the other nodes, and each one's address."""
    return {
        node["spec"]["podCIDR"]: next(
            one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"
        )
        for node in nodes
        if node["metadata"]["name"] != name and "podCIDR" in node["spec"]
    }


def keep_routes(name: str) -> None:
    """Lay routes to the other nodes, also to those that come later."""
    while True:
        nodes = (api.get("/api/v1/nodes") or {"items": []})["items"]
        for network, address in routes(nodes, name).items():
            subprocess.run(["ip", "route", "replace", network, "via", address], check=False)  # noqa: S607
        time.sleep(2)


def own_range(name: str) -> str:
    """What the node hands out; waits until it has it."""
    while not (found := ((api.get(f"/api/v1/nodes/{name}") or {}).get("spec") or {}).get("podCIDR")):
        time.sleep(0.2)
    return str(found)


def main() -> None:
    end = asked.to_end()
    name = os.environ["K8S_NODE_NAME"]
    ready = health.serve(9879, "127.0.0.1")
    server = [sys.executable, "-B", "-m", "tests.support.stand_ins.cilium", f"--calls={RUN}/calls", "--datapath"]
    server += [f"--ipv4={own_range(name)}", "--ipv6=", "--mtu=1500"]
    agent = subprocess.Popen(server, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": "/lab"})
    assert agent.stdout
    agent.stdout.readline()  # it answers
    threading.Thread(target=keep_routes, args=(name,), daemon=True).start()
    writer = subprocess.Popen(command(sys.argv), stdout=subprocess.PIPE, text=True)
    health.follow(writer.stdout, ready)
    while writer.poll() is None and agent.poll() is None and not end.is_set():
        time.sleep(0.05)
    writer.terminate()
    agent.terminate()
    sys.exit(not end.is_set())


if __name__ == "__main__":
    main()
