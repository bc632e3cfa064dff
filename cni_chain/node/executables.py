"""Asks plugins for the versions that they support (VERSION), and for their release. Changes nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

from cni_chain.node import programs
from cni_chain.plugin import answer, delegate, jsontext
from cni_chain.plugin.errors import CNIError

_SECONDS = 5.0
# As skel's `PluginMainFuncs` writes it to stderr without a CNI_COMMAND: "CNI portmap plugin v1.1.1".
_RELEASE = re.compile(r"\bv?(\d+)\.(\d+)\.(\d+)")

_UNKNOWN = "version unknown"  # `pkg/utils/buildversion` of the reference plugins, built without a version


class Answer(NamedTuple):
    """The versions that a plugin supports, None if it gave no answer; `failure` then names it and says why."""

    versions: tuple[str, ...] | None
    failure: str = ""


def versions(file: str, path: str) -> Answer:
    """Ask a plugin for the versions that it supports. `path` is its CNI_PATH."""
    environ = programs.environ() | {
        "CNI_COMMAND": "VERSION",
        "CNI_PATH": path,
        # Plugins built with an old skel need the other variables too (libcni `pkg/invoke/exec.go`, GetVersionInfo).
        "CNI_IFNAME": "dummy",
        "CNI_NETNS": "dummy",
    }
    try:
        outcome = delegate.execute(file, environ, jsontext.encode({"cniVersion": "1.0.0"}), _SECONDS, pass_on=False)
        outcome.limit = f"{_SECONDS:g} s"
        return Answer(answer.versions(outcome))
    except OSError as error:
        return Answer(None, f"{file} can't be executed: {error.strerror}")
    except CNIError as error:
        details = f": {error.details}" if error.details else ""
        return Answer(None, f"{file}, asked for its versions: {error.msg}{details}")


def about(file: str) -> str:
    """Return the line with which a plugin describes itself, "" if it prints none."""
    done = programs.run([file], _SECONDS)
    return done.stderr.partition("\n")[0] if done else ""


def release(file: str) -> tuple[int, ...] | None:
    """Return the release that a plugin reports, None if it doesn't report one."""
    said = _RELEASE.search(about(file))
    return tuple(int(number) for number in said.groups()) if said else None


def is_before_1_6(file: str, spoken: tuple[str, ...]) -> bool:
    """Return whether a reference plugin that doesn't know its release is older than 1.6.0, as Debian's builds are.

    That release brought version 1.1.0 of the specification.
    """
    return about(file).endswith(_UNKNOWN) and "1.1.0" not in spoken
