"""`cni-chain doctor`: runs every rule on a node, and prints why each finding matters and what to do."""

from __future__ import annotations

from typing import Any

import typer

from cni_chain.checks import registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Finding, Needs
from cni_chain.checks.wording import counted
from cni_chain.cli.options import BinDirs, Conf, DistroName, Json, NetDirectory, Root, StateDirs, Where
from cni_chain.cli.output import paint, paragraph, print_json, printable, progress
from cni_chain.node import attachments
from cni_chain.node.progress import Step


def command(
    json: Json = False,
    state_dir: StateDirs = None,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Check this node: which file the runtime takes, which agents edit it, and what pods have left behind.

    Each finding says what is wrong, why it matters and what to do; docs/reference/checks.md explains each id. The
    findings of verify are among them. Plugins and runtimes are asked for their versions, and agents' sockets are
    tried, unless --root is given; nothing is changed.

    \b
    Examples:
      cni-chain doctor
      cni-chain doctor --json | jq -r '.findings[] | select(.severity == "error") | .what'
      cni-chain doctor --root /mnt/node

    \b
    Exit status: 0 if no error was found (warnings are not errors), 1 if one was.
    """
    where = Where.given(root, distro, state_dir=state_dir, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    directory, surveys = where.surveys()
    states = attachments.look(where.tree, [survey.file for survey in surveys], where.state_dirs)
    node = Node(where.tree, directory, surveys, where.bin_dirs, states)
    with progress("looking for", len(registry.rules())) as step:
        diagnosis = Diagnosis(node, step)
    if json:
        print_json(diagnosis.document())
    else:
        print("\n".join(diagnosis.lines()))
    raise typer.Exit(1 if diagnosis.errors else 0)


class Diagnosis:
    """The findings of all rules on one node, and the file that each runtime takes."""

    def __init__(self, node: Node, step: Step) -> None:
        self.node = node
        self.findings = registry.run(node, Needs.NODE, step)
        self.errors = sum(finding.is_error for finding in self.findings)
        self.warnings = len(self.findings) - self.errors

    def lines(self) -> list[str]:
        """Return the lines of text."""
        lines = [line for runtime in self.node.runtimes for line in paragraph(runtime.text(), "")]
        if not self.node.runtimes:
            first = self.node.directory.first
            instead = f"the file that sorts first is {first}" if first else f"{self.node.directory.path} is empty"
            lines += paragraph(f"Neither containerd nor CRI-O is installed here; {instead}", "")
        for finding in self.findings:
            lines += ["", *_text(finding)]
        return [*lines, "", self._verdict()]

    def _verdict(self) -> str:
        if not self.findings:
            return paint("green", "No problem was found on this node.")
        counts = [counted(self.errors, "error")] if self.errors else []
        counts += [counted(self.warnings, "warning")] if self.warnings else []
        return paint("red" if self.errors else "yellow", ", ".join(counts))

    def document(self) -> dict[str, Any]:
        """Return the same as a JSON document."""
        return {
            "root": self.node.tree.root,
            "netDir": self.node.directory.path,
            "first": self.node.directory.first,
            "runtimes": [runtime.document() for runtime in self.node.runtimes],
            "findings": [finding.document() for finding in self.findings],
            "errors": self.errors,
            "warnings": self.warnings,
        }


def _text(finding: Finding) -> list[str]:
    kind = paint("red" if finding.is_error else "yellow", finding.severity)
    lines = [f"{kind} [{finding.id}]  {paint('bold', printable(str(finding.place)))}"]
    for name, text in (("what", finding.what), ("why", finding.why), ("do", finding.do)):
        first, *others = paragraph(text, " " * 8)
        lines += [f"  {name.ljust(6)}{first[8:]}", *others]
    return lines
