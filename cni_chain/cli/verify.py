"""`cni-chain verify`: every problem at once, of a node or of files that are not in place yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from cni_chain.checks import binaries, chain, facade, fragments, permissions, places
from cni_chain.checks.findings import Finding, Report
from cni_chain.checks.places import Places
from cni_chain.cli.options import BinDirs, Conf, DistroName, Json, NetDirectory, Root, Where
from cni_chain.cli.output import paint, print_json, printable, progress
from cni_chain.node import facades, locate
from cni_chain.node.errors import UnreadableError
from cni_chain.node.facades import FacadeFile, NetDir
from cni_chain.node.locate import Locator, Place
from cni_chain.node.progress import Step, unseen
from cni_chain.node.survey import Survey
from cni_chain.plugin.fragments import Fragment, parse


def command(
    file: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            show_default=False,
            help="Facades or fragments that are not in place yet, by the path that you see: each is checked by itself.",
        ),
    ] = None,
    json: Json = False,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Find every problem at once: in the facade, the owners' fragments, their plugins, and who may write them.

    Each line is 'path:line:column: message', errors first; warnings say so. The last line counts. Plugins are
    asked for the versions that they speak (VERSION, which changes nothing) unless --root is given.

    \b
    Examples:
      cni-chain verify
      cni-chain verify ./10-portmap.conf && install -m 644 ./10-portmap.conf /etc/cni/chain.d/local.d/
      cni-chain verify --root ./image --bin-dir /opt/cni/bin --bin-dir /usr/lib/cni

    \b
    Exit status: 0 if there is no error (there may be warnings), 1 if there is.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    if file:
        with progress("checking", len(file)) as step:
            report = files(file, step)
    else:
        directory, surveys = where.surveys()
        with progress("checking", steps(surveys)) as step:
            report = node(directory, surveys, step)
    if json:
        print_json(report.document())
    else:
        for finding in report.sorted():
            print(line(finding))
        print(report.count())
    raise typer.Exit(1 if report.errors else 0)


def node(directory: NetDir, surveys: list[Survey], step: Step = unseen) -> Report:
    """Return what is wrong with facades, with what they lead to, and with their runtime's directory.

    A step is each plugin that is asked what it speaks: one that hangs takes some seconds.
    """
    report = Report()
    files = [survey.file for survey in surveys]
    report.add(_net_dir(directory, files))
    report.files.update(f"{directory.path}/{name}" for name in directory.unreadable)
    for survey in surveys:
        file, tree, where = survey.file, survey.tree, Places(survey)
        report.files.add(file.path)
        report.add(facade.own(file))
        if directory.holds(file.path):
            report.add(facade.in_place(file, directory, tree))
        for part in survey.parts:
            report.files.update(fragment.path for fragment in part.directory.fragments)
            report.files.update(fault.path for fault in part.directory.faults if fault.path != part.directory.path)
        report.add(chain.chain(survey, where))
        report.add(fragments.agents(survey, where))
        report.add(binaries.check(survey, where, step))
        if not file.facade.allow_unsafe:
            report.add(permissions.check(tree, _trusted(survey)))
    return report


def _net_dir(directory: NetDir, files: list[FacadeFile]) -> Iterator[Finding]:
    if not files:
        message = f"no facade here: no file has a plugin of type {facades.TYPE}"
        yield Finding(Place(directory.path), message)
    for name, error in directory.unreadable.items():
        # containerd takes the first file or nothing; others don't matter to it.
        matters = name == directory.names[0] or not files
        yield Finding(Place(f"{directory.path}/{name}", error.at), str(error), warning=not matters)


def _trusted(survey: Survey) -> Iterator[str]:
    """Yield the paths that must be root's alone."""
    yield survey.file.path
    yield survey.facade.chain_dir
    yield survey.facade.state_dir
    yield from survey.bin_dirs
    for part in survey.parts:
        yield from (found for found in map(survey.binary, part.links) if isinstance(found, str))


def steps(surveys: list[Survey]) -> int:
    """Return how many steps looking at them takes."""
    return sum(len(part.links) for survey in surveys for part in survey.parts)


def files(paths: list[str], step: Step = unseen) -> Report:
    """Return what is wrong with facades and fragments by themselves, wherever they are."""
    report = Report()
    for path in paths:
        step(path)
        report.files.add(path)
        try:
            with open(path, "rb") as file:
                content = file.read()
            document, locator = locate.decode(content)
        except OSError as error:
            report.add([Finding(Place(path), f"can't be read: {error.strerror}")])
        except UnreadableError as error:
            report.add([Finding(Place(path, error.at), str(error))])
        else:
            if facades.is_facade(document):
                report.add(facade.own(FacadeFile(path, document, locator)))
            else:
                report.add(_fragment(path, document, locator))
    return report


def _fragment(path: str, document: dict[str, object], locator: Locator) -> Iterator[Finding]:
    yield from places.duplicates(path, locator)
    fragment = parse(path, document)
    if not isinstance(fragment, Fragment):
        for fault in fragment:
            yield Finding(Place(path, places.position_in(fault.text, locator)), fault.text)
        return
    for index, conf in enumerate(fragment.plugins):
        if fragments.lacks_retry(conf):
            key = f"plugins[{index}].type" if "plugins" in locator else "type"
            yield Finding(Place(path, locator.find(key)), fragments.NO_RETRY, warning=True)


def line(finding: Finding) -> str:
    """Return the finding as compilers print theirs."""
    kind = f"{paint('yellow', 'warning')}: " if finding.warning else ""
    return f"{printable(str(finding.place))}: {kind}{printable(finding.message)}"
