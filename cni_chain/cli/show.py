"""`cni-chain show`: the effective chain of each facade, for people and for programs."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import typer

from cni_chain.cli.options import BinDirs, Conf, DistroName, Json, NetDirectory, Root, Where
from cni_chain.cli.output import paint, paragraph, print_json, printable, progress, table
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.negotiation import Spoken
from cni_chain.node.survey import Survey, error_of
from cni_chain.node.tree import Tree
from cni_chain.plugin import request
from cni_chain.plugin.chain import Dropped, Link, Part
from cni_chain.plugin.errors import CNIError

_NONE = "-"
_CNI = 3  # the place of a column that is left out where nothing is known for it


def command(
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also list ignored files, plugins that a file before has, and directories that aren't listed."
        ),
    ] = False,
    json: Json = False,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Show the effective chain: which plugins run for a new pod, in which order, whose they are, and what is left out.

    A line that begins with '!' can't run; below it is what a new pod gets instead of a network. CNI is the version in
    which a plugin is spoken to. For it plugins are asked (VERSION, which changes nothing) unless --root is given.

    \b
    Examples:
      cni-chain show --all
      cni-chain show --json | jq -r '.facades[].chain[].type'
      cni-chain show --root /mnt/node --distro k3s

    \b
    Exit status: 0 if every facade gives a new pod a network, 1 if not, for a misspelt key, or without a facade.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    directory, surveys = where.surveys()
    if json:
        print_json(document(where.tree, directory, surveys))
    else:
        texts = ["\n".join(text(directory, one, everything=everything)) for one in surveys]
        if not texts:
            raise RefusedError(directory.nothing())
        print("\n\n".join(texts))
    fine = all(one.refusal() is None and not one.file.faults for one in surveys)
    raise typer.Exit(0 if surveys and fine else 1)


def document(tree: Tree, directory: NetDir, surveys: list[Survey]) -> dict[str, Any]:
    """Return everything that `show` knows, for a program."""
    return {
        "root": tree.root,
        "netDir": directory.path,
        "first": directory.first,
        "facades": [_facade(survey, directory) for survey in surveys],
    }


def _facade(survey: Survey, directory: NetDir) -> dict[str, Any]:
    file, facade = survey.file, survey.facade
    spoken = _spoken(survey)
    refusal = survey.refusal()
    order = {id(link): number for number, link in enumerate(survey.links, 1)}
    return {
        "file": file.path,
        "first": file.path == directory.first,
        "network": file.network,
        "cniVersion": file.version,
        "cniVersions": file.versions,
        "capabilities": file.capabilities,
        "chainDir": facade.chain_dir,
        "stateDir": facade.state_dir,
        "logFile": facade.log_file,
        "timeouts": facade.timeouts,
        "problems": file.faults,
        "newPod": None if refusal is None else {"code": refusal.code, "msg": refusal.msg},
        "chain": [_link(survey, spoken, link) | {"order": order[id(link)]} for link in survey.links],
        "owners": [_owner(survey, spoken, part) for part in survey.parts],
        "dropped": [
            {"owner": dropped.owner, "file": dropped.path, "type": dropped.type, "reason": dropped.reason}
            for part in survey.parts
            for dropped in part.dropped
        ],
        "ignored": [{"file": path, "reason": reason} for path, reason in _ignored(survey)],
        "unlisted": survey.unlisted,
    }


def _spoken(survey: Survey) -> Spoken:
    return Spoken(survey, (link for part in survey.parts for link in part.links), progress)


def _link(survey: Survey, spoken: Spoken, link: Link) -> dict[str, Any]:
    binary = survey.binary(link)
    return {
        "owner": link.owner.name,
        "type": link.type,
        "file": link.path,
        "binary": None if isinstance(binary, CNIError) else binary,
        "cniVersion": spoken.version(link),
        "capabilities": request.capabilities(link.conf),
        "disableCheck": link.disable_check,
        "disableGC": link.disable_gc,
    }


def _owner(survey: Survey, spoken: Spoken, part: Part) -> dict[str, Any]:
    owner, error = part.owner, error_of(part)
    return {
        "name": owner.name,
        "directory": part.directory.path,
        "required": owner.required,
        "types": None if owner.types is None else sorted(owner.types),
        "exempt": [{"namespace": namespace, "podNamePrefix": prefix} for namespace, prefix in owner.exempt],
        "duplicates": owner.duplicates,
        "onDelError": owner.on_del_error,
        "timeoutSeconds": owner.timeout,
        "usable": part.usable,
        "error": None if error is None else {"code": error.code, "msg": error.msg},
        "faults": [{"file": fault.path, "kind": fault.kind, "message": fault.text} for fault in part.directory.faults],
        "plugins": [_link(survey, spoken, link) for link in part.links],
    }


def text(directory: NetDir, survey: Survey, *, everything: bool) -> list[str]:
    """Return the lines about one facade; with `everything` also what is left out as it should be."""
    return [
        *_heading(directory, survey.file),
        "",
        *_table(survey),
        *_left_out(survey, everything=everything),
        "",
        *_verdict(survey),
    ]


def _heading(directory: NetDir, file: FacadeFile) -> list[str]:
    name = printable(file.network) or "without a name"
    lines = [paint("bold", f"network {name}") + f"  {printable(file.path)}"]
    if not directory.holds(file.path):
        place = f"not in {directory.path}: no runtime takes this file"
    elif file.path == directory.first:
        place = f"containerd takes this file: it sorts first in {directory.path}"
    else:
        place = f"containerd takes another file, which sorts before it: {directory.first}"
    return lines + paragraph(place, "  ")


class _Row(NamedTuple):
    """One row of the table, and what is said below it."""

    cells: list[str]
    error: str


def _table(survey: Survey) -> list[str]:
    spoken = _spoken(survey)
    rows: list[_Row] = []
    number = 0
    for part in survey.parts:
        standing = _owner_notes(survey, part)
        first = len(rows)
        for link in part.links:
            number += part.usable
            runs = part.usable and isinstance(survey.binary(link), str)
            rows.append(_link_row(survey, spoken, link, str(number) if runs else "!", [] if rows[first:] else standing))
        if not part.links:
            mark = "!" if error_of(part) else _NONE
            rows.append(_Row([mark, part.owner.name, _NONE, _NONE, _NONE, ", ".join(standing)], ""))
        rows[-1] = rows[-1]._replace(error=_trouble(part) or rows[-1].error)
    table_of = [["#", "OWNER", "PLUGIN", "CNI", "FILE", ""], *(row.cells for row in rows)]
    if all(row.cells[_CNI] == _NONE for row in rows):
        table_of = [[*cells[:_CNI], *cells[_CNI + 1 :]] for cells in table_of]
    indent = " " * (max(len(cells[0]) for cells in table_of) + 2)
    lines: list[str] = []
    below: list[str] = []
    errors = iter(["", *(row.error for row in rows)])
    for line in table(table_of, styles=["bold"], fold=len(table_of[0]) - 1):
        if not line.startswith(" "):  # else the row before goes on
            lines += below
            below = [paint("red", told) for told in paragraph(next(errors), indent)]
        lines.append(line)
    return lines + below


def _trouble(part: Part) -> str:
    error = error_of(part)
    if error is not None:
        return f"error {error.code}: {error.msg}"
    return f"left out: {part.directory.faults[0]}" if part.directory.faults else ""


def _link_row(survey: Survey, spoken: Spoken, link: Link, mark: str, notes: list[str]) -> _Row:
    file = link.path.removeprefix(f"{survey.facade.chain_dir}/")
    notes = notes + request.capabilities(link.conf)
    notes += [f"no {verb}" for verb, off in (("CHECK", link.disable_check), ("GC", link.disable_gc)) if off]
    binary = survey.binary(link)
    error = f"error {binary.code}: {binary.msg}" if isinstance(binary, CNIError) else spoken.silence(link)
    version = spoken.version(link) or _NONE
    return _Row([mark, link.owner.name, link.type, version, file, ", ".join(notes)], error)


def _owner_notes(survey: Survey, part: Part) -> list[str]:
    notes = [survey.standing(part.owner)]
    return notes + [f"not for {namespace}/{prefix}*" for namespace, prefix in part.owner.exempt]


def _left_out(survey: Survey, *, everything: bool) -> list[str]:
    """Return what is there but doesn't run; without `everything` only what an owner's `types` leave out."""
    filtered: list[tuple[str, str]] = []
    masked: list[tuple[str, str]] = []
    for part in survey.parts:
        for dropped in part.dropped:
            (filtered if _is_filtered(part, dropped) else masked).append(
                (dropped.path, f"{dropped.type}: {dropped.reason}")
            )
    unlisted = [(path, "a directory that the facade doesn't list as an owner") for path in survey.unlisted]
    more = [*masked, *_ignored(survey), *unlisted]
    lines: list[str] = []
    for title, entries in (("Left out:", filtered), ("Ignored:", more if everything else [])):
        if entries:
            lines += ["", paint("bold", title)]
        for path, reason in entries:
            lines += paragraph(f"{path.removeprefix(survey.facade.chain_dir + '/')}: {reason}", "  ")
    if more and not everything:
        lines += ["", paint("dim", f"{len(more)} more ignored (--all lists them)")]
    return lines


def _is_filtered(part: Part, dropped: Dropped) -> bool:
    return part.owner.types is not None and dropped.type not in part.owner.types


def _ignored(survey: Survey) -> list[tuple[str, str]]:
    """Return the files that are no fragments and the entries that are no owner's directory, with the reasons."""
    files = [
        (f"{part.directory.path}/{name}", reason) for part in survey.parts for name, reason in part.directory.ignored
    ]
    return files + [(f"{survey.facade.chain_dir}/{name}", reason) for name, reason in survey.strangers]


def _verdict(survey: Survey) -> list[str]:
    refusal = survey.refusal()
    if refusal is None:
        count = len(survey.links)
        told = f"A new pod runs {count} plugin{'' if count == 1 else 's'}"
        if not survey.file.misspelt:
            return [paint("green", f"{told}.")]
        faults = "; ".join(map(str, survey.file.misspelt))
        return [paint("red", line) for line in paragraph(f"{told}, but not as the facade was meant: {faults}", "")]
    errors = [error_of(part) for part in survey.parts] + [survey.binary(link) for link in survey.links]
    in_table = any(isinstance(error, CNIError) and error.msg == refusal.msg for error in errors)
    why = "and no network: see above" if in_table else f"and no network: {refusal.msg}"
    return [paint("red", line) for line in paragraph(f"A new pod gets error {refusal.code} {why}", "")]
