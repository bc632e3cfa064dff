"""`cni-chain cluster wait`: until every node is as it is wanted."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from cni_chain.cli import cluster_text, completion
from cni_chain.cli.cluster_options import Context, Kubeconfig, Namespace, Program, ReleaseName, question, wanted
from cni_chain.cli.options import Output
from cni_chain.cli.output import Form, print_document, printable
from cni_chain.cli.where import age
from cni_chain.cluster import look
from cni_chain.cluster.kubectl import UnreachableError
from cni_chain.cluster.look import Question
from cni_chain.cluster.report import GRACE, Report
from cni_chain.daemon.wanted import STATES
from cni_chain.node.tree import Tree

_PAUSE, _LONGEST = 2.0, 10.0  # seconds between two looks: as long as one takes, within these


def command(
    state: Annotated[
        str | None,
        typer.Argument(
            metavar="[prepared|on|off]",
            show_default=False,
            autocompletion=completion.one_of(STATES),
            help="Also wait until this is the state that the DaemonSet wants, for example when GitOps sets it.",
        ),
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", show_default="none", help="Give up then (60s, 30m, 2h).")
    ] = "",
    output: Output = Form.TEXT,
    namespace: Namespace = None,
    release: ReleaseName = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    kubectl: Program = "kubectl",
) -> None:
    """Wait until every node is in the wanted state and the roll-out is done; progress is on standard error.

    It ends early, and says why, if a node's agent refuses: no waiting helps then. That takes a right to read events
    or logs. An API server that has answered, and then doesn't for a while, is asked again.

    \b
    Examples:
      helm upgrade … --set state=on && kubectl cni-chain wait --timeout 30m
      kubectl cni-chain wait on          whoever sets it

    Exit status: 0 if it is so, 1 if a node refuses or the time is over, 2 wrong usage, 3 if kubectl or the API server
    gives no answer.
    """
    asked = question(kubectl, namespace, release, context, kubeconfig)._replace(patience=GRACE)
    until = time.monotonic() + (age(timeout) if timeout else float("inf"))
    to = wanted(state)
    report, why = _awaited(asked, to, until)
    if output.is_document:
        print_document(output, "cluster-status", Tree(), report.document())
    else:
        print("\n".join(cluster_text.status(report, [], every=False)))
    if why:
        print(f"cni-chain: {printable(why)}", file=sys.stderr)
    raise typer.Exit(1 if why else 0)


def _awaited(asked: Question, to: str | None, until: float) -> tuple[Report, str]:
    """Look again and again; return the last report, and why no more is waited for: "" if all is as wanted.

    Raises UnknownError, but UnreachableError only at the end of the time, or if there was no answer at all.
    """
    said, has_answered = "", False
    while True:
        begun = time.monotonic()
        try:
            report = look.look(asked).report
        except UnreachableError as error:
            if not has_answered or time.monotonic() >= until:
                raise
            said = _say(said, f"{error}; asking again")
            _sleep(begun, until)
            continue
        has_answered = True
        if not report.fleets:
            said = _say(said, "there is no DaemonSet of cni-chain yet")
        elif _is_set(report, to):
            if report.done:
                return report, ""
            stuck = [line for fleet in report.fleets for line in fleet.stuck(report.now)]
            if stuck:
                return report, cluster_text.refusal(stuck)
            said = _say(said, "; ".join(map(cluster_text.progress, report.fleets)))
        else:
            said = _say(
                said, f"{', '.join(fleet.release.options.state for fleet in report.fleets)} is wanted, not {to} yet"
            )
        if time.monotonic() >= until:
            return report, "the time is over"
        _sleep(begun, until)


def _is_set(report: Report, to: str | None) -> bool:
    return to is None or all(fleet.release.options.state == to for fleet in report.fleets)


def _say(before: str, text: str) -> str:
    if text != before:
        print(printable(text), file=sys.stderr, flush=True)
    return text


def _sleep(begun: float, until: float) -> None:
    """Wait for about as long as the last look took."""
    pause = min(_LONGEST, max(_PAUSE, time.monotonic() - begun))
    time.sleep(max(0.0, min(pause, until - time.monotonic())))
