"""What is wrong with a facade by itself, and with its place in the runtime's directory. One small function a trap."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from cni_chain.checks import multus
from cni_chain.checks.findings import Finding
from cni_chain.node import programs
from cni_chain.node.facades import TYPE, FacadeFile, NetDir
from cni_chain.node.locate import Place
from cni_chain.node.tree import Tree
from cni_chain.plugin import spec
from cni_chain.plugin.errors import CNIError

# The keys of a list (SPEC section 1); runtimes ignore others without a word.
_LIST_KEYS = frozenset(
    ("args", "cniVersion", "cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "name", "plugins")
)


def own(file: FacadeFile) -> Iterator[Finding]:
    """Yield what can be said of the file alone."""
    for trap in _OWN:
        yield from trap(file)


def in_place(file: FacadeFile, directory: NetDir, tree: Tree) -> Iterator[Finding]:
    """Yield what is wrong with where the file is, in the runtime's `directory`."""
    yield from _ending(file)
    yield from _sorted_behind(file, directory)
    yield from multus.behind(file, directory, tree)
    yield from _drop_in_directory(file, directory, tree)
    yield from _podman(file, tree)


def _at(file: FacadeFile, key: str) -> Place:
    return Place(file.path, file.find(key))


def _keys(file: FacadeFile) -> Iterator[Finding]:
    for problem in (*file.problems, *file.misspelt):
        yield Finding(Place(file.path, file.place(problem)), str(problem))
    for key in file.unknown:
        yield Finding(_at(file, file.where + key), f"key {key}: means nothing to cni-chain", warning=True)
    for key in file.document if file.is_list else ():
        if key not in _LIST_KEYS:
            yield Finding(_at(file, key), f"key {key}: means nothing to a runtime", warning=True)
    for key in file.locator.duplicates:
        yield Finding(_at(file, key), f"key {key}: is there twice; this one counts", warning=True)


def _name(file: FacadeFile) -> Iterator[Finding]:
    try:
        spec.network_name(file.document)
    except CNIError as error:
        yield Finding(_at(file, "name"), error.msg.removeprefix("network configuration: "))


def _versions(file: FacadeFile) -> Iterator[Finding]:
    for version in filter(None, (file.version, *file.versions)):
        if version not in spec.VERSIONS:
            key = "cniVersion" if version == file.version else f"cniVersions[{file.versions.index(version)}]"
            spoken = ", ".join(spec.VERSIONS)
            yield Finding(_at(file, key), f"key {key}: cni-chain doesn't speak {version}, only {spoken}")
    if not file.version:
        yield Finding(_at(file, "cniVersion"), "key cniVersion: missing or no text; write 1.0.0", warning=True)
    elif file.version == "1.1.0":
        yield Finding(
            _at(file, "cniVersion"),
            f"key cniVersion: {file.version} is too new for containerd before 2.0 and CRI-O before 1.31, which fail "
            "after the pod's network is made; write 1.0.0, and 1.1.0 in cniVersions",
            warning=True,
        )


def _drop_ins(file: FacadeFile) -> Iterator[Finding]:
    value = file.document.get("loadOnlyInlinedPlugins")
    only_inlined = value is True or (isinstance(value, str) and value.lower() == "true")  # as libcni reads it
    if file.is_list and not only_inlined:
        name = file.network or "<name>"
        yield Finding(
            _at(file, "loadOnlyInlinedPlugins"),
            "key loadOnlyInlinedPlugins: must be true, or containerd 2.1, CRI-O 1.33 and later run every "
            f"{os.path.dirname(file.path)}/{name}/*.conf behind cni-chain",
            warning=True,
        )


def _neighbours(file: FacadeFile) -> Iterator[Finding]:
    for index, plugin in enumerate(file.plugins):
        if index == file.index:
            continue
        type_ = plugin.get("type") if isinstance(plugin, dict) else None
        place = _at(file, f"plugins[{index}].type")
        if type_ == TYPE:
            yield Finding(place, "cni-chain is there twice: every plugin of the chain would run twice")
        else:
            yield Finding(
                place,
                f"{type_} beside cni-chain: has an agent edited the facade? Give {type_} an owner's directory",
                warning=True,
            )


def _capabilities(file: FacadeFile) -> Iterator[Finding]:
    declared = file.conf.get("capabilities")
    place = _at(file, f"{file.where}capabilities")
    if declared is None:
        message = "key capabilities: missing, so runtimes pass no port mapping, bandwidth or annotation to any plugin"
        yield Finding(place, message, warning=True)
    elif not isinstance(declared, dict) or not all(isinstance(wanted, bool) for wanted in declared.values()):
        yield Finding(place, "key capabilities: must be an object of true and false")


def _unsafe(file: FacadeFile) -> Iterator[Finding]:
    if file.facade.allow_unsafe:
        message = "key allowUnsafePermissions: whoever can write the fragments can run anything as root; not checked"
        yield Finding(_at(file, f"{file.where}allowUnsafePermissions"), message, warning=True)


_OWN: tuple[Callable[[FacadeFile], Iterator[Finding]], ...] = (
    _keys,
    _name,
    _versions,
    _drop_ins,
    _neighbours,
    _capabilities,
    _unsafe,
)


def _ending(file: FacadeFile) -> Iterator[Finding]:
    if file.is_list != file.path.endswith(".conflist"):
        what, ending = ("a list of plugins", "") if file.is_list else ("a single plugin", "not ")
        yield Finding(Place(file.path), f"runtimes read {what} only from a file that does {ending}end in .conflist")


def _sorted_behind(file: FacadeFile, directory: NetDir) -> Iterator[Finding]:
    first = directory.names[0]
    taken = f"{directory.path}/{first}"
    # Another facade has its own chain, and Multus takes the file behind its own as its default network.
    if taken == file.path or "multus" in first or any(other.path == taken for other in directory.facades):
        return
    yield Finding(
        Place(taken),
        f"sorts before {os.path.basename(file.path)}: containerd takes this file, and no pod gets the chain",
        warning=True,
    )


def _podman(file: FacadeFile, tree: Tree) -> Iterator[Finding]:
    declared = file.conf.get("capabilities")
    if isinstance(declared, dict) and "ips" not in file.capabilities and file.index == 0 and file.is_list:
        if programs.installed(tree, "podman") is None:
            return
        yield Finding(
            _at(file, f"{file.where}capabilities"),
            "key capabilities: has no ips: podman, which is installed, then puts ips in the place of all others for a "
            "container with an address of its own (--ip, podman network reload), and its published ports are lost",
            warning=True,
        )


def _drop_in_directory(file: FacadeFile, directory: NetDir, tree: Tree) -> Iterator[Finding]:
    path = f"{directory.path}/{file.network}"
    if file.network and os.path.isdir(tree.real(path)):
        yield Finding(
            Place(path),
            f"named like the network of {os.path.basename(file.path)}: runtimes with libcni 1.3 or later look for "
            "plugins here; remove it",
            warning=True,
        )
