"""`cni-chain cluster plan`: what the next change of a release would do."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.cli import cluster_text, completion
from cni_chain.cli.cluster_options import Context, Kubeconfig, Namespace, Program, ReleaseName, question, wanted
from cni_chain.cli.options import Output
from cni_chain.cli.output import Form, print_document
from cni_chain.cluster import look
from cni_chain.cluster.plan import plan
from cni_chain.daemon.wanted import STATES
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree


def command(
    state: Annotated[
        str | None,
        typer.Argument(
            metavar="[prepared|on|off]",
            show_default=False,
            autocompletion=completion.one_of(STATES),
            help="The state to get to. Without it: on, or off where that is the state now.",
        ),
    ] = None,
    output: Output = Form.TEXT,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    kubectl: Program = "kubectl",
) -> None:
    """Show the steps to a state, in their order, with their commands: which agents have to move before and after it,
    whether they have, how the controller would go over the nodes, what holds it now, and how to undo it.

    It changes nothing. Where an agent writes is seen from the directories of its DaemonSet.

    \b
    Examples:
      kubectl cni-chain plan
      kubectl cni-chain plan off

    Exit status: 0 if nothing holds the change, 1 if something does, 2 wrong usage, 3 if kubectl or the API server
    gives no answer.
    """
    to = wanted(state)
    answer = look.look(question(kubectl, namespace, release, context, kubeconfig))
    report = answer.report
    if not report.fleets:
        raise RefusedError(cluster_text.nothing(report))
    plans = [plan(fleet, answer.writers, to) for fleet in report.fleets]
    if output.is_document:
        members = {"plans": [one.document(report.now) for one in plans], "notes": list(report.notes)}
        print_document(output, "cluster-plan", Tree(), members)
    else:
        print("\n".join(cluster_text.plans(plans, report)))
    raise typer.Exit(0 if report.done else 1)
