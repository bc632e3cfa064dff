"""The commands about a whole cluster, each in the module with its name. The package `cluster` asks kubectl."""

from __future__ import annotations

import typer

from cni_chain.cli import cluster_plan, cluster_status, cluster_wait
from cni_chain.cli.options import Command

_CLUSTER = """Look at the agents of a whole cluster, with kubectl: from anywhere, with no right to change anything.

    As a plugin of kubectl they are `kubectl cni-chain status`, `wait` and `plan`: link this program into a directory
    of PATH as kubectl-cni_chain. They need `list` of DaemonSets and pods. With `list` of events, or `get` of pods/log,
    they also say why a node is not ready.
    """
app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True, help=_CLUSTER)

# In the order of the help.
app.command("status", cls=Command, short_help="What is each node, and what holds the roll-out?")(cluster_status.command)
app.command("wait", cls=Command, short_help="Wait until every node is as it is wanted.")(cluster_wait.command)
app.command("plan", cls=Command, short_help="What would the next change do, and what comes before and after it?")(
    cluster_plan.command
)
