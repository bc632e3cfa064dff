"""What `cni-chain status` prints: a node at a glance (`cni_chain.checks.glance`).

It imports no Typer, so that scripts may ask often (`cni_chain.cli.quick`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from cni_chain import __version__
from cni_chain.checks import log, registry
from cni_chain.checks.glance import Glance, blamed, document, waits_for
from cni_chain.checks.rule import Finding
from cni_chain.checks.wording import counted
from cni_chain.cli.output import Form, paint, print_document, printable, shortened
from cni_chain.cli.where import Where
from cni_chain.node.errors import RefusedError, UnknownError
from cni_chain.node.survey import Survey
from cni_chain.plugin.chain import OwnerChain

WHOLE, NOT_WHOLE = 0, 1  # exit statuses

_OFTEN = 0.2  # seconds between two looks at whether a file has changed
_AGAIN = 5.0  # seconds after which what no file shows, as an agent's socket, is looked at again
_MOST = 3  # findings below a facade, beside its owners' lines
_YES, _NO, _NOTHING = "✓", "✗", "–"


def status(where: Where, output: Form, wait: float) -> int:
    """Print the node at a glance, as soon as a pod gets the whole chain or after `wait` seconds; return the status."""
    try:
        found = _awaited(where, time.monotonic() + wait)
    except RefusedError as error:
        raise UnknownError(f"can't tell: {error}") from None
    if output.is_document:
        print_document(output, "status", where.tree, document(found))
    else:
        print("\n".join(text(found)))
    return WHOLE if found.whole else NOT_WHOLE


def look(where: Where) -> Glance:
    """Return the node as the rules find it now. Raises RefusedError if it can't be read."""
    directory, surveys = where.surveys()
    return Glance(where.tree, directory, surveys, where.bin_dirs, where.state_dirs, mesh=True)


def _awaited(where: Where, until: float) -> Glance:
    """Look until the chain is whole, again whenever a file has changed. Raises the last RefusedError at the end."""
    while True:
        try:
            found = look(where)
        except RefusedError:
            if time.monotonic() >= until:
                raise
            time.sleep(min(_OFTEN, max(0.0, until - time.monotonic())))
            continue
        if found.whole or time.monotonic() >= until:
            return found
        _sleep(found.files(), min(until, time.monotonic() + _AGAIN))


def _sleep(directories: list[str], until: float) -> None:
    """Wait until a file of these directories changes, or so long."""
    before = _stamps(directories)
    while time.monotonic() < until and _stamps(directories) == before:
        time.sleep(min(_OFTEN, max(0.0, until - time.monotonic())))


def _stamps(directories: list[str]) -> set[tuple[str, int, int, int]]:
    """Return what changes if a file of the directories is written, replaced, renamed or removed."""
    found = set()
    for directory in directories:
        try:
            for entry in os.scandir(directory):
                held = entry.stat(follow_symlinks=False)
                found.add((entry.path, held.st_ino, held.st_size, held.st_ctime_ns))
        except OSError:
            continue
    return found


def text(found: Glance) -> list[str]:
    """Return the lines of text: for each facade the verdict and its owners, then the node."""
    lines: list[str] = []
    for survey in found.node.surveys:
        lines += _chain(found, survey)
    if not found.node.surveys:
        lines.append(_line(_NO, "No new pod gets the chain: there is no facade", ""))
        lines += _others(found.reasons)
    return [*lines, "", *_node(found)]


def _chain(found: Glance, survey: Survey) -> Iterator[str]:
    errors = found.errors_of(survey)
    if found.in_place(survey):
        mark, verdict = _NO if errors else _YES, _verdict(survey, errors)
    else:
        mark, verdict = _NO, f"no runtime takes {survey.file.path}, which is not in {found.node.directory.path}"
    yield _line(mark, f"network {printable(survey.file.network)}: {verdict}", "")
    width = max((len(part.owner.name) for part in survey.parts), default=0)
    for part in survey.parts:
        mark, words = _owner(survey, part, errors)
        yield _line(mark, f"{part.owner.name.ljust(width)}  {words}", "  ", hang=width + 2)
    told = [one for part in survey.parts for one in blamed(part, errors)]
    # The last failure has a line of its own, below.
    yield from _others([one for one in errors if one not in told and one.id != log.FAILING.id])


def _owner(survey: Survey, part: OwnerChain, errors: list[Finding]) -> tuple[str, str]:
    """Return the mark of an owner, and what is wrong with it or what it runs."""
    wrong, waiting = blamed(part, errors), waits_for(part)
    if wrong or waiting is not None:
        return _NO, wrong[0].text() if wrong else str(waiting)
    runs = ", ".join(link.type for link in part.delegates) or "nothing to run"
    words = runs if part.owner.required else f"{runs} (optional)"
    return _YES if part.delegates and not survey.file.problems else _NOTHING, words


def _verdict(survey: Survey, errors: list[Finding]) -> str:
    if not errors:
        return f"a new pod gets the whole chain, {counted(len(survey.links), 'plugin')}"
    stopping = [one for one in errors if registry.stops(one)]
    if any(not registry.is_about_chain(one) for one in stopping):  # another file may give it a network
        return "no new pod gets this chain"
    if stopping or survey.refusal() is not None:
        return "no new pod gets a network"
    return f"a new pod runs {counted(len(survey.links) + len(survey.file.neighbours), 'plugin')}, but with errors"


def _others(errors: list[Finding]) -> Iterator[str]:
    for one in errors[:_MOST]:
        yield _line(_NO, one.text(), "  ")
    if len(errors) > _MOST:
        yield f"    and {len(errors) - _MOST} more"


def _line(mark: str, words: str, indent: str, *, hang: int = 0) -> str:
    """Return a line of at most two on the terminal, in the colour of its mark."""
    style = {_YES: "green", _NO: "red"}.get(mark, "")
    first, *rest = shortened(words, f"{indent}  ", hang=hang)
    return "\n".join([f"{indent}{paint(style, mark)} {first.removeprefix(indent + '  ')}", *rest])


def _node(found: Glance) -> Iterator[str]:
    stranded = f"{found.stranded} stranded" if found.stranded else "none stranded"
    yield f"pods      {found.recorded} recorded, {stranded}"
    if found.node.mesh is not None:
        yield _headed("services", found.node.mesh.services())
        yield _headed("captured", found.node.mesh.captured())
    if found.failure is not None:
        yield _headed("failed", found.failure.text(time.time()))
    for runtime in found.node.runtimes:
        takes = f"takes {runtime.takes}" if runtime.takes else "takes no file"
        yield f"runtime   {runtime.name} {runtime.version or ''} {takes}".replace("  takes", " takes")
    if not found.node.runtimes:
        first = found.node.directory.first
        yield f"runtime   none is installed here; {first or 'no file'} sorts first"
    yield f"version   cni-chain {__version__}"
    warnings = len(found.findings) - len(found.errors)
    counts = [counted(len(found.errors), "error")] if found.errors else []
    counts += [counted(warnings, "warning")] if warnings else []
    if counts:
        yield f"{', '.join(counts)}: cni-chain doctor"


def _headed(heading: str, words: str) -> str:
    """Return a line of at most two on the terminal."""
    first, *rest = shortened(words, " " * 10)
    return "\n".join([f"{heading.ljust(10)}{first[10:]}", *rest])
