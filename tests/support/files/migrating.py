"""A node before its migration: one list, the plugins that it names, and cni-chain; and what its agents then do."""

import json
import os
from pathlib import Path
from typing import Any

from tests.support.files.node import CHECKOUT, SPEAKS, Result, run

Json = dict[str, Any]

LISTS = CHECKOUT / "tests/data/conflists"
CASES = sorted(path.name for path in LISTS.iterdir() if path.is_dir())

NET = "/etc/cni/net.d"
CHAIN = "/etc/cni/chain.d"
FACADE = f"{NET}/00-cni-chain.conflist"
WAITING = f"{FACADE}.ready"


def list_of(case: str) -> Path:
    """The file of a case, under the name that it has on a node."""
    (file,) = (LISTS / case).iterdir()
    return file


class Before:
    """A node's file system; paths are given as seen from inside it."""

    def __init__(self, root: Path, program: str, case: str) -> None:
        self.root = root
        self.program = program
        source = list_of(case)
        self.list = f"{NET}/{source.name}"
        self.write(self.list, source.read_bytes())
        (root / "opt/cni/bin").mkdir(parents=True)
        for name in ["cni-chain", *self.types()]:
            self.install(name)

    def path(self, seen: str) -> Path:
        return self.root / seen.lstrip("/")

    def write(self, seen: str, content: Json | str | bytes, mode: int = 0o644) -> Path:
        path = self.path(seen)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content) if isinstance(content, dict) else content
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return path

    def read(self, seen: str) -> Json:
        document = json.loads(self.path(seen).read_bytes())
        assert isinstance(document, dict)
        return document

    def plugins(self) -> list[Json]:
        document = self.read(self.list)
        return document["plugins"] if self.list.endswith(".conflist") else [document]

    def types(self) -> list[str]:
        return [plugin["type"] for plugin in self.plugins()]

    def change_list(self, **keys: Any) -> None:
        self.write(self.list, self.read(self.list) | keys)

    def install(self, name: str) -> None:
        file = self.root / "opt/cni/bin" / name
        file.write_text(SPEAKS)
        file.chmod(0o755)

    def agent_writes(self, seen: str) -> None:
        """The agent has been restarted with its new directory: the same content, laid out in its own way."""
        path = self.path(seen)
        path.write_text(json.dumps(json.loads(path.read_bytes()), separators=(" , ", " : ")))

    def cilium_moves(self) -> None:
        self.agent_writes(f"{CHAIN}/cilium.d/05-cilium.conflist")

    def migrate(self, *arguments: str) -> Result:
        return run(self.program, "migrate", *arguments, "--root", str(self.root))

    def document(self, *arguments: str) -> Json:
        document = json.loads(self.migrate("--json", *arguments).stdout)
        assert isinstance(document, dict)
        return document

    def files(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file with its inode, mode and content, and every directory."""
        found = {}
        for folder, _, names in os.walk(self.root):
            found[folder] = (0, 0, b"")
            for name in names:
                path = Path(folder) / name
                found[str(path)] = (path.stat().st_ino, path.stat().st_mode, path.read_bytes())
        return found

    def what_runtimes_see(self) -> list[str]:
        return sorted(path.name for path in self.path(NET).iterdir() if path.suffix in (".conf", ".conflist", ".json"))
