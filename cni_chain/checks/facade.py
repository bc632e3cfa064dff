"""Rules about a facade alone: its keys, its versions, the plugins beside cni-chain in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from cni_chain.checks.places import Places
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_chain, of_file
from cni_chain.node.facades import TYPE, FacadeFile, network_fault
from cni_chain.node.locate import Locator, Place
from cni_chain.node.survey import Survey
from cni_chain.plugin import spec
from cni_chain.plugin.facade import near

# The keys of a list (SPEC section 1); runtimes ignore others silently.
_LIST_KEYS = frozenset(
    ("args", "cniVersion", "cniVersions", "disableCheck", "disableGC", "loadOnlyInlinedPlugins", "name", "plugins")
)

_CORRECT = "Correct the key (docs/reference/facade.md has all of them)."

KEY_INVALID = Kind(
    "facade-key-invalid",
    ERROR,
    "a key of cni-chain's object has an invalid value, an owner has an unknown key, or `owners` is missing",
    "The plugin refuses every call with error 7, so no new pod starts.",
    _CORRECT,
    refused=True,
)
KEY_MISSPELT = Kind(
    "facade-key-misspelt",
    ERROR,
    "an unknown key of cni-chain's object is similar to a known one",
    "The plugin ignores unknown keys, because Multus and runtimes add some: the setting has no effect.",
    _CORRECT,
)
KEY_UNKNOWN = Kind(
    "facade-key-unknown",
    WARNING,
    "neither cni-chain nor a runtime knows a key of the facade",
    "It has no effect.",
    "Remove it, unless another program reads it there.",
)
KEY_TWICE = Kind(
    "key-twice",
    WARNING,
    "one object of a facade or a fragment has the same key twice",
    "Only the last one is used; a person who reads the file may believe the first.",
    "Remove one of them.",
)
NAME_INVALID = Kind(
    "network-name-invalid",
    ERROR,
    "the facade's `name` is missing or invalid",
    "The plugin refuses every call, so no new pod starts.",
    "Give the network a name of letters, digits, '_', '.' and '-', beginning with a letter or digit.",
    refused=True,
)
VERSION_UNKNOWN = Kind(
    "facade-version-unknown",
    ERROR,
    "`cniVersion` or `cniVersions` names a version of CNI that cni-chain doesn't support",
    "A runtime that picks it gets error 1 for every pod.",
    'Write "cniVersion": "1.0.0" and "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].',
)
VERSION_MISSING = Kind(
    "facade-version-missing",
    WARNING,
    "the facade has no `cniVersion`",
    "Runtimes treat such a list as one of version 0.1.0.",
    'Write "cniVersion": "1.0.0".',
)
VERSION_NEW = Kind(
    "facade-version-new",
    WARNING,
    "`cniVersion` is 1.1.0, which older runtimes don't support",
    "containerd before 2.0 and CRI-O before 1.31 fail after a pod's network is set up, though the node is Ready.",
    'Write "cniVersion": "1.0.0", and 1.1.0 in cniVersions, which newer runtimes pick.',
)
DROP_INS_ALLOWED = Kind(
    "drop-ins-allowed",
    WARNING,
    "`loadOnlyInlinedPlugins` is not true",
    "Runtimes with libcni 1.3 or later append every .conf of a directory named like the network to the chain.",
    'Write "loadOnlyInlinedPlugins": true.',
)
EDITED = Kind(
    "facade-edited",
    ERROR,
    "the facade has another plugin beside cni-chain",
    "The agents that edit or restore this file work against each other again, which the facade prevents; a plugin that "
    "an owner's directory has too runs twice for a pod.",
    "Have that agent write to its owner's directory (for Istio: cniConfDir, and chained=false; conf/helm has the "
    "values), then remove its plugin from the facade. cni-chain watch names the process that edits it.",
)
TWICE = Kind(
    "facade-chain-twice",
    ERROR,
    "one facade has cni-chain twice",
    "Every plugin of the chain runs twice for a pod, and most fail the second time.",
    "Remove one of them; a second chain needs a facade of its own, with another name and chainDir.",
)
CAPABILITIES_MISSING = Kind(
    "capabilities-missing",
    WARNING,
    "cni-chain's object has no `capabilities`",
    "A runtime sends only what the facade declares, so no plugin gets port mappings, bandwidth or annotations.",
    "Declare them as conf/00-cni-chain.conflist does.",
)
CAPABILITIES_INVALID = Kind(
    "capabilities-invalid",
    ERROR,
    "`capabilities` is not an object of true and false",
    "Runtimes can't read the facade, and use another file or none.",
    "Write it as in conf/00-cni-chain.conflist.",
    stops=True,
)
UNSAFE = Kind(
    "permissions-unchecked",
    WARNING,
    "`allowUnsafePermissions` is true",
    "Every user who can write the fragments can run any program as root, with the next pod.",
    "Give the fragments to root (chown root, chmod go-w) and remove the key.",
)


def _at(file: FacadeFile, key: str) -> Place:
    return Place(file.path, file.find(key))


@of_file(KEY_INVALID, KEY_MISSPELT, KEY_UNKNOWN)
def keys(file: FacadeFile) -> Iterator[Finding]:
    """Yield the keys that the plugin refuses, and those that have no effect."""
    for problem in file.problems:
        yield KEY_INVALID.at(Place(file.path, file.place(problem)), str(problem))
    for problem in file.misspelt:
        yield KEY_MISSPELT.at(Place(file.path, file.place(problem)), str(problem))
    for key in file.unknown:
        yield KEY_UNKNOWN.at(_at(file, file.where + key), f"key {key}: cni-chain doesn't know it")
    for key in file.document if file.is_list else ():
        if key not in _LIST_KEYS:
            meant = near(key, _LIST_KEYS)
            hint = f"; did you mean {meant}?" if meant else ""
            yield KEY_UNKNOWN.at(_at(file, key), f"key {key}: runtimes don't know it{hint}")


@of_chain(KEY_TWICE)
def twice(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield the keys that one object of the facade or of a fragment has twice."""
    yield from duplicates(survey.file.path, survey.file.locator)
    for fragment in survey.fragments:
        for key, place in places.duplicates(fragment.path):
            yield _duplicate(key, place)


def duplicates(path: str, locator: Locator) -> Iterator[Finding]:
    """Yield the keys that one object of a file has twice."""
    for key in locator.duplicates:
        yield _duplicate(key, Place(path, locator.find(key)))


def _duplicate(key: str, place: Place) -> Finding:
    return KEY_TWICE.at(place, f"key {key}: exists twice; this one is used")


@of_file(NAME_INVALID)
def name(file: FacadeFile) -> Iterator[Finding]:
    """Yield a network's name that the plugin refuses."""
    fault = network_fault(file.document)
    if fault:
        yield NAME_INVALID.at(_at(file, "name"), fault)


@of_file(VERSION_UNKNOWN, VERSION_MISSING, VERSION_NEW)
def versions(file: FacadeFile) -> Iterator[Finding]:
    """Yield the versions of CNI that cni-chain doesn't support, or that not every runtime supports."""
    for version in filter(None, (file.version, *file.versions)):
        if version not in spec.VERSIONS:
            key = "cniVersion" if version == file.version else f"cniVersions[{file.versions.index(version)}]"
            known = ", ".join(spec.VERSIONS)
            yield VERSION_UNKNOWN.at(_at(file, key), f"key {key}: cni-chain doesn't support {version}, only {known}")
    if not file.version:
        yield VERSION_MISSING.at(_at(file, "cniVersion"), "key cniVersion: missing or not a string; write 1.0.0")
    elif file.version == "1.1.0":
        yield VERSION_NEW.at(
            _at(file, "cniVersion"),
            f"key cniVersion: {file.version} is too new for containerd before 2.0 and CRI-O before 1.31, which fail "
            "after the pod's network is set up; write 1.0.0, and 1.1.0 in cniVersions",
        )


@of_file(DROP_INS_ALLOWED)
def drop_ins(file: FacadeFile) -> Iterator[Finding]:
    """Yield a facade to which runtimes may append plugins."""
    value = file.document.get("loadOnlyInlinedPlugins")
    only_inlined = value is True or (isinstance(value, str) and value.lower() == "true")  # as libcni reads it
    if file.is_list and not only_inlined:
        network = file.network or "<name>"
        yield DROP_INS_ALLOWED.at(
            _at(file, "loadOnlyInlinedPlugins"),
            "key loadOnlyInlinedPlugins: must be true, or containerd 2.1, CRI-O 1.33 and later run every "
            f"{os.path.dirname(file.path)}/{network}/*.conf after cni-chain",
        )


@of_file(EDITED, TWICE)
def neighbours(file: FacadeFile) -> Iterator[Finding]:
    """Yield the plugins beside cni-chain in the facade."""
    for index, plugin in enumerate(file.plugins):
        if index == file.index:
            continue
        type_ = plugin.get("type") if isinstance(plugin, dict) else None
        place = _at(file, f"plugins[{index}].type")
        if type_ == TYPE:
            yield TWICE.at(place, "the facade has cni-chain twice: every plugin of the chain would run twice")
        else:
            yield EDITED.at(place, f"{type_} beside cni-chain: an agent has edited the facade")


@of_file(CAPABILITIES_MISSING, CAPABILITIES_INVALID)
def capabilities(file: FacadeFile) -> Iterator[Finding]:
    """Yield capabilities that are missing or invalid."""
    declared = file.conf.get("capabilities")
    place = _at(file, f"{file.where}capabilities")
    if declared is None:
        message = "key capabilities: missing, so runtimes pass no port mapping, bandwidth or annotation to any plugin"
        yield CAPABILITIES_MISSING.at(place, message)
    elif not isinstance(declared, dict) or not all(isinstance(wanted, bool) for wanted in declared.values()):
        yield CAPABILITIES_INVALID.at(place, "key capabilities: must be an object of true and false")


@of_file(UNSAFE)
def unsafe(file: FacadeFile) -> Iterator[Finding]:
    """Yield a facade that switches off the check of who can write the fragments."""
    if file.facade.allow_unsafe:
        message = (
            "key allowUnsafePermissions: is true: cni-chain doesn't check who can write the fragments that root runs"
        )
        yield UNSAFE.at(_at(file, f"{file.where}allowUnsafePermissions"), message)
