"""What `cni-chain mesh check` prints. It imports no Typer, whose import takes several times as long as the check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cni_chain.cli.output import Form, paint, paragraph, print_document, printable, table
from cni_chain.mesh import check
from cni_chain.mesh.datapath import Datapath, Result
from cni_chain.mesh.probe import Target, Trial
from cni_chain.mesh.programs import Hooked
from cni_chain.mesh.verdict import Evidence, Judgement, Verdict, judge
from cni_chain.node.errors import UnknownError, UnreadableError, UsageError
from cni_chain.node.tree import Tree

_STATUS = {Verdict.OK: 0, Verdict.BROKEN: 1, Verdict.UNKNOWN: 3}
_STYLE = {Verdict.OK: "green", Verdict.BROKEN: "red", Verdict.UNKNOWN: "yellow"}


class Question(NamedTuple):
    """What the options ask for; each is `check.gather`'s argument, but for `datapath`, which needs no pod's name."""

    targets: Sequence[Target]
    pod: str | None
    cgroup: str | None
    config: str | None
    probing: bool
    datapath: bool


def answer(asked: Question, output: Form) -> int:
    """Print the verdict, and return the exit status. Raises UnknownError, UsageError."""
    for name, value in (("--pod", asked.pod), ("--cgroup", asked.cgroup), ("--config", asked.config)):
        if value == "":
            raise UsageError(f"{name}: is empty; was a process or a path looked for that is not there?")
    crossed = _crossed(asked.pod) if asked.datapath else None
    try:
        evidence = check.gather(
            asked.pod, asked.cgroup, asked.targets, config=asked.config, probing=asked.probing, crossed=crossed
        )
    except UnreadableError as error:
        raise UnknownError(str(error)) from None
    judgement = judge(evidence)
    if output.is_document:
        print_document(output, "mesh-check", Tree("/"), _document(evidence, judgement))
    else:
        print("\n".join(_lines(evidence, judgement)))
    return _STATUS[judgement.verdict]


def _crossed(pod: str | None) -> str:
    """Return the namespace of the pod whose interface is looked at. Raises UsageError if there is none."""
    if pod is not None:
        return f"/proc/{pod}/ns/net" if pod.isdecimal() else pod
    from cni_chain.cli.where import Where
    from cni_chain.node import attachments

    where = Where.given("/", None)
    found = check.any_pod(attachments.look(where.tree, where.find()[1], where.state_dirs))
    if found is None:
        raise UsageError("--datapath: no pod of this node has a record; name one with --pod")
    return found


def _lines(evidence: Evidence, judgement: Judgement) -> list[str]:
    first, *others = paragraph(f"{judgement.verdict}: {judgement.why}", "")
    verdict, rest = first.split(":", 1)
    lines = [f"{paint(_STYLE[judgement.verdict], verdict)}:{rest}", *others]
    sections = [("Programs", _programs(evidence)), ("Tried", _trials(evidence))]
    if evidence.datapath and evidence.datapath.ends:
        ends = evidence.datapath.ends
        at = f"Behind {ends.inside} of {evidence.datapath.namespace}: {ends.outside}"
        sections += [(at, _met(evidence.datapath)), ("Run", _crossings(evidence.datapath))]
    for heading, rows in sections:
        if len(rows) > 1 or heading.startswith("Behind"):
            lines += ["", heading, *table(rows, indent="  ", fold=len(rows[0]) - 1)]
    if evidence.claims:
        lines += ["", "Configured: service addresses are replaced"]
        for claim in evidence.claims:
            lines += paragraph(f"{claim.coverage}: {claim.source} ({', '.join(claim.lines) or 'no line'})", "  ")
    for heading, texts in (("Note", judgement.notes), ("Do", judgement.do)):
        for text in texts:
            lines += ["", *paragraph(f"{heading}: {text}", "")]
    return lines


def _programs(evidence: Evidence) -> list[list[str]]:
    return [
        ["HOOK", "PROGRAM", "OF", "MODE", "CGROUP"],
        *(
            [hooked.hook, hooked.program.name, hooked.owner, hooked.mode, hooked.cgroup]
            for hooked in (*evidence.applying, *evidence.elsewhere)
        ),
    ]


def _trials(evidence: Evidence) -> list[list[str]]:
    rows = [["ADDRESS", "AS", "RESULT"]]
    for who, trials in (("a pod", evidence.pod), ("the node", evidence.node)):
        rows += [[str(trial.target), who, _result(trial)] for trial in trials]
    return rows


def _result(trial: Trial) -> str:
    detail = str(Target(*trial.peer, trial.target.protocol)) if trial.peer else trial.reason
    return f"{trial.outcome} {detail}" if detail and detail != str(trial.target) else str(trial.outcome)


def _met(datapath: Datapath) -> list[list[str]]:
    rows = [["HOOK", "PROGRAM", "OF"], *([one.hook, one.name, one.owner] for one in datapath.met)]
    return rows if len(rows) > 1 else [["no program"]]


def _crossings(datapath: Datapath) -> list[list[str]]:
    rows = [["ADDRESS", "BY", "RESULT"]]
    for one in datapath.crossings:
        became = f"replaced by {Target(*one.became, one.target.protocol)}" if one.became else str(one.result)
        refused = " (ICMP)" if one.result is Result.REFUSED else ""
        rows.append([str(one.target), one.by, f"{became}{refused}{f': {one.reason}' if one.reason else ''}"])
    return rows


def _document(evidence: Evidence, judgement: Judgement) -> dict[str, Any]:
    return {
        "verdict": judgement.verdict,
        "why": judgement.why,
        "notes": judgement.notes,
        "do": judgement.do,
        "cgroup": evidence.cgroup,
        "programs": [_program(hooked, applies=True) for hooked in evidence.applying]
        + [_program(hooked, applies=False) for hooked in evidence.elsewhere],
        "trials": [_trial("pod", trial) for trial in evidence.pod] + [_trial("node", trial) for trial in evidence.node],
        "claims": [
            {"source": claim.source, "replaced": claim.coverage.name.lower(), "lines": list(claim.lines)}
            for claim in evidence.claims
        ],
        "datapath": _datapath(evidence.datapath) if evidence.datapath else None,
    }


def _datapath(datapath: Datapath) -> dict[str, Any]:
    ends = datapath.ends
    return {
        "netns": datapath.namespace,
        "ifname": ends.inside if ends else None,
        "nodeIfname": ends.outside if ends else None,
        "kind": ends.kind if ends else None,
        "missing": datapath.missing or None,
        "programs": [one._asdict() | {"id": one.id or None, "tag": one.tag or None} for one in datapath.met],
        "runs": [
            {
                "target": str(one.target),
                "result": one.result,
                "became": printable(str(Target(*one.became, one.target.protocol))) if one.became else None,
                "by": one.by or None,
                "reason": one.reason or None,
            }
            for one in datapath.crossings
        ],
    }


def _program(hooked: Hooked, *, applies: bool) -> dict[str, Any]:
    return {
        "hook": hooked.hook,
        "name": hooked.program.name,
        "id": hooked.program.id,
        "tag": hooked.program.tag,
        "owner": hooked.owner,
        "mode": hooked.mode or None,
        "cgroup": hooked.cgroup or None,
        "appliesToPod": applies,
    }


def _trial(who: str, trial: Trial) -> dict[str, Any]:
    return {
        "target": str(trial.target),
        "from": who,
        "outcome": trial.outcome,
        "peer": printable(str(Target(*trial.peer, trial.target.protocol))) if trial.peer else None,
        "reason": trial.reason or None,
    }
