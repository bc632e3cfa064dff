"""Writes the tables of agents in docs/ from their entries: python build/agents.py.

Each stands between `<!-- name -->` and `<!-- /name -->` of its page; a test compares the pages with the entries.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from cni_chain.agents.agent import Agent, Sign  # noqa: E402  # the checkout's own modules are found from here on
from cni_chain.agents.registry import AGENTS, BY_OWNER  # noqa: E402

DOCS = CHECKOUT / "docs"


def known() -> str:
    """Return the table of all agents: what they write, what moves them, and which pods they need."""
    rows = [
        (agent.name, _code(agent.owner), _listed(agent.types), _code(agent.file), _moved(agent), _pods(agent))
        for agent in AGENTS
    ]
    return _table(("agent", "owner", "plugins", "file", "what moves it", "own pods, exempt"), rows)


def whose() -> str:
    """Return the table of the plugins that `migrate` gives to each owner."""
    rows = [(_listed(agent.types), _code(f"{agent.owner}.d/{agent.file}"), _form(agent)) for agent in BY_OWNER.values()]
    rows.append(("any other", "`local.d/10-TYPE.conf`, `20-…`", "single plugins"))
    return _table(("plugin", "owner, file", "form"), rows)


def signs() -> str:
    """Return the table of what shows that an agent runs."""
    rows = [(_name(agent, agent.sign), _looked_at(agent.sign)) for agent in AGENTS if agent.sign]
    return _table(("agent", "looked at"), rows)


# The page, the name of its marks, and what is written there.
TABLES: tuple[tuple[str, str, Callable[[], str]], ...] = (
    ("agents/index.md", "known-agents", known),
    ("guides/migrate.md", "whose", whose),
    ("guides/operate.md", "signs", signs),
)


def written(page: str, name: str, table: str) -> str:
    """Return a page with the table between its marks. Raises ValueError without them."""
    text = (DOCS / page).read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    if begin not in text or end not in text:
        raise ValueError(f"docs/{page}: the marks {begin.strip()} and {end.strip()} are missing")
    head, _, rest = text.partition(begin)
    return head + begin + table + end + rest.partition(end)[2]


def _moved(agent: Agent) -> str:
    chart = agent.chart
    if chart is None:
        return agent.by_hand.format(directory=f"`{agent.owner}.d`")
    of = f"chart `{chart.name}`{f' {chart.releases}' if chart.releases else ''}"
    otherwise = f". {chart.otherwise}" if chart.otherwise else ""
    return f"{_listed(chart.values)} ({of}, `conf/helm/{chart.file}`){otherwise}"


def _pods(agent: Agent) -> str:
    return ", ".join(f"`{namespace}/{prefix}*`" for namespace, prefix in agent.exempt) or "–"


def _form(agent: Agent) -> str:
    if agent.single:
        return "single plugin"
    if agent.before:
        return f"list: a seed with {_listed(agent.before)}, which it needs before its own; the facade leaves that out"
    if agent.seed:
        return "list: the seed that its installer edits, with its plugin in it"
    return f"list ({_listed(agent.older)}, a single plugin, if it was that)" if agent.older else "list"


def _name(agent: Agent, sign: Sign) -> str:
    return f"{agent.name} ({sign.only})" if sign.only else agent.name


def _looked_at(sign: Sign) -> str:
    if not sign.path.startswith("/"):
        return f"its port, `{sign.path}`, in the kernel's lists"
    if sign.path.endswith((".sock", ".socket")):
        return f"its socket, `{sign.path}`"
    return f"the file that it writes when it starts, `{sign.path}`"


def _code(text: str) -> str:
    return f"`{text}`" if text else "–"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_code, names))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for page, name, table in TABLES:
        (DOCS / page).write_text(written(page, name, table()))
