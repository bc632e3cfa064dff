"""`cni-chain uninstall`: removes cni-chain, so that every pod keeps its network and gets its DEL. Plans only.

First the runtime gets another configuration: the one behind the facade. What DEL needs stays: CRI-O runs a pod's DEL
with the configuration of its ADD, so program, fragments and records are needed while a pod has a record.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cni_chain.change import files, installed
from cni_chain.change.files import Undo
from cni_chain.change.install import LOGROTATE, LOGROTATE_DIR
from cni_chain.change.installed import Programs
from cni_chain.change.plan import Plan
from cni_chain.node import crio, facades, usage
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.facades import PENDING, FacadeFile, NetDir
from cni_chain.node.tree import Tree
from cni_chain.plugin import delegate, facade

ASIDE = ".uninstalled"  # no runtime and no agent reads a file with this suffix

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
    file = _facade(tree, directory, options)
    restored = _restore(plan, directory, options)
    if file is not None:
        others = [other for other in directory.facades if other.path != file.path]
        _successor(plan, directory, file, restored, options)
        _aside(plan, file)
    else:
        others = directory.facades
        _readable(directory, options)
    file = file or _put_aside(tree, directory)
    _leave_or_remove(plan, file, others, options)
    return plan


def _facade(tree: Tree, directory: NetDir, options: Options) -> FacadeFile | None:
    if options.conf is not None:
        path = tree.path(options.conf)
        found = next((file for file in directory.facades if file.path == path), None)
        if found is None:
            raise RefusedError(f"{path}: is not a facade in {directory.path}, the runtime's directory")
        return found
    if len(directory.facades) > 1:
        named = ", ".join(file.path for file in directory.facades)
        raise RefusedError(f"several facades: name one with --conf: {named}")
    return directory.facades[0] if directory.facades else None


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
    document = usage.read(plan.tree, path)
    if document is None or not usage.types(document) or facades.is_facade(document):
        raise RefusedError(f"{path}: can't be restored: it names no plugin, or can't be read")
    name = os.path.basename(path).removesuffix(".cilium_bak")
    if not name.endswith(".conflist" if "plugins" in document else (".conf", ".json")):
        raise RefusedError(f"{path}: no runtime reads a file with this name", "rename it")
    content = plan.tree.read(path)
    target = f"{directory.path}/{name}"
    if name in directory.names:
        if plan.tree.read(target) == content:
            return name
        raise RefusedError(f"{target}: exists and differs from {path}")
    real = f"{installed.inside(plan.tree, directory.path)}/{name}"
    mode = stat.S_IMODE(os.stat(plan.tree.real(path)).st_mode) & ~0o022
    plan.add("create", target, lambda: files.put(real, content, mode), detail=f"from {path}")
    return name


def _successor(plan: Plan, directory: NetDir, file: FacadeFile, restored: str | None, options: Options) -> None:
    """Refuse if the runtime has no working configuration without the facade; note which one it takes."""
    names = sorted({*directory.names, *([restored] if restored else [])}, key=os.fsencode)
    names.remove(os.path.basename(file.path))
    # The restored file doesn't exist yet; its source was read already.
    sources = {name: f"{directory.path}/{name}" for name in names}
    if restored and options.restore:
        sources[restored] = plan.tree.path(options.restore)
    renamed = [name for name in _entries(plan.tree, directory) if name.endswith(".cilium_bak")]
    file_named = f"{directory.path}/{renamed[0]}" if renamed else "FILE"
    hint = f"restore the previous one (--restore {file_named}), or pass --leave-node-without-network"
    for runtime, first, kind in _takes(plan.tree, directory, sources):
        if first is None:
            trouble = f"{directory.path}: no configuration{kind} is left for {runtime} once {file.path} is gone"
        else:
            path = f"{directory.path}/{first}"
            trouble = _fault(plan.tree, path, sources[first], options)
        if trouble and not options.without_network:
            raise RefusedError(trouble, hint)
        if trouble:
            plan.warnings.append(f"no new pod gets a network: {trouble}")
        elif first is not None:
            types = usage.types(usage.read(plan.tree, sources[first]) or {})
            lost = [] if facades.TYPE in types else usage.lost(plan.tree, file, f"{directory.path}/{first}", types)
            plan.warnings += [warning for warning in lost if warning not in plan.warnings]
            plan.notes.append(f"{runtime.replace('the', 'The', 1)} then takes {directory.path}/{first}.")


def _takes(tree: Tree, directory: NetDir, sources: dict[str, str]) -> Iterator[tuple[str, str | None, str]]:
    """Yield each runtime that this node may have, the file that it takes (None: nothing), and what it looks for."""
    documents = {name: usage.read(tree, source) or {} for name, source in sources.items()}
    # Multus takes the file behind its own for the pods' network, so its own is not enough.
    names = [name for name, document in documents.items() if not usage.is_multus(document)]
    pin = usage.pinned(tree, directory)
    if pin is None or not crio.runs_alone(tree):
        yield "the runtime" if pin is None else "containerd", next(iter(names), None), ""
    if pin is not None:
        wanted = (name for name in names if documents[name].get("name") == pin.network)
        yield "CRI-O", next(wanted, None), f" of network {pin.network}, which {pin.file} sets,"


def _fault(tree: Tree, path: str, source: str, options: Options) -> str:
    """Return what is wrong with the configuration that is taken next, "" if nothing is."""
    document = usage.read(tree, source)
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
    parent = installed.inside(plan.tree, os.path.dirname(file.path))
    real = f"{parent}/{os.path.basename(file.path)}"
    aside = f"{real}{ASIDE}"
    plan.add("rename", file.path, lambda: files.move(real, aside), detail=f"to {os.path.basename(aside)}")


def _put_aside(tree: Tree, directory: NetDir) -> FacadeFile | None:
    """Return the facade that an earlier uninstall or `migrate --undo` renamed: it names the state directory."""
    for name in _entries(tree, directory):
        if name.endswith((ASIDE, PENDING)) and os.path.isfile(tree.real(f"{directory.path}/{name}")):
            try:
                found = facades.read(tree, f"{directory.path}/{name}")
            except UnreadableError:
                continue
            if found is not None:
                return found
    return None


def _entries(tree: Tree, directory: NetDir) -> list[str]:
    try:
        return sorted(os.listdir(tree.real(directory.path)))
    except FileNotFoundError:
        return []


def _leave_or_remove(plan: Plan, file: FacadeFile | None, others: list[FacadeFile], options: Options) -> None:
    state_dir = file.facade.state_dir if file else facade.STATE_DIR
    chain_dir = file.facade.chain_dir if file else facade.CHAIN_DIR
    records = _records(plan.tree, state_dir)
    pods = "1 attachment" if len(records) == 1 else f"{len(records)} attachments"
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
    _state(plan, state_dir)
    _owners(plan, chain_dir)
    _logrotate(plan)
    _program(plan, options)


def _records(tree: Tree, state_dir: str) -> list[str]:
    """Return the files of pods in the state directory: records, unfinished ones, damaged ones."""
    try:
        return [name for name in sorted(os.listdir(tree.real(state_dir))) if name not in _OURS and ":" in name]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RefusedError(f"{state_dir}: can't be read: {error.strerror}") from None


def _state(plan: Plan, path: str) -> None:
    real = installed.inside(plan.tree, path)
    if os.path.isdir(real):
        for name in sorted(_OURS.intersection(os.listdir(real))):
            _remove(plan, f"{path}/{name}", f"{real}/{name}")
        _remove_if_empty(plan, path, set(_OURS))


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


def _remove_if_empty(plan: Plan, path: str, but: set[str]) -> None:
    real = installed.inside(plan.tree, path)
    left = sorted(set(os.listdir(real)) - but)
    if left:
        plan.notes.append(f"{path} stays: {', '.join(left)}.")
    else:
        _remove(plan, f"{path}/", real)


def _logrotate(plan: Plan) -> None:
    path = f"{LOGROTATE_DIR}/{installed.NAME}"
    real = f"{installed.inside(plan.tree, LOGROTATE_DIR)}/{installed.NAME}"
    if os.path.isfile(real):
        if files.read(real) == LOGROTATE.encode():
            _remove(plan, path, real)
        else:
            plan.notes.append(f"{path} stays, because it was edited.")


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
        _idle(programs, version)
        plan.add("remove", f"{programs.seen(version)}/", _removal(programs, version), final=True)
    if versions and set(os.listdir(programs.directory)) <= set(versions):
        _remove(plan, f"{plan.tree.seen(programs.directory)}/", programs.directory, final=True)


def _idle(programs: Programs, version: str) -> None:
    """Raise RefusedError if a process runs a version: it still loads modules from there."""
    users = programs.users(version, but=os.getpid())
    if users:
        processes = ", ".join(map(str, users))
        raise RefusedError(f"{programs.seen(version)}: is running (process {processes})", "try again when it has ended")


def _removal(programs: Programs, version: str) -> Callable[[], Undo]:
    remove = installed.removal(f"{programs.directory}/{version}")

    def remove_if_idle() -> Undo:
        _idle(programs, version)  # the link is removed before, so no new call begins
        return remove()

    return remove_if_idle


def _remove(plan: Plan, path: str, real: str, *, final: bool = False) -> None:
    plan.add("remove", path, lambda: files.remove(real), final=final)
