"""What people do with a node: they run cni-chain's commands, and read what these print."""

import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.files import schemas
from tests.support.files.double import Json
from tests.support.files.tree import ROOT, Tree

# What has no option, in a mount namespace of the command's own.
HIDDEN = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    (
        "for d in /etc/logrotate.d /usr/local/share/man /var/lib/cni; do"
        ' [ ! -d $d ] || mount -t tmpfs tmpfs $d || exit; done; exec "$@"'
    ),
    "sh",
]


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
    if "--json" in arguments and done.stdout:
        assert schemas.problem(json.loads(done.stdout)) == ""
    return Result(done.returncode, done.stdout, done.stderr)


def findings(result: Result) -> list[str]:
    """What `verify --json` has found, a line each, as its text has them."""
    lines = []
    for finding in json.loads(result.stdout)["findings"]:
        if "allowUnsafePermissions" in finding["what"] and not ROOT:
            continue
        at = f":{finding['line']}:{finding['column']}" if finding["line"] else ""
        kind = "warning: " if finding["severity"] == "warning" else ""
        lines.append(f"{finding['path']}{at}: {kind}{finding['what']}")
    return lines


class Commands(Tree):
    """A node's files, and a person's commands."""

    program: str

    def __init__(self, root: Path, double: Path | None = None) -> None:
        super().__init__(root, double)
        self.where = {"--root": str(self.root)}  # the options that send a command to this node

    def run(self, *arguments: str, program: str | None = None, environ: dict[str, str] | None = None) -> Result:
        """A command on this node's files; an option that it is given already stays."""
        options = [word for option, value in self.where.items() if option not in arguments for word in (option, value)]
        return run(program or self.program, *arguments, *options, environ=environ)

    def run_without_state(self, *arguments: str) -> Result:
        """A command that takes no --state-dir: it reads the facade's."""
        return run(self.program, *arguments, "--net-dir", str(self.net_dir))

    def run_here(self, *arguments: str) -> Result:
        """A command without --root, as if the node's directories were this system's: it may run plugins."""
        self.change_facade(chainDir=str(self.chain_dir), stateDir=str(self.state_dir))
        return run(self.program, *arguments, *self._directories())

    def run_apart(self, *arguments: str, program: str | None = None) -> Result:
        """A command without --root, with this machine's own directories out of reach."""
        return run("/usr/bin/env", *HIDDEN, program or self.program, *arguments, *self._directories())

    def _directories(self) -> list[str]:
        return ["--net-dir", str(self.net_dir), "--bin-dir", str(self.bin_dir)]

    def json(self, command: str, *arguments: str) -> Json:
        """What a command prints for programs."""
        document = json.loads(self.run(command, *arguments, "--json").stdout)
        assert isinstance(document, dict)
        return document

    def migrate(self, *arguments: str) -> Result:
        return self.run("migrate", *arguments)

    def findings(self, *arguments: str) -> list[str]:
        """What `verify` finds, a line each, as its text has them."""
        return findings(self.run("verify", "--json", *arguments))

    def findings_here(self) -> list[str]:
        """What `verify` finds without --root, which may then run plugins."""
        return findings(self.run_here("verify", "--json"))
