"""The licence texts of all that a frozen program contains, as data files.

They come from what was really bundled, so that a new dependency can't be forgotten: a dependency
without a text stops the freeze.
"""

from __future__ import annotations

import os
import re
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from build.installed import owners

# PyInstaller's table of contents: name in the bundle, source file, kind.
Entry = tuple[str, str, str]

_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z]+(?:-\d+(?:\.\d+)?)?)")

_TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE")


def notices(modules: Iterable[Entry], linked: Iterable[Path]) -> list[Entry]:
    """Return the licence files for pure Python modules and for the static libraries that were linked in."""
    texts = {"python": _python()}
    distributions = metadata.packages_distributions()
    for package in {name.partition(".")[0] for name, _, _ in modules} - {"cni_chain"}:
        for owner in distributions.get(package, ()):
            texts[owner.lower()] = _distribution(owner)
    packages = owners(map(str, linked))
    for archive in linked:
        text = packages[str(archive)].licence if str(archive) in packages else None
        if text is None:
            raise SystemExit(f"no licence text for {archive}: no installed package names it")
        # Several archives are of one package, and the interpreter's own is there already.
        if not any(os.path.samefile(text, other) for files in texts.values() for other in files):
            texts[archive.stem] = [text]
    # Debian's texts refer to common ones instead of repeating them.
    referred = {name for files in texts.values() for file in files for name in _COMMON.findall(file.read_text())}
    texts["common"] = [
        file for file in map(Path("/usr/share/common-licenses").joinpath, sorted(referred)) if file.is_file()
    ]
    texts["relink"] = [Path(__file__).with_name("RELINK.md")]
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
    packaged = [package.licence for package in owners([os.__file__]).values()]
    return [text, *(one for one in packaged if one)]


def _distribution(name: str) -> list[Path]:
    """Find the texts anywhere in a distribution: Typer's copy of Click has its own inside the package."""
    files = metadata.files(name) or ()
    found = [
        Path(str(file.locate())) for file in files if file.name.upper().startswith(_TEXTS) and file.suffix != ".py"
    ]
    if not found:
        raise SystemExit(f"no licence text for {name}: its installed files have none")
    return found
