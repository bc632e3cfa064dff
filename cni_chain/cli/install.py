"""`cni-chain install`: the program, the owners' directories and, last, the facade. Plans; `changes` makes it so."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from cni_chain import facade, spec
from cni_chain.cli import changes, drafting, in_use, installed, placing, trial
from cni_chain.cli.changes import Plan, RefusedError
from cni_chain.cli.facades import FacadeFile, NetDir
from cni_chain.cli.migrate_plan import PENDING
from cni_chain.cli.tree import Tree
from cni_chain.errors import CNIError

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
    "this runs from source, and only the frozen program can be installed: make it with `make dist`, unpack the "
    "archive, and run its bin/cni-chain install"
)


class Options(NamedTuple):
    """What a person asked for; None: not given."""

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
        """Tell whether anything was asked that a facade holds."""
        return any(value is not None for value in (self.owners, self.name, self.cni_version, self.chain_dir))


class _Wanted(NamedTuple):
    path: str
    text: str
    before: str | None  # None: the file is new


def plan(tree: Tree, options: Options, source: str) -> Plan:
    """Return what installs the frozen program in the directory `source`. Raises RefusedError."""
    plan = Plan(tree)
    programs = installed.Programs(tree, options.bin_dir, options.program_dir)
    net_dir = tree.path(options.net_dir)
    installed.inside(tree, net_dir)
    directory = in_use.look(tree, net_dir)
    wanted, chain_dir, owners = _facade(tree, directory, options)
    _directory(plan, programs.tree.seen(programs.bin_dir))
    version = installed.place(plan, programs, source, force=options.force)
    for owner in owners:
        _directory(plan, f"{chain_dir}/{owner}.d")
    _logrotate(plan)
    if options.with_facade:
        if wanted is not None:
            _check(plan, directory, wanted, options)
            _directory(plan, net_dir)
            _put(plan, wanted.path, wanted.text, wanted.before)
        elif directory.facades:
            _stays(plan, directory, options)
            never = [in_use.never_taken(tree, directory, file.network) for file in directory.facades]
            plan.warnings += never[:1] if all(never) else []
    installed.prune(plan, programs, version)
    return plan


def _directory(plan: Plan, path: str) -> None:
    real = installed.inside(plan.tree, path)
    if os.path.isdir(real):
        return
    if os.path.lexists(real):
        raise RefusedError(f"{path}: is in the way of a directory; move it elsewhere")
    if all(change.path != f"{path}/" for change in plan.changes):
        plan.add("create", f"{path}/", lambda: placing.directory(real))


def _put(plan: Plan, path: str, text: str, before: str | None) -> None:
    real = os.path.join(installed.inside(plan.tree, os.path.dirname(path)), os.path.basename(path))
    content = text.encode()
    action = "create" if before is None else "replace"
    expected = None if before is None else before.encode()
    plan.add(
        action,
        path,
        lambda: placing.put(real, content, 0o644, expected=expected),
        diff=changes.diff(path, before, text),
    )


def _logrotate(plan: Plan) -> None:
    real = installed.inside(plan.tree, LOGROTATE_DIR)
    path = f"{LOGROTATE_DIR}/{installed.NAME}"
    if not os.path.isdir(real):
        return
    try:
        if placing.read(f"{real}/{installed.NAME}") != LOGROTATE.encode():
            plan.notes.append(f"{path} stays as it is: somebody has changed it.")
    except FileNotFoundError:
        _put(plan, path, LOGROTATE, None)
    except OSError as error:
        raise RefusedError(f"{path}: can't be read: {error.strerror}") from None


def _facade(tree: Tree, directory: NetDir, options: Options) -> tuple[_Wanted | None, str, list[str]]:
    """Return the facade to write, None if one stays; and where its owners' directories are."""
    path = f"{directory.path}/{options.facade}"
    there = next((file for file in directory.facades if file.path == path), None)
    if directory.facades and not options.asks_for_a_facade and not options.replace_facade:
        kept = there or directory.facades[0]
        return None, kept.facade.chain_dir, [owner.name for owner in kept.facade.owners or []]
    if there is None and os.path.lexists(tree.real(path)):
        raise RefusedError(f"{path}: is there and is no facade, so it is left alone; move it away, or see --facade")
    waiting = path + PENDING
    if there is None and options.with_facade and not options.force and os.path.lexists(tree.real(waiting)):
        raise RefusedError(
            f"{waiting}: the facade that migrate has proved waits there; `cni-chain migrate` has the steps, and "
            "--switch puts it in place (--force writes another one)"
        )
    document = _document(tree, directory, options, there)
    plugin = document["plugins"][0]
    owners = [entry["name"] for entry in plugin["owners"]]
    if there is not None and there.document == document:
        return None, plugin["chainDir"], owners
    _no_other(directory, there, path, document["name"], options)
    text = drafting.render(document) + "\n"
    before = None if there is None else tree.read(path).decode()
    if there is not None and not options.replace_facade and options.with_facade:
        shown = changes.diff(path, before, text)
        raise RefusedError(
            f"{path}: is there and differs; --replace-facade replaces it, `cni-chain owner` changes its owners", shown
        )
    return _Wanted(path, text, before), plugin["chainDir"], owners


def _no_other(directory: NetDir, there: FacadeFile | None, path: str, name: str, options: Options) -> None:
    twin = next((file for file in directory.facades if file is not there and file.network == name), None)
    if twin is not None and options.with_facade:
        raise RefusedError(f"{twin.path}: is a facade of network {name} already, and {path} would be another")


def _document(tree: Tree, directory: NetDir, options: Options, there: FacadeFile | None) -> dict[str, Any]:
    owners = options.owners if options.owners is not None else drafting.owners(list(drafting.OWNERS), [])
    name = options.name or (there.network if there else "") or _name(tree, directory) or owners[0]["name"]
    fault = _fault(name)
    if fault:
        raise RefusedError(f"--name {name}: {fault}")
    chain_dir = facade.CHAIN_DIR if options.chain_dir is None else tree.path(options.chain_dir)
    return drafting.document(name, options.cni_version, chain_dir, owners)


def _name(tree: Tree, directory: NetDir) -> str:
    now = in_use.replaced(tree, directory)
    if now is None:
        return ""
    path, document = now
    name = None if document is None else document.get("name")
    if not isinstance(name, str) or not name:
        raise RefusedError(f"{path}: its network's name can't be read, and pods' addresses are kept by it; give --name")
    fault = _fault(name)
    if fault:
        raise RefusedError(f"{path}: {fault}, and it is {name}; give --name")
    return name


def _fault(name: str) -> str:
    """Return what is wrong with the name of a network, "" if nothing is."""
    try:
        spec.network_name({"name": name})
    except CNIError as error:
        return error.msg.removeprefix("network configuration: ")
    return ""


def _check(plan: Plan, directory: NetDir, wanted: _Wanted, options: Options) -> None:
    """Refuse a facade that no pod would get, or that takes the network from a node which has one; warn of the rest."""
    _order(plan, directory, wanted.path)
    bin_dirs = [options.bin_dir]
    tried = trial.facade(plan.tree, wanted.path, wanted.text, bin_dirs)
    refused = in_use.never_taken(plan.tree, directory, tried.survey.file.network)
    if refused and not options.force:
        raise RefusedError(f"{refused}; --force if CRI-O isn't this node's runtime")
    plan.warnings += [refused] if refused else []
    errors = tried.errors()
    worse = errors if directory.names else []
    if wanted.before is not None:
        worse = tried.worse_than(trial.facade(plan.tree, wanted.path, wanted.before, bin_dirs))
    if worse and not options.force:
        raise RefusedError(
            f"{wanted.path}: would take the network from new pods of this node: {'; '.join(worse)}. First let each "
            "agent write into its directory (install --no-facade makes them), or --force"
        )
    plan.warnings += [f"for now {error}" for error in errors] + tried.warnings()
    path, document = in_use.replaced(plan.tree, directory) or ("", None)
    name = (document or {}).get("name")
    network = tried.survey.file.network
    if name is not None and name != network and wanted.before is None:
        plan.warnings.append(
            f"{path}: plugins keep addresses and rules under its name {name}, and this network is called {network}: "
            "what is left of pods from before may not be found"
        )


def _stays(plan: Plan, directory: NetDir, options: Options) -> None:
    """Refuse to put a version in place that refuses the facade which stays, as an older one may not have done."""
    plan.notes.append(f"{directory.facades[0].path} stays as it is.")
    for file in directory.facades:
        if file.problems:
            refused = (
                f"{file.path}: new pods would get no network from this version: {'; '.join(map(str, file.problems))}"
            )
            if not options.force:
                raise RefusedError(f"{refused}. Correct the facade first, or --force")
            plan.warnings.append(refused)


def _order(plan: Plan, directory: NetDir, path: str) -> None:
    """Refuse a place before Multus, which would take it out; warn of whatever else is before the facade."""
    for other in in_use.others(directory):
        name = os.path.basename(other)
        behind = os.fsencode(name) > os.fsencode(os.path.basename(path))
        multus = in_use.is_multus(in_use.read(plan.tree, other) or {})
        if multus and behind and name == directory.names[0]:
            raise RefusedError(
                f"{other}: is Multus's, and {os.path.basename(path)} before it would take every network of Multus "
                "away; --facade 01-cni-chain.conflist is behind it, and Multus then takes it for the pods' network"
            )
        if not multus and not behind:
            plan.warnings.append(f"{other}: sorts before the facade: containerd takes this file, and no pod the chain")
