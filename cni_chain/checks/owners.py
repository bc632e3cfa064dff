"""The doctor's look at the owners' directories: who doesn't write, what can't be used, who writes in another's."""

from __future__ import annotations

from collections.abc import Iterator

from cni_chain.agents.registry import BY_TYPE, REWRITERS
from cni_chain.checks.places import Places
from cni_chain.checks.words import Node, Trouble, listed
from cni_chain.node.survey import Survey, error_of
from cni_chain.plugin.chain import Part

# What keeps an agent from writing into a directory of its own, by the plugin that it installs.
_HINTS = {type_: agent.hint for type_, agent in BY_TYPE.items() if agent.hint}


def check(node: Node) -> Iterator[Trouble]:
    """Yield what is wrong with the owners of every facade."""
    for survey in node.surveys:
        places = Places(survey)
        for part in survey.parts:
            yield from _faults(survey, part, places)
            yield from _nobody_writes(part)
            yield from _foreign(survey, part)


def _faults(survey: Survey, part: Part, places: Places) -> Iterator[Trouble]:
    for fault in part.directory.faults:
        finding = places.fault(fault)
        required = part.owner.required
        stops = required or error_of(part) is not None
        yield Trouble(
            "fragment-unusable",
            str(finding.place),
            finding.message,
            (
                f"Owner {part.owner.name} can't be used, so no new pod starts."
                if stops
                else f"Owner {part.owner.name} is optional: new pods start without what this file has."
            ),
            "Correct what is said; if an agent has written the file, restart that agent so that it writes it again. "
            f"cni-chain verify {survey.tree.real(fault.path)} checks it.",
            warning=not stops,
        )


def _nobody_writes(part: Part) -> Iterator[Trouble]:
    owner, directory = part.owner, part.directory
    if part.usable or directory.faults:
        return
    error = error_of(part)
    hints = [_HINTS[type_] for type_ in sorted(owner.types or ()) if type_ in _HINTS]
    look = f"Look at the agent of {owner.name} on this node: does it run, and does it write to {directory.path}?"
    if error is not None:
        yield Trouble(
            "owner-without-fragment",
            directory.path,
            error.msg,
            "No new pod starts, apart from those that the owner exempts.",
            " ".join([look, *hints, f"If {owner.name} is uninstalled: cni-chain owner remove {owner.name}."]),
        )
    elif owner.types is not None or directory.missing:
        found = "the directory doesn't exist" if directory.missing else "nobody has written a fragment here"
        yield Trouble(
            "owner-without-fragment",
            directory.path,
            f"owner {owner.name}: {found}",
            f"New pods start without {listed(sorted(owner.types or ())) or owner.name}: the owner is optional.",
            " ".join([look, *hints, f"If it is not wanted: cni-chain owner remove {owner.name}."]),
            warning=True,
        )


def _foreign(survey: Survey, part: Part) -> Iterator[Trouble]:
    """Yield the files in an owner's directory that hold another agent's plugin: two write here."""
    others: dict[str, str] = {}
    for other in survey.parts:
        if other.owner is not part.owner:
            others |= dict.fromkeys(other.owner.types or (), other.owner.name)
    ours = part.owner.types
    agents = sorted({plugin["type"] for one in part.directory.fragments for plugin in one.plugins} & REWRITERS)
    for fragment in part.directory.fragments:
        types = [plugin["type"] for plugin in fragment.plugins]
        if ours is not None:
            foreign = [type_ for type_ in types if type_ not in ours and (type_ in others or type_ in REWRITERS)]
        else:
            foreign = [type_ for type_ in types if type_ in REWRITERS and len(agents) > 1]
        if foreign:
            whose = next((f"owner {others[type_]}'s" for type_ in foreign if type_ in others), "another agent's")
            yield Trouble(
                "owner-with-two-writers",
                fragment.path,
                f"has {listed(foreign)}, {whose} plugin: a second agent writes to the directory of {part.owner.name}",
                "Two agents in one directory fight as they did in one file: Cilium renames what is not its own, Istio "
                "edits the first file that it finds.",
                "Have each agent write to its own owner's directory alone, then remove what the other has left here.",
                warning=True,
            )
