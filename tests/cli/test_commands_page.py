"""docs/reference/commands.md and the manual page are the commands' own help, and nothing else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cni_chain import __version__
from tests.support.files.node import CHECKOUT
from tests.support.sandbox.node import is_frozen

WRITER = [sys.executable, str(CHECKOUT / "build/commands.py")]
PAGE = CHECKOUT / "docs/reference/commands.md"


def test_the_page_is_up_to_date() -> None:
    script = "import sys; sys.path.insert(0, 'build'); import commands; sys.stdout.write(commands.page())"
    written = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout

    assert PAGE.read_text() == written, "the help has changed: python build/commands.py writes the page again"


def test_every_command_and_option_is_in_it() -> None:
    text = PAGE.read_text()

    for name in ("show", "verify", "doctor", "gc", "owner require", "install", "migrate switch", "completion"):
        assert f"## cni-chain {name}\n" in text
    assert text.count("| `--distro NAME` |") >= 11
    assert "__complete" not in text
    assert "--install-completion" not in text  # Typer's own: add_completion=False, also for an `app` below


def test_the_manual_page_is_one_that_groff_understands() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("by design: groff is not installed here")
    page = subprocess.run([*WRITER, "--man"], capture_output=True, text=True, check=True).stdout

    done = subprocess.run([groff, "-man", "-ww", "-Tutf8"], input=page, capture_output=True, text=True, check=True)

    assert done.stderr == ""
    plain = re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)
    assert plain.startswith("CNI-CHAIN(8)")
    assert "cni-chain owner remove [OPTIONS] {NAME}" in " ".join(plain.split())


def test_the_frozen_program_brings_its_manual_page(program: str) -> None:
    if not is_frozen(program):
        pytest.skip("by design: the source has none until it is frozen")
    page = Path(program).resolve().parent / "cni-chain.8"

    assert page.read_text().startswith(f'.TH CNI-CHAIN 8 "" "cni-chain {__version__}"')
