"""What a rule about a node is, what it finds, and how it is registered. The rules are in the other modules.

A rule is a function that yields findings of the kinds under which it is registered. A kind has the id that is printed,
and the texts of its paragraph in docs/reference/checks.md. Each kind belongs to one rule: no two rules report the same
thing. Commands refer to findings by id, never by their words.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cni_chain.node.facades import FacadeFile
from cni_chain.node.locate import Place, Position
from cni_chain.node.survey import Survey

if TYPE_CHECKING:
    from cni_chain.checks.node import Node
    from cni_chain.checks.places import Places

ERROR, WARNING = "error", "warning"


class Needs(enum.IntEnum):
    """What a rule reads; each level includes the levels before it."""

    FILES = 0  # files that administrators, installers and agents write for the runtime
    PLUGINS = 1  # what plugins answer to VERSION
    NODE = 2  # the running node: records, log, tokens, processes, sockets, releases of the runtimes


class Scope(enum.Enum):
    """What a rule is about, and what its function takes."""

    FILE = enum.auto()  # one facade by itself
    CHAIN = enum.auto()  # one facade's owners, fragments and plugins
    NODE = enum.auto()  # everything


class Finding(NamedTuple):
    """One thing that a rule has found: where, what is wrong, why it matters, and what to do.

    An error means that pods fail or don't get what their owners want. A warning means that this may happen, or that
    something is left behind.
    """

    id: str
    place: Place
    what: str
    why: str
    do: str
    severity: str = ERROR
    owner: str = ""  # that it is about, "" if about none or several

    @property
    def is_error(self) -> bool:
        """Whether it is an error."""
        return self.severity == ERROR

    def text(self) -> str:
        """Return what is wrong, with the id, for commands other than `verify` and `doctor`."""
        return f"{self.what} [{self.id}]"

    def order(self) -> tuple[bool, str, Position, str]:
        """Return the key to sort by: errors before warnings, then by place."""
        return not self.is_error, self.place.path, self.place.at or Position(0, 0), self.what

    def document(self) -> dict[str, Any]:
        """Return the finding as members of a JSON object."""
        at = self.place.at
        return {
            "id": self.id,
            "severity": self.severity,
            "owner": self.owner or None,
            "path": self.place.path,
            "line": at.line if at else None,
            "column": at.column if at else None,
            "what": self.what,
            "why": self.why,
            "do": self.do,
        }


class Kind(NamedTuple):
    """A kind of finding: its id and severity, when it is found; why it matters and what to do, unless a rule says it.

    `milder` says when an error of this kind is only a warning. With `stops`, no new pod gets the chain while an error
    of this kind exists; with `refused`, because cni-chain itself refuses the pod. `replaces` names kinds that say less
    about the same file: findings of those kinds are left out for it.
    """

    id: str
    severity: str
    when: str
    why: str
    do: str
    milder: str = ""
    stops: bool = False
    refused: bool = False
    replaces: tuple[str, ...] = ()

    @property
    def is_stopping(self) -> bool:
        """Whether no new pod gets the chain while an error of this kind exists, for either reason."""
        return self.stops or self.refused

    def at(
        self,
        place: Place | str,
        what: str,
        *,
        why: str = "",
        do: str = "",
        severity: str | None = None,
        owner: str = "",
    ) -> Finding:
        """Return a finding of this kind; the kind provides what is not given."""
        where = Place(place) if isinstance(place, str) else place
        return Finding(self.id, where, what, why or self.why, do or self.do, severity or self.severity, owner)


class Rule(NamedTuple):
    """A function that yields findings, the kinds of these findings, and what the function needs."""

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


RULES: list[Rule] = []  # each module adds its rules when `registry` imports it

_Find = TypeVar("_Find", bound=Callable[..., Iterator[Finding]])
_OfFile = Callable[[FacadeFile], Iterator[Finding]]
_OfChain = Callable[[Survey, "Places"], Iterator[Finding]]
_OfNode = Callable[["Node"], Iterator[Finding]]


def _register(find: _Find, kinds: tuple[Kind, ...], needs: Needs, scope: Scope) -> _Find:
    RULES.append(Rule(kinds, needs, scope, find))
    return find


def of_file(*kinds: Kind) -> Callable[[_OfFile], _OfFile]:
    """Register a rule about one facade, which reads only that file."""
    return lambda find: _register(find, kinds, Needs.FILES, Scope.FILE)


def of_chain(*kinds: Kind) -> Callable[[_OfChain], _OfChain]:
    """Register a rule about one facade's chain, which reads only files."""
    return lambda find: _register(find, kinds, Needs.FILES, Scope.CHAIN)


def of_node(*kinds: Kind, needs: Needs = Needs.FILES) -> Callable[[_OfNode], _OfNode]:
    """Register a rule about a node with all of its facades."""
    return lambda find: _register(find, kinds, needs, Scope.NODE)
