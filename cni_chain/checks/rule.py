"""What a rule about a node is, what it finds, and how it is registered. The rules stand in the modules beside this.

A rule is a function that yields findings of the kinds under which it is registered. A kind has the id that is printed,
and the texts of its paragraph in docs/reference/checks.md; each kind belongs to one rule, so that nothing is found in
two ways. Commands refer to findings by id, never by their words.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from cni_chain.node.facades import FacadeFile
from cni_chain.node.locate import Place, Position
from cni_chain.node.survey import Survey

if TYPE_CHECKING:
    from cni_chain.checks.node import Node
    from cni_chain.checks.places import Places

ERROR, WARNING = "error", "warning"


class Needs(enum.IntEnum):
    """What a rule looks at; each has what is before it."""

    FILES = 0  # files that somebody configures, installs or writes for the runtime
    PLUGINS = 1  # what plugins answer to VERSION
    NODE = 2  # the node as it runs: records, log, tokens, processes, sockets, releases of the runtimes


class Scope(enum.Enum):
    """What a rule is about, and what its function takes."""

    FILE = enum.auto()  # one facade by itself
    CHAIN = enum.auto()  # one facade's owners, fragments and plugins
    NODE = enum.auto()  # everything


class Finding(NamedTuple):
    """One thing that a rule has found: where, what is so, why it matters, and what to do.

    An error: pods fail or don't get what their owners want. A warning: that may come, or something is left behind.
    """

    id: str
    place: Place
    what: str
    why: str
    do: str
    severity: str = ERROR

    @property
    def is_error(self) -> bool:
        """Tell whether it is an error."""
        return self.severity == ERROR

    def text(self) -> str:
        """Return what is so, with the id: as another command than `verify` and `doctor` refers to it."""
        return f"{self.what} [{self.id}]"

    def order(self) -> tuple[bool, str, Position, str]:
        """Return the key to sort by: errors before warnings, then by place."""
        return not self.is_error, self.place.path, self.place.at or Position(0, 0), self.what

    def document(self) -> dict[str, Any]:
        """Return it for a program."""
        at = self.place.at
        return {
            "id": self.id,
            "severity": self.severity,
            "path": self.place.path,
            "line": at.line if at else None,
            "column": at.column if at else None,
            "what": self.what,
            "why": self.why,
            "do": self.do,
        }


class Kind:
    """A kind of finding: its id and severity, when it is found, and why it matters and what to do if no rule says more.

    `milder` says when an error of this kind is only a warning. With `stops`, no new pod gets the chain while an error
    of this kind is there; with `refused`, because cni-chain itself refuses the pod. `replaces` names kinds that say
    less about the same file: they are left out there.
    """

    def __init__(
        self,
        id_: str,
        severity: str,
        when: str,
        why: str,
        do: str,
        *,
        milder: str = "",
        stops: bool = False,
        refused: bool = False,
        replaces: tuple[str, ...] = (),
    ) -> None:
        self.id = id_
        self.severity = severity
        self.when = when
        self.why = why
        self.do = do
        self.milder = milder
        self.stops = stops or refused
        self.refused = refused
        self.replaces = replaces

    def at(self, place: Place | str, what: str, *, why: str = "", do: str = "", severity: str | None = None) -> Finding:
        """Return a finding of this kind; what is not given is as the kind has it."""
        where = Place(place) if isinstance(place, str) else place
        return Finding(self.id, where, what, why or self.why, do or self.do, severity or self.severity)


class Rule(NamedTuple):
    """A function that finds something, the kinds of what it finds, and what it needs for that."""

    kinds: tuple[Kind, ...]
    needs: Needs
    scope: Scope
    find: Callable[..., Iterable[Finding]]

    def run(self, node: Node) -> Iterator[Finding]:
        """Yield what the rule finds on a node, in all of its facades."""
        if self.scope is Scope.NODE:
            yield from self.find(node)
        for survey in node.surveys if self.scope is not Scope.NODE else ():
            yield from self.find(survey.file) if self.scope is Scope.FILE else self.find(survey, node.places(survey))


RULES: list[Rule] = []  # filled as the modules are imported, which `registry` does

_OfFile = Callable[[FacadeFile], Iterator[Finding]]
_OfChain = Callable[[Survey, "Places"], Iterator[Finding]]
_OfNode = Callable[["Node"], Iterator[Finding]]


def of_file(*kinds: Kind) -> Callable[[_OfFile], _OfFile]:
    """Register a rule about one facade by itself, which needs nothing but that file."""

    def register(find: _OfFile) -> _OfFile:
        RULES.append(Rule(kinds, Needs.FILES, Scope.FILE, find))
        return find

    return register


def of_chain(*kinds: Kind) -> Callable[[_OfChain], _OfChain]:
    """Register a rule about one facade's chain, which needs nothing but files."""

    def register(find: _OfChain) -> _OfChain:
        RULES.append(Rule(kinds, Needs.FILES, Scope.CHAIN, find))
        return find

    return register


def of_node(*kinds: Kind, needs: Needs = Needs.FILES) -> Callable[[_OfNode], _OfNode]:
    """Register a rule about a node with all of its facades."""

    def register(find: _OfNode) -> _OfNode:
        RULES.append(Rule(kinds, needs, Scope.NODE, find))
        return find

    return register
