"""The commands that move each agent to its directory, install it there, or move it back. Pure."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from cni_chain.agents.agent import Agent, Chart
from cni_chain.agents.registry import MESHES
from cni_chain.migrate.scene import Member


class Setting(NamedTuple):
    """One agent's commands, ready for a shell, and what to know before."""

    owner: str
    commands: list[str]
    remarks: list[str]


_UNMOVED = (
    "an agent that can't be moved still writes its file behind the facade, where no runtime reads it: keep its "
    "fragment up to date yourself"
)


def settings(members: list[Member]) -> list[Setting]:
    """Return what moves each agent to its directory, or installs there one that is yet to come."""
    has_mesh = any(MESHES.intersection(member.agent.types) for member in members)
    return [_there(member, beside_mesh=has_mesh) for member in members]


def _there(member: Member, *, beside_mesh: bool) -> Setting:
    agent, directory = member.agent, member.directory
    chart = _released(agent)
    if chart is None:
        return Setting(agent.owner, [], [agent.by_hand.format(directory=directory), _UNMOVED])
    values = agent.values(member.conf, directory, beside_mesh=beside_mesh)
    if member.added and not member.conf:
        return Setting(agent.owner, [_install(chart, {**values, **chart.more})], [])
    return Setting(agent.owner, _upgrade(chart, values), agent.remarks(member.conf))


def back(members: list[Member], net_dir: str, list_name: str) -> list[Setting]:
    """Return what moves each agent back to the runtime's directory: meshes first, since they edit the first file."""
    is_shared = any(member.agent.mesh for member in members)
    found = []
    for member in sorted(members, key=lambda member: not member.agent.mesh):
        agent = member.agent
        chart = _released(agent)
        if chart is None:
            found.append(Setting(agent.owner, [], [agent.by_hand.format(directory=net_dir)]))
            continue
        values = agent.values_back(member.conf, net_dir, list_name, is_shared=is_shared)
        found.append(Setting(agent.owner, _upgrade(chart, values), []))
    return found


def alone(agent: Agent) -> tuple[str, list[str]] | None:
    """Return the values, and the commands that set them, with which an agent keeps its directory to itself again.

    None if it has no such setting.
    """
    chart = _released(agent)
    if chart is None or not chart.alone:
        return None
    commands = [_upgrade(chart, dict(chart.alone))[0], _kubectl(chart, "restart"), _kubectl(chart, "status")]
    return ", ".join(f"{key}={value}" for key, value in chart.alone.items()), commands


def _released(agent: Agent) -> Chart | None:
    """Return the chart whose release has a usual name, None if no command can be printed."""
    return agent.chart if agent.chart is not None and agent.chart.release else None


def _upgrade(chart: Chart, values: dict[str, str]) -> list[str]:
    # Without --version Helm takes the newest chart, which is another change.
    version = f"helm get metadata {chart.release} --namespace {chart.namespace} -o json | jq -r .version"
    upgrade = (
        f'helm upgrade {chart.release} {chart.name} --namespace {chart.namespace} --version "$({version})" '
        f"--reuse-values {_options(values)}"
    )
    commands = [upgrade]
    if chart.daemonset:
        if chart.restart:
            commands.append(_kubectl(chart, "restart"))
        commands.append(_kubectl(chart, "status"))
    return commands


def _install(chart: Chart, values: dict[str, str]) -> str:
    return (
        f"helm upgrade --install {chart.release} {chart.name} --namespace {chart.namespace} --create-namespace "
        f"{_options(values)}"
    )


def _options(values: dict[str, str]) -> str:
    return " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items())


def _kubectl(chart: Chart, verb: str) -> str:
    return f"kubectl --namespace {chart.namespace} rollout {verb} ds/{chart.daemonset}"
