"""`cni-chain uninstall`: removes cni-chain, so that every pod keeps its network and gets its DEL. Plans only.

First the runtime gets another configuration: the one behind the facade. What DEL needs stays: CRI-O runs a pod's DEL
with the configuration of its ADD, so program, fragments and records are needed while a pod has a record.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from cni_chain.change import files, installed, kept, manual, owners
from cni_chain.change.install import LOGROTATE, LOGROTATE_DIR
from cni_chain.change.plan import Plan
from cni_chain.checks.wording import counted
from cni_chain.node import conflists, facades, usage
from cni_chain.node.errors import RefusedError, as_root, unreadable
from cni_chain.node.facades import COPY, PENDING, UNDONE, FacadeFile, NetDir
from cni_chain.node.tree import Tree
from cni_chain.plugin import delegate, facade

ASIDE = ".uninstalled"  # no runtime and no agent reads a file with this suffix

_RENAMED = (".cilium_bak", COPY)  # what a previous configuration may be named now
_OURS = frozenset((".lock", ".versions"))  # of the state directory, beside the records


class Options(NamedTuple):
    """The command's options."""

    bin_dir: str
    net_dir: str
    program_dir: str | None = None
    conf: str | None = None
    restore: str | None = None
    keep_program: bool = False
    without_network: bool = False
    force: bool = False


def plan(tree: Tree, options: Options) -> Plan:
    """Return the plan that removes cni-chain from a node. Raises RefusedError."""
    plan = Plan(tree)
    directory = facades.look(tree, tree.path(options.net_dir))
    _as_root(tree, [f"{directory.path}/{name}" for name in directory.unreadable])
    file = _facade(tree, directory, options)
    restored = _restore(plan, directory, options)
    if file is not None:
        others = [other for other in directory.facades if other.path != file.path]
        _successor(plan, directory, file, restored, options)
        _aside(plan, file)
        _left(plan, directory, file)
    else:
        others = directory.facades
        _readable(directory, options)
    _kept(plan, directory)
    # The one that an earlier uninstall or `migrate undo` renamed names the state directory, too.
    file = file or next(facades.out_of_use(tree, directory.path, ASIDE, PENDING, UNDONE), None)
    _leave_or_remove(plan, file, others, options)
    return plan


def _as_root(tree: Tree, paths: Iterable[str]) -> None:
    """Refuse to judge a file that only root can read. Raises RefusedError."""
    for path in paths:
        try:
            tree.read(path)
        except OSError as error:
            if as_root(error):
                raise unreadable(path, error) from None


def _facade(tree: Tree, directory: NetDir, options: Options) -> FacadeFile | None:
    if options.conf is not None:
        path = tree.path(options.conf)
        found = next((file for file in directory.facades if file.path == path), None)
        if found is None:
            raise RefusedError(f"{path}: is not a facade in {directory.path}, the runtime's directory")
        return found
    return owners.only(directory.facades) if directory.facades else None


def _readable(directory: NetDir, options: Options) -> None:
    """Refuse where the runtime takes a file that can't be read: it may be the facade."""
    error = directory.unreadable.get(os.path.basename(directory.first or ""))
    if error is not None and not options.without_network:
        hint = "if it is the facade, remove it: the runtime takes the next file; or pass --leave-node-without-network"
        raise RefusedError(f"{directory.first}: the runtime takes this file, and it can't be read: {error}", hint)


def _restore(plan: Plan, directory: NetDir, options: Options) -> str | None:
    """Plan to restore the configuration that --restore names, and return its new name."""
    if options.restore is None:
        return None
    path = plan.tree.path(options.restore)
    _as_root(plan.tree, [path])
    document = usage.read(plan.tree, path)
    if document is None or not usage.types(document) or facades.is_facade(document):
        raise RefusedError(f"{path}: can't be restored: it names no plugin, or can't be read")
    name = os.path.basename(path)
    for suffix in _RENAMED:
        name = name.removesuffix(suffix)
    if not name.endswith(".conflist" if "plugins" in document else (".conf", ".json")):
        raise RefusedError(f"{path}: no runtime reads a file with this name", "rename it")
    content = plan.tree.read(path)
    target = f"{directory.path}/{name}"
    if name in directory.names:
        if plan.tree.read(target) == content:
            return name
        raise RefusedError(f"{target}: exists and differs from {path}")
    real = installed.file_inside(plan.tree, target)
    mode = stat.S_IMODE(os.stat(plan.tree.real(path)).st_mode) & ~0o022
    plan.add("create", target, lambda: files.put(real, content, mode), detail=f"from {path}")
    return name


def _successor(plan: Plan, directory: NetDir, file: FacadeFile, restored: str | None, options: Options) -> None:
    """Refuse if the runtime has no working configuration without the facade; note which one it takes."""
    names = sorted({*directory.names, *([restored] if restored else [])}, key=os.fsencode)
    names.remove(os.path.basename(file.path))
    documents = {path: usage.read(plan.tree, path) for path in (f"{directory.path}/{name}" for name in names)}
    if restored and options.restore:  # it doesn't exist yet
        documents[f"{directory.path}/{restored}"] = usage.read(plan.tree, plan.tree.path(options.restore))
    for runtime, pin, path in usage.taken(plan.tree, directory, documents):
        if path is None:
            kind = f" of network {pin.network}, which {pin.file} sets," if pin else ""
            trouble = f"{directory.path}: no configuration{kind} is left for {runtime} once {file.path} is gone"
        else:
            trouble = _fault(plan.tree, path, documents[path], options)
        if trouble and not options.without_network:
            previous = _previous(plan.tree, directory, file)
            raise RefusedError(trouble, f"restore {previous}, or pass --leave-node-without-network")
        if trouble:
            plan.warnings.append(f"no new pod gets a network: {trouble}")
        elif path is not None:
            types = usage.types(documents[path])
            lost = [] if facades.TYPE in types else usage.lost(plan.tree, file, path, types)
            plan.warnings += [warning for warning in lost if warning not in plan.warnings]
            plan.notes.append(f"{runtime.replace('the', 'The', 1)} then takes {path}.")


def _previous(tree: Tree, directory: NetDir, file: FacadeFile) -> str:
    """Return in words which configuration can be restored."""
    renamed = [name for name in tree.names(directory.path) if name.endswith(_RENAMED)]
    if renamed:
        return f"the previous one (--restore {directory.path}/{renamed[0]})"
    fragment = conflists.of_first_owner(tree, directory, file)
    return f"the first owner's own (--restore {fragment})" if fragment else "the previous one (--restore FILE)"


def _fault(tree: Tree, path: str, document: dict[str, Any] | None, options: Options) -> str:
    """Return what is wrong with the configuration that is taken next, "" if nothing is."""
    if document is None:
        return f"{path}: the runtime would take this file, and it can't be read"
    if facades.is_facade(document):
        return ""
    types = usage.types(document)
    if not types:
        return f"{path}: the runtime would take this file, and it names no plugin"
    for type_ in types:
        try:
            delegate.find(type_, ":".join(tree.real(tree.path(one)) for one in options.bin_dir.split(":")))
        except delegate.NotFoundError as error:
            return f"{path}: the runtime would take this file, and {tree.seen(str(error))}"
    return ""


def _aside(plan: Plan, file: FacadeFile) -> None:
    real = installed.file_inside(plan.tree, file.path)
    aside = f"{real}{ASIDE}"
    plan.add("rename", file.path, lambda: files.move(real, aside), detail=f"to {os.path.basename(aside)}")


def _kept(plan: Plan, directory: NetDir) -> None:
    path = kept.path(directory.path)
    real = installed.file_inside(plan.tree, path)
    if os.path.isfile(real):
        _remove(plan, path, real)


def _left(plan: Plan, directory: NetDir, file: FacadeFile) -> None:
    """Note what stays in the runtime's directory, of this command and of `migrate`."""
    names = [name for name in plan.tree.names(directory.path) if name.endswith((ASIDE, PENDING, UNDONE, COPY))]
    left = sorted({os.path.basename(file.path) + ASIDE, *names})
    plan.notes.append(f"{directory.path} keeps {', '.join(left)}: no runtime reads that, and it is yours to remove.")


def _leave_or_remove(plan: Plan, file: FacadeFile | None, others: list[FacadeFile], options: Options) -> None:
    state_dir = file.facade.state_dir if file else facade.STATE_DIR
    chain_dir = file.facade.chain_dir if file else facade.CHAIN_DIR
    records = _records(plan.tree, state_dir)
    pods = counted(len(records), "attachment")
    if others:
        named = ", ".join(other.path for other in others)
        plan.notes.append(f"Everything but the facade stays, because other facades need it: {named}.")
        return
    if options.keep_program:
        plan.notes.append(f"The program, {chain_dir} and {state_dir} stay: {pods} with a record.")
        return
    if records:
        raise RefusedError(
            f"{state_dir}: {pods} with a record, whose DEL needs the program, {chain_dir} and these "
            "records: --keep-program removes only the facade; uninstall again when the pods are gone "
            "(`cni-chain gc` frees attachments without a namespace)"
        )
    _state(plan, state_dir, {change.path for change in plan.changes})
    _owners(plan, chain_dir)
    _logrotate(plan)
    _manual(plan)
    _program(plan, options)


def _records(tree: Tree, state_dir: str) -> list[str]:
    """Return the files of pods in the state directory: records, unfinished ones, damaged ones."""
    try:
        return [name for name in sorted(os.listdir(tree.real(state_dir))) if name not in _OURS and ":" in name]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(state_dir, error) from None


def _state(plan: Plan, path: str, removed: set[str]) -> None:
    real = installed.inside(plan.tree, path)
    if os.path.isdir(real):
        names = os.listdir(real)
        for name in sorted(_OURS.intersection(names)):
            _remove(plan, f"{path}/{name}", f"{real}/{name}")
        _remove_if_empty(plan, path, _OURS | {name for name in names if f"{path}/{name}" in removed})


def _owners(plan: Plan, path: str) -> None:
    real = installed.inside(plan.tree, path)
    if not os.path.isdir(real):
        return
    empty = [name for name in sorted(os.listdir(real)) if name.endswith(".d") and _is_empty(f"{real}/{name}")]
    for name in empty:
        _remove(plan, f"{path}/{name}/", f"{real}/{name}")
    _remove_if_empty(plan, path, set(empty))


def _is_empty(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)


def _remove_if_empty(plan: Plan, path: str, but: Collection[str]) -> None:
    real = installed.inside(plan.tree, path)
    left = sorted(set(os.listdir(real)).difference(but))
    if left:
        plan.notes.append(f"{path} stays: {', '.join(left)}.")
    else:
        _remove(plan, f"{path}/", real)


def _logrotate(plan: Plan) -> None:
    path = f"{LOGROTATE_DIR}/{installed.NAME}"
    real = installed.file_inside(plan.tree, path)
    if os.path.islink(real):
        plan.notes.append(f"{path} stays, because it is a link.")
    elif os.path.isfile(real):
        if files.read(real) == LOGROTATE.encode():
            _remove(plan, path, real)
        else:
            plan.notes.append(f"{path} stays, because it was edited.")


def _manual(plan: Plan) -> None:
    if manual.is_ours(plan.tree):
        real = installed.file_inside(plan.tree, manual.PAGE)
        _remove(plan, manual.PAGE, real)
        if os.listdir(os.path.dirname(real)) == [os.path.basename(real)]:  # `install` may have made it
            _remove(plan, f"{os.path.dirname(manual.PAGE)}/", os.path.dirname(real))


def _program(plan: Plan, options: Options) -> None:
    programs = installed.Programs(plan.tree, options.bin_dir, options.program_dir)
    if os.path.islink(programs.link):
        if programs.linked() is None and not options.force:
            raise RefusedError(
                f"{plan.tree.seen(programs.link)}: points to {os.readlink(programs.link)}, not into "
                f"{plan.tree.seen(programs.directory)}",
                "--program-dir names the directory, --force removes the link",
            )
        _remove(plan, plan.tree.seen(programs.link), programs.link)
    linked = programs.linked()
    versions = sorted(programs.versions(), key=lambda version: version == linked)  # last the one in use
    for version in versions:
        installed.refuse_running(programs, version)
        plan.add("remove", f"{programs.seen(version)}/", installed.removal_if_idle(programs, version), final=True)
    if versions and set(os.listdir(programs.directory)) <= set(versions):
        _remove(plan, f"{plan.tree.seen(programs.directory)}/", programs.directory, final=True)


def _remove(plan: Plan, path: str, real: str, *, final: bool = False) -> None:
    plan.add("remove", path, lambda: files.remove(real), final=final)
