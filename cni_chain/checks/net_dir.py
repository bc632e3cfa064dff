"""Rules about the runtime's directory: whether the runtime uses the facade, and whether other programs write there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cni_chain.agents.registry import REWRITERS
from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_node
from cni_chain.checks.wording import listed
from cni_chain.node import facades, programs, usage
from cni_chain.node.facades import FacadeFile
from cni_chain.node.locate import Place

_BACKUP = ".cilium_bak"
_SLACK = 2.0  # seconds; the program that installs the facade may write other files with it

MISSING = Kind(
    "facade-missing",
    ERROR,
    "no file of the runtime's directory has a plugin of type cni-chain",
    "The runtime doesn't run cni-chain: pods get the plugins of the first file here.",
    "Put the facade in place: cni-chain migrate plan on a node that has pods, else cni-chain install. If the facade "
    "existed before, find out who removed it.",
    stops=True,
)
WAITING = Kind(
    "facade-waiting",
    ERROR,
    "no facade is in place, but one waits as `….ready` or `….undone`: the migration was undone, or is not finished",
    "The runtime doesn't run cni-chain: pods get the plugins of the first file here.",
    "cni-chain migrate status prints the steps that are left; cni-chain migrate switch puts the facade in place.",
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
    "this node; then remove this file. cni-chain watch names the process that writes it.",
)
PODMAN = Kind(
    "podman-needs-ips",
    WARNING,
    "podman is installed, and the facade's capabilities have no `ips`",
    "For a container with an address of its own (--ip, podman network reload) podman sends ips instead of all other "
    "capabilities, and the container's published ports are lost.",
    'Write "ips": true into capabilities.',
)

_MEANT = (
    "The file is meant as the facade: correct it here (cni-chain verify FILE checks it), or move it away and put a new "
    "one in place with cni-chain install."
)


@of_node(MISSING, WAITING)
def missing(node: Node) -> Iterator[Finding]:
    """Yield that no facade is in place: none exists, or one waits."""
    directory = node.directory
    # What was meant as the facade has a finding of its own.
    if node.surveys or any(_backups(node)) or directory.misspelt or directory.broken:
        return
    waiting = next(facades.out_of_use(node.tree, node.directory.path, facades.PENDING, facades.UNDONE), None)
    if waiting is not None:
        yield _waits(node, waiting)
    else:
        do = "Pass the runtime's directory as --net-dir, or its distribution as --distro." if directory.absent else ""
        yield MISSING.at(directory.path, directory.nothing().removeprefix(f"{directory.path}: "), do=do)


def _waits(node: Node, file: FacadeFile) -> Finding:
    """Return the finding for a facade that `migrate` has written and that is not in use."""
    held = sum(len(state.entries) for state in node.states)
    first = f", {node.directory.first}" if node.directory.first else ""
    why = f"The runtime doesn't run cni-chain: pods get the plugins of the first file here{first}."
    if file.path.endswith(facades.UNDONE):
        what = f"the migration was undone: the facade waits as {file.path}"
        of_before = "pods that were made through the facade" + (f" ({held} with a record)" if held else "")
        do = (
            "To continue: cni-chain migrate switch. To go back: cni-chain migrate status has the steps; wait until "
            f"{of_before} are gone, then cni-chain gc and cni-chain uninstall, and remove {file.path} and "
            f"{file.facade.chain_dir} (docs/guides/live-cluster.md, Roll back)."
        )
    else:
        what = f"the migration is not finished: the facade waits as {file.path}"
        do = (
            "cni-chain migrate status prints the steps that are left, up to cni-chain migrate switch. "
            "To cancel, if no agent has moved yet: cni-chain uninstall, and remove "
            f"{file.path} and {file.facade.chain_dir}."
        )
    return WAITING.at(file.path, what, why=why, do=do, severity=WARNING if first else ERROR)


@of_node(RENAMED)
def renamed(node: Node) -> Iterator[Finding]:
    """Yield the facades that Cilium has renamed."""
    for file in _backups(node):
        original = os.path.basename(file.path).removesuffix(_BACKUP)
        gone = not node.surveys
        then = f"rename the file back to {original}" if gone else "remove this file"
        yield RENAMED.at(
            file.path,
            f"Cilium's agent has renamed the facade {original}",
            why="An agent with cni.exclusive=true renames every file here that is not its own, again and again: "
            + ("new pods miss every other owner's plugins now." if gone else "it will rename the new one too."),
            do="Have Cilium write to its own directory (Helm: cni.confPath=/etc/cni/chain.d/cilium.d) and restart its "
            f"agent on this node; then {then}.",
            severity=ERROR if gone else WARNING,
        )


def _backups(node: Node) -> Iterator[FacadeFile]:
    """Return the facades that Cilium has renamed."""
    return facades.out_of_use(node.tree, node.directory.path, _BACKUP)


@of_node(FIRST_INVALID, OTHER_INVALID)
def unreadable(node: Node) -> Iterator[Finding]:
    """Yield the files of the runtime's directory that can't be used."""
    for name, error in node.directory.unreadable.items():
        place = Place(f"{node.directory.path}/{name}", error.at)
        do = _MEANT if name in node.directory.broken else ""
        if name == node.directory.names[0]:
            yield FIRST_INVALID.at(place, str(error), do=do)
        else:
            yield OTHER_INVALID.at(place, str(error), do=do, severity=WARNING if node.surveys else ERROR)


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
    if any(file.path == taken for file in (*behind, *directory.facades)):
        return
    if list(node.settings) == ["CRI-O"] and node.pin and node.pin.network in (file.network for file in behind):
        return  # CRI-O takes the network that its settings name
    types = listed(usage.types(node.document(name)), 5)
    first = os.path.basename(min(file.path for file in behind))
    yield OUTSORTED.at(taken, f"sorts before {first} (it has {types or 'no plugin'})")


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
        document = node.document(name)
        if document is None or facades.is_facade(document):
            continue
        types = [type_ for type_ in usage.types(document) if type_ in ours]
        if types and written is not None and _time(node, path) > written + _SLACK and not _only_lost(node, name):
            yield AGENT_WRITES.at(
                path, f"is newer than the facade, and has {listed(types)}: an agent still writes here"
            )


def _only_lost(node: Node, name: str) -> bool:
    """Return whether a list has only lost plugins since `migrate` copied it: an agent that moves takes its own out."""
    before = node.document(name + facades.COPY) or {}
    plugins, had = ((node.document(name) or {}).get("plugins"), before.get("plugins"))
    return isinstance(plugins, list) and isinstance(had, list) and all(plugin in had for plugin in plugins)


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
