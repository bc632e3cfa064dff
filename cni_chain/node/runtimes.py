"""containerd and CRI-O on a node: which file each takes and why, its settings, and what its release can do. Reads only.

On this system it runs them to ask for their releases.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from cni_chain.node import crio, programs, usage
from cni_chain.node.crio import SettingsError
from cni_chain.node.facades import NetDir
from cni_chain.node.tree import Tree

_RELEASE = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?")

# The first releases with which a runtime supports a list of 1.1.0.
_NEW = {"containerd": (2, 0), "CRI-O": (1, 31)}
_ABLE = {
    "containerd": {
        True: "picks the highest of cniVersions, and calls STATUS all the time",
        False: "doesn't know cniVersions: supports 1.0.0 at most, calls neither STATUS nor GC",
    },
    "CRI-O": {
        True: "picks the highest of cniVersions, calls CHECK after each ADD, and STATUS and GC when it starts",
        False: "doesn't know cniVersions: supports 1.0.0 at most, calls CHECK after each ADD, and no STATUS",
    },
}


class Settings(NamedTuple):
    """A runtime's settings: its directory of configurations and the network to take, "" if not set."""

    net_dir: str = ""
    network: str = ""
    file: str = ""  # that can't be read
    failure: str = ""  # why


class Runtime(NamedTuple):
    """A runtime that is installed: its release if it reports one, and the file that it takes."""

    name: str
    release: tuple[int, ...] | None
    takes: str | None
    because: str

    @property
    def is_new(self) -> bool | None:
        """Whether it supports a list of 1.1.0, None if its release isn't known."""
        return None if self.release is None else self.release >= _NEW[self.name]

    @property
    def version(self) -> str | None:
        """Its release as people write it, None if it isn't known."""
        return None if self.release is None else ".".join(map(str, self.release))

    def text(self) -> str:
        """Return the runtime, the file that it takes and what its release can do, as a sentence."""
        release = "" if self.version is None else f" {self.version}"
        able = "" if self.is_new is None else f"; it {_ABLE[self.name][self.is_new]}"
        what = f"takes {self.takes}" if self.takes else "takes no file"
        return f"{self.name}{release} {what}: {self.because}{able}"

    def document(self) -> dict[str, Any]:
        """Return the same as members of a JSON object."""
        return {
            "name": self.name,
            "version": self.version,
            "takes": self.takes,
            "because": self.because,
            "cni11": self.is_new,
        }


def installed(tree: Tree, directory: NetDir) -> list[Runtime]:
    """Return the runtimes of the node."""
    found = []
    for name, set_to in settings(tree).items():
        takes, because = _first(directory) if name == "containerd" else _chosen(tree, directory, set_to.network)
        found.append(Runtime(name, _release(tree, _PROGRAMS[name]), takes, because))
    return found


def settings(tree: Tree) -> dict[str, Settings]:
    """Return the settings of the installed runtimes, by name. Runs none of them."""
    return {name: _SETTINGS[name](tree) for name, program in _PROGRAMS.items() if programs.installed(tree, program)}


def _first(directory: NetDir) -> tuple[str | None, str]:
    if directory.first is None:
        return None, f"{directory.path} has none"
    if directory.names[0] in directory.unreadable:
        return None, f"{directory.first}, which sorts first, can't be used, and it takes no other"
    return directory.first, "it sorts first"


def _chosen(tree: Tree, directory: NetDir, wanted: str) -> tuple[str | None, str]:
    paths = [f"{directory.path}/{name}" for name in directory.names]
    if wanted:
        named = (path for path in paths if (usage.read(tree, path) or {}).get("name") == wanted)
        return next(named, None), f"its {crio.KEY} is {wanted}"
    usable = next((name for name in directory.names if name not in directory.unreadable), None)
    if usable is None:
        return None, f"{directory.path} has none that can be used"
    return f"{directory.path}/{usable}", "it sorts first of those that can be used"


def _release(tree: Tree, program: str) -> tuple[int, ...] | None:
    file = programs.installed(tree, program) if tree.is_this_system else None
    done = programs.run([file, "--version"]) if file else None
    said = done and _RELEASE.search(done.stdout)
    return tuple(int(number) for number in said.groups() if number) if said else None


def _containerd(tree: Tree) -> Settings:
    try:
        content = tree.read("/etc/containerd/config.toml").decode()
        import tomllib  # only a node with containerd's settings needs it

        plugins = tomllib.loads(content).get("plugins")
    except (OSError, ValueError):
        return Settings()
    for name in ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"):
        section = plugins.get(name) if isinstance(plugins, dict) else None
        cni = section.get("cni") if isinstance(section, dict) else None
        if isinstance(cni, dict):
            given = cni.get("conf_dir")
            return Settings(net_dir=given if isinstance(given, str) else "")
    return Settings()


def _crio(tree: Tree) -> Settings:
    try:
        net_dir, network = (crio.setting(tree, key) for key in ("network_dir", crio.KEY))
    except SettingsError as error:
        return Settings(file=error.file, failure=error.why)
    return Settings(net_dir.network if net_dir else "", network.network if network else "")


_PROGRAMS = {"containerd": "containerd", "CRI-O": "crio"}
_SETTINGS = {"containerd": _containerd, "CRI-O": _crio}
