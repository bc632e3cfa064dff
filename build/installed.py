"""Which package a file of the system is from: one of this machine, or one of SYSROOT, which build/cross fetches."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

SYSROOT = os.environ.get("SYSROOT", "")


class Package(NamedTuple):
    """A package, as dpkg has it."""

    name: str
    version: str
    source: str
    source_version: str
    architecture: str

    @property
    def licence(self) -> Path | None:
        """Its licence text, which Debian and Ubuntu keep in a fixed place. Another architecture's is the same text."""
        texts = (Path(f"{root}/usr/share/doc/{self.name}/copyright") for root in (SYSROOT, ""))
        return next((text for text in texts if text.is_file()), None)


def owners(files: Iterable[str]) -> dict[str, Package]:
    """Return each file's package, by the file's real path; those of no package are left out."""
    real = {os.path.realpath(file) for file in files}
    root = os.path.realpath(SYSROOT) if SYSROOT else ""
    below = {file for file in real if root and Path(file).is_relative_to(root)}
    return _owners("", real - below) | _owners(root, below)


def _owners(root: str, files: set[str]) -> dict[str, Package]:
    """Return the packages of files that lie below a root with a database of its own."""
    names = _names(root, {file.removeprefix(root): file for file in files})
    described = _packages(root, sorted(set(names.values())))
    by_name = {one.name: one for one in described} | {f"{one.name}:{one.architecture}": one for one in described}
    return {file: by_name[name] for file, name in names.items()}


def _packages(root: str, names: list[str]) -> list[Package]:
    """Return what dpkg knows of packages."""
    fields = ("Package", "Version", "source:Package", "source:Version", "Architecture")
    form = "\\t".join(f"${{{field}}}" for field in fields) + "\\n"
    lines = _query(root, "--show", "--showformat", form, *names).splitlines() if names else []
    return [Package(*line.split("\t")) for line in lines]


def _names(root: str, files: dict[str, str]) -> dict[str, str]:
    """Return the package's name for each file, which is given by its path below the root."""
    # dpkg knows a file by the path it was packed under, with or without /usr in front (merged /usr).
    files |= {path.removeprefix("/usr"): file for path, file in files.items()}
    found = {}
    for line in _query(root, "--search", *sorted(files)).splitlines() if files else ():
        package, _, path = line.partition(": ")
        if path in files and not package.startswith("diversion by "):
            found[files[path]] = package.partition(",")[0]
    return found


def _query(root: str, *arguments: str) -> str:
    # Its status is 1 if only one of the paths is of no package.
    command = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
