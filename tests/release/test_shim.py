"""The object of `mesh shim`: built again it is the same, and it goes wherever the program goes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

PLACE = "cni_chain/mesh/shim/shim.bpf.o"
KEPT = CHECKOUT / PLACE


def test_built_again_it_is_the_same_to_the_byte(tmp_path: Path) -> None:
    if not shutil.which("clang-19"):
        pytest.skip(
            "by design: only who changes the source needs clang-19; tests/unit compares its checksum everywhere"
        )
    made = tmp_path / "shim.bpf.o"
    subprocess.run([CHECKOUT / "build/shim", made], check=True)

    assert made.read_bytes() == KEPT.read_bytes(), "run make shim"


def test_the_frozen_program_has_it_beside_its_modules(frozen: Path) -> None:
    assert ((frozen / "bin/cni-chain").resolve().parent / "_internal" / PLACE).read_bytes() == KEPT.read_bytes()
