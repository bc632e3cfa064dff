"""Writes docs/reference/checks.md from the registry of rules: python build/checks.py. A test checks that."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from cni_chain.checks import registry  # noqa: E402  # the checkout's own modules are found from here on
from cni_chain.checks.rule import Kind, Needs, Rule  # noqa: E402

PAGE = CHECKOUT / "docs/reference/checks.md"

_INTRODUCTION = """\
# Checks

What cni-chain's commands find on a node, by id. Written by `python build/checks.py` from the rules themselves.

Each finding has an id, a place (file, line, column), what is wrong, why it matters, what to do, and a severity.
Commands print the id in brackets, and as the key `id` with `--json`.
An error: pods fail, or don't get what their owners want.
A warning: pods may fail later, or something is left behind.

All commands check a node by the same rules:

* `cni-chain verify` runs the rules that need files and the plugins' answer to VERSION. It exits 1 if it finds an error.
* `cni-chain doctor` runs all rules: those of `verify`, and those that need the running node. It exits 1 if it finds an
  error.
* `cni-chain show` names the errors of `verify` in its last line, and exits 1 if it finds one.
* `cni-chain status` runs the rules of `doctor`, and exits 1 if it finds an error.
* Without a facade in place, `show`, `cat`, `owner` and `status` exit 1 and name what is found.
  For `verify` and `doctor` that is only a warning while a facade waits as `….ready` and another file gives pods their
  network (`facade-waiting`): no pod fails, but none gets the chain either.
* What only the running node shows, for example a plugin that hangs, is an error of `doctor` and `status` alone:
  `verify` and `show` read neither the log nor the records, and call no agent.
* `cni-chain install` and `cni-chain owner` refuse a change that causes a new error.

`cni-chain verify FILE` runs the rules about a single file.
"""

_NEEDS = {
    Needs.FILES: "files",
    Needs.PLUGINS: "plugins",
    Needs.NODE: "the running node",
}


def page() -> str:
    """Return docs/reference/checks.md."""
    kinds = [(kind, rule) for rule in registry.rules() for kind in rule.kinds]
    lines = [_INTRODUCTION, "| id | severity | needs | found when |", "|---|---|---|---|"]
    for kind, rule in kinds:
        severity = f"{kind.severity}, or warning" if kind.milder else kind.severity
        lines.append(f"| [`{kind.id}`](#{kind.id}) | {severity} | {_NEEDS[rule.needs]} | {kind.when} |")
    for kind, rule in kinds:
        lines += ["", *_paragraph(kind, rule)]
    return "\n".join(lines) + "\n"


def _paragraph(kind: Kind, rule: Rule) -> list[str]:
    found_by = "`doctor`" if rule.needs is Needs.NODE else "`verify` and `doctor`"
    severity = kind.severity.capitalize()
    if kind.milder:
        severity += f"; a warning if {kind.milder}"
    lines = [f"## {kind.id}", "", f"{severity}. Found by {found_by} when {kind.when}.", ""]
    lines.append(f"**Why it matters:** {kind.why}")
    if kind.is_stopping:
        lines.append("While it is an error, no new pod gets the chain.")
    lines += ["", f"**What to do:** {kind.do}"]
    if kind.replaces:
        lines += ["", f"Reported instead of {', '.join(f'`{id_}`' for id_ in kind.replaces)} for the same file."]
    return lines


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
