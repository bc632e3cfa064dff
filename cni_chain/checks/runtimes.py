"""The doctor's look at containerd and CRI-O: which file each takes and why, and what its release can do."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain.checks import holes
from cni_chain.checks.words import Node, Trouble, document_in
from cni_chain.node import crio, facades, programs, usage
from cni_chain.node.errors import RefusedError, UnreadableError
from cni_chain.node.tree import Tree
from cni_chain.plugin.spec import at_least

_RELEASE = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?([-~+]\S*)?")
_UNREADABLE = "unreadable"

# The releases since which a runtime takes a list of 1.1.0.
_NEW = {"containerd": (2, 0), "CRI-O": (1, 31)}
_ABLE = {
    "containerd": {
        True: "picks the highest of cniVersions, and asks STATUS all the time",
        False: "knows no cniVersions: 1.0.0 at most, neither STATUS nor GC",
    },
    "CRI-O": {
        True: "picks the highest of cniVersions, asks CHECK after each ADD, STATUS and GC when it starts",
        False: "knows no cniVersions: 1.0.0 at most, asks CHECK after each ADD, no STATUS",
    },
}


class Runtime(NamedTuple):
    """A runtime that is installed: its release if that could be asked, its settings, and the file that it takes."""

    name: str
    release: tuple[int, ...] | None
    settings: dict[str, Any]
    takes: str | None
    because: str
    file: str = ""
    is_makers_own: bool = False  # a distributor's build of a release may have holes mended that the release has

    @property
    def is_new(self) -> bool | None:
        """Tell whether it takes a list of 1.1.0, None if its release isn't known."""
        return None if self.release is None else self.release >= _NEW[self.name]

    def text(self) -> str:
        """Return what is to be said of it."""
        release = "" if self.release is None else f" {'.'.join(map(str, self.release))}"
        able = "" if self.is_new is None else f"; it {_ABLE[self.name][self.is_new]}"
        what = f"takes {self.takes}" if self.takes else "takes no file"
        return f"{self.name}{release} {what}: {self.because}{able}"

    def document(self) -> dict[str, Any]:
        """Return the same for a program."""
        return {
            "name": self.name,
            "version": None if self.release is None else ".".join(map(str, self.release)),
            "takes": self.takes,
            "because": self.because,
            "cni11": self.is_new,
        }


def installed(node: Node) -> list[Runtime]:
    """Return the runtimes of the node."""
    found = []
    for name, program, settings in (
        ("containerd", "containerd", _containerd(node.tree)),
        ("CRI-O", "crio", _crio(node.tree)),
    ):
        file = programs.installed(node.tree, program)
        if file is not None:
            release, own = _release(file) if node.tree.is_this_system else (None, False)
            takes, because = _first(node) if name == "containerd" else _chosen(node, settings)
            found.append(Runtime(name, release, settings, takes, because, file, own))
    return found


def check(node: Node, runtimes: list[Runtime]) -> Iterator[Trouble]:
    """Yield what the runtimes' settings and releases make of the facades."""
    for runtime in runtimes:
        yield from _unreadable(runtime)
        yield from _holes(runtime)
        yield from _elsewhere(node, runtime)
        yield from _other_network(node, runtime)
        for survey in node.surveys:
            if runtime.is_new is False and at_least(survey.file.version, "1.1.0"):
                yield Trouble(
                    "runtime-too-old",
                    survey.file.path,
                    f"cniVersion {survey.file.version} is more than {runtime.name} "
                    f"{'.'.join(map(str, runtime.release or ()))} can take",
                    "It fails after a pod's network is made: no pod starts, though the node is Ready.",
                    'Write "cniVersion": "1.0.0" and "cniVersions": ["1.0.0", "1.1.0"].',
                )


def _elsewhere(node: Node, runtime: Runtime) -> Iterator[Trouble]:
    told = runtime.settings.get("conf_dir") or runtime.settings.get("network_dir")
    if isinstance(told, str) and os.path.normpath(told) != node.directory.path == facades.NET_DIR:
        yield Trouble(
            "runtime-elsewhere",
            told,
            f"{runtime.name} is set to look for its networks here, not in {node.directory.path}",
            "A facade that the runtime doesn't see does nothing.",
            f"Put the facade there, and say --net-dir {told} to cni-chain's commands.",
        )


def _other_network(node: Node, runtime: Runtime) -> Iterator[Trouble]:
    names = [survey.file.network for survey in node.surveys]
    try:
        pin = usage.pinned(node.tree, node.directory) if runtime.name == "CRI-O" else None
    except RefusedError:
        return  # told as unreadable
    if pin is not None and names and pin.network not in names:
        yield Trouble(
            "runtime-other-network",
            pin.file,
            f"{runtime.name}'s {crio.KEY} is {pin.network}; the facade is {', '.join(names)}",
            "CRI-O takes the network of that name only: no pod gets the chain.",
            f"Give the facade that name, or remove {crio.KEY} from this file, and restart CRI-O.",
        )


def _unreadable(runtime: Runtime) -> Iterator[Trouble]:
    if _UNREADABLE in runtime.settings:
        path, _, what = runtime.settings[_UNREADABLE].partition(": ")
        yield Trouble(
            "runtime-settings-unreadable",
            path,
            what,
            f"{runtime.name} doesn't start with it, or takes another network than is told here.",
            "Correct the file.",
            warning=True,
        )


def _holes(runtime: Runtime) -> Iterator[Trouble]:
    for hole, fixed in holes.known(runtime.name, runtime.release) if runtime.release and runtime.is_makers_own else ():
        yield Trouble(
            "runtime-hole",
            runtime.file,
            f"{runtime.name} {'.'.join(map(str, runtime.release or ()))} has {hole.name}",
            hole.why,
            f"Install {runtime.name} {'.'.join(map(str, fixed))} or later.",
            warning=True,
        )


def _first(node: Node) -> tuple[str | None, str]:
    directory = node.directory
    if directory.first is None:
        return None, f"there is none in {directory.path}"
    if directory.names[0] in directory.unreadable:
        return None, f"{directory.first}, which sorts first, can't be used, and it takes that or nothing"
    return directory.first, "it sorts first"


def _chosen(node: Node, settings: dict[str, Any]) -> tuple[str | None, str]:
    wanted = settings.get(crio.KEY)
    directory = node.directory
    if isinstance(wanted, str) and wanted:
        named = (name for name in directory.names if (document_in(node, name) or {}).get("name") == wanted)
        name = next(named, None)
        return name and f"{directory.path}/{name}", f"its {crio.KEY} is {wanted}"
    usable = next((name for name in directory.names if name not in directory.unreadable), None)
    if usable is None:
        return None, f"there is none in {directory.path}"
    return f"{directory.path}/{usable}", "it sorts first of those that can be used"


def _release(file: str) -> tuple[tuple[int, ...] | None, bool]:
    """Return a runtime's release, and whether it is as its makers built it: without a distributor's suffix."""
    done = programs.run([file, "--version"])
    said = done and _RELEASE.search(done.stdout)
    if not said:
        return None, False
    return tuple(int(number) for number in said.groups()[:3] if number), not said[4]


def _containerd(tree: Tree) -> dict[str, Any]:
    plugins = _toml(tree, "/etc/containerd/config.toml").get("plugins")
    for name in ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"):
        section = plugins.get(name) if isinstance(plugins, dict) else None
        cni = section.get("cni") if isinstance(section, dict) else None
        if isinstance(cni, dict):
            return cni
    return {}


def _crio(tree: Tree) -> dict[str, Any]:
    try:
        told = {key: crio.setting(tree, key) for key in ("network_dir", crio.KEY)}
    except UnreadableError as error:
        return {_UNREADABLE: str(error)}
    return {key: one.network for key, one in told.items() if one is not None}


def _toml(tree: Tree, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(tree.read(path).decode())
    except (OSError, ValueError):
        return {}
