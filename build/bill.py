"""The bill of materials of a frozen program, in CycloneDX's form: whatever was compiled, linked or copied into it.

It is made from the files that really went in. Each is this project's, or from a package of the distribution, or from a
Python package; a file of none of them stops the freeze, so that nothing can be forgotten.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import sysconfig
import uuid
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from build.installed import Package, owners

NAME = "sbom.cdx.json"
CHECKOUT = Path(__file__).resolve().parent.parent

# The distribution's packages give their licences as text, which lies in `licenses/`; what a scanner reads is here, by
# the beginning of the source package's name.
_LICENSES = {
    "expat": "MIT",
    "gcc": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "glibc": "LGPL-2.1-or-later",
    "libffi": "MIT",
    "python": "Python-2.0.1",
    "zlib": "Zlib",
}

_WORDS = LicenseFactory()

# Of the serial numbers that are made here.
_SERIAL = uuid.UUID("6f3c2a0e-51d4-4f0b-9d0a-3a0f3f1c7b58")


def bill(name: str, version: str, program: bytes, files: Iterable[str]) -> bytes:
    """Return the bill of a program, which was made from these files, as JSON.

    Raises SystemExit if a file is of no known package, or a package's licence isn't known.
    """
    whole = Component(
        type=ComponentType.APPLICATION,
        name=name,
        version=version,
        bom_ref=name,
        licenses=[_WORDS.make_from_string("Apache-2.0")],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(program).hexdigest())],
        purl=PackageURL("generic", None, name, version),
    )
    systems, distributions = _origins(files)
    parts = [*map(_from_package, systems), *map(_from_distribution, distributions)]
    bom = Bom(components=parts)
    bom.metadata.component = whole
    bom.metadata.timestamp = None  # type: ignore[assignment]  # a build has no date of its own
    tools = [_part(one.name, one.version, _package_url(one)) for one in _tools()]
    bom.metadata.tools.components = [*tools, _from_distribution("pyinstaller")]
    bom.register_dependency(whole, parts)
    for part in parts:
        bom.register_dependency(part)
    # Made from the content, so that the same program has the same bill.
    bom.serial_number = _SERIAL
    bom.serial_number = uuid.uuid5(_SERIAL, JsonV1Dot6(bom).output_as_string())
    return JsonV1Dot6(bom).output_as_string(indent=1).encode() + b"\n"


def _origins(files: Iterable[str]) -> tuple[list[Package], list[str]]:
    """Return the packages and the Python distributions that these files are from. Raises SystemExit."""
    ours = (CHECKOUT / "cni_chain", CHECKOUT / "build")
    left = {os.path.realpath(file) for file in files}
    left = {file for file in left if not any(Path(file).is_relative_to(folder) for folder in ours)}
    found = owners(left)
    distributions: dict[str, str] = {}
    for one in metadata.distributions():
        for file in one.files or ():
            distributions[os.path.realpath(str(file.locate()))] = one.name
    unknown = sorted(left - found.keys() - distributions.keys())
    if unknown:
        raise SystemExit(
            f"of no package that is known, so the bill of materials would lack it: {', '.join(unknown[:5])}"
        )
    return sorted(set(found.values())), sorted({distributions[file] for file in left - found.keys()})


def _tools() -> list[Package]:
    """Return the packages of the compiler and the linker, which leave nothing of themselves in the program."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC"))[0]
    programs = (shutil.which(compiler), shutil.which(f"{compiler.removesuffix('gcc')}ld"))
    return sorted(set(owners(program for program in programs if program).values()))


def _from_package(package: Package) -> Component:
    for upstream, license_ in _LICENSES.items():
        if package.source.startswith(upstream):
            return _part(package.name, package.version, _package_url(package), license_)
    raise SystemExit(f"no licence is known for {package.source}: add it to _LICENSES in build/bill.py")


def _package_url(package: Package) -> PackageURL:
    """Return what a scanner finds a package's advisories by: they are of a release, and name the source package."""
    system = platform.freedesktop_os_release()
    same = package.source_version == package.version
    origin = package.source if same else f"{package.source}@{package.source_version}"
    qualifiers = {"arch": package.architecture, "distro": f"{system['ID']}-{system['VERSION_ID']}", "upstream": origin}
    return PackageURL("deb", system["ID"], package.name, package.version, qualifiers)


def _from_distribution(name: str) -> Component:
    about = metadata.metadata(name).json
    license_ = about.get("license_expression") or about.get("license")
    if not license_:
        raise SystemExit(f"{name} declares no licence, so the bill of materials would lack it")
    version = str(about["version"])
    return _part(name, version, PackageURL("pypi", None, name.lower(), version), str(license_))


def _part(name: str, version: str, purl: PackageURL, license_: str = "") -> Component:
    licenses = [_WORDS.make_from_string(license_)] if license_ else ()
    return Component(name=name, version=version, bom_ref=str(purl), licenses=licenses, purl=purl)
