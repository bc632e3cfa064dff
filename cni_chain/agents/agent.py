"""What the program knows of one agent: the data of an entry, and what follows from it. Pure.

An agent is what installs a plugin on a node and writes its configuration. Most entries are data alone (`table`); one
whose answers depend on what it wrote is a subclass with a module of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Chart:
    """The Helm chart that installs an agent, and the values that move it; `{directory}` is where it shall write."""

    name: str
    file: str  # of conf/helm, which has `values` and `more`
    values: Mapping[str, str]
    more: Mapping[str, str] = field(default_factory=dict)  # switches the agent on, or is given under a condition of its
    releases: str = ""  # of the chart, which take these values; "" if that isn't known
    otherwise: str = ""  # what else is to be set, in which release or beside whom; Markdown
    release: str = ""  # as it is usually installed; "" if that isn't known, so that no command can be printed
    namespace: str = ""
    daemonset: str = ""
    restart: bool = False  # a change of values alone doesn't restart the DaemonSet


@dataclass(frozen=True)
class Sign:
    """What shows that an agent runs which its plugin needs at every call, and what its absence does.

    `path` is a socket, a port of the node (ADDRESS:PORT), or a file that the agent writes when it starts.
    """

    agent: str
    path: str
    pod: str = ""
    key: str = ""  # of the plugin's configuration, which names another path
    unless: str = ""  # key of the plugin's configuration: with true the plugin does without
    only: str = ""  # for people: which form of the agent has this sign
    why: str = "No new pod starts."
    do: str = ""
    frozen: str = ""  # what it does if the agent is there and takes no connection, where that differs

    @property
    def todo(self) -> str:
        """What a person shall do."""
        return self.do or f"Look at the {self.pod} pod of this node."


@dataclass(frozen=True)
class Writer:
    """The process that keeps an agent's file as long as it runs (its name in /proc/PID/comm), and what moves it."""

    process: str
    setting: str


@dataclass(frozen=True, eq=False)
class Agent:
    """One agent. A new one is an entry in `table` and a list that has its plugin in tests/data/conflists."""

    name: str
    owner: str  # "" if it calls the chain and has no part in it
    types: tuple[str, ...]
    file: str  # as the agent names it itself, by default
    single: bool = False  # writes the bare plugin, no list
    older: tuple[str, ...] = ()  # names under which its earlier releases wrote the bare plugin
    mesh: bool = False  # its plugin redirects what an earlier one made: never first, and without it pods are outside
    edits: bool = False  # edits whatever list it finds as long as it isn't moved, so the facade too
    renames: bool = False  # sets aside what others write beside its file
    exempt: tuple[tuple[str, str], ...] = ()  # its own pods, which need the network first: namespace, start of the name
    seed: str = ""  # it makes no list, only edits one that is there: the name of the list that it gets
    before: tuple[str, ...] = ()  # plugins that must be in that list before its own; the facade leaves them out
    chart: Chart | None = None
    movable: bool = True  # a setting that moves it stays
    by_hand: str = "its configuration directory on the host must be {directory}"  # without a chart that does it
    sign: Sign | None = None
    writer: Writer | None = None
    hint: str = ""  # what keeps it from writing into a directory of its own

    @property
    def type(self) -> str:
        """The plugin that pods get their part of the network from."""
        return self.types[0]

    def values(self, conf: Mapping[str, Any], directory: str, *, beside_mesh: bool) -> dict[str, str]:
        """Return the chart's values that move the agent which wrote `conf` to `directory`."""
        del conf, beside_mesh
        values = self.chart.values if self.chart else {}
        return {key: value.format(directory=directory) for key, value in values.items()}

    def remarks(self, conf: Mapping[str, Any]) -> list[str]:
        """Return what to know before these values are set."""
        del conf
        return []

    def own_pods(self, conf: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
        """Return the pods of the agent that wrote `conf`, as in `exempt`."""
        del conf
        return self.exempt

    def sign_of(self, conf: Mapping[str, Any]) -> Sign | None:
        """Return the sign of the agent that the plugin with `conf` needs, None if it needs none."""
        if self.sign is None or conf.get("type") != self.type or conf.get(self.sign.unless) is True:
            return None
        return replace(self.sign, path=text(conf, self.sign.key) or self.sign.path)


def text(conf: Mapping[str, Any], key: str) -> str:
    """Return a string of a plugin's configuration, "" if it isn't one."""
    value = conf.get(key)
    return value if isinstance(value, str) else ""
