"""Programs that tests need and that are built from pinned Go modules (cached.sh)."""

import subprocess
from pathlib import Path

from tests.support.sandbox.namespaces import CHECKOUT


class NotBuiltError(Exception):
    """A program isn't there; the message says what makes it."""


def built(script: Path, name: str) -> Path:
    """The directory of what a build script has built under this name. Raises NotBuiltError."""
    answer = subprocess.run([script, "--built", name], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise NotBuiltError(f"{name} is not built: {script.relative_to(CHECKOUT)} {name}")
    return Path(answer.stdout.strip())
