"""`cni-chain cluster status`: the nodes of a cluster at a glance."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.cli import cluster_text
from cni_chain.cli.cluster_options import Context, Kubeconfig, Namespace, Program, ReleaseName, question
from cni_chain.cli.options import Output
from cni_chain.cli.output import Form, print_document
from cni_chain.cluster import look
from cni_chain.node.tree import Tree


def command(
    node: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE]…", show_default=False, help="Show these nodes, with all that their agents say."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="List every node; otherwise many that are as wanted are only counted.")
    ] = False,
    output: Output = Form.TEXT,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    kubectl: Program = "kubectl",
) -> None:
    """Show each node's state, version and agent, why a node is not ready, and what holds the roll-out.

    All is read with kubectl: the DaemonSets whose pods are agents, and these pods. Of nodes that are not ready it also
    reads the pods' events, and the logs of the first ten; where you may not, it says so and goes on.

    \b
    Examples:
      cni-chain cluster status
      kubectl cni-chain status                 the same, as kubectl's plugin
      kubectl cni-chain status worker-7        one node: owners, pods, findings
      kubectl cni-chain status -o json | jq '.daemonSets[].holds'

    Exit status: 0 if every node is as wanted and the roll-out is done, 1 if not, 2 wrong usage, 3 if kubectl or the
    API server gives no answer.
    """
    asked = question(kubectl, namespace, release, context, kubeconfig)._replace(nodes=frozenset(node or ()))
    report = look.look(asked).report
    if output.is_document:
        print_document(output, "cluster-status", Tree(), report.document())
    else:
        print("\n".join(cluster_text.status(report, node or [], every=every)))
    raise typer.Exit(0 if report.done else 1)
