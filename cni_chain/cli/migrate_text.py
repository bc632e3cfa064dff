"""What `migrate` prints, as text and as JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from cni_chain.cli.output import paint, paragraph, printable, table
from cni_chain.migrate.guards import Refusal
from cni_chain.migrate.plan import WRITE, Paths, Plan
from cni_chain.migrate.proof import Delegate, Difference, Proof
from cni_chain.migrate.standing import Standing
from cni_chain.migrate.steps import Step, following


def plan_document(paths: Paths, plan: Plan, standing: Standing) -> dict[str, Any]:
    """Return a whole plan as a JSON document."""
    return {
        **head(paths, standing.state),
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
        **steps_document(standing),
    }


def steps_document(standing: Standing) -> dict[str, Any]:
    """Return the agents' settings and the steps as members of a JSON document."""
    now = following(standing.steps)
    return {
        "settings": [one._asdict() for one in standing.settings],
        "steps": [{**step._asdict(), "next": step in now} for step in standing.steps],
    }


def head(paths: Paths, state: str) -> dict[str, Any]:
    """Return the first keys of every document."""
    return {
        "netDir": paths.net_dir,
        "chainDir": paths.chain_dir,
        "state": state,
        "facade": paths.facade,
        "waiting": paths.waiting(state),
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


def plan_text(paths: Paths, plan: Plan, standing: Standing) -> list[str]:
    """Return the plan as text: the split, the facade, the proof, and the steps with the agents' settings."""
    live = plan.live
    lines = [
        f"{paint('bold', f'network {live.network}')}  {live.path}, cniVersion {live.version}",
        *paragraph(plan.choice.reason, "  "),
        "",
        *_table(paths, plan),
        "",
        f"{paint('bold', 'Facade')}  {paths.facade}, until the switch {paths.pending}",
        *_facade(plan),
        "",
        *proof_text(plan.proof),
    ]
    if plan.unusable is not None:
        text = f"A new pod would get error {plan.unusable.code}: {plan.unusable.msg}"
        lines += [paint("red", line) for line in paragraph(text, "")]
    return [*lines, *steps_text(standing)]


def standing_text(standing: Standing) -> list[str]:
    """Return how far the migration is, and its steps with the commands of those that are not done."""
    return [*paragraph(standing.summary, ""), *steps_text(standing)]


def steps_text(standing: Standing) -> list[str]:
    """Return the steps, if there are any, with the commands of those that are not done."""
    return ["", *_steps(standing.steps)] if standing.steps else []


def next_text(standing: Standing) -> list[str]:
    """Return what to do now, with its commands."""
    now = following(standing.steps)[:1]
    return ["", *_steps(now, "Next, on every node"), "All steps: cni-chain migrate status"] if now else []


def _steps(steps: list[Step], title: str = "Steps, each on every node before the next") -> list[str]:
    lines = [paint("bold", title)]
    now = following(steps)
    for number, step in enumerate(steps, 1):
        mark = paint("green", "✓") if step.done else paint("bold", "→") if step in now else " "
        first, *rest = paragraph(step.text, "      ")
        count = f"{number}." if len(steps) > 1 else "  "
        lines += [f"{mark} {count:>3} {first.strip()}", *rest]
        if step.done is not True:
            for remark in step.remarks:
                lines += paragraph(remark, "      # ")
            lines += [line for command in step.commands for line in shell(command)]
    return lines


def shell(command: str) -> list[str]:
    """Return a command as lines to copy, each `--set` on a line of its own."""
    first, *more = re.split(r" (?=--(?:version|reuse-values|set) )", command)
    lines = [first, *(f"    {option}" for option in more)]
    return [f"          {line} \\" for line in lines[:-1]] + [f"          {lines[-1]}"]


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
        if not share.plugins:
            rows.append(["+", share.types[0], share.owner, f"{share.owner}.d/", "comes later"])
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
            lines += paragraph(f"facade: {difference.text()}", "  ")
        for delegate in proof.delegates:
            for difference in delegate.differences:
                lines += paragraph(where(delegate) + difference.text(), "  ")
    for remark in proof.remarks:
        lines += paragraph(remark, "  ")
    return lines


def where(delegate: Delegate) -> str:
    """Return the beginning of a line that names a difference's plugin."""
    file = f" ({delegate.link.path})" if delegate.link else ""
    return f"{delegate.number} {delegate.type}{file}: "


def difference_lines(waiting: str, proof: Proof) -> list[str]:
    """Return each difference on a line, with the file that it is in; the facade waits as `waiting`."""
    of_plugins = [where(one) + difference.text() for one in proof.delegates for difference in one.differences]
    return of_plugins + [f"{waiting}: {difference.text()}" for difference in proof.differences]


def refusal_documents(refusals: list[Refusal]) -> list[dict[str, Any]]:
    """Return each refusal as a JSON document."""
    return [{"id": one.id, "message": one.message, "override": one.is_guess} for one in refusals]


def refusal_lines(refusals: list[Refusal]) -> list[str]:
    """Return each refusal on a line, with the option that overrules it if there is one."""
    return [_refusal(one) for one in refusal_documents(refusals)]


def refusals_text(refusals: list[dict[str, Any]]) -> list[str]:
    """Return the paragraph about what `switch` would refuse, from the refusals' documents; [] if it refuses nothing."""
    if not refusals:
        return []
    lines = ["", paint("bold", "What `switch` refuses now")]
    return lines + [line for one in refusals for line in paragraph(_refusal(one), "  ")]


def _refusal(one: dict[str, Any]) -> str:
    override = f" (or pass --override {one['id']}, if this is wrong)" if one["override"] else ""
    return printable(one["message"] + (override or (f" [{one['id']}]" if one["id"] else "")))
