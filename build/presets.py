"""Writes the chart's presets from the agents' entries: python build/presets.py.

`presets.yaml` of the chart has, for each network and each mesh, its owner and the commands that send it to its
directory; the chart's schema has the names. A test compares both with the entries.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from cni_chain.agents.agent import Agent  # noqa: E402  # the checkout's own modules are found from here on
from cni_chain.agents.istio import ISTIO  # noqa: E402
from cni_chain.agents.registry import AGENTS, EDITORS  # noqa: E402
from cni_chain.migrate import settings  # noqa: E402
from cni_chain.migrate.scene import Member  # noqa: E402
from cni_chain.plugin import facade  # noqa: E402

CHART = CHECKOUT / "deploy/helm/cni-chain"
PRESETS, SCHEMA = CHART / "presets.yaml", CHART / "values.schema.json"
HEAD = "# Written by build/presets.py from the agents' entries (cni_chain/agents). Each preset's last owner is local.\n"
# As its agent of today writes it (1.24 and later).
AMBIENT = {"plugin_log_level": "info", "ambient_enabled": True, "enable_ambient_detection_retry": True}

Json = dict[str, Any]


def presets() -> Json:
    """Return what a preset is made of: NETWORK, or NETWORK+MESH."""
    networks, meshes = {}, {}
    for agent in AGENTS:
        if agent.network:
            networks[agent.owner] = {"owner": agent.option, "name": agent.network, "moved": _moved(agent, {})}
            beside = _moved(agent, {}, beside=ISTIO)
            if beside != networks[agent.owner]["moved"]:
                networks[agent.owner]["movedBesideMesh"] = beside
        elif agent.mesh:
            first = {"first": True} if agent.owner in EDITORS else {}  # it moves before the facade is in place
            meshes[agent.owner] = {"owner": agent.option, "moved": _moved(agent, {}) | first}
    meshes["istio-ambient"] = {"owner": ISTIO.option, "moved": _moved(ISTIO, AMBIENT)}
    return {"networks": networks, "meshes": meshes}


def pattern() -> str:
    """Return the regular expression of all presets' names; none at all is allowed too."""
    parts = presets()
    networks, meshes = ("|".join(sorted(parts[kind])) for kind in ("networks", "meshes"))
    return rf"^(({networks})(\+({meshes}))?)?$"


def text() -> str:
    """Return `presets.yaml`."""
    return HEAD + yaml.safe_dump(presets(), sort_keys=False, width=10_000, allow_unicode=True)


def schema() -> str:
    """Return the chart's schema with the presets' names in it."""
    document = json.loads(SCHEMA.read_text())
    document["properties"]["preset"]["pattern"] = pattern()
    return json.dumps(document, indent=2) + "\n"


def _moved(agent: Agent, conf: Json, beside: Agent | None = None) -> Json:
    """Return the agent's name, the commands that send it to its directory, and what to know before."""
    members = [_member(agent, conf), *([_member(beside, {})] if beside else [])]
    setting = settings.settings(members)[0]
    seed = f"first put conf/examples/{agent.owner}/{agent.file} into {members[0].directory} of each node"
    remarks = [*setting.remarks, *([seed] if agent.seed else [])]
    return {"agent": agent.name, "commands": setting.commands, "remarks": remarks}


def _member(agent: Agent, conf: Json) -> Member:
    directory = f"{facade.CHAIN_DIR}/{agent.owner}.d"
    return Member(agent, directory, conf, writes=True, moved=False, added=False, required=True)


if __name__ == "__main__":
    PRESETS.write_text(text())
    SCHEMA.write_text(schema())
