"""What `migrate` prints, as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

from cni_chain.cli.output import paint, paragraph, printable, table
from cni_chain.migrate.guards import Refusal
from cni_chain.migrate.plan import WRITE, Paths, Plan
from cni_chain.migrate.proof import Delegate, Difference, Proof
from cni_chain.migrate.settings import settings, steps
from cni_chain.node.tree import Tree


def plan_document(tree: Tree, paths: Paths, plan: Plan, state: str) -> dict[str, Any]:
    """Return a whole plan as a JSON document."""
    return {
        **head(tree, paths, state),
        "live": {
            "file": plan.live.path,
            "runtime": plan.choice.runtime or "any",
            "reason": plan.choice.reason,
            "network": plan.live.network,
            "cniVersion": plan.live.version,
            "plugins": plan.live.types,
        },
        "owners": [
            {
                "name": share.owner,
                "directory": paths.directory(share.owner),
                "types": share.types,
                "files": [
                    {"path": step.path, "action": step.action, "content": step.document}
                    for step in plan.steps
                    if step.owner == share.owner
                ],
            }
            for share in plan.shares
        ],
        "facadeDocument": plan.facade.document,
        "unusable": None if plan.unusable is None else {"code": plan.unusable.code, "msg": plan.unusable.msg},
        "proof": proof_document(plan.proof),
        "settings": [one._asdict() for one in settings(plan.shares, paths)],
        "steps": steps(plan.shares, plan.live, paths),
    }


def head(tree: Tree, paths: Paths, state: str) -> dict[str, Any]:
    """Return the first keys of every document."""
    return {
        "root": tree.root,
        "netDir": paths.net_dir,
        "chainDir": paths.chain_dir,
        "state": state,
        "facade": paths.facade,
        "waiting": paths.pending,
    }


def proof_document(proof: Proof) -> dict[str, Any]:
    """Return the proof as a JSON document: what each plugin gets before and after, and what differs."""
    return {
        "same": proof.holds,
        "differences": [_difference(one) for one in proof.differences],
        "delegates": [
            {
                "number": one.number,
                "type": one.type,
                "owner": one.link.owner.name if one.link else None,
                "file": one.link.path if one.link else None,
                "before": one.before,
                "after": one.after,
                "differences": [_difference(difference) for difference in one.differences],
            }
            for one in proof.delegates
        ],
        "remarks": proof.remarks,
    }


def _difference(one: Difference) -> dict[str, Any]:
    """Return a difference; a side without a value has no key, because null is a value."""
    sides = {"before": one.before, "after": one.after}
    return {"key": one.key} | {side: value for side, value in sides.items() if value is not ...}


def plan_text(paths: Paths, plan: Plan) -> list[str]:
    """Return the plan as text: the split, the facade, the proof, the agents' settings, the steps."""
    live = plan.live
    lines = [
        f"{paint('bold', f'network {live.network}')}  {live.path}, cniVersion {live.version}",
        *paragraph(plan.choice.reason, "  "),
        "",
        *_table(paths, plan),
        "",
        f"{paint('bold', 'Facade')}  {paths.facade}, until --switch {paths.pending}",
        *_facade(plan),
        "",
        *proof_text(plan.proof),
    ]
    if plan.unusable is not None:
        text = f"A new pod would get error {plan.unusable.code}: {plan.unusable.msg}"
        lines += [paint("red", line) for line in paragraph(text, "")]
    lines += _settings(plan, paths)
    lines += ["", paint("bold", "Steps, each on every node before the next")]
    for number, step in enumerate(steps(plan.shares, live, paths), 1):
        first, *rest = paragraph(step, "     ")
        lines += [f"{number:>3}. {first.strip()}", *rest]
    return lines


def _table(paths: Paths, plan: Plan) -> list[str]:
    rows = [["#", "PLUGIN", "OWNER", "FILE", ""]]
    number = 0
    for share in plan.shares:
        steps_of = [step for step in plan.steps if step.owner == share.owner]
        for index, plugin in enumerate(share.plugins):
            number += 1
            step = steps_of[index if len(steps_of) == len(share.plugins) else 0]
            path = step.path.removeprefix(f"{paths.chain_dir}/")
            action = "to be written" if step.action == WRITE else "exists already"
            rows.append([str(number), plugin["type"], share.owner, path, action])
    return table(rows, styles=["bold"], fold=3)


def _facade(plan: Plan) -> list[str]:
    lines = []
    for owner in plan.facade.conf["owners"]:
        keys = {key: value for key, value in owner.items() if key != "name"}
        lines += paragraph(f"{owner['name']}: {json.dumps(keys)}" if keys else owner["name"], "  ")
    return lines


def proof_text(proof: Proof) -> list[str]:
    """Return the differences, or that nothing differs."""
    title = paint("bold", "Proof")
    count = len(proof.delegates)
    lines = []
    if proof.holds:
        plugins = "1 plugin gets" if count == 1 else f"{count} plugins, in the same order, each get"
        lines.append(f"{title}  {paint('green', f'{plugins} the same configuration as before.')}")
    else:
        lines.append(f"{title}  {paint('red', 'not the same as before:')}")
        for difference in proof.differences:
            lines += paragraph(f"facade: {worded(difference)}", "  ")
        for delegate in proof.delegates:
            for difference in delegate.differences:
                lines += paragraph(where(delegate) + worded(difference), "  ")
    for remark in proof.remarks:
        lines += paragraph(remark, "  ")
    return lines


def where(delegate: Delegate) -> str:
    """Return the beginning of a line that names a difference's plugin."""
    file = f" ({delegate.link.path})" if delegate.link else ""
    return f"{delegate.number} {delegate.type}{file}: "


def worded(difference: Difference) -> str:
    """Return a difference as text."""
    before, after = (
        "nothing" if value is ... else json.dumps(value) for value in (difference.before, difference.after)
    )
    return f"{difference.key}: before {before}, after {after}"


def _settings(plan: Plan, paths: Paths) -> list[str]:
    lines = []
    for one in settings(plan.shares, paths):
        lines += ["", paint("bold", f"Settings of {one.owner}")]
        for remark in one.remarks:
            lines += paragraph(remark, "  # ")
        lines += [f"  {command}" for command in one.commands]  # whole lines, for copying
    return lines


def refusal_lines(refusals: list[Refusal]) -> list[str]:
    """Return each refusal on a line, with the option that overrules it if there is one."""
    return [
        printable(one.message + (f" (or pass --despite {one.name}, if this is wrong)" if one.despite else ""))
        for one in refusals
    ]
