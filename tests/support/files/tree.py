"""A node's files: where they are, and what agents and administrators do to them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tests.support.files.double import Json, Plugin

ROOT = os.geteuid() == 0
CHECKOUT = Path(__file__).resolve().parents[3]
CONF = CHECKOUT / "conf"
LISTS = CHECKOUT / "tests/data/conflists"
CASES = sorted(path.name for path in LISTS.iterdir() if path.is_dir())

# Where a node's files are, as messages name them.
NET = "/etc/cni/net.d"
CHAIN = "/etc/cni/chain.d"
FACADE = f"{NET}/00-cni-chain.conflist"
WAITING = f"{FACADE}.ready"
TAKEN_AWAY = f"{FACADE}.undone"
BEFORE = f"{NET}/05-cilium.conflist"
CILIUM = f"{CHAIN}/cilium.d/05-cilium.conflist"
ISTIO = f"{CHAIN}/istio.d/10-istio.conf"
LOCAL = f"{CHAIN}/local.d"

# A plugin that answers every call with its versions.
SPEAKS = '#!/bin/sh\nread -r request\necho \'{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}\'\n'


class Tree:
    """A node's file system in a temporary directory."""

    def __init__(self, root: Path, double: Path | None = None) -> None:
        """`double`: the recording delegate, for a node whose plugins are called."""
        self.root, self._double = root, double
        self.net_dir, self.chain_dir = root / NET[1:], root / CHAIN[1:]
        self.bin_dir, self.programs = root / "opt/cni/bin", root / "opt/cni/cni-chain"
        self.state_dir, self.log = root / "var/lib/cni/chain", root / "var/log/cni-chain.log"
        self.facade, self.link = root / FACADE[1:], self.bin_dir / "cni-chain"
        self.double_dir = root / "opt/cni/double"  # double.c has it beside the directory of its executable
        self.list = ""  # the runtime's list before a migration, as messages name it
        for directory in (self.net_dir, self.bin_dir):
            directory.mkdir(parents=True)

    # Any file.

    def path(self, seen: str) -> Path:
        """A file that messages name so; a relative path starts at the owners' directories."""
        return self.root / seen[1:] if seen.startswith("/") else self.chain_dir / seen

    def write(self, seen: str, content: Json | str | bytes, mode: int = 0o644) -> Path:
        """Write a file with its directory; JSON has one member a line."""
        path = self.path(seen)
        self._owners_directory(path.parent)
        text = json.dumps(content, indent=1) if isinstance(content, dict) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def read(self, seen: str) -> Json:
        document = json.loads(self.path(seen).read_bytes())
        assert isinstance(document, dict)
        return document

    def files(self) -> dict[str, tuple[object, ...]]:
        """All that exists: mode, content or target, and the inode: whether it is still the very same file."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            held = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            inode = status.st_ino if isinstance(held, bytes) else 0
            found[str(path.relative_to(self.root))] = (status.st_mode, held, inode)
        return found

    def names(self) -> set[str]:
        """The paths that exist, of the program only its directory."""
        return {name for name in self.files() if not name.startswith("opt/cni/cni-chain/0.") or name.count("/") == 3}

    def mode(self, name: str) -> int:
        return (self.root / name).stat().st_mode & 0o7777

    # Plugins.

    def install(self, name: str, script: str = SPEAKS) -> Path:
        """A plugin that is a script."""
        file = self.bin_dir / name
        file.write_text(script)
        file.chmod(0o755)
        return file

    def plugin(self, delegate: str, folder: str = "bin") -> Plugin:
        """A plugin that records its calls and takes orders, installed if it isn't yet."""
        executable, orders = self.bin_dir.parent / folder / delegate, self.double_dir / delegate
        for directory in (executable.parent, self.double_dir / "calls", orders):
            directory.mkdir(parents=True, exist_ok=True)
        if not executable.exists():
            assert self._double, "this node was made without the recording delegate"
            shutil.copy(self._double, executable)
        return Plugin(orders)

    def uninstall(self, delegate: str) -> None:
        (self.bin_dir / delegate).unlink()

    # Owners' directories.

    def folder(self, owner: str) -> Path:
        return self._owners_directory(self.chain_dir / f"{owner}.d")

    def _owners_directory(self, folder: Path) -> Path:
        """Make a directory; whatever the umask, only its owner may write to it if it is made here."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            path.chmod(0o755)
        return folder

    def fragment(self, owner: str, file: str, content: object, *, install: bool = True) -> Path:
        """One file of an owner; the plugins that it names are installed."""
        if install and isinstance(content, dict):
            for plugin in content.get("plugins", [content]):
                self.plugin(plugin["type"])
        return self.write(f"{owner}.d/{file}", content if isinstance(content, bytes) else json.dumps(content))

    def fragments(self, **types: str) -> None:
        """One file for each owner: owner=type."""
        for owner, type_ in types.items():
            self.write(f"{owner}.d/10.conf", {"cniVersion": "1.0.0", "type": type_})

    def clear(self, owner: str) -> None:
        for file in self.folder(owner).iterdir():
            file.unlink()

    def agent_writes(self, seen: str) -> None:
        """The agent has been restarted with its new directory: the same content, laid out in its own way."""
        path = self.path(seen)
        path.write_text(json.dumps(json.loads(path.read_bytes()), separators=(" , ", " : ")))

    def cilium_moves(self) -> None:
        self.agent_writes(CILIUM)

    # The runtime's directory.

    def conflist(self, name: str, network: str, *types: str) -> Path:
        """A list of the runtime's own."""
        plugins = [{"type": type_} for type_ in types]
        return self.write(f"{NET}/{name}", {"cniVersion": "0.3.1", "name": network, "plugins": plugins})

    def change_list(self, **keys: Any) -> None:
        """Set keys of the list that a migration starts from."""
        self.write(self.list, self.read(self.list) | keys)

    def plugins(self) -> list[Json]:
        """The plugins of the list that a migration starts from."""
        document = self.read(self.list)
        return document["plugins"] if self.list.endswith(".conflist") else [document]

    def types(self) -> list[str]:
        return [plugin["type"] for plugin in self.plugins()]

    def what_runtimes_see(self) -> list[str]:
        return sorted(path.name for path in self.net_dir.iterdir() if path.suffix in (".conf", ".conflist", ".json"))

    def change_facade(self, *, remove: tuple[str, ...] = (), of_list: Json | None = None, **keys: Any) -> None:
        """Set keys of cni-chain's object and, with `of_list`, of the list; written with one member a line."""
        document = self.read(FACADE)
        document |= of_list or {}
        document["plugins"][0] |= keys
        for key in remove:
            document.pop(key, None)
            document["plugins"][0].pop(key, None)
        self.facade.write_text(json.dumps(document, indent=1))

    def change_owner(self, name: str, **keys: Any) -> None:
        owners = self.read(FACADE)["plugins"][0]["owners"]
        next(owner for owner in owners if owner["name"] == name).update(keys)
        self.change_facade(owners=owners)

    def owner_names(self) -> list[str]:
        """The owners that the facade lists."""
        return [owner["name"] for owner in self.read(FACADE)["plugins"][0]["owners"]]


def at(node: Tree, name: str, value: str = "") -> str:
    """The place of the facade's first member of that name (and value), or of that text, as messages name it."""
    text = f'"{name}": "{value}"' if value else f'"{name}"'
    lines = node.facade.read_text().splitlines()
    line = next(number for number, line in enumerate(lines) if text in line)
    return f"{FACADE}:{line + 1}:{lines[line].index(text) + 1}"
