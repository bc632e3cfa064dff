"""`cni-chain verify`: every problem at once, of a node or of files that are not in place yet."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cni_chain.checks import registry, written
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Finding, Needs
from cni_chain.checks.wording import counted
from cni_chain.cli.options import BinDirs, Conf, DistroName, FailOn, NetDirectory, Output, Root, Severity
from cni_chain.cli.output import Form, paint, print_document, printable, progress
from cni_chain.cli.where import Where
from cni_chain.node.progress import Step, unseen


def command(
    file: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            show_default=False,
            help="Facades or fragments that are not in place yet (not below --root); each is checked by itself.",
        ),
    ] = None,
    fail_on: FailOn = Severity.ERROR,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Find every problem at once: in the facade, the owners' fragments, their plugins, and the permissions of all.

    Each line is 'path:line:column: severity [id]: message', errors first; docs/reference/checks.md explains each id.
    The last line has the counts. Plugins are asked for their versions (VERSION, which changes nothing) unless --root is
    given.

    \b
    Examples:
      cni-chain verify
      cni-chain verify ./10-portmap.conf
      cni-chain verify --root ./image --bin-dir /opt/cni/bin:/usr/lib/cni

    Exit status: 0 if no error was found (warnings are not errors, but see --fail-on), 1 if one was.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    if file:
        with progress("checking", len(file)) as step:
            report = of_files(file, step)
    else:
        directory, surveys = where.surveys()
        report = of_node(Node(where.tree, directory, surveys, where.bin_dirs, progress=progress))
    if output.is_document:
        print_document(output, "verify", where.tree, report.document())
    else:
        for finding in report.findings:
            print(line(finding))
        print(report.count())
    raise typer.Exit(1 if report.errors or (fail_on is Severity.WARNING and report.warnings) else 0)


class Report:
    """All findings, errors first, and the checked files."""

    def __init__(self, findings: list[Finding], files: set[str]) -> None:
        self.findings = findings
        self.files = files
        self.errors = sum(finding.is_error for finding in findings)
        self.warnings = len(findings) - self.errors

    def count(self) -> str:
        """Return the last line of the report."""
        files = counted(len(self.files), "file")
        return f"{files} checked: {counted(self.errors, 'error')}, {counted(self.warnings, 'warning')}"

    def document(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "findings": [finding.document() for finding in self.findings],
            "files": len(self.files),
            "errors": self.errors,
            "warnings": self.warnings,
        }


def of_node(node: Node) -> Report:
    """Return what is wrong with a node's facades, with the chains behind them, and with the runtime's directory."""
    files = {f"{node.directory.path}/{name}" for name in node.directory.unreadable}
    for survey in node.surveys:
        files.add(survey.file.path)
        for part in survey.parts:
            files.update(fragment.path for fragment in part.directory.fragments)
            files.update(fault.path for fault in part.directory.faults if fault.path != part.directory.path)
    return Report(registry.run(node, Needs.PLUGINS), files)


def of_files(paths: list[str], step: Step = unseen) -> Report:
    """Return what is wrong with facades and fragments by themselves, wherever they are. A step is each file."""
    findings: list[Finding] = []
    for path in paths:
        step(path)
        findings += written.look(path)
    return Report(sorted(dict.fromkeys(findings), key=Finding.order), set(paths))


def line(finding: Finding) -> str:
    """Return the finding as compilers print theirs."""
    kind = paint("red" if finding.is_error else "yellow", finding.severity)
    return f"{printable(str(finding.place))}: {kind} [{finding.id}]: {printable(finding.what)}"
