"""What the rules say about a facade that isn't in place yet: whether a new pod would get a network with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from cni_chain.checks import owners, registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Finding
from cni_chain.node import locate
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree


class Trial(NamedTuple):
    """What the rules find in a facade and in its chain."""

    node: Node
    survey: Survey
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings because of which pods get no network, or not what their owners want."""
        return [finding for finding in self.findings if finding.is_error]

    @property
    def warnings(self) -> list[Finding]:
        """The findings that may become errors; an optional owner without a fragment is intended, and left out."""
        meant = owners.WITHOUT_FRAGMENT.id
        return [finding for finding in self.findings if not finding.is_error and finding.id != meant]

    def worse_than(self, before: Trial) -> list[Finding]:
        """Return the errors that `before` doesn't have; a node whose new pods get no network already isn't worse."""
        was_refused = any(map(registry.refused, before.findings))
        known = {_same(finding) for finding in before.errors}
        return [one for one in self.errors if _same(one) not in known and not (was_refused and registry.refused(one))]

    def newer_than(self, before: Trial) -> list[Finding]:
        """Return the warnings that `before` doesn't have."""
        known = {_same(finding) for finding in before.warnings}
        return [finding for finding in self.warnings if _same(finding) not in known]


def facade(
    tree: Tree, directory: NetDir, path: str, text: str, bin_dirs: list[str], created: Collection[str] = ()
) -> Trial:
    """Return what `text` would mean as the facade `path` of the runtime's `directory`.

    `created` are the owners' directories that will exist by then. Raises UnreadableError if it is not JSON.
    """
    file = FacadeFile(path, *locate.decode(text.encode()))
    survey = Survey(tree, file, bin_dirs)
    for part in survey.parts:
        part.directory.missing = part.directory.missing and part.directory.path not in created
    node = Node(tree, directory.having(file), [survey], bin_dirs)
    return Trial(node, survey, registry.of_chain(node))


def _same(finding: Finding) -> tuple[str, str, str]:
    """Return the parts of a finding that are equal in two texts of one facade; the line may differ."""
    return finding.id, finding.place.path, finding.what
