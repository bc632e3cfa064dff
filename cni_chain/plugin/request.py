"""What goes to a delegate's standard input. Pure.

Source: SPEC section 3, "Deriving request configuration from plugin configuration".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# A fragment's own values for these never reach its delegate; `cni.dev/*` neither.
_DERIVED = frozenset(("name", "cniVersion", "prevResult", "runtimeConfig", "capabilities"))


def own_part(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a fragment's PluginConf reaches its delegate as written."""
    return {key: value for key, value in conf.items() if key not in _DERIVED and not key.startswith("cni.dev/")}


def capabilities(conf: Mapping[str, Any]) -> list[str]:
    """Return the capabilities that a fragment's PluginConf declares."""
    declared = conf.get("capabilities") or {}
    return [name for name, wanted in declared.items() if wanted is True]


def derive(
    own: Mapping[str, Any],
    declared: list[str],
    request: Mapping[str, Any],
    version: str,
    prev_result: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the configuration that a delegate gets.

    `own` and `declared` are the fragment's (above); `request` is what cni-chain got, with `runtimeConfig` and `args`
    already those that count; `version` is what the delegate is spoken to in, and `prev_result` is in that version.
    """
    conf = dict(own)
    conf["name"] = request["name"]
    conf["cniVersion"] = version
    if prev_result is not None:
        conf["prevResult"] = prev_result
    given = request.get("runtimeConfig") or {}
    granted = {name: given[name] for name in declared if name in given}
    if granted:
        conf["runtimeConfig"] = granted
    if "args" in request:
        conf["args"] = request["args"]
    return conf | {key: value for key, value in request.items() if key.startswith("cni.dev/")}
