"""The doctor's look at the runtime's directory: is the facade what it takes, and does anybody else write there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cni_chain.agents.plugins import CILIUM, MESHES
from cni_chain.checks.words import Node, Trouble, document_in, listed, types_in
from cni_chain.node import facades
from cni_chain.node.facades import FacadeFile
from cni_chain.node.locate import UnreadableError

_BACKUP = ".cilium_bak"
_SLACK = 2.0  # seconds; whoever installs the facade may touch others beside it


def check(node: Node) -> Iterator[Trouble]:
    """Yield what is wrong in the runtime's directory."""
    yield from _missing(node)
    yield from _renamed(node)
    yield from _first(node)
    for survey in node.surveys:
        yield from _edited(survey.file)
        yield from _newer(node, survey.file)


def _missing(node: Node) -> Iterator[Trouble]:
    if node.surveys or _backups(node):
        return
    waiting = _waiting(node)
    if waiting is not None:
        yield _waits(node, waiting)
    else:
        yield Trouble(
            "facade-missing",
            node.directory.path,
            "no file here has a plugin of type cni-chain",
            "The runtime doesn't run cni-chain: pods get whatever the first file here lists.",
            "Put the facade in place (cni-chain migrate on a node that has pods, else cni-chain install). If it was "
            "there, find out who took it away.",
        )


def _waits(node: Node, file: FacadeFile) -> Trouble:
    """Return what is to be said of a facade that `migrate` has written, and that is not in use."""
    held = sum(len(state.entries) for state in node.states)
    first = f", {node.directory.first}" if node.directory.first else ""
    why = f"The runtime doesn't run cni-chain: pods get what the first file here lists{first}."
    if os.path.isdir(node.tree.real(file.facade.state_dir)):  # the plugin has made it
        what = f"the migration was undone: the facade waits as {file.path}"
        of_before = "pods that were made through the facade" + (f" ({held} with a record)" if held else "")
        do = (
            f"To go on: cni-chain migrate --switch. To clean up: wait until {of_before} are gone, then cni-chain gc "
            f"and cni-chain uninstall, and remove {file.path} and {file.facade.chain_dir} "
            "(docs/guides/live-cluster.md, Roll back)."
        )
    else:
        what = f"the migration is not finished: the facade waits as {file.path}"
        do = (
            "cni-chain migrate prints the steps that are left; the last of them is cni-chain migrate --switch. To give "
            f"it up: cni-chain uninstall, and remove {file.path} and {file.facade.chain_dir}."
        )
    return Trouble("facade-waiting", file.path, what, why, do, warning=bool(first))


def _waiting(node: Node) -> FacadeFile | None:
    """Return the facade that waits for `migrate --switch`."""
    for name in _names(node):
        if name.endswith(facades.PENDING):
            try:
                found = facades.read(node.tree, f"{node.directory.path}/{name}")
            except UnreadableError:
                continue
            if found is not None:
                return found
    return None


def _renamed(node: Node) -> Iterator[Trouble]:
    for name in _backups(node):
        path = f"{node.directory.path}/{name}"
        original = name.removesuffix(_BACKUP)
        back = not node.surveys
        yield Trouble(
            "facade-renamed",
            path,
            f"Cilium's agent has renamed the facade {original}",
            "An agent with cni.exclusive=true renames every file here that is not its own, again and again: "
            + ("new pods miss every other owner's plugins now." if back else "it will rename the one that is there."),
            "Have Cilium write to its own directory (Helm: cni.confPath=/etc/cni/chain.d/cilium.d) and restart its "
            f"agent on this node; then {f'rename the file back to {original}' if back else 'remove this file'}.",
            warning=not back,
        )


def _backups(node: Node) -> list[str]:
    """Return the names of facades that Cilium has set aside."""
    found = []
    for name in _names(node):
        if name.endswith(_BACKUP) and os.path.isfile(node.tree.real(f"{node.directory.path}/{name}")):
            document = document_in(node, name)
            if document is not None and facades.is_facade(document):
                found.append(name)
    return found


def _names(node: Node) -> list[str]:
    try:
        return sorted(os.listdir(node.tree.real(node.directory.path)))
    except OSError:
        return []


def _first(node: Node) -> Iterator[Trouble]:
    directory = node.directory
    if not directory.names or not node.surveys:
        return
    name, first = directory.names[0], str(directory.first)
    ours = {survey.file.path for survey in node.surveys}
    if first in ours or not any(directory.holds(path) for path in ours):
        return
    behind = os.path.basename(min(ours))
    if name in directory.unreadable:
        yield Trouble(
            "first-file-invalid",
            first,
            f"sorts before {behind} and can't be used: {directory.unreadable[name]}",
            "containerd takes the first file or nothing: no new pod gets a network, and the node turns NotReady.",
            "Remove it, or rename it so that it doesn't end in .conf, .conflist or .json.",
        )
    elif "multus" not in name:  # it takes the file behind its own as its default network
        types = listed(types_in(document_in(node, name)), 5)
        yield Trouble(
            "facade-outsorted",
            first,
            f"sorts before {behind} (it has {types or 'no plugin'})",
            "containerd takes the first file, and CRI-O the first that it can use: no new pod gets the chain.",
            "Have whoever writes it write to an owner's directory, and remove it; or give the facade a name that sorts "
            "before it.",
        )


def _edited(file: FacadeFile) -> Iterator[Trouble]:
    others = [type_ for type_ in types_in(file.document) if type_ != facades.TYPE]
    if others:
        yield Trouble(
            "facade-edited",
            file.path,
            f"{listed(others)} beside cni-chain: an agent has edited the facade",
            "The next agent that edits or restores the file starts the fight again that the facade ends; what an "
            "owner's directory has as well runs twice for a pod.",
            "Have that agent write to its owner's directory (for Istio: cniConfDir, and chained=false; conf/helm has "
            "the values), then take its plugin out of the facade.",
        )


def _newer(node: Node, facade: FacadeFile) -> Iterator[Trouble]:
    """Yield the files that an agent of the chain has written here after the facade came."""
    written = _time(node, facade.path)
    ours = _agents(node)
    for name in node.directory.names:
        path = f"{node.directory.path}/{name}"
        document = document_in(node, name)
        if document is None or facades.is_facade(document) or not node.directory.holds(facade.path):
            continue
        types = [type_ for type_ in types_in(document) if type_ in ours]
        if types and _time(node, path) > written + _SLACK:
            yield Trouble(
                "agent-writes-net-dir",
                path,
                f"was written after the facade, and has {listed(types)}: an agent still writes here",
                "What it changes reaches no pod, since the runtime takes the facade; and its next version may edit or "
                "rename the facade.",
                "Have that agent write to its owner's directory (conf/helm has the values for Cilium and Istio) and "
                "restart it on this node; then this file can go.",
                warning=True,
            )


def _agents(node: Node) -> set[str]:
    """Return the plugin types that agents write: those that are known for it, and those that owners are for."""
    found = {CILIUM, *MESHES}
    for survey in node.surveys:
        for part in survey.parts:
            found |= part.owner.types or set()
    return found


def _time(node: Node, path: str) -> float:
    try:
        return os.stat(node.tree.real(path)).st_mtime
    except OSError:
        return 0.0
