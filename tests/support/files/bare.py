"""A node without cni-chain: what a runtime and its plugins have put there, and the program called on it."""

import json
import os
from pathlib import Path
from typing import Any

from tests.support.files.node import SPEAKS, Result, run

FACADE = "/etc/cni/net.d/00-cni-chain.conflist"
BEFORE = "/etc/cni/net.d/05-cilium.conflist"


# What has no option, in a mount namespace of the command's own.
HIDDEN = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'for d in /etc/logrotate.d /var/lib/cni; do [ ! -d $d ] || mount -t tmpfs tmpfs $d || exit; done; exec "$@"',
    "sh",
]


class Bare:
    """A node's file system in a temporary directory. With `network`, pods get one from Cilium's own conflist."""

    def __init__(self, root: Path, program: str, *, network: bool = False) -> None:
        self.root = root
        self.program = program
        self.net_dir = root / "etc/cni/net.d"
        self.chain_dir = root / "etc/cni/chain.d"
        self.bin_dir = root / "opt/cni/bin"
        self.programs = root / "opt/cni/cni-chain"
        self.link = self.bin_dir / "cni-chain"
        self.facade = self.net_dir / "00-cni-chain.conflist"
        for directory in (self.net_dir, self.bin_dir, root / "etc/logrotate.d"):
            directory.mkdir(parents=True)
        for name in ("cilium-cni", "istio-cni", "portmap"):
            self.plugin(name)
        if network:
            self.conflist("05-cilium.conflist", "cilium", "cilium-cni")

    def plugin(self, name: str) -> None:
        (self.bin_dir / name).write_text(SPEAKS)
        (self.bin_dir / name).chmod(0o755)

    def conflist(self, name: str, network: str, *types: str) -> Path:
        document = {"cniVersion": "0.3.1", "name": network, "plugins": [{"type": type_} for type_ in types]}
        (self.net_dir / name).write_text(json.dumps(document))
        return self.net_dir / name

    def fragments(self, **types: str) -> None:
        """Let agents write: owner=type."""
        for owner, type_ in types.items():
            directory = self.chain_dir / f"{owner}.d"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "10.conf").write_text(json.dumps({"cniVersion": "1.0.0", "type": type_}))

    def record(self, name: str = "cilium:c1:eth0") -> Path:
        state = self.root / "var/lib/cni/chain"
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        (state / ".lock").touch()
        (state / name).write_text("{}")
        return state / name

    def run(self, *arguments: str, program: str | None = None) -> Result:
        return run(program or self.program, *arguments, "--root", str(self.root))

    def here(self, *arguments: str, program: str | None = None) -> Result:
        """Run without --root, with this node's directories, and this machine's own out of reach."""
        where = ["--net-dir", str(self.net_dir), "--bin-dir", str(self.bin_dir)]
        return run("/usr/bin/env", *HIDDEN, program or self.program, *arguments, *where)

    def document(self) -> dict[str, Any]:
        document = json.loads(self.facade.read_bytes())
        assert isinstance(document, dict)
        return document

    def owners(self) -> list[str]:
        return [owner["name"] for owner in self.document()["plugins"][0]["owners"]]

    def files(self) -> dict[str, tuple[object, ...]]:
        """All that is there: mode, content or target, and whether it is still the very same file."""
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            status = path.lstat()
            held = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
            same = status.st_ino if isinstance(held, bytes) else 0
            found[str(path.relative_to(self.root))] = (status.st_mode, held, same)
        return found

    def mode(self, name: str) -> int:
        return (self.root / name).stat().st_mode & 0o7777

    def names(self) -> set[str]:
        """The paths that are there, of the program only its directory."""
        return {name for name in self.files() if not name.startswith("opt/cni/cni-chain/0.") or name.count("/") == 3}
