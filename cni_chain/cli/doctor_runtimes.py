"""The doctor's look at containerd and CRI-O: which file each takes and why, and what its release can do."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from typing import Any, NamedTuple

from cni_chain.cli import facades, programs
from cni_chain.cli.doctor_words import Node, Trouble
from cni_chain.cli.tree import Tree
from cni_chain.spec import at_least

_RELEASE = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?")
_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

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
        file = _which(node.tree, program)
        if file is not None:
            release = _release(file) if node.tree.is_this_system else None
            takes, because = _first(node) if name == "containerd" else _chosen(node, settings)
            found.append(Runtime(name, release, settings, takes, because))
    return found


def check(node: Node, runtimes: list[Runtime]) -> Iterator[Trouble]:
    """Yield what the runtimes' settings and releases make of the facades."""
    for runtime in runtimes:
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
    wanted = runtime.settings.get("cni_default_network")
    names = [survey.file.network for survey in node.surveys]
    if isinstance(wanted, str) and wanted and names and wanted not in names:
        yield Trouble(
            "runtime-other-network",
            node.directory.path,
            f"{runtime.name}'s cni_default_network is {wanted}; the facade is {', '.join(names)}",
            "CRI-O takes the network of that name only: no pod gets the chain.",
            f"Give the facade that name, or remove cni_default_network from {runtime.name}'s settings.",
        )


def _first(node: Node) -> tuple[str | None, str]:
    directory = node.directory
    if directory.first is None:
        return None, f"there is none in {directory.path}"
    if directory.names[0] in directory.unreadable:
        return None, f"{directory.first}, which sorts first, can't be used, and it takes that or nothing"
    return directory.first, "it sorts first"


def _chosen(node: Node, settings: dict[str, Any]) -> tuple[str | None, str]:
    wanted = settings.get("cni_default_network")
    directory = node.directory
    if isinstance(wanted, str) and wanted:
        path = next((one.path for one in directory.facades if one.network == wanted), None)
        return path, f"its cni_default_network is {wanted}"
    usable = next((name for name in directory.names if name not in directory.unreadable), None)
    if usable is None:
        return None, f"there is none in {directory.path}"
    return f"{directory.path}/{usable}", "it sorts first of those that can be used"


def _which(tree: Tree, program: str) -> str | None:
    if tree.is_this_system:
        return programs.which(program)
    return next((f"{one}/{program}" for one in _DIRECTORIES if os.path.isfile(tree.real(f"{one}/{program}"))), None)


def _release(file: str) -> tuple[int, ...] | None:
    done = programs.run([file, "--version"])
    said = done and _RELEASE.search(done.stdout)
    return tuple(int(number) for number in said.groups() if number) if said else None


def _containerd(tree: Tree) -> dict[str, Any]:
    plugins = _toml(tree, "/etc/containerd/config.toml").get("plugins")
    for name in ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri"):
        section = plugins.get(name) if isinstance(plugins, dict) else None
        cni = section.get("cni") if isinstance(section, dict) else None
        if isinstance(cni, dict):
            return cni
    return {}


def _crio(tree: Tree) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    try:
        dropped = sorted(os.listdir(tree.real("/etc/crio/crio.conf.d")))
    except OSError:
        dropped = []
    for path in ("/etc/crio/crio.conf", *(f"/etc/crio/crio.conf.d/{name}" for name in dropped)):
        crio = _toml(tree, path).get("crio")
        network = crio.get("network") if isinstance(crio, dict) else None
        settings |= network if isinstance(network, dict) else {}
    return settings


def _toml(tree: Tree, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(tree.read(path).decode())
    except (OSError, ValueError):
        return {}
