"""`cni-chain doctor`: runs every rule on a node, and prints why each finding matters and what to do."""

from __future__ import annotations

from typing import Any

import typer

from cni_chain.checks import registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Finding, Needs
from cni_chain.checks.wording import counted
from cni_chain.cli.options import BinDirs, Conf, DistroName, FailOn, NetDirectory, Output, Root, Severity, StateDirs
from cni_chain.cli.output import Form, paint, paragraph, print_document, printable, progress
from cni_chain.cli.where import Where
from cni_chain.node import attachments
from cni_chain.node.progress import Step


def command(
    fail_on: FailOn = Severity.ERROR,
    output: Output = Form.TEXT,
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
    tried, unless --root is given; nothing is changed. Where a mesh's plugin is in the chain, services' addresses are
    tried as by mesh check (no packet is sent), and the newest pods are looked at as by mesh pods.

    \b
    Examples:
      cni-chain doctor
      cni-chain doctor --json | jq -r '.findings[].what'
      cni-chain doctor --root /mnt/node

    Exit status: 0 if no error was found (warnings are not errors, but see --fail-on), 1 if one was.
    """
    where = Where.given(root, distro, state_dir=state_dir, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    directory, surveys = where.surveys()
    states = attachments.look(where.tree, [survey.file for survey in surveys], where.state_dirs)
    node = Node(where.tree, directory, surveys, where.bin_dirs, states, mesh=True)
    with progress("looking for", len(registry.rules())) as step:
        diagnosis = Diagnosis(node, step)
    if output.is_document:
        print_document(output, "doctor", where.tree, diagnosis.document())
    else:
        print("\n".join(diagnosis.lines()))
    raise typer.Exit(1 if diagnosis.errors or (fail_on is Severity.WARNING and diagnosis.warnings) else 0)


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
        if self.node.mesh is not None:
            lines += paragraph(f"Services' addresses, before a mesh sees them: {self.node.mesh.services()}", "")
            lines += paragraph(f"Pods with a mesh's plugin: {self.node.mesh.captured()}", "")
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
            "netDir": self.node.directory.path,
            "first": self.node.directory.first,
            "runtimes": [runtime.document() for runtime in self.node.runtimes],
            "mesh": self.node.mesh.document() if self.node.mesh else None,
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
