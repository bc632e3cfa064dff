"""Rules about the runtime's directory: whether the runtime uses the facade, and whether other programs write there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cni_chain.agents.registry import REWRITERS
from cni_chain.checks.node import Node, document_in, types_in
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_node
from cni_chain.checks.wording import listed
from cni_chain.node import facades, programs, usage
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.facades import FacadeFile
from cni_chain.node.locate import Place

_BACKUP = ".cilium_bak"
_SLACK = 2.0  # seconds; the program that installs the facade may write other files with it

MISSING = Kind(
    "facade-missing",
    ERROR,
    "no file of the runtime's directory has a plugin of type cni-chain",
    "The runtime doesn't run cni-chain: pods get the plugins of the first file here.",
    "Put the facade in place: cni-chain migrate on a node that has pods, else cni-chain install. If the facade existed "
    "before, find out who removed it.",
    stops=True,
)
WAITING = Kind(
    "facade-waiting",
    ERROR,
    "no facade is in place, but one waits as `….ready`: the migration was undone, or is not finished",
    "The runtime doesn't run cni-chain: pods get the plugins of the first file here.",
    "cni-chain migrate prints the steps that are left; cni-chain migrate --switch puts the facade in place.",
    milder="another file gives pods their network meanwhile",
)
RENAMED = Kind(
    "facade-renamed",
    ERROR,
    "Cilium's agent has renamed the facade to `….cilium_bak`",
    "An agent with cni.exclusive=true renames every file here that is not its own, again and again.",
    "Have Cilium write to its own directory (Helm: cni.confPath=/etc/cni/chain.d/cilium.d) and restart its agent on "
    "this node; then rename the file back.",
    milder="a facade exists again",
    stops=True,
)
FIRST_INVALID = Kind(
    "first-file-invalid",
    ERROR,
    "the file that sorts first in the runtime's directory can't be used",
    "containerd uses the first file or none: no new pod gets a network, and the node becomes NotReady.",
    "Correct or remove it, or rename it so that it doesn't end in .conf, .conflist or .json.",
    stops=True,
)
OTHER_INVALID = Kind(
    "other-file-invalid",
    ERROR,
    "a file of the runtime's directory that doesn't sort first can't be used",
    "Runtimes use it only when the files before it are gone; it may be meant as the facade.",
    "Correct or remove it.",
    milder="a facade exists",
)
OUTSORTED = Kind(
    "facade-outsorted",
    ERROR,
    "another file sorts before the facade",
    "containerd uses the first file, and CRI-O the first valid file: no new pod gets the chain.",
    "Have the program that writes it write to an owner's directory, and remove the file; or give the facade a name "
    "that sorts before it.",
    stops=True,
)
ENDING = Kind(
    "facade-ending",
    ERROR,
    "a facade that is a list doesn't end in .conflist, or one that is a single plugin does",
    "Runtimes can't read such a file, and use another one or none.",
    "Rename it.",
    stops=True,
)
DROP_IN_DIRECTORY = Kind(
    "drop-in-directory",
    WARNING,
    "a directory has the name of the facade's network",
    "Runtimes with libcni 1.3 or later add the plugins in it to every pod's chain, after cni-chain.",
    "Remove the directory; move the plugins that you want to an owner's directory.",
)
AGENT_WRITES = Kind(
    "agent-writes-net-dir",
    WARNING,
    "a file of the runtime's directory has an agent's plugin and is newer than the facade",
    "The agent's changes in that file reach no pod, since the runtime uses the facade; and the agent's next version "
    "may edit or rename the facade.",
    "Have that agent write to its owner's directory (conf/helm has the values for Cilium and Istio) and restart it on "
    "this node; then remove this file.",
)
PODMAN = Kind(
    "podman-needs-ips",
    WARNING,
    "podman is installed, and the facade's capabilities have no `ips`",
    "For a container with an address of its own (--ip, podman network reload) podman sends ips instead of all other "
    "capabilities, and the container's published ports are lost.",
    'Write "ips": true into capabilities.',
)


@of_node(MISSING, WAITING)
def missing(node: Node) -> Iterator[Finding]:
    """Yield that no facade is in place: none exists, or one waits."""
    if node.surveys or _backups(node):
        return
    waiting = _waiting(node)
    if waiting is not None:
        yield _waits(node, waiting)
    else:
        yield MISSING.at(node.directory.path, f"no facade here: no file has a plugin of type {facades.TYPE}")


def _waits(node: Node, file: FacadeFile) -> Finding:
    """Return the finding for a facade that `migrate` has written and that is not in use."""
    held = sum(len(state.entries) for state in node.states)
    first = f", {node.directory.first}" if node.directory.first else ""
    why = f"The runtime doesn't run cni-chain: pods get the plugins of the first file here{first}."
    if os.path.isdir(node.tree.real(file.facade.state_dir)):  # the plugin has made it
        what = f"the migration was undone: the facade waits as {file.path}"
        of_before = "pods that were made through the facade" + (f" ({held} with a record)" if held else "")
        do = (
            f"To continue: cni-chain migrate --switch. To clean up: wait until {of_before} are gone, then cni-chain gc "
            f"and cni-chain uninstall, and remove {file.path} and {file.facade.chain_dir} "
            "(docs/guides/live-cluster.md, Roll back)."
        )
    else:
        what = f"the migration is not finished: the facade waits as {file.path}"
        do = (
            "cni-chain migrate prints the steps that are left; the last of them is cni-chain migrate --switch. "
            f"To cancel: cni-chain uninstall, and remove {file.path} and {file.facade.chain_dir}."
        )
    return WAITING.at(file.path, what, why=why, do=do, severity=WARNING if first else ERROR)


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


@of_node(RENAMED)
def renamed(node: Node) -> Iterator[Finding]:
    """Yield the facades that Cilium has renamed."""
    for name in _backups(node):
        original = name.removesuffix(_BACKUP)
        gone = not node.surveys
        then = f"rename the file back to {original}" if gone else "remove this file"
        yield RENAMED.at(
            f"{node.directory.path}/{name}",
            f"Cilium's agent has renamed the facade {original}",
            why="An agent with cni.exclusive=true renames every file here that is not its own, again and again: "
            + ("new pods miss every other owner's plugins now." if gone else "it will rename the new one too."),
            do="Have Cilium write to its own directory (Helm: cni.confPath=/etc/cni/chain.d/cilium.d) and restart its "
            f"agent on this node; then {then}.",
            severity=ERROR if gone else WARNING,
        )


def _backups(node: Node) -> list[str]:
    """Return the names of facades that Cilium has renamed."""
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


@of_node(FIRST_INVALID, OTHER_INVALID)
def unreadable(node: Node) -> Iterator[Finding]:
    """Yield the files of the runtime's directory that can't be used."""
    for name, error in node.directory.unreadable.items():
        place = Place(f"{node.directory.path}/{name}", error.at)
        if name == node.directory.names[0]:
            yield FIRST_INVALID.at(place, str(error))
        else:
            yield OTHER_INVALID.at(place, str(error), severity=WARNING if node.surveys else ERROR)


@of_node(OUTSORTED)
def outsorted(node: Node) -> Iterator[Finding]:
    """Yield the file that the runtime uses instead of a facade; `unreadable` reports a file that can't be used."""
    directory = node.directory
    behind = [survey.file for survey in node.surveys if directory.holds(survey.file.path)]
    name = next(iter(directory.names), "")
    taken = f"{directory.path}/{name}"
    # Another facade has its own chain, and Multus uses the file after its own as its default network.
    if not behind or name in directory.unreadable or "multus" in name:
        return
    if any(file.path == taken for file in (*behind, *directory.facades)) or any(
        _is_pinned(node, one) for one in behind
    ):
        return
    types = listed(types_in(document_in(node, name)), 5)
    first = os.path.basename(min(file.path for file in behind))
    yield OUTSORTED.at(taken, f"sorts before {first} (it has {types or 'no plugin'})")


def _is_pinned(node: Node, file: FacadeFile) -> bool:
    """Return whether CRI-O is the only runtime here and its settings name the facade's network."""
    if programs.installed(node.tree, "crio") is None or programs.installed(node.tree, "containerd") is not None:
        return False
    try:
        pin = usage.pinned(node.tree, node.directory)
    except RefusedError:  # `runtime-settings-unreadable`
        return False
    return pin is not None and pin.network == file.network


@of_node(ENDING)
def ending(node: Node) -> Iterator[Finding]:
    """Yield the facades whose file names don't fit their content."""
    for file in _in_place(node):
        if file.is_list != file.path.endswith(".conflist"):
            what, word = ("a list of plugins", "") if file.is_list else ("a single plugin", "not ")
            yield ENDING.at(file.path, f"runtimes read {what} only from a file that does {word}end in .conflist")


@of_node(PODMAN)
def podman(node: Node) -> Iterator[Finding]:
    """Yield the facades with which podman loses capabilities."""
    for file in _in_place(node):
        declared = file.conf.get("capabilities")
        if isinstance(declared, dict) and "ips" not in file.capabilities and file.index == 0 and file.is_list:
            if programs.installed(node.tree, "podman") is None:
                return
            yield PODMAN.at(
                Place(file.path, file.find(f"{file.where}capabilities")),
                "key capabilities: has no ips: podman, which is installed, sends ips instead of all others for a "
                "container with an address of its own (--ip, podman network reload), and its published ports are lost",
            )


@of_node(DROP_IN_DIRECTORY)
def drop_in_directory(node: Node) -> Iterator[Finding]:
    """Yield the directories from which newer runtimes add plugins."""
    for file in _in_place(node):
        path = f"{node.directory.path}/{file.network}"
        if file.network and os.path.isdir(node.tree.real(path)):
            yield DROP_IN_DIRECTORY.at(
                path,
                f"has the name of the network of {os.path.basename(file.path)}: runtimes with libcni 1.3 or later look "
                "for plugins here; remove it",
            )


def _in_place(node: Node) -> Iterator[FacadeFile]:
    """Yield the facades that the runtime sees in its directory."""
    yield from (survey.file for survey in node.surveys if node.directory.holds(survey.file.path))


@of_node(AGENT_WRITES)
def agents(node: Node) -> Iterator[Finding]:
    """Yield the files with an agent's plugin that are newer than the facade."""
    written = min((_time(node, file.path) for file in _in_place(node)), default=None)
    ours = _agents(node)
    for name in node.directory.names if written is not None else ():
        path = f"{node.directory.path}/{name}"
        document = document_in(node, name)
        if document is None or facades.is_facade(document):
            continue
        types = [type_ for type_ in types_in(document) if type_ in ours]
        if types and written is not None and _time(node, path) > written + _SLACK:
            yield AGENT_WRITES.at(
                path, f"is newer than the facade, and has {listed(types)}: an agent still writes here"
            )


def _agents(node: Node) -> set[str]:
    """Return the plugin types that agents write: those of known agents, and those in the owners' `types`."""
    found = set(REWRITERS)
    for survey in node.surveys:
        for part in survey.parts:
            found |= part.owner.types or set()
    return found


def _time(node: Node, path: str) -> float:
    try:
        return os.stat(node.tree.real(path)).st_mtime
    except OSError:
        return 0.0
