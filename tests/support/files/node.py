"""A node's file system in a temporary directory, and the program called on it as a person would."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

Json = dict[str, Any]

ROOT = os.geteuid() == 0
CHECKOUT = Path(__file__).resolve().parents[3]
CONF = CHECKOUT / "conf"

# Where a node's files are, as messages name them.
FACADE = "/etc/cni/net.d/00-cni-chain.conflist"
CILIUM = "/etc/cni/chain.d/cilium.d/05-cilium.conflist"
ISTIO = "/etc/cni/chain.d/istio.d/10-istio.conf"
LOCAL = "/etc/cni/chain.d/local.d"


SPEAKS = '#!/bin/sh\nread -r request\necho \'{"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0"]}\'\n'


class Result(NamedTuple):
    """What a person sees."""

    status: int
    stdout: str
    stderr: str


def run(program: str, *arguments: str, environ: dict[str, str] | None = None, cwd: Path | None = None) -> Result:
    done = subprocess.run(
        [program, *arguments],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **(environ or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


class Node:
    """A node as `conf/` makes it, with stand-ins for the plugins."""

    def __init__(self, root: Path, program: str) -> None:
        self.root = root
        self.program = program
        self.net_dir = root / "etc/cni/net.d"
        self.chain_dir = root / "etc/cni/chain.d"
        self.bin_dir = root / "opt/cni/bin"
        for directory in (self.net_dir, self.bin_dir):
            directory.mkdir(parents=True)
        shutil.copytree(CONF / "chain.d", self.chain_dir)
        self.facade = self.net_dir / "00-cni-chain.conflist"
        self.facade.write_bytes((CONF / "00-cni-chain.conflist").read_bytes())
        if not ROOT:
            self.change_facade(allowUnsafePermissions=True)
        for name in ("cilium-cni", "istio-cni", "portmap"):
            self.install(name)

    def install(self, name: str, script: str = SPEAKS) -> Path:
        file = self.bin_dir / name
        file.write_text(script)
        file.chmod(0o755)
        return file

    def change_facade(self, *, remove: tuple[str, ...] = (), of_list: Json | None = None, **keys: Any) -> None:
        """Set keys of cni-chain's object and, with `of_list`, of the list; written with one member a line."""
        document = json.loads(self.facade.read_bytes())
        document |= of_list or {}
        document["plugins"][0] |= keys
        for key in remove:
            document.pop(key, None)
            document["plugins"][0].pop(key, None)
        self.facade.write_text(json.dumps(document, indent=1))

    def change_owner(self, name: str, **keys: Any) -> None:
        owners = json.loads(self.facade.read_bytes())["plugins"][0]["owners"]
        next(owner for owner in owners if owner["name"] == name).update(keys)
        self.change_facade(owners=owners)

    def write(self, fragment: str, content: Json | str) -> Path:
        """Write a fragment, its path below chain.d."""
        file = self.chain_dir / fragment
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
        return file

    def clear(self, owner: str) -> None:
        for file in (self.chain_dir / f"{owner}.d").iterdir():
            file.unlink()

    def run(self, *arguments: str) -> Result:
        return run(self.program, *arguments, "--root", str(self.root))

    def show(self) -> Json:
        document = json.loads(self.run("show", "--json").stdout)
        assert isinstance(document, dict)
        return document

    def findings(self, *arguments: str) -> list[str]:
        """What `verify` finds, a line each, as its text has them."""
        return findings(self.run("verify", "--json", *arguments))

    def findings_here(self) -> list[str]:
        """What `verify` finds without --root, which may then run plugins."""
        return findings(self.run_here("verify", "--json"))

    def run_here(self, *arguments: str) -> Result:
        """A command without --root, as if the node's directories were this system's: it may run plugins."""
        self.change_facade(chainDir=str(self.chain_dir), stateDir=str(self.root / "var"))
        return run(self.program, *arguments, "--net-dir", str(self.net_dir), "--bin-dir", str(self.bin_dir))


def findings(result: Result) -> list[str]:
    lines = []
    for finding in json.loads(result.stdout)["findings"]:
        if "allowUnsafePermissions" in finding["message"] and not ROOT:
            continue
        at = f":{finding['line']}:{finding['column']}" if finding["line"] else ""
        kind = "warning: " if finding["severity"] == "warning" else ""
        lines.append(f"{finding['path']}{at}: {kind}{finding['message']}")
    return lines


def at(node: Node, name: str, value: str = "") -> str:
    """The place of the facade's first member of that name (and value), or of that text, as messages name it."""
    text = f'"{name}": "{value}"' if value else f'"{name}"'
    lines = node.facade.read_text().splitlines()
    line = next(number for number, line in enumerate(lines) if text in line)
    return f"{FACADE}:{line + 1}:{lines[line].index(text) + 1}"
