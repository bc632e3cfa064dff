"""What the program knows about one agent: the data of an entry, and what follows from it. Pure.

An agent is the program that installs a plugin on a node and writes its configuration. Most entries are data alone
(`table`); an agent whose answers depend on the configuration that it wrote is a subclass with its own module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

_NONE: Mapping[str, str] = {}


class Chart(NamedTuple):
    """The Helm chart that installs an agent, and the values that move it; `{directory}` is where it has to write."""

    name: str
    file: str  # in conf/helm; it has `values` and `more`
    values: Mapping[str, str]
    # Values that move it back to the runtime's directory `{net_dir}`; a mesh's agent then edits the file `{list}`.
    back: Mapping[str, str] = _NONE
    more: Mapping[str, str] = _NONE  # values that switch the agent on, or that only some nodes need
    releases: str = ""  # the chart's releases that have these values; "" if unknown
    otherwise: str = ""  # other values to set, in which release or beside which agent; Markdown
    release: str = ""  # the usual name of the Helm release; "" if unknown: then no command is printed
    namespace: str = ""
    daemonset: str = ""
    restart: bool = False  # a change of values alone doesn't restart the DaemonSet
    # Values that a list shared with a mesh's agent needs; moved, the agent is better off with the opposite.
    shared: Mapping[str, str] = _NONE
    alone: Mapping[str, str] = _NONE  # the opposite


class Sign(NamedTuple):
    """What shows that an agent runs whose plugin needs it at every call, and what its absence causes.

    `path` is a socket, a port of the node (ADDRESS:PORT), or a file that the agent writes when it starts.
    """

    agent: str
    path: str
    pod: str = ""
    key: str = ""  # key of the plugin's configuration that names another path
    unless: str = ""  # key of the plugin's configuration: if true, the plugin doesn't need the agent
    only: str = ""  # for people: which form of the agent has this sign
    why: str = "No new pod starts."
    do: str = ""
    frozen: str = ""  # what happens if the agent runs but accepts no connection, where that differs from `why`

    @property
    def todo(self) -> str:
        """What the operator does."""
        return self.do or f"Check the {self.pod} pod on this node."


class Writer(NamedTuple):
    """The process that writes an agent's file while it runs (its name in /proc/PID/comm), and what moves it."""

    process: str
    setting: str


class Proxy(NamedTuple):
    """Who takes the connections of a mesh's pods. The ports are the defaults; no judgement goes by them alone."""

    name: str  # the container's
    ports: tuple[int, ...]  # to which rules redirect, or where it listens beside those
    # The mark by which the rules know its own connections, if it runs outside the pods; a sidecar is known by its user.
    mark: int = 0
    ipv6: str = ""  # what to set so that IPv6 is redirected as well

    @property
    def in_pod(self) -> bool:
        """Whether it is a sidecar."""
        return self.mark == 0


class Agent(NamedTuple):
    """One agent. A new one is an entry in `table` and a list that has its plugin in tests/data/conflists."""

    name: str
    owner: str  # "" if it calls the chain and isn't part of it
    types: tuple[str, ...]
    file: str  # the name that the agent gives it by default
    single: bool = False  # writes a single plugin, not a list
    older: tuple[str, ...] = ()  # names under which its earlier releases wrote the single plugin
    mesh: bool = False  # its plugin redirects an earlier one's traffic: never first; without it pods are outside
    edits: bool = False  # until it is moved, it edits any list that it finds, so the facade too
    renames: bool = False  # renames the files of other programs beside its own
    network: str = ""  # the name of the network in its list, if it can be the first of a chain and the name is known
    contributes: tuple[str, ...] = ()  # the types that its owner may contribute, if they are not just `types`
    early: bool = False  # moves before the facade is in place: only there its plugin's token is renewed
    exempt: tuple[tuple[str, str], ...] = ()  # its own pods, which need the network first: namespace, start of the name
    seed: str = ""  # it creates no list, only edits one that exists: the name of the list that it gets
    before: tuple[str, ...] = ()  # plugins that must be in that list before its own; the facade leaves them out
    chart: Chart | None = None
    movable: bool = True  # a setting that moves it is kept
    by_hand: str = "its configuration directory on the host must be {directory}"  # without a chart that does it
    sign: Sign | None = None
    writer: Writer | None = None
    proxies: tuple[Proxy, ...] = ()  # of the pods of its mesh; which of them a pod has, only its rules tell
    hint: str = ""  # what may keep it from writing to its owner's directory

    @property
    def type(self) -> str:
        """The type of the agent's main plugin."""
        return self.types[0]

    @property
    def option(self) -> str:
        """Its owner as `--owner` takes it."""
        return f"{self.owner}:{','.join(self.contributes or self.types)}"

    def values(self, conf: Mapping[str, Any], directory: str, *, beside_mesh: bool) -> dict[str, str]:
        """Return the chart's values that move the agent which wrote `conf` to `directory`."""
        del conf, beside_mesh
        values = self.chart.values if self.chart else {}
        return {key: value.format(directory=directory) for key, value in values.items()}

    def values_back(self, conf: Mapping[str, Any], net_dir: str, list_name: str, *, is_shared: bool) -> dict[str, str]:
        """Return the chart's values that move the agent which wrote `conf` back to the runtime's directory.

        `is_shared` says that a mesh's agent edits the same list there.
        """
        del conf
        if self.chart is None:
            return {}
        values = {**self.chart.back, **(self.chart.shared if is_shared else {})}
        return {key: value.format(net_dir=net_dir, list=list_name) for key, value in values.items()}

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
        return self.sign._replace(path=text(conf, self.sign.key) or self.sign.path)


def text(conf: Mapping[str, Any], key: str) -> str:
    """Return a string of a plugin's configuration, "" if it isn't one."""
    value = conf.get(key)
    return value if isinstance(value, str) else ""
