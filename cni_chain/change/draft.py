"""The text of a facade: what `install` writes, and an owner's entry from the command line. Pure."""

from __future__ import annotations

import json
from typing import Any

from cni_chain.agents import registry
from cni_chain.agents.registry import LOCAL
from cni_chain.node.errors import UsageError
from cni_chain.node.facades import TYPE
from cni_chain.plugin import facade, spec

OWNERS = ("cilium:cilium-cni", "istio:istio-cni", "local")
VERSION = "1.0.0"
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")

# A runtime sends only the capabilities in this list, and a fragment gets only those that it declares itself.
CAPABILITIES = (
    "portMappings",
    "bandwidth",
    "dns",
    "ips",
    "ipRanges",
    "mac",
    "infinibandGUID",
    "deviceID",
    "aliases",
    "cgroupPath",
    "CNIDeviceInfoFile",
    "io.kubernetes.cri.pod-annotations",
)


def owner(text: str, exempt: list[tuple[str, str]] | None = None) -> dict[str, Any]:
    """Return the entry of an owner given as `NAME[:TYPE,…]`.

    A mesh's owner has its agent's types without naming them. Another agent's list may have plugins of any type.
    """
    name, colon, rest = text.partition(":")
    if not facade.is_owner_name(name):
        raise UsageError(f"{name!r} is not an owner's name: use a-z, digits and '-', as in cilium:cilium-cni")
    types = rest.split(",") if colon else []
    if not all(part and "/" not in part and part == part.strip() for part in types):
        raise UsageError(f"{text!r}: plugin types must follow the colon, separated by ',', as in cilium:cilium-cni")
    known = registry.BY_OWNER.get(name)
    if not colon and known and known.mesh:
        types = [*known.types]
    entry: dict[str, Any] = {"name": name}
    if types:
        entry["types"] = types
    if name == LOCAL:  # its directory is often empty
        entry["required"] = False
    exempt = exempt or registry.exempt(types)
    if exempt:
        entry["exempt"] = [{"namespace": namespace, "podNamePrefix": prefix} for namespace, prefix in exempt]
    return entry


def pods(text: str) -> tuple[str, str]:
    """Return the namespace and prefix of exempt pods given as `NAMESPACE/PREFIX`."""
    namespace, slash, prefix = text.partition("/")
    if not slash or not namespace or not prefix or "/" in prefix:
        raise UsageError(f"{text!r}: must be NAMESPACE/PREFIX, as in istio-system/istio-cni-node-")
    return namespace, prefix.removesuffix("*")


def owners(given: list[str], exempt: list[str]) -> list[dict[str, Any]]:
    """Return the entries for `NAME[:TYPE,…]` in order, with the pods `OWNER=NAMESPACE/PREFIX` that they exempt."""
    of_owner: dict[str, list[tuple[str, str]]] = {}
    for text in exempt:
        name, _, rest = text.partition("=")
        of_owner.setdefault(name, []).append(pods(rest))
    entries = [owner(text, of_owner.pop(text.partition(":")[0], None)) for text in given]
    names = [entry["name"] for entry in entries]
    if of_owner:
        raise UsageError(f"--exempt names {next(iter(of_owner))!r}, which is not one of the owners {', '.join(names)}")
    for index, name in enumerate(names):
        if name in names[:index]:
            raise UsageError(f"owner {name} is given twice")
    return entries


def document(name: str, version: str | None, chain_dir: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a whole facade. If `version` is given, runtimes use only that one."""
    versions = {"cniVersion": VERSION, "cniVersions": list(VERSIONS)} if version is None else {"cniVersion": version}
    plugin = {
        "type": TYPE,
        "capabilities": dict.fromkeys(CAPABILITIES, True),
        "chainDir": chain_dir,
        "owners": entries,
    }
    return {**versions, "name": name, "loadOnlyInlinedPlugins": True, "plugins": [plugin]}


def version(text: str) -> str:
    """Return a version of the specification that a facade may name."""
    if text not in spec.VERSIONS or text not in VERSIONS:
        raise UsageError(f"{text!r} is not a version for a facade: use one of {', '.join(VERSIONS)}")
    return text


def text_of(document: dict[str, Any]) -> str:
    """Return a configuration as every command writes it: keys in their order, two spaces a level."""
    return json.dumps(document, indent=2) + "\n"
