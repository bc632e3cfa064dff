"""`cni-chain install`: the program, the owners' directories and, last, the facade. Plans only; `Plan.run` writes."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cni_chain.change import draft, files, installed, manual
from cni_chain.change.plan import Plan, diff
from cni_chain.checks import trial
from cni_chain.checks.net_dir import outsorted
from cni_chain.checks.node import Node
from cni_chain.checks.runtimes import network as other_network
from cni_chain.node import facades, usage
from cni_chain.node.errors import RefusedError, unreadable
from cni_chain.node.facades import PENDING, UNDONE, FacadeFile, NetDir
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree
from cni_chain.plugin import facade

FACADE = "00-cni-chain.conflist"
LOGROTATE_DIR = "/etc/logrotate.d"
LOGROTATE = """\
# cni-chain opens its log for each line, so nothing has to be told that the file was moved.
/var/log/cni-chain.log {
    weekly
    maxsize 50M
    rotate 4
    compress
    missingok
    notifempty
    create 0600 root root
}
"""
FROM_SOURCE = (
    "this program runs from source, and only the frozen program can be installed: build it with `make dist`, unpack "
    "the archive, and run its bin/cni-chain install"
)


class Options(NamedTuple):
    """The command's options; None: not given."""

    bin_dir: str
    net_dir: str
    program_dir: str | None = None
    chain_dir: str | None = None
    facade: str = FACADE
    owners: list[dict[str, Any]] | None = None
    name: str | None = None
    cni_version: str | None = None
    with_facade: bool = True
    replace_facade: bool = False
    force: bool = False

    @property
    def asks_for_a_facade(self) -> bool:
        """Whether an option sets a key of the facade."""
        return any(value is not None for value in (self.owners, self.name, self.cni_version, self.chain_dir))


class _Wanted(NamedTuple):
    path: str
    text: str
    before: str | None  # None: the file is new


def plan(tree: Tree, options: Options, source: str | None) -> Plan:
    """Return what installs the frozen program in the directory `source`, None: all but the program.

    Raises RefusedError.
    """
    plan = Plan(tree)
    programs = installed.Programs(tree, options.bin_dir, options.program_dir)
    net_dir = tree.path(options.net_dir)
    installed.inside(tree, net_dir)
    directory = facades.look(tree, net_dir)
    wanted, chain_dir, owners = _facade(tree, directory, options)
    _directory(plan, programs.tree.seen(programs.bin_dir))
    version = None if source is None else installed.place(plan, programs, source, force=options.force)
    for owner in owners:
        _directory(plan, f"{chain_dir}/{owner}.d")
    _logrotate(plan)
    if source is not None:
        manual.place(plan, source)
    if options.with_facade and wanted is not None:
        _check(plan, directory, wanted, options)
        _directory(plan, net_dir)
        _put(plan, wanted.path, wanted.text, wanted.before)
    elif directory.facades and (options.with_facade or programs.linked() not in (None, version)):
        _stays(plan, directory, options)
    if version is not None:
        installed.prune(plan, programs, version)
    return plan


def _directory(plan: Plan, path: str) -> None:
    real = installed.inside(plan.tree, path)
    if os.path.isdir(real):
        return
    if os.path.lexists(real):
        raise RefusedError(f"{path}: is not a directory", "move it elsewhere")
    if all(change.path != f"{path}/" for change in plan.changes):
        plan.add("create", f"{path}/", lambda: files.directory(real))


def _put(plan: Plan, path: str, text: str, before: str | None) -> None:
    real = installed.file_inside(plan.tree, path)
    expected = None if before is None else before.encode()
    plan.add(
        "create" if before is None else "replace",
        path,
        lambda: files.put(real, text.encode(), 0o644, expected=expected),
        diff=diff(path, before, text),
    )


def _logrotate(plan: Plan) -> None:
    path = f"{LOGROTATE_DIR}/{installed.NAME}"
    real = installed.file_inside(plan.tree, path)
    if not os.path.isdir(os.path.dirname(real)):
        return
    if os.path.islink(real):
        plan.notes.append(f"{path} stays as it is, because it is a link.")
        return
    try:
        if files.read(real) != LOGROTATE.encode():
            plan.notes.append(f"{path} stays as it is, because it was edited.")
    except FileNotFoundError:
        _put(plan, path, LOGROTATE, None)
    except OSError as error:
        raise unreadable(path, error) from None


def _facade(tree: Tree, directory: NetDir, options: Options) -> tuple[_Wanted | None, str, list[str]]:
    """Return the facade to write (None: the present one stays), its chain directory, and its owners."""
    path = f"{directory.path}/{options.facade}"
    there = next((file for file in directory.facades if file.path == path), None)
    if directory.facades and not options.asks_for_a_facade and not options.replace_facade:
        kept = there or directory.facades[0]
        return None, kept.facade.chain_dir, [owner.name for owner in kept.facade.owners or []]
    if there is None and os.path.lexists(tree.real(path)):
        raise RefusedError(f"{path}: exists and is not a facade, so it stays", "move it away, or pass --facade")
    waiting = next((f"{path}{end}" for end in (PENDING, UNDONE) if os.path.lexists(tree.real(path + end))), "")
    if there is None and options.with_facade and not options.force and waiting:
        raise RefusedError(
            f"{waiting}: migrate has written this facade, and it is not active yet",
            "`cni-chain migrate status` prints the steps, `cni-chain migrate switch` puts it in place (--force writes "
            "another facade)",
        )
    document = _document(tree, directory, options, there)
    plugin = document["plugins"][0]
    owners = [entry["name"] for entry in plugin["owners"]]
    if there is not None and there.document == document:
        return None, plugin["chainDir"], owners
    _no_other(directory, there, path, document["name"], options)
    text = draft.text_of(document)
    before = None if there is None else tree.read(path).decode()
    if there is not None and not options.replace_facade and options.with_facade:
        raise RefusedError(
            f"{path}: exists and differs",
            "--replace-facade replaces it, `cni-chain owner` changes its owners",
            details=diff(path, before, text),
        )
    return _Wanted(path, text, before), plugin["chainDir"], owners


def _no_other(directory: NetDir, there: FacadeFile | None, path: str, name: str, options: Options) -> None:
    twin = next((file for file in directory.facades if file is not there and file.network == name), None)
    if twin is not None and options.with_facade:
        raise RefusedError(f"{twin.path}: is already a facade of network {name}, and {path} would be a second one")


def _document(tree: Tree, directory: NetDir, options: Options, there: FacadeFile | None) -> dict[str, Any]:
    owners = options.owners if options.owners is not None else draft.owners(list(draft.OWNERS), [])
    name = options.name or (there.network if there else "") or _name(tree, directory) or owners[0]["name"]
    fault = facades.network_fault({"name": name})
    if fault:
        raise RefusedError(f"--name {name}: {fault}")
    chain_dir = facade.CHAIN_DIR if options.chain_dir is None else tree.path(options.chain_dir)
    return draft.document(name, options.cni_version, chain_dir, owners)


def _name(tree: Tree, directory: NetDir) -> str:
    now = usage.replaced(tree, directory)
    if now is None:
        return ""
    path, document = now
    name = None if document is None else document.get("name")
    if not isinstance(name, str) or not name:
        raise RefusedError(
            f"{path}: its network name can't be read, and plugins store addresses under it", "pass --name"
        )
    fault = facades.network_fault({"name": name})
    if fault:
        raise RefusedError(f"{path}: {fault}; it is {name}", "pass --name")
    return name


def _check(plan: Plan, directory: NetDir, wanted: _Wanted, options: Options) -> None:
    """Refuse a facade that no runtime would take, or that takes new pods' network away; warn of the rest."""
    _not_before_multus(plan, directory, wanted.path)
    bin_dirs = [options.bin_dir]
    created = {change.path.removesuffix("/") for change in plan.changes}
    tried = trial.facade(plan.tree, directory, wanted.path, wanted.text, bin_dirs, created)
    for finding in other_network(tried.node):
        if not options.force:
            raise RefusedError(
                f"{finding.place}: {finding.text()}",
                "pass that name with --name, or remove the key and restart CRI-O; or pass --force if CRI-O isn't this "
                "node's runtime",
            )
        plan.warn(finding)
    for finding in outsorted(tried.node):
        plan.warn(finding)
    worse = tried.errors if directory.names else []
    if wanted.before is not None:
        worse = tried.worse_than(trial.facade(plan.tree, directory, wanted.path, wanted.before, bin_dirs))
    if worse and not options.force:
        raise RefusedError(
            f"{wanted.path}: new pods of this node would get no network: "
            f"{'; '.join(finding.text() for finding in worse)}. First let each agent write into its directory "
            "(install --no-facade creates them), or pass --force"
        )
    for finding in tried.errors:
        plan.warn(finding, since="for now")
    for finding in tried.warnings:
        plan.warn(finding)
    path, document = usage.replaced(plan.tree, directory) or ("", None)
    name = (document or {}).get("name")
    network = tried.survey.file.network
    if name is not None and name != network and wanted.before is None:
        plan.warnings.append(
            f"{path}: plugins keep addresses and rules under its name {name}, and the facade's name is {network}: "
            "they may not find what earlier pods left"
        )


def _stays(plan: Plan, directory: NetDir, options: Options) -> None:
    """Refuse a version that rejects the present facade; an older version may have accepted it."""
    plan.notes.append(f"{directory.facades[0].path} stays as it is.")
    for file in directory.facades:
        if file.problems:
            refused = (
                f"{file.path}: new pods would get no network from this version: {'; '.join(map(str, file.problems))}"
            )
            if not options.force:
                raise RefusedError(f"{refused}. Correct the facade first, or pass --force")
            plan.warnings.append(refused)
    surveys = [Survey(plan.tree, file, [options.bin_dir]) for file in directory.facades]
    for finding in other_network(Node(plan.tree, directory, surveys, [options.bin_dir])):
        plan.warn(finding)


def _not_before_multus(plan: Plan, directory: NetDir, path: str) -> None:
    """Refuse a file name before Multus's: Multus would no longer run."""
    for other in usage.others(directory)[:1]:
        behind = os.fsencode(os.path.basename(other)) > os.fsencode(os.path.basename(path))
        is_first = os.path.basename(other) == directory.names[0]
        if behind and is_first and usage.is_multus(usage.read(plan.tree, other)):
            raise RefusedError(
                f"{other}: is Multus's, and {os.path.basename(path)} before it would disable every network of Multus",
                "--facade 01-cni-chain.conflist sorts after it, and Multus then takes it for the pods' network",
            )
