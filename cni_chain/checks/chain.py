"""What is wrong with a chain: owners, their files, and how plugins stand together. One small function a trap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import takewhile

from cni_chain.agents import cilium
from cni_chain.agents.cilium import CILIUM
from cni_chain.agents.registry import NEVER_FIRST, seeds
from cni_chain.checks.findings import Finding
from cni_chain.checks.fragments import SEEDS
from cni_chain.checks.places import Places
from cni_chain.node.locate import Place
from cni_chain.node.survey import Survey, error_of
from cni_chain.plugin import request
from cni_chain.plugin.chain import Link, Part


def chain(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield what is wrong with the chain of one facade."""
    for trap in _TRAPS:
        yield from trap(survey, places)


def _owners(survey: Survey, places: Places) -> Iterator[Finding]:
    if survey.failure is not None:
        yield Finding(Place(survey.facade.chain_dir), survey.failure.msg)
    blamed = survey.failure is not None or bool(survey.file.problems)
    for part in survey.parts:
        for fault in part.directory.faults:
            yield places.fault(fault)
        error = error_of(part)
        if error is not None:
            blamed = True
            if not part.directory.faults:
                hints = (SEEDS[type_] for type_ in sorted(part.owner.types or ()) if type_ in SEEDS)
                yield Finding(places.owner(part.owner), ". ".join([error.msg, *hints]))
    refusal = survey.refusal()
    if refusal is not None and not survey.links and not blamed:
        yield Finding(places.facade("owners"), refusal.msg)


def _unlisted(survey: Survey, _: Places) -> Iterator[Finding]:
    for path in survey.unlisted:
        yield Finding(Place(path), f"not run: {survey.file.path} doesn't list this owner", warning=True)
    for name, reason in survey.strangers:
        yield Finding(Place(f"{survey.facade.chain_dir}/{name}"), f"ignored: {reason}", warning=True)


def _near_misses(survey: Survey, _: Places) -> Iterator[Finding]:
    for part in survey.parts:
        for name, reason in part.directory.ignored:
            if _is_near_miss(name, reason):
                yield Finding(Place(f"{part.directory.path}/{name}"), f"ignored: {reason}", warning=True)


def _is_near_miss(name: str, reason: str) -> bool:
    """Tell whether somebody may take an ignored file for a fragment; what agents leave behind is none."""
    lower = name.lower()
    if lower.startswith(".") or lower.endswith((".install", ".cilium_bak")):
        return False
    if lower.endswith((".conf", ".conflist", ".json")):
        return True
    return reason.startswith("doesn't end") and (".conf" in lower or ".json" in lower)


def _dropped(survey: Survey, places: Places) -> Iterator[Finding]:
    run = {link.type for part in survey.parts for link in part.links}
    for part in survey.parts:
        for dropped in part.dropped:
            filtered = part.owner.types is not None and dropped.type not in part.owner.types
            if not filtered:
                yield Finding(places.dropped(dropped), f"{dropped.type} is not run: {dropped.reason}", warning=True)
            elif dropped.type not in {*run, *seeds(part.owner.types)} and part.links:
                message = f"{dropped.type} is not run, and no other owner has it: {dropped.reason}"
                yield Finding(places.dropped(dropped), message, warning=True)


def _duplicate_keys(survey: Survey, places: Places) -> Iterator[Finding]:
    for part in survey.parts:
        for fragment in part.directory.fragments:
            yield from places.duplicates(fragment.path)


def _capabilities(survey: Survey, places: Places) -> Iterator[Finding]:
    for link in _links(survey):
        for name in request.capabilities(link.conf):
            if name not in survey.file.capabilities:
                message = f"{link.type} never gets {name}: {survey.file.path} doesn't declare that capability"
                yield Finding(places.link(link, f"capabilities.{name}"), message)


def _first(survey: Survey, places: Places) -> Iterator[Finding]:
    first = _first_link(survey)
    if first is not None and first.type in NEVER_FIRST:
        message = f"{first.type} can't be first: it changes what an earlier plugin has made"
        yield Finding(places.link(first), message)


def _cilium(survey: Survey, places: Places) -> Iterator[Finding]:
    if _first_link(survey) is None:
        return
    network = survey.file.network
    for link in survey.links:
        if link.type != CILIUM.type:
            continue
        is_first = link is survey.links[0] and survey.file.index == 0
        mode = link.conf.get("chaining-mode")
        if is_first and mode in cilium.CHAINING:
            message = f"cilium-cni is first, but its chaining-mode {mode} needs a plugin before it"
            yield Finding(places.link(link, "chaining-mode"), message)
        elif is_first and not mode and network in cilium.CHAINING:
            message = (
                f"key name: {network} switches cilium-cni, which is first, to chaining; name the network otherwise"
            )
            yield Finding(Place(survey.file.path, survey.file.find("name")), message)
        elif not is_first and not mode:
            message = 'cilium-cni is not first: without "chaining-mode" it refuses the result of the plugin before it'
            if network in cilium.CHAINING:
                message = f'cilium-cni chains only because of the network\'s name {network}: write "chaining-mode"'
            yield Finding(places.link(link), message, warning=network in cilium.CHAINING)


def _twice(survey: Survey, places: Places) -> Iterator[Finding]:
    seen: dict[str, Link] = {}
    beside = {plugin.get("type") for plugin in survey.file.plugins if isinstance(plugin, dict)}
    for link in survey.links:
        if link.type in beside:
            message = f"{link.type} runs twice for a pod: it is beside cni-chain in {survey.file.path} as well"
            yield Finding(places.link(link), message)
        elif link.type in seen:
            message = f"{link.type} runs twice for a pod: it is also in {seen[link.type].path}"
            yield Finding(places.link(link), message, warning=True)
        seen.setdefault(link.type, link)


def _budgets(survey: Survey, places: Places) -> Iterator[Finding]:
    owners = {link.owner for link in _links(survey) if link.type == CILIUM.type}
    for verb, needed in cilium.NEEDS.items() if owners else ():
        if survey.facade.timeouts[verb] < needed:
            yield Finding(places.facade(f"timeouts.{verb}"), _too_short(f"timeouts.{verb}", verb, needed), warning=True)
    for owner in owners:
        if owner.timeout is not None and owner.timeout < cilium.NEEDS["DEL"]:
            message = _too_short("timeoutSeconds", "DEL", cilium.NEEDS["DEL"])
            yield Finding(places.owner(owner, "timeoutSeconds"), message, warning=True)


def _too_short(key: str, verb: str, needed: int) -> str:
    return f"key {key}: cilium-cni takes up to {needed} s for {verb} while its agent is stopped, and would be killed"


def _links(survey: Survey) -> Iterator[Link]:
    """Yield every link, also of owners that are not usable now."""
    for part in survey.parts:
        yield from part.links


def _first_link(survey: Survey) -> Link | None:
    """Return the link that runs first, None if another plugin is before cni-chain or an owner's is still missing."""
    links = survey.links
    if not links or survey.file.index > 0:
        return None

    def is_before(part: Part) -> bool:
        return part.owner is not links[0].owner

    missing = any(part.owner.required for part in takewhile(is_before, survey.parts))
    return None if missing else links[0]


_TRAPS: tuple[Callable[[Survey, Places], Iterator[Finding]], ...] = (
    _owners,
    _unlisted,
    _near_misses,
    _dropped,
    _duplicate_keys,
    _capabilities,
    _first,
    _cilium,
    _twice,
    _budgets,
)
