"""The options that the commands about a cluster have."""

from __future__ import annotations

from typing import Annotated

import typer

from cni_chain.cluster.kubectl import Kubectl
from cni_chain.cluster.look import Question
from cni_chain.daemon.wanted import STATES
from cni_chain.node.errors import UsageError
from cni_chain.plugin.facade import near

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", show_default="all", help="Look at this namespace only."),
]
ReleaseName = Annotated[
    str | None,
    typer.Option("--release", metavar="NAME", show_default="all", help="Look at this DaemonSet only."),
]
Context = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", show_default="the current one", help="kubectl's context."),
]
Kubeconfig = Annotated[
    str | None,
    typer.Option("--kubeconfig", metavar="FILE", show_default="kubectl's own", help="kubectl's file of clusters."),
]
Program = Annotated[str, typer.Option("--kubectl", metavar="PROGRAM", help="The kubectl that is asked.")]


def question(
    kubectl: str, namespace: str | None, release: str | None, context: str | None, kubeconfig: str | None
) -> Question:
    """Return what the options of these names mean together."""
    return Question(Kubectl(kubectl, context, kubeconfig), namespace, release)


def wanted(text: str | None) -> str | None:
    """Return a state that was given. Raises UsageError if it is none."""
    if text is None or text in STATES:
        return text
    close = near(text, STATES)
    raise UsageError(
        f"{text}: must be {', '.join(STATES[:-1])} or {STATES[-1]}" + (close and f"; did you mean {close}?")
    )
