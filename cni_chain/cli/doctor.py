"""`cni-chain doctor`: is this node all right. Gathers what the checks find, and adds whatever `verify` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cni_chain.checks import net_dir, owners, plugins, records, runtimes, sockets, tokens, writers
from cni_chain.checks.findings import Finding
from cni_chain.checks.runtimes import Runtime
from cni_chain.checks.words import Node, Trouble
from cni_chain.cli import verify
from cni_chain.cli.output import paint, paragraph, printable
from cni_chain.node.progress import Step

# What a check of its own has said already, in other words than verify's.
_COVERS = {
    "facade-missing": "no facade here",
    "facade-waiting": "no facade here",
    "facade-renamed": "no facade here",
    "facade-outsorted": "sorts before",
    "first-file-invalid": "sorts before",
    "facade-edited": "beside cni-chain",
    "runtime-too-old": "is too new for containerd",
}

_CHECKS: dict[str, Callable[[Node], Iterator[Trouble]]] = {
    "the runtime's directory": net_dir.check,
    "the owners": owners.check,
    "the plugins": plugins.check,
    "the agents": sockets.check,
    "what agents write": writers.check,
    "tokens": tokens.check,
    "the records and the log": records.check,
}
STEPS = len(_CHECKS) + 2

# Why something that verify finds matters, and what to do, by words of its message; the last one is for all others.
_KINDS = (
    (
        ("(chmod go-w)", "(chown root)"),
        "permissions",
        "Whoever can change this runs what they want as root, at the next pod.",
        "Do what the brackets say. If an agent sets it so again and again, that agent must be told.",
    ),
    (
        ("named like the network",),
        "drop-in-directory",
        "Runtimes with libcni 1.3 or later add what lies there to every pod's chain, behind cni-chain.",
        "Remove the directory; what is wanted of it belongs in an owner's directory.",
    ),
    (
        ("",),
        "verify",
        "A pod fails, or doesn't get what its owners want.",
        (
            "Correct it there, or, if an agent writes the file, in that agent's settings (docs/reference/facade.md, "
            "docs/agents). cni-chain verify finds the same, with line and column."
        ),
    ),
)


class Diagnosis:
    """What the doctor has to say of one node."""

    def __init__(self, node: Node, step: Step) -> None:
        self.node = node
        step("the runtimes")
        self.runtimes: list[Runtime] = runtimes.installed(node)
        found = dict.fromkeys(self._checks(step))
        step("what verify finds")
        rest = [_told(finding) for finding in self._verified() if not _is_covered(finding, found)]
        self.troubles = sorted(dict.fromkeys([*found, *rest]), key=lambda trouble: trouble.warning)

    def _checks(self, step: Step) -> Iterator[Trouble]:
        yield from runtimes.check(self.node, self.runtimes)
        for name, check in _CHECKS.items():
            step(name)
            yield from check(self.node)

    def _verified(self) -> list[Finding]:
        return verify.node(self.node.directory, self.node.surveys).sorted()

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(not trouble.warning for trouble in self.troubles)

    def lines(self) -> list[str]:
        """Return what a person reads."""
        lines = [line for runtime in self.runtimes for line in paragraph(runtime.text(), "")]
        if not self.runtimes:
            first = self.node.directory.first
            told = f"the file that sorts first is {first}" if first else f"{self.node.directory.path} is empty"
            lines += paragraph(f"Neither containerd nor CRI-O is installed here; {told}", "")
        for trouble in self.troubles:
            kind = paint("yellow", "warning") if trouble.warning else paint("red", "error")
            lines += ["", f"{kind}  {paint('bold', printable(trouble.path))}"]
            for name, text in (("what", trouble.what), ("why", trouble.why), ("do", trouble.do)):
                first_line, *others = paragraph(text, " " * 8)
                lines += [f"  {name.ljust(6)}{first_line[8:]}", *others]
        return [*lines, "", self._verdict()]

    def _verdict(self) -> str:
        if not self.troubles:
            return paint("green", "This node is all right.")
        warnings = len(self.troubles) - self.errors
        told = [f"{self.errors} error{'' if self.errors == 1 else 's'}"] if self.errors else []
        told += [f"{warnings} warning{'' if warnings == 1 else 's'}"] if warnings else []
        return paint("red" if self.errors else "yellow", ", ".join(told))

    def document(self) -> dict[str, Any]:
        """Return the same for a program."""
        return {
            "root": self.node.tree.root,
            "netDir": self.node.directory.path,
            "first": self.node.directory.first,
            "runtimes": [runtime.document() for runtime in self.runtimes],
            "findings": [
                {
                    "id": trouble.id,
                    "severity": "warning" if trouble.warning else "error",
                    "path": trouble.path,
                    "what": trouble.what,
                    "why": trouble.why,
                    "do": trouble.do,
                }
                for trouble in self.troubles
            ],
            "errors": self.errors,
            "warnings": len(self.troubles) - self.errors,
        }


def _is_covered(finding: Finding, found: dict[Trouble, None]) -> bool:
    return any(
        finding.message in trouble.what
        or finding.message.startswith(trouble.what)  # verify says at once what the doctor advises
        or (trouble.id in _COVERS and _COVERS[trouble.id] in finding.message)
        or (trouble.id in ("first-file-invalid", "owner-with-two-writers") and trouble.path == finding.place.path)
        for trouble in found
    )


def _told(finding: Finding) -> Trouble:
    _, kind, why, do = next(one for one in _KINDS if any(words in finding.message for words in one[0]))
    return Trouble(kind, str(finding.place), finding.message, why, do, finding.warning)
