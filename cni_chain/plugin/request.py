"""A runtime's request, and the part of it that a delegate gets on its standard input. Pure, except for the clock.

Source: SPEC section 3, "Deriving request configuration from plugin configuration".
"""

from __future__ import annotations

import time

from cni_chain.plugin import results, spec
from cni_chain.plugin.errors import INVALID_CONFIG, CNIError
from cni_chain.plugin.record import Attachment, RecordedDelegate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cni_chain.plugin.chain import Delegate
    from cni_chain.plugin.facade import Facade
    from cni_chain.plugin.spec import CmdArgs

# A fragment's own values for these never reach its delegate; `cni.dev/*` neither.
_DERIVED = frozenset(("name", "cniVersion", "prevResult", "runtimeConfig", "capabilities"))


class Request:
    """A runtime's request, with the facade that it came through. Data: it runs nothing and reads no file.

    `version` is the request's cniVersion, one that cni-chain supports; `network` is its valid name; `deadline` is when
    the verb's time is used up (monotonic seconds).
    """

    def __init__(
        self, args: CmdArgs, conf: Mapping[str, Any], version: str, facade: Facade, environ: Mapping[str, str]
    ) -> None:
        self.args = args
        self.conf = conf
        self.version = version
        self.facade = facade
        self.environ = environ
        self.network: str = conf["name"]
        self.deadline = self.until(args.command)

    def until(self, verb: str) -> float:
        """Return when the time of a `verb` that begins now is used up (monotonic seconds)."""
        return time.monotonic() + self.facade.timeouts[verb]

    def attachment(self) -> Attachment:
        """Return the attachment that the call is about."""
        return Attachment(self.network, self.args.container_id, self.args.ifname)

    def call_context(self) -> dict[str, Any]:
        """Return what a later DEL may need of this call and a GC doesn't get from the runtime."""
        context = {"path": self.args.path, "netns": self.args.netns, "cniArgs": self.args.args}
        return context | {key: self.conf[key] for key in ("runtimeConfig", "args") if key in self.conf}

    def prev_result(self) -> results.Result | None:
        """Return the runtime's prevResult in spec.LATEST. Raises CNIError 7 if it isn't a Result."""
        given = self.conf.get("prevResult")
        if given is None:
            return None
        fault = results.check(given)
        if fault:
            raise CNIError(INVALID_CONFIG, f"network configuration: key prevResult: {fault}")
        return results.convert({**given, "cniVersion": given.get("cniVersion") or self.version}, spec.LATEST)

    def pick_version(self, supported: tuple[str, ...]) -> str:
        """Return the version for a delegate: the request's if it is `supported`, else the highest that is."""
        return self.version if self.version in supported else supported[-1]


def own_part(conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a fragment's PluginConf that its delegate gets as written."""
    return {key: value for key, value in conf.items() if key not in _DERIVED and not key.startswith("cni.dev/")}


def capabilities(conf: Mapping[str, Any]) -> list[str]:
    """Return the capabilities that a fragment's PluginConf declares."""
    declared = conf.get("capabilities") or {}
    return [name for name, wanted in declared.items() if wanted is True]


def recorded(delegate: Delegate, version: str) -> RecordedDelegate:
    """Return a delegate as it is recorded, in `version` until it has been asked which ones it supports."""
    return RecordedDelegate(
        owner=delegate.owner.name,
        type=delegate.type,
        path=delegate.path,
        conf=own_part(delegate.conf),
        capabilities=capabilities(delegate.conf),
        version=version,
        disable_check=delegate.disable_check,
        on_del_error=delegate.owner.on_del_error,
    )


def derive(
    own: Mapping[str, Any],
    declared: list[str],
    request: Mapping[str, Any],
    version: str,
    prev_result: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the configuration that a delegate gets.

    `own` and `declared` are the fragment's (above); `request` is what cni-chain got, with `runtimeConfig` and `args`
    already those that count; `version` is the delegate's cniVersion, and `prev_result` is in that version.
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
