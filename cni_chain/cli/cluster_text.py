"""What the commands about a cluster print for people. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cni_chain.checks.wording import counted, listed
from cni_chain.cli.migrate_text import shell
from cni_chain.cli.output import paint, paragraph, printable, table
from cni_chain.cluster import plan as planning
from cni_chain.cluster.plan import Plan, Step
from cni_chain.cluster.report import SOURCES, Fleet, NodeLine, Report
from cni_chain.node.attachments import words

_FEW = 20  # nodes of each sort that are listed without --all
_YES, _NO, _NEXT, _UNKNOWN = "✓", "✗", "→", "?"
_HEADING = ["NODE", "WANTED", "IS", "READY", "VERSION", "SINCE", "RESTARTS", "POD"]


def nothing(report: Report) -> str:
    """Return what to say where no DaemonSet is found."""
    where = "that you may look at " if report.notes else ""
    return (
        f"there is no DaemonSet of cni-chain {where}here; another namespace is --namespace NAME, another cluster "
        "--context NAME"
    )


def status(report: Report, nodes: Sequence[str], *, every: bool) -> list[str]:
    """Return the lines of `cluster status`: of some nodes all that is known, otherwise all that are not as wanted."""
    lines: list[str] = []
    for fleet in report.fleets:
        lines += ["", *_fleet(fleet, report.now, nodes, every=every)]
    if not report.fleets:
        lines += ["", *_marked(_NO, nothing(report))]
    if len(report.fleets) > 1:
        names = ", ".join(fleet.release.place for fleet in report.fleets)
        lines += [
            "",
            *paragraph(f"There are {len(report.fleets)} DaemonSets of cni-chain, and a node takes one: {names}.", ""),
        ]
    for note in report.notes:
        lines += ["", *paragraph(note, "")]
    return lines[1:]


def progress(fleet: Fleet) -> str:
    """Return how far a roll-out is, in one line."""
    release = fleet.release
    waiting = [line.node for line in fleet.lines if line.current and not line.ready]
    after = f", waiting for {listed(waiting)}" if waiting else ""
    return f"{release.place}: {_verdict(fleet)}{after}"


def refusal(stuck: Sequence[NodeLine]) -> str:
    """Return why waiting is of no use."""
    first = stuck[0]
    names = listed([line.node for line in stuck])
    return f"{names} {'refuses' if len(stuck) == 1 else 'refuse'}: {first.reasons[0]}"


def _fleet(fleet: Fleet, now: float, nodes: Sequence[str], *, every: bool) -> Iterable[str]:
    release = fleet.release
    yield from _marked(_YES if fleet.done else _NO, f"{release.place}: {_verdict(fleet)}")
    yield f"  version   {printable(release.version) or 'not known'}"
    if release.options.owners:
        yield from _headed("owners", ", ".join(owner.partition(":")[0] for owner in release.options.owners))
    pace = f"{release.max_unavailable} at a time" if release.strategy == "RollingUpdate" else release.strategy
    done = "done" if fleet.done else f"{release.updated} of {release.desired} have the new pod"
    yield f"  roll-out  {done}, {pace}, {release.min_ready} s each"
    for one in fleet.holds(now):
        yield from _headed("held", one)
    yield ""
    yield from _nodes(fleet, now, nodes, every=every)


def _verdict(fleet: Fleet) -> str:
    release = fleet.release
    verb = _are(1 if release.desired == 1 else fleet.reached)
    return f"{fleet.reached} of {counted(release.desired, 'node')} {verb} {release.options.state}"


def _nodes(fleet: Fleet, now: float, nodes: Sequence[str], *, every: bool) -> Iterable[str]:
    if nodes:
        shown = [line for line in fleet.lines if line.node in nodes]
        known = {line.node for line in shown}
        yield from (f"{name}: has no pod of {fleet.release.place}" for name in nodes if name not in known)
    else:
        shown = list(fleet.lines) if every else _worth_it(fleet.lines)
    lines = table([_HEADING, *(_row(line, now) for line in shown)], styles=["", *(_style(line) for line in shown)])
    yield from lines[: 1 if shown else 0]
    before: tuple[str, ...] = ()
    for line, row in zip(shown, lines[1:], strict=True):
        yield row
        yield from _reasons(line, before)
        before = line.reasons
        if nodes:
            yield from _details(line)
    if not nodes:
        yield from _left([line for line in fleet.lines if line not in shown])


def _worth_it(lines: Sequence[NodeLine]) -> list[NodeLine]:
    """Return the first nodes that aren't as wanted, and all others if they are few."""
    right = [line for line in lines if line.done]
    return [*[line for line in lines if not line.done][:_FEW], *(right if len(right) <= _FEW else ())]


def _reasons(line: NodeLine, before: tuple[str, ...]) -> Iterable[str]:
    if line.reasons and line.reasons == before:
        yield "    the same"
        return
    for reason in line.reasons:
        yield from paragraph(reason, "    ")
    if line.source:
        yield f"    ({SOURCES[line.source]})"


def _left(lines: Sequence[NodeLine]) -> Iterable[str]:
    wrong = sum(not line.done for line in lines)
    if wrong:
        yield f"and {counted(wrong, 'node')} more that {_are(wrong)} not as wanted (--all lists them)"
    if len(lines) > wrong:
        yield f"and {counted(len(lines) - wrong, 'node')} as wanted (--all lists them)"


def _row(line: NodeLine, now: float) -> list[str]:
    return [
        line.node,
        line.wanted,
        line.reached or "?",
        ("yes" if line.ready else "refuses" if line.refused else "no") + ("" if line.current else ", old pod"),
        line.version or "?",
        "" if line.since is None else words(max(0.0, now - line.since)),
        str(line.pod.restarts) if line.pod else "",
        line.pod.name if line.pod else "",
    ]


def _style(line: NodeLine) -> str:
    return "" if line.done else "yellow" if line.ready else "red"


def _details(line: NodeLine) -> Iterable[str]:
    said = line.said
    if said is None:
        yield "    nothing is known of its owners and pods: its agent's log was not read"
        return
    for name, why in (said.owners or {}).items():
        yield from paragraph(f"{_NO if why else _YES} {name}{f': {why}' if why else ''}", "    ")
    if said.pods is not None:
        stranded = f", {said.stranded} of them stranded" if said.stranded else ""
        yield f"    {counted(said.pods, 'attachment')} recorded{stranded}, when its agent last wrote"
    if said.findings:
        found = ", ".join(f"{name} ({count})" for name, count in said.findings.items())
        yield from paragraph(f"doctor finds there: {found}", "    ")


def plans(found: Sequence[Plan], report: Report) -> list[str]:
    """Return the lines of `cluster plan`."""
    lines: list[str] = []
    for one in found:
        lines += ["", *_plan(one, report.now)]
    for note in report.notes:
        lines += ["", *paragraph(note, "")]
    return lines[1:]


def _plan(one: Plan, now: float) -> Iterable[str]:
    fleet, release = one.fleet, one.fleet.release
    yield from paragraph(f"{release.place}: from {release.options.state} to {one.to}", "")
    yield from paragraph(progress(fleet).removeprefix(f"{release.place}: ") + ".", "")
    for held in fleet.holds(now):
        yield from _marked(_NO, f"first: {held}")
    for line in fleet.stuck(now):
        yield from paragraph(f"{line.node}: {line.reasons[0]}", "  ")
    yield ""
    is_next = True
    for number, step in enumerate(one.steps, 1):
        yield from _step(number, step, is_next=is_next)
        if step.action == planning.SET and one.pace:
            for sentence in planning.words(one.pace, release):
                yield from paragraph(sentence, "      ")
        is_next = is_next and step.done is not False
    for place in one.others:
        yield ""
        yield from paragraph(f"{place} has {release.options.net_dir} too, and belongs to no owner.", "")
    if one.undo:
        yield ""
        yield "Undo:"
        for command in one.undo:
            yield f"    {printable(command)}"


def _step(number: int, step: Step, *, is_next: bool) -> Iterable[str]:
    mark = _YES if step.done else _UNKNOWN if step.done is None else _NEXT if is_next else " "
    place = f" (DaemonSet {step.daemonset})" if step.daemonset else ""
    first, *rest = paragraph(f"{number}. {step.text}{place}", "   ")
    yield f"{paint({_YES: 'green'}.get(mark, ''), mark)}  {first.strip()}"
    yield from (f"   {line}" for line in rest)
    for remark in step.remarks:
        yield from paragraph(remark, "      # ")
    for command in step.commands:
        yield from shell(command)


def _marked(mark: str, text: str) -> list[str]:
    first, *rest = paragraph(text, "  ")
    return [f"{paint({_YES: 'green', _NO: 'red'}[mark], mark)} {first.strip()}", *rest]


def _headed(name: str, text: str) -> list[str]:
    first, *rest = paragraph(text, " " * 12)
    return [f"  {name.ljust(10)}{first.strip()}", *rest]


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
