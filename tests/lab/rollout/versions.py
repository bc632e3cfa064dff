"""The same program as another version: what an upgrade goes to and a downgrade comes from."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cni_chain import __version__
from tests.support.sandbox.namespaces import CHECKOUT

# What build/freeze and build.release read of a checkout.
SOURCES = ("build", "cni_chain", "conf", "LICENSE", "pyproject.toml")
NEXT = re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), __version__)
SOURCE = CHECKOUT / "out/next"


def newer(program: Path) -> Path:
    """The executable of the version that comes next, frozen anew if the program is newer than that. Some minutes.

    It is in a checkout of its own: SOURCE.
    """
    executable = SOURCE / "out/frozen/bin/cni-chain"
    if executable.exists() and executable.stat().st_mtime >= program.stat().st_mtime:
        return executable
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    for name in SOURCES:
        source, target = CHECKOUT / name, SOURCE / name
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    file = SOURCE / "cni_chain/__init__.py"
    file.write_text(file.read_text().replace(f'"{__version__}"', f'"{NEXT}"'))
    command = [str(SOURCE / "build/freeze"), sys.executable, str(executable.parents[1])]
    subprocess.run(command, cwd=SOURCE, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}, check=True)
    return executable
