"""The C programs of the tests and of the benchmark, compiled. A warning is an error."""

import shutil
import subprocess
from pathlib import Path

WARNINGS = ("-Wall", "-Wextra", "-Werror")


class NoCompilerError(Exception):
    """This machine has neither gcc nor cc."""


def compiled(source: Path, target: Path, *options: str) -> Path:
    """Compile a C file with the compiler's options, and return the program. Raises NoCompilerError."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        raise NoCompilerError(f"needs a C compiler for {source.name}")
    subprocess.run([compiler, *WARNINGS, *options, "-o", target, source], check=True)
    return target
