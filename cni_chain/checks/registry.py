"""The one registry of rules about a node. Commands run rules here, and refer to findings by id.

`verify` runs the rules that need files and plugins, `doctor` runs all. `show` takes its verdict from here; `install`
and `owner` take from here what a change would cause.
"""

from __future__ import annotations

from collections.abc import Iterable

from cni_chain.checks import (
    chain,
    facade,
    fragments,
    log,
    mesh,
    mistaken,
    multus,
    net_dir,
    owners,
    permissions,
    plugins,
    records,
    runtimes,
    sockets,
    space,
    tokens,
    writers,
)
from cni_chain.checks.node import Node
from cni_chain.checks.rule import RULES, Finding, Kind, Needs, Rule, Scope
from cni_chain.node.facades import FacadeFile
from cni_chain.node.progress import Step, unseen
from cni_chain.node.survey import Survey

# Each module registers its rules when it is imported; the rules run in this order.
_MODULES = (
    net_dir,
    mistaken,
    facade,
    owners,
    chain,
    fragments,
    multus,
    plugins,
    permissions,
    runtimes,
    sockets,
    mesh,
    writers,
    tokens,
    space,
    records,
    log,
)

_ORDER = [module.__name__ for module in _MODULES]
_RULES = sorted(RULES, key=lambda rule: _ORDER.index(rule.find.__module__))
_SCOPES = {kind.id: rule.scope for rule in _RULES for kind in rule.kinds}

KINDS: dict[str, Kind] = {kind.id: kind for rule in _RULES for kind in rule.kinds}


def rules(needs: Needs = Needs.NODE) -> list[Rule]:
    """Return the rules that need no more than `needs`."""
    return [rule for rule in _RULES if rule.needs <= needs]


def run(node: Node, needs: Needs, step: Step = unseen) -> list[Finding]:
    """Return what the rules that need no more than `needs` find, errors first. Each rule is a step."""
    found: list[Finding] = []
    for rule in rules(needs):
        step(rule.kinds[0].id)
        found += rule.run(node)
    return _sorted(found)


def of_survey(node: Node, survey: Survey, found: list[Finding], needs: Needs) -> list[Finding]:
    """Return those of `found` (the findings of `run` on the node) that concern the facade of `survey`."""
    if len(node.surveys) == 1:
        return found
    known = set(found)
    return [finding for finding in run(node.of(survey), needs) if finding in known]


def of_facade(file: FacadeFile) -> list[Finding]:
    """Return what is wrong with one facade alone, in whatever directory its file is."""
    found = [finding for rule in _RULES if rule.scope is Scope.FILE for finding in rule.find(file)]
    return _sorted([*found, *facade.duplicates(file.path, file.locator)])


def of_chain(node: Node) -> list[Finding]:
    """Return what is wrong with the facades and their chains, in whatever directory the facades' files are."""
    return _sorted(finding for rule in _RULES if rule.scope is not Scope.NODE for finding in rule.run(node))


def reasons(node: Node, found: list[Finding]) -> list[Finding]:
    """Return those of `found` because of which a new pod doesn't get the whole chain.

    They are the errors. Where no facade is in place, one that waits is the reason whatever its severity: it is a mere
    warning while another file gives pods their network, but cni-chain isn't called.
    """
    return [one for one in found if one.is_error or (one.id == net_dir.WAITING.id and not node.surveys)]


def nothing(node: Node) -> str:
    """Return the message of a command that needs a facade if none is in place: also what became of it."""
    text = node.directory.nothing()
    why = (one for one in reasons(node, run(node, Needs.FILES)) if f"{one.place.path}:" not in text)
    return "; ".join([text, *(f"{one.place}: {one.text()}" for one in why)])


def is_about_chain(finding: Finding) -> bool:
    """Return whether a finding is about a facade or its chain, not about the runtime or the plugins' answers."""
    return _SCOPES[finding.id] is not Scope.NODE


def stops(finding: Finding) -> bool:
    """Return whether no new pod gets the chain while the finding exists."""
    return finding.is_error and KINDS[finding.id].is_stopping


def refused(finding: Finding) -> bool:
    """Return whether cni-chain itself refuses every new pod while the finding exists, before any plugin runs."""
    return finding.is_error and KINDS[finding.id].refused


def _sorted(found: Iterable[Finding]) -> list[Finding]:
    """Return each finding once (two facades may share fragments), without those that another finding replaces."""
    unique = list(dict.fromkeys(found))
    replaced = {(id_, finding.place.path) for finding in unique for id_ in KINDS[finding.id].replaces}
    left = (finding for finding in unique if (finding.id, finding.place.path) not in replaced)
    return sorted(left, key=Finding.order)
