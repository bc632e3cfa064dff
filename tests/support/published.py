"""What is published, made in tests: what has the shape of a frozen program, a checkout of its own, the commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from cni_chain import __version__

CHECKOUT = Path(__file__).resolve().parents[2]
MACHINES = {"amd64": 62, "arm64": 183}
REPOSITORY = "https://example.org/cni-chain"


def stand_in(directory: Path, architecture: str = "amd64", version: str = __version__) -> Path:
    """A directory in the shape of a frozen program: a header without code, and a bill without parts."""
    home = directory / "cni-chain" / version
    home.mkdir(parents=True)
    (directory / "bin").mkdir()
    (directory / "bin/cni-chain").symlink_to(f"../cni-chain/{version}/cni-chain")
    (home / "cni-chain").write_bytes(b"\x7fELF\x02\x01".ljust(18, b"\0") + bytes([MACHINES[architecture], 0]))
    (home / "cni-chain").chmod(0o755)
    bill = {"components": [{"purl": "pkg:pypi/typer@1"}], "metadata": {"tools": {"components": []}}}
    (home / "sbom.cdx.json").write_text(json.dumps(bill))
    return directory


def for_arm64(frozen: Path, directory: Path) -> Path:
    """A copy that says it is for arm64."""
    shutil.copytree(frozen, directory, symlinks=True)
    program = (directory / "bin/cni-chain").resolve()
    content = bytearray(program.read_bytes())
    content[18] = MACHINES["arm64"]
    program.write_bytes(content)
    return directory


def checkout_in(directory: Path) -> Path:
    """A checkout of its own, as it would be released: what is in this one, with the version's section dated."""
    shutil.copytree(CHECKOUT / "build", directory / "build", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("deploy", "docs"):
        shutil.copytree(CHECKOUT / folder, directory / folder)
    for name in ("README.md", "CHANGELOG.md", "cni_chain/__init__.py"):
        (directory / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(CHECKOUT / name, directory / name)
    (directory / ".gitignore").write_text("__pycache__\n/out/\n")
    write_changelog(directory, f"## {__version__}, 2026-01-02\n\n- It is there.\n\n## 0.0.1, 2025-01-01\n\n- Old.\n")
    git(directory, "init", "--quiet")
    commit(directory)
    return directory


def write_changelog(checkout: Path, sections: str) -> None:
    (checkout / "CHANGELOG.md").write_text(f"# Changelog\n\nNewest first.\n\n{sections}")


def commit(checkout: Path) -> None:
    git(checkout, "add", "--all")
    git(checkout, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "all")


def git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def tool(*arguments: str | Path, checkout: Path = CHECKOUT, **environ: str) -> subprocess.CompletedProcess[str]:
    """`python -m build.release`, in a checkout."""
    command = [sys.executable, "-B", "-m", "build.release", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1700000000"} | environ
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def made(*arguments: str | Path, checkout: Path = CHECKOUT, **environ: str) -> list[str]:
    """What it says it has written."""
    done = tool(*arguments, checkout=checkout, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def refused(*arguments: str | Path, checkout: Path = CHECKOUT, **environ: str) -> str:
    """Why it refuses."""
    done = tool(*arguments, checkout=checkout, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    return line
