"""What a facade would mean that isn't in place yet: would a new pod get a network, and what is wrong with it."""

from __future__ import annotations

from typing import NamedTuple

from cni_chain.checks import chain
from cni_chain.checks.facade import own
from cni_chain.checks.findings import Finding
from cni_chain.checks.places import Places
from cni_chain.node import locate
from cni_chain.node.facades import FacadeFile
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree
from cni_chain.plugin.errors import CNIError


class Trial(NamedTuple):
    """What would become of a new pod, and every finding of the facade and its chain."""

    survey: Survey
    refusal: CNIError | None
    findings: list[Finding]

    def errors(self) -> list[str]:
        """Return what keeps pods from getting what is meant, in words."""
        told = [finding.message for finding in self.findings if not finding.warning]
        if self.refusal is None:
            return told
        msg = self.refusal.msg
        others = [one for one in told if one not in msg and not one.startswith(msg)]  # a finding may add what to do
        return [f"a new pod gets error {self.refusal.code}: {msg}", *others]

    def worse_than(self, before: Trial) -> list[str]:
        """Return the errors that `before` had not: a node whose pods get no network anyway is not worse off."""
        old = before.errors()
        known = "" if before.refusal is None or self.refusal is None else self.errors()[0]
        return [error for error in self.errors() if error not in old and error != known]

    def warnings(self) -> list[str]:
        """Return what may go wrong, in words."""
        return [f"{finding.place.path}: {finding.message}" for finding in self.findings if finding.warning]


def facade(tree: Tree, path: str, text: str, bin_dirs: list[str]) -> Trial:
    """Return what `text` would mean as the facade `path`. Raises UnreadableError if it is none."""
    file = FacadeFile(path, *locate.decode(text.encode()))
    survey = Survey(tree, file, bin_dirs)
    return Trial(
        survey,
        survey.refusal(),
        [*own(file), *chain.chain(survey, Places(survey))],
    )
