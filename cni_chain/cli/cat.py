"""`cni-chain cat`: the files of the chain, in order, or what each delegate would get on its standard input."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import typer

from cni_chain.checks import registry
from cni_chain.checks.node import Node
from cni_chain.cli.options import BinDirs, Conf, DistroName, NetDirectory, Output, Root, pod
from cni_chain.cli.output import Form, paint, paragraph, print_document, printable, progress
from cni_chain.cli.where import Where
from cni_chain.node.errors import RefusedError
from cni_chain.node.negotiation import Spoken
from cni_chain.node.survey import Survey, error_of
from cni_chain.plugin import chain, request
from cni_chain.plugin.chain import Delegate, OwnerChain


def command(
    effective: Annotated[
        bool, typer.Option("--effective", help="Print what each plugin would get on its standard input instead.")
    ] = False,
    for_pod: Annotated[
        str | None,
        typer.Option(
            "--pod",
            metavar="NAMESPACE/NAME",
            show_default=False,
            help="With --effective: for this pod, without the owners that exempt it.",
        ),
    ] = None,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Print the facade and every owner's files in the order in which they are read, each below '# path'.

    That line also says why a file or a plugin is ignored. With --effective: what each plugin would get for a new pod;
    <angle brackets> mark values that only a call has. Files may hold credentials, and are printed unchanged.

    \b
    Examples:
      cni-chain cat
      cni-chain cat --effective --pod istio-system/istio-cni-node-x7k2p
      cni-chain cat --effective --json | jq '.facades[0].delegates[].stdin'

    Exit status: 0; 1 if a file makes its owner unusable, with --effective if the pod gets no network, or without a
    facade.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    if for_pod is not None and not effective:
        raise typer.BadParameter("goes with --effective", param_hint="--pod")
    whose = ("", "") if for_pod is None else pod(for_pod)
    directory, surveys = where.surveys()
    if not surveys and not output.is_document:
        raise RefusedError(registry.nothing(Node(where.tree, directory, surveys, where.bin_dirs)))
    if effective:
        effectives = [Effective(one, whose) for one in surveys]
        documents = [effective_document(one) for one in effectives] if output.is_document else []
        texts = [] if output.is_document else [effective_text(one) for one in effectives]
        fine = all(one.error is None for one in effectives)
    else:
        documents = [files_document(one) for one in surveys] if output.is_document else []
        texts = [] if output.is_document else [_files(one) for one in surveys]
        parts = (part for one in surveys for part in one.parts)
        fine = not any(part.directory.faults and error_of(part) for part in parts)
    if output.is_document:
        kind = "cat-effective" if effective else "cat"
        print_document(output, kind, where.tree, {"facades": documents})
    else:
        print("\n\n".join("\n".join(lines) for lines in texts))
    raise typer.Exit(0 if surveys and fine else 1)


def _files(one: Survey) -> list[str]:
    lines: list[str] = []
    for shown in files(one):
        lines += [*([""] if lines else []), *text(shown)]
    return lines


class Shown(NamedTuple):
    """One file: its content (None if it is ignored or can't be read), and a remark or ""."""

    path: str
    owner: str  # "": the facade
    content: str | None
    remark: str


def files(survey: Survey) -> Iterator[Shown]:
    """Yield the facade, then every owner's files in the order in which they are read, ignored ones last."""
    yield _shown(survey.file.path, "", "", survey.tree.read)
    for part in survey.parts:
        yield from _owner(survey, part)
    for path in survey.unlisted:
        yield Shown(path, "", None, f"not read: {survey.file.path} doesn't list this owner")
    for name, reason in survey.strangers:
        yield Shown(f"{survey.facade.chain_dir}/{name}", "", None, f"ignored: {reason}")


def _owner(survey: Survey, part: OwnerChain) -> Iterator[Shown]:
    owner, directory = part.owner.name, part.directory
    faults = {fault.path: f"{fault.kind}: {fault.text}" for fault in reversed(directory.faults)}
    if directory.path in faults:
        yield Shown(directory.path, owner, None, faults.pop(directory.path))
    elif directory.missing:
        yield Shown(directory.path, owner, None, "the directory doesn't exist")
    elif not directory.fragments and not faults:
        yield Shown(directory.path, owner, None, "no fragment")
    paths = {fragment.path for fragment in directory.fragments} | set(faults)
    for path in sorted(paths, key=lambda path: path.encode("utf-8", "surrogateescape")):
        dropped = [f"{one.type} is not run: {one.reason}" for one in part.skipped if one.path == path]
        remark = "; ".join([faults[path]] if path in faults else dropped)
        yield _shown(path, owner, remark, survey.content)
    for name, reason in directory.ignored:
        yield Shown(f"{directory.path}/{name}", owner, None, f"ignored: {reason}")


def _shown(path: str, owner: str, remark: str, read: Callable[[str], bytes]) -> Shown:
    try:
        return Shown(path, owner, read(path).decode("utf-8", "backslashreplace"), remark)
    except OSError as error:
        return Shown(path, owner, None, remark or f"can't be read: {error.strerror}")


def text(shown: Shown) -> list[str]:
    """Return the lines of one file: `# path`, its remark, and its content."""
    lines = [paint("bold", f"# {printable(shown.path)}")]
    lines += [paint("yellow", line) for line in paragraph(shown.remark, "#   ")] if shown.remark else []
    content = shown.content.removesuffix("\n").split("\n") if shown.content else []
    return lines + ["\t".join(map(printable, line.split("\t"))) for line in content]


def files_document(survey: Survey) -> dict[str, Any]:
    """Return one facade's files as a JSON document."""
    return {
        "facade": survey.file.path,
        "network": survey.file.network,
        "files": [
            {"file": one.path, "owner": one.owner or None, "content": one.content, "remark": one.remark or None}
            for one in files(survey)
        ],
    }


class Effective:
    """What the delegates of one facade would get for a new pod. `pod` is (namespace, name), both empty for any pod."""

    def __init__(self, survey: Survey, pod: tuple[str, str]) -> None:
        self.survey = survey
        self.pod = pod
        owners = [part.owner for part in survey.parts]
        directories = [part.directory for part in survey.parts]
        self.parts = chain.resolve(owners, directories, pod)
        self.exempt = [part.owner.name for part in self.parts if part.exempt]
        self.links = chain.usable_delegates(self.parts)
        self._spoken = Spoken(survey, self.links, progress)
        self.version = self._spoken.sent
        self.error = survey.refusal(self.parts)

    def spoken(self, link: Delegate) -> tuple[str, str]:
        """Return the version that a delegate is called with, and a remark if that is unknown."""
        version = self._spoken.version(link)
        if version is not None:
            return version, ""
        return self.version, self._spoken.silence(link) or "not asked for its versions"

    def stdin(self, index: int, version: str) -> dict[str, Any]:
        """Return what the delegate `index` gets at ADD. Values that only a call has are in <angle brackets>."""
        file, link = self.survey.file, self.links[index]
        asked_for = {**file.conf, "name": file.network}
        asked_for["runtimeConfig"] = dict.fromkeys(file.capabilities, "<from the runtime>")
        conf = request.derive(
            request.own_part(link.conf), request.capabilities(link.conf), asked_for, version, self._before(index)
        )
        if conf.get("prevResult") == {}:
            before = self.links[index - 1].type if index else file.plugins[file.index - 1].get("type")
            conf["prevResult"] = f"<the result so far, as {before} returns it, in {version}>"
        return conf

    def _before(self, index: int) -> dict[str, Any] | None:
        return None if index == 0 and self.survey.file.index == 0 else {}


def effective_text(effective: Effective) -> list[str]:
    """Return the lines of one facade's delegates."""
    survey = effective.survey
    whose = f"pod {'/'.join(effective.pod)}" if any(effective.pod) else "a new pod"
    heading = f"ADD of {whose}, network {survey.file.network}, cniVersion {effective.version}"
    lines = [paint("bold", f"# {printable(heading)}")]
    lines += [f"# owner {name} is skipped: it exempts this pod" for name in effective.exempt]
    if effective.error is not None:
        error = f"error {effective.error.code} and no network: {effective.error.msg}"
        lines += [paint("red", line) for line in paragraph(f"It gets {error}", "# ")]
    for index, link in enumerate(effective.links):
        version, remark = effective.spoken(link)
        lines += ["", paint("bold", printable(f"# {index + 1} {link.owner.name}/{link.type}  {link.path}"))]
        lines += paragraph(remark, "#   ") if remark else []
        lines.append(json.dumps(effective.stdin(index, version), indent=2))
    return lines


def effective_document(effective: Effective) -> dict[str, Any]:
    """Return one facade's delegates as a JSON document."""
    error = effective.error
    delegates = []
    for index, link in enumerate(effective.links):
        version, remark = effective.spoken(link)
        delegates.append(
            {
                "owner": link.owner.name,
                "type": link.type,
                "file": link.path,
                "cniVersion": version,
                "remark": remark or None,
                "stdin": effective.stdin(index, version),
            }
        )
    return {
        "facade": effective.survey.file.path,
        "network": effective.survey.file.network,
        "cniVersion": effective.version,
        "pod": "/".join(effective.pod) if any(effective.pod) else None,
        "exempt": effective.exempt,
        "error": None if error is None else {"code": error.code, "msg": error.msg},
        "delegates": delegates,
    }
