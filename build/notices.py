"""The licence texts of all that a frozen program contains, as data files.

They come from what was really bundled, so that a new dependency can't be forgotten: a dependency
without a text stops the freeze.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

# PyInstaller's table of contents: name in the bundle, source file, kind.
Entry = tuple[str, str, str]

_TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE")


def notices(modules: Iterable[Entry], libraries: Iterable[Entry]) -> list[Entry]:
    """Return the licence files for pure Python modules and shared libraries."""
    texts = {"python": _python()}
    owners = metadata.packages_distributions()
    for package in {name.partition(".")[0] for name, _, _ in modules} - {"cni_chain"}:
        for owner in owners.get(package, ()):
            texts[owner.lower()] = _distribution(owner)
    extensions = sysconfig.get_config_var("EXT_SUFFIX")
    for name, source, _ in libraries:
        if not name.endswith(extensions) and "libpython" not in name:
            texts[os.path.basename(name)] = [_library(source)]
    entries = [
        (f"licenses/{component}/{file.name}", str(file), "DATA")
        for component, files in sorted(texts.items())
        for file in files
    ]
    if len({name for name, _, _ in entries}) < len(entries):
        raise SystemExit("two licence texts of one component have the same name")
    return entries


def _python() -> list[Path]:
    """Find the interpreter's own text and, where a package brought it, that of all it has from others.

    The first doesn't cover the second, for example the Mersenne Twister or dtoa.c.
    """
    text = Path(sysconfig.get_path("stdlib"), "LICENSE.txt")
    if not text.is_file():
        raise SystemExit(f"no licence text for Python: {text} is missing")
    packaged = _packaged(os.__file__)
    return [text, packaged] if packaged else [text]


def _distribution(name: str) -> list[Path]:
    """Find the texts anywhere in a distribution: Typer's copy of Click has its own inside the package."""
    files = metadata.files(name) or ()
    found = [
        Path(str(file.locate())) for file in files if file.name.upper().startswith(_TEXTS) and file.suffix != ".py"
    ]
    if not found:
        raise SystemExit(f"no licence text for {name}: its installed files have none")
    return found


def _library(source: str) -> Path:
    text = _packaged(source)
    if text is None:
        raise SystemExit(f"no licence text for {source}: no installed package names it")
    return text


def _packaged(file: str) -> Path | None:
    """Find the text of the package that a file of the system is from: Debian and Ubuntu keep it in a fixed place."""
    real = os.path.realpath(file)
    # dpkg knows a file by the path it was packed under, with or without /usr in front (merged /usr).
    for path in (real, real.removeprefix("/usr")):
        query = subprocess.run(["dpkg-query", "--search", path], capture_output=True, text=True, check=False)  # noqa: S607
        if query.returncode == 0:
            text = Path("/usr/share/doc", query.stdout.partition(":")[0], "copyright")
            if text.is_file():
                return text
    return None
