"""A node at a glance, by the rules that `doctor` runs: what `status` prints, and the agent serves.

It imports no Typer, so that scripts may ask often (`cni_chain.cli.quick`).
"""

from __future__ import annotations

import time
from typing import Any

from cni_chain.checks import log, registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Finding, Needs
from cni_chain.node import attachments
from cni_chain.node.facades import NetDir
from cni_chain.node.survey import Survey, error_of
from cni_chain.node.tree import Tree
from cni_chain.plugin.chain import OwnerChain


class Glance:
    """A node as the rules find it now."""

    def __init__(
        self,
        tree: Tree,
        directory: NetDir,
        surveys: list[Survey],
        bin_dirs: list[str],
        state_dirs: list[str],
        *,
        mesh: bool = False,
    ) -> None:
        """Look at the node; `state_dirs` is empty for those that its facades name. For `mesh` see `Node`.

        Raises RefusedError if it can't be read.
        """
        states = attachments.look(tree, [survey.file for survey in surveys], state_dirs)
        self.node = Node(tree, directory, surveys, bin_dirs, states, mesh=mesh)
        self.findings = registry.run(self.node, Needs.NODE)
        self.errors = [finding for finding in self.findings if finding.is_error]
        self.reasons = registry.reasons(self.node, self.findings)
        failures = log.last_failures(self.node, time.time())
        self.failure = failures[0][1] if failures else None
        entries = [entry for state in states for entry in state.entries]
        self.recorded = len(entries)
        self.stranded = sum(entry.is_stranded for entry in entries)

    @property
    def whole(self) -> bool:
        """Whether a new pod gets the whole chain of every facade."""
        return bool(self.node.surveys) and not self.errors and all(map(self.in_place, self.node.surveys))

    def in_place(self, survey: Survey) -> bool:
        """Return whether a runtime sees a facade: `--conf` may name one that waits, or one of another directory."""
        return self.node.directory.holds(survey.file.path)

    def errors_of(self, survey: Survey) -> list[Finding]:
        """Return the errors that concern one facade."""
        return registry.of_survey(self.node, survey, self.errors, Needs.NODE)

    def files(self) -> list[str]:
        """Return the directories whose change may change the verdict."""
        owners = [part.directory.path for survey in self.node.surveys for part in survey.parts]
        chains = [survey.facade.chain_dir for survey in self.node.surveys]
        paths = [self.node.directory.path, *chains, *owners, *self.node.bin_dirs]
        return [self.node.tree.real(path) for path in dict.fromkeys(paths)]


def document(found: Glance) -> dict[str, Any]:
    """Return the same as members of a JSON object."""
    failure = found.failure
    return {
        "whole": found.whole,
        "facades": [_facade(found, survey) for survey in found.node.surveys],
        "pods": {"recorded": found.recorded, "stranded": found.stranded},
        "mesh": found.node.mesh.document() if found.node.mesh else None,
        "lastFailure": None if failure is None else _failure(failure.last, failure.times),
        "runtimes": [runtime.document() for runtime in found.node.runtimes],
        "findings": [finding.document() for finding in found.reasons],
        "errors": len(found.errors),
        "warnings": len(found.findings) - len(found.errors),
    }


def _facade(found: Glance, survey: Survey) -> dict[str, Any]:
    errors = found.errors_of(survey)
    refusal = survey.refusal()
    return {
        "file": survey.file.path,
        "network": survey.file.network,
        "inPlace": found.in_place(survey),
        "whole": found.in_place(survey) and not errors,
        "newPod": None if refusal is None else {"code": refusal.code, "msg": refusal.msg},
        "owners": [
            {
                "name": part.owner.name,
                "required": part.owner.required,
                "plugins": [link.type for link in part.delegates],
                "errors": [one.id for one in blamed(part, errors)],
                "waitsFor": waits_for(part),
            }
            for part in survey.parts
        ],
    }


def _failure(call: Any, times: int) -> dict[str, Any]:
    return {
        "time": call.time,
        "verb": call.verb,
        "network": call.network,
        "pod": call.pod,
        "code": call.code,
        "msg": call.message,
        "times": times,
    }


def waits_for(part: OwnerChain) -> str | None:
    """Return the error that a new pod gets because of this owner, None if it gets none."""
    error = error_of(part)
    return None if error is None else error.msg


def blamed(part: OwnerChain, errors: list[Finding]) -> list[Finding]:
    """Return the errors that are an owner's: those that name it, and those in its directory."""
    directory = f"{part.directory.path}/"
    return [one for one in errors if one.owner == part.owner.name or f"{one.place.path}/".startswith(directory)]
