"""The registry of agents: every entry is whole, its list is split to its owner, and its settings are printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from cni_chain.agents.agent import Agent
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.istio import ISTIO
from cni_chain.agents.multus import MULTUS
from cni_chain.agents.registry import AGENTS, BY_OWNER, BY_TYPE, MESHES, exempt
from cni_chain.migrate import settings, split
from cni_chain.migrate.plan import Paths
from cni_chain.migrate.scene import Member
from cni_chain.migrate.split import Share
from cni_chain.node.conflists import Live
from cni_chain.plugin import service_address
from tests.support.files.node import CASES, CHECKOUT, CONF, list_of

OWNERS = list(BY_OWNER.values())
PATHS = Paths("/etc/cni/net.d", "/etc/cni/chain.d", "00-cni-chain.conflist")


def live(case: str) -> Live:
    path = list_of(case)
    return Live(f"/etc/cni/net.d/{path.name}", path.read_bytes())


LISTS = {case: live(case) for case in CASES}
# Every list that has a plugin of an agent's.
WRITTEN = [
    pytest.param(agent, case, id=f"{agent.owner}-{case}")
    for agent in OWNERS
    for case, one in LISTS.items()
    if set(one.types) & set(agent.types)
]


def share_of(agent: Agent, shares: list[Share]) -> Share:
    (share,) = [one for one in shares if one.owner == agent.owner]
    return share


def member_of(agent: Agent, conf: dict[str, Any]) -> Member:
    return Member(agent, PATHS.directory(agent.owner), conf, True, False, False, True)


def text_of(setting: settings.Setting) -> str:
    return "\n".join([*setting.commands, *setting.remarks])


@pytest.mark.parametrize("agent", OWNERS, ids=lambda agent: agent.owner)
def test_every_agent_has_a_list_in_tests_data(agent: Agent) -> None:
    assert any(agent.type in one.types for one in LISTS.values())


@pytest.mark.parametrize(("agent", "case"), WRITTEN)
def test_its_part_of_a_list_is_split_to_its_owner_under_the_name_that_it_writes(agent: Agent, case: str) -> None:
    share = share_of(agent, split.split(LISTS[case], {}))

    (file,) = split.files(share, LISTS[case])

    assert set(share.types) <= set(agent.types)
    assert file.name in {agent.file, *agent.older}
    assert ("plugins" not in file.document) == (agent.single or file.name in agent.older)
    assert file.types == [*agent.before, *share.types]
    assert [prefix for _, prefix in split.exempt_pods(share)] == [prefix for _, prefix in agent.exempt]


@pytest.mark.parametrize(("agent", "case"), WRITTEN)
def test_the_settings_that_move_it_are_printed(agent: Agent, case: str) -> None:
    shares = split.split(LISTS[case], {})
    members = [member_of(one, share.plugins[0]) for share in shares if (one := share.agent) is not None]
    (setting,) = [one for one in settings.settings(members) if one.owner == agent.owner]

    directory = PATHS.directory(agent.owner)
    if agent.chart is not None and agent.chart.release:
        upgrade, *_ = setting.commands
        assert upgrade.startswith(f"helm upgrade {agent.chart.release} {agent.chart.name} ")
        assert any(word.endswith(f"={directory}") for word in shlex.split(upgrade))
    else:
        assert setting.commands == []
        assert (directory in text_of(setting)) == agent.movable


def test_no_owner_no_type_and_no_name_stands_twice() -> None:
    types = [type_ for agent in AGENTS for type_ in agent.types]

    assert len({agent.name for agent in AGENTS}) == len(AGENTS)
    assert len(BY_OWNER) == len(AGENTS) - 1  # Multus calls the chain
    assert len(set(types)) == len(types) == len(BY_TYPE)


def test_the_plugin_knows_the_meshes_plugins_without_the_registry() -> None:
    assert service_address.MESHES == MESHES


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_an_entry_is_whole(agent: Agent) -> None:
    assert agent.seed or not agent.before, "a plugin before its own is for a list that it edits"
    assert agent.hint or not agent.seed, "nobody would know that a seed is needed"
    if agent.mesh:
        assert agent.exempt, "its own pod would wait for itself"
        assert agent.edits
    if agent.seed:
        assert (CONF / "examples" / agent.owner / agent.file).is_file()
    for conf in conf_of(agent):
        sign = agent.sign_of(conf)
        if sign is not None:
            assert sign.todo.startswith("Check the ")
            assert sign.path.startswith("/") or sign.path.rpartition(":")[2].isdigit()


def conf_of(agent: Agent) -> list[dict[str, Any]]:
    """What the lists have for the plugins of an agent, and nothing but the type."""
    confs = [conf for one in LISTS.values() for conf in one.plugins if conf["type"] in agent.types]
    return [*confs, *({"type": type_} for type_ in agent.types)]


def test_a_sign_is_where_the_plugins_configuration_says() -> None:
    def path(conf: dict[str, Any]) -> str | None:
        sign = BY_TYPE[conf["type"]].sign_of(conf)
        return sign.path if sign else None

    assert path({"type": "calico"}) == "/var/lib/calico/nodename"
    assert path({"type": "calico", "nodename_file": "/run/nodename"}) == "/run/nodename"
    assert path({"type": "calico", "nodename_file_optional": True}) is None
    assert path({"type": "egress-cni"}) is None
    assert path({"type": "multus"}) is None
    assert path({"type": "multus-shim", "socketDir": "/run/m/"}) == "/run/m/multus.sock"
    assert path({"type": "istio-cni"}) is None
    ambient = {"type": "istio-cni", "ambient_enabled": True}
    assert path(ambient) == "/var/run/istio-cni/pluginevent.sock"
    assert path(ambient | {"cni_agent_run_dir": "/run/i"}) == "/run/i/pluginevent.sock"
    assert path(ambient | {"cni_event_address": "/run/e.sock"}) == "/run/e.sock"


def test_cilium_is_looked_for_where_the_runtime_tells_its_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILIUM_SOCK", "unix:///run/c.sock")

    sign = CILIUM.sign_of({"type": "cilium-cni"})

    assert sign is not None
    assert sign.path == "/run/c.sock"


def test_istios_own_word_for_where_it_runs_counts() -> None:
    assert ISTIO.own_pods({"pod_namespace": "mesh"}) == (("mesh", "istio-cni-node-"),)
    assert exempt(["istio-cni", "portmap"]) == [("istio-system", "istio-cni-node-")]


def test_multus_has_no_part_in_the_chain() -> None:
    assert MULTUS.owner == ""
    assert "" not in BY_OWNER


def test_the_tables_of_the_documentation_are_up_to_date() -> None:
    script = (
        "import sys; sys.path.insert(0, 'build'); import agents\n"
        "print(*(name for page, name, table in agents.TABLES"
        " if agents.written(page, name, table()) != (agents.DOCS / page).read_text()))"
    )

    stale = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert stale.stdout == "\n", "an entry has changed: python build/agents.py writes the tables again"


def test_the_page_of_agents_gives_each_the_owner_of_its_entry() -> None:
    page = (CHECKOUT / "docs/agents/index.md").read_text()

    written = re.findall(r"^\| \[[^\]]+\]\([\w-]+\.md\) \| `([^`]+)` \|", page, re.MULTILINE)
    assert len(written) == len(list((CHECKOUT / "docs/agents").glob("*.md"))) - 2  # the page itself, and Istio's second
    assert [BY_OWNER[option.partition(":")[0]].option for option in written] == written
