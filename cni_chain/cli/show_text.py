"""What `cni-chain show` prints of one facade: its chain as a table, what is left out, and what a new pod gets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from cni_chain.checks import registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Finding
from cni_chain.checks.wording import counted
from cni_chain.cli.output import paint, paragraph, printable, table
from cni_chain.node.facades import FacadeFile
from cni_chain.node.negotiation import Spoken
from cni_chain.node.survey import Survey, error_of
from cni_chain.plugin import request
from cni_chain.plugin.chain import Delegate, OwnerChain, SkippedPlugin
from cni_chain.plugin.errors import CNIError

_NONE = "-"
_CNI = 3  # the index of a column that is omitted if no version is known


class Shown(NamedTuple):
    """One facade, its plugins' versions, and the errors that `verify` finds in it."""

    node: Node
    survey: Survey
    errors: list[Finding]

    @property
    def spoken(self) -> Spoken:
        """The versions that the chain's plugins support."""
        return self.node.spoken(self.survey)


def text(shown: Shown, *, everything: bool) -> list[str]:
    """Return the lines about one facade; with `everything` also what is left out on purpose."""
    return [
        *_heading(shown.node, shown.survey.file),
        "",
        *_table(shown),
        *_left_out(shown.survey, everything=everything),
        "",
        *_verdict(shown),
    ]


def _heading(node: Node, file: FacadeFile) -> list[str]:
    name = printable(file.network) or "without a name"
    lines = [paint("bold", f"network {name}") + f"  {printable(file.path)}"]
    return lines + [line for place in _taken(node, file) for line in paragraph(place, "  ")]


def _taken(node: Node, file: FacadeFile) -> Iterator[str]:
    """Yield which of the installed runtimes takes a facade, and why."""
    directory = node.directory
    if not directory.holds(file.path):
        yield f"not in {directory.path}: no runtime takes this file"
    elif not node.runtimes:
        place = "first in " + directory.path if file.path == directory.first else f"behind {directory.first}"
        yield f"sorts {place}; neither containerd nor CRI-O is installed here"
    else:
        for runtime in node.runtimes:
            if runtime.takes == file.path:
                because = runtime.because.replace("sorts first", f"sorts first in {directory.path}", 1)
                yield f"{runtime.name} takes this file: {because}"
            else:
                what = f"another file, {runtime.takes}" if runtime.takes else "no file"
                yield f"{runtime.name} takes {what}: {runtime.because}"


class _Row(NamedTuple):
    """One row of the table, and the error below it."""

    cells: list[str]
    error: str


def _table(shown: Shown) -> list[str]:
    survey, spoken = shown.survey, shown.spoken
    rows: list[_Row] = []
    number = 0
    for part in survey.parts:
        standing = _owner_notes(survey, part)
        first = len(rows)
        for link in part.delegates:
            number += part.usable
            runs = part.usable and isinstance(survey.binary(link), str)
            rows.append(_link_row(survey, spoken, link, str(number) if runs else "!", [] if rows[first:] else standing))
        if not part.delegates:
            mark = "!" if error_of(part) else _NONE
            rows.append(_Row([mark, part.owner.name, _NONE, _NONE, _NONE, ", ".join(standing)], ""))
        rows[-1] = rows[-1]._replace(error=_trouble(part) or rows[-1].error)
    for _, type_ in survey.file.neighbours:
        rows.append(_Row(["!", _NONE, type_, _NONE, os.path.basename(survey.file.path), "beside cni-chain"], ""))
    table_of = [["#", "OWNER", "PLUGIN", "CNI", "FILE", ""], *(row.cells for row in rows)]
    if all(row.cells[_CNI] == _NONE for row in rows):
        table_of = [[*cells[:_CNI], *cells[_CNI + 1 :]] for cells in table_of]
    indent = " " * (max(len(cells[0]) for cells in table_of) + 2)
    lines: list[str] = []
    below: list[str] = []
    errors = iter(["", *(row.error for row in rows)])
    for line in table(table_of, styles=["bold"], fold=len(table_of[0]) - 1):
        if not line.startswith(" "):  # else the row before continues
            lines += below
            below = [paint("red", part) for part in paragraph(next(errors), indent)]
        lines.append(line)
    return lines + below


def _trouble(part: OwnerChain) -> str:
    error = error_of(part)
    if error is not None:
        return f"error {error.code}: {error.msg}"
    return f"left out: {part.directory.faults[0]}" if part.directory.faults else ""


def _link_row(survey: Survey, spoken: Spoken, link: Delegate, mark: str, notes: list[str]) -> _Row:
    file = link.path.removeprefix(f"{survey.facade.chain_dir}/")
    notes = notes + request.capabilities(link.conf)
    notes += [f"no {verb}" for verb, off in (("CHECK", link.disable_check), ("GC", link.disable_gc)) if off]
    binary = survey.binary(link)
    error = f"error {binary.code}: {binary.msg}" if isinstance(binary, CNIError) else spoken.silence(link)
    version = spoken.version(link) or _NONE
    return _Row([mark, link.owner.name, link.type, version, file, ", ".join(notes)], error)


def _owner_notes(survey: Survey, part: OwnerChain) -> list[str]:
    notes = [survey.standing(part.owner)]
    return notes + [f"not for {namespace}/{prefix}*" for namespace, prefix in part.owner.exempt]


def _left_out(survey: Survey, *, everything: bool) -> list[str]:
    """Return the plugins and files that don't run; without `everything` only what an owner's `types` leave out."""
    filtered: list[tuple[str, str]] = []
    masked: list[tuple[str, str]] = []
    for part in survey.parts:
        for dropped in part.skipped:
            (filtered if _is_filtered(part, dropped) else masked).append(
                (dropped.path, f"{dropped.type}: {dropped.reason}")
            )
    unlisted = [(path, "a directory that the facade doesn't list as an owner") for path in survey.unlisted]
    more = [*masked, *ignored(survey), *unlisted]
    lines: list[str] = []
    for title, entries in (("Left out:", filtered), ("Ignored:", more if everything else [])):
        if entries:
            lines += ["", paint("bold", title)]
        for path, reason in entries:
            lines += paragraph(f"{path.removeprefix(survey.facade.chain_dir + '/')}: {reason}", "  ")
    if more and not everything:
        lines += ["", paint("dim", f"{len(more)} more ignored (--all lists them)")]
    return lines


def _is_filtered(part: OwnerChain, dropped: SkippedPlugin) -> bool:
    return part.owner.types is not None and dropped.type not in part.owner.types


def ignored(survey: Survey) -> list[tuple[str, str]]:
    """Return the files that are not fragments and the entries that are not an owner's directory, with the reasons."""
    files = [
        (f"{part.directory.path}/{name}", reason) for part in survey.parts for name, reason in part.directory.ignored
    ]
    return files + [(f"{survey.facade.chain_dir}/{name}", reason) for name, reason in survey.strangers]


def _verdict(shown: Shown) -> list[str]:
    """Return what a new pod gets: the lines agree with `verify`, whose errors they name."""
    survey, refusal = shown.survey, shown.survey.refusal()
    stopping = [one for one in shown.errors if registry.stops(one) and not registry.is_about_chain(one)]
    lines = [f"No new pod gets this chain: {'; '.join(one.text() for one in stopping)}"] if stopping else []
    if refusal is not None:
        errors = [error_of(part) for part in survey.parts] + [survey.binary(link) for link in survey.links]
        in_table = any(isinstance(error, CNIError) and error.msg == refusal.msg for error in errors)
        why = "and no network: see above" if in_table else f"and no network: {refusal.msg}"
        lines.append(f"A new pod gets error {refusal.code} {why}")
    elif not stopping:
        runs = f"A new pod runs {counted(len(survey.links) + len(survey.file.neighbours), 'plugin')}"
        if not shown.errors:
            return [paint("green", f"{runs}.")]
        lines.append(_spoilt(runs, shown.errors))
    return [paint("red", part) for line in lines for part in paragraph(line, "")]


def _spoilt(runs: str, errors: list[Finding]) -> str:
    stopping = [one for one in errors if registry.stops(one)]
    if stopping:
        return f"No new pod gets a network: {'; '.join(one.text() for one in stopping)}"
    return f"{runs}, but with errors: {'; '.join(one.text() for one in errors)}"
