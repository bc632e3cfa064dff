"""Writes what is published, of frozen programs: each file appears whole, and a release as a whole."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from build.release import changelog, chart, provenance, signature, version
from build.release.frozen import PROGRAM, Frozen, packed
from build.release.oci import Image, compressed, image

BILL = "sbom.cdx.json"
SUMS = "SHA256SUMS"


class RefusedError(Exception):
    """Nothing was written; the message says what to do first."""


@dataclass(frozen=True)
class Order:
    """What a release is made with, apart from the programs."""

    date: int
    image: str
    repository: str
    commit: str  # empty: git can't tell
    changed: bool  # since the commit
    tag: str  # that is being released; empty: none yet
    builder: str
    key: Path | None


def archives(programs: Sequence[Frozen], out: Path, date: int) -> list[str]:
    """Write an archive of each program and its checksum, and return their paths."""
    files = _archives(programs, date)
    files |= {f"{name}.sha256": f"{_sha256(content)}  {name}\n".encode() for name, content in files.items()}
    _write(out, files)
    return [str(out / name) for name in files if not name.endswith(".sha256")]


def image_files(programs: Sequence[Frozen], out: Path, date: int, name: str, commit: str) -> list[str]:
    """Write one image of the programs and a bill of materials of each, and return what to say about them."""
    made = _image(programs, date, name, commit, "")
    files = {_image_file(programs): made.archive} | _bills(programs, date)
    _write(out, files)
    tag = f"{name}:{_version(programs)}"
    return [*(str(out / file) for file in files), f"{tag}@{made.digest}"]


def packed_chart(checkout: Path, out: Path, date: int, image: str, digest: str) -> list[str]:
    """Write the chart of a checkout, and return its path. Raises changelog's and chart's errors."""
    number = version.current(checkout)
    name = chart.file_name(number)
    _write(out, {name: chart.packaged(checkout, number, date, image, digest)})
    return [str(out / name)]


def release(checkout: Path, programs: Sequence[Frozen], out: Path, order: Order) -> list[str]:
    """Make the directory `out` with all that is published, and return the paths of its files.

    Raises RefusedError, and changelog's, chart's and signature's errors, and has then written nothing.
    """
    number = _version(programs)
    if not order.repository.startswith("https://"):
        raise RefusedError(f"{order.repository!r} is not where the source is published: REPOSITORY=https://…")
    if not order.commit:
        raise RefusedError(f"{checkout}: git does not tell which commit this is: see `git -C {checkout} status`")
    if order.changed:
        raise RefusedError("the checkout has changes that are in no commit; commit or stash them, and build again")
    if version.current(checkout) != number:
        raise RefusedError(f"the programs are of {number}, the checkout is of {version.current(checkout)}; build again")
    if order.tag not in ("", f"v{number}"):
        raise RefusedError(f"the tag is {order.tag}, and the program's version {number} needs v{number}")
    if out.exists():
        raise RefusedError(f"{out}: exists already; remove it, if it was never published")
    notes = changelog.notes((checkout / version.CHANGELOG).read_text(), number)
    key = signature.key(order.key) if order.key else None
    made = _image(programs, order.date, order.image, order.commit, order.repository)
    files = _archives(programs, order.date) | {_image_file(programs): made.archive} | _bills(programs, order.date)
    files[chart.file_name(number)] = chart.packaged(checkout, number, order.date, order.image, made.digest)
    origin = provenance.Origin(order.repository, order.commit, number, order.builder)
    materials = [uri for one in programs for uri in _materials(one)]
    said = provenance.statement(origin, files, (order.image, made.digest), materials, order.date)
    files[f"{PROGRAM}-{number}-provenance.json"] = said
    files[SUMS] = "".join(f"{_sha256(content)}  {name}\n" for name, content in sorted(files.items())).encode()
    if key:
        signed = key.sign(files[SUMS])
        files[f"{SUMS}.sig"] = f"{signed}\n".encode()
        files[f"{SUMS}.sigstore.json"] = key.bundle(files[SUMS], signed)
        files[f"{PROGRAM}-{number}-provenance.sigstore.json"] = key.signed_statement(said)
    files["notes.md"] = notes.encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        _write(Path(folder, "new"), files)
        os.rename(Path(folder, "new"), out)
    return [*(str(out / name) for name in sorted(files)), f"{order.image}:{number}@{made.digest}"]


def _version(programs: Sequence[Frozen]) -> str:
    """Return the version of all programs. Raises RefusedError if they differ, or two are for one architecture."""
    versions = sorted({one.version for one in programs})
    if len(versions) > 1:
        raise RefusedError(f"the programs are of different versions: {', '.join(versions)}")
    architectures = [one.architecture for one in programs]
    if len(set(architectures)) < len(architectures):
        raise RefusedError(f"two programs are for one architecture: {', '.join(sorted(architectures))}")
    return versions[0]


def _archives(programs: Sequence[Frozen], date: int) -> dict[str, bytes]:
    return {one.archive_name: compressed(packed(one, date, parents=False)) for one in programs}


def _image_file(programs: Sequence[Frozen]) -> str:
    return f"{PROGRAM}-{_version(programs)}-image.tar"


def _image(programs: Sequence[Frozen], date: int, name: str, commit: str, repository: str) -> Image:
    number = _version(programs)
    notes = {
        "org.opencontainers.image.title": PROGRAM,
        "org.opencontainers.image.version": number,
        "org.opencontainers.image.licenses": "Apache-2.0",
    }
    notes |= {"org.opencontainers.image.revision": commit} if commit else {}
    notes |= {"org.opencontainers.image.source": repository} if repository else {}
    # With PATH, so that `kubectl exec POD -- cni-chain doctor` finds it. No /etc/passwd is there for a user's name.
    config = {"Entrypoint": [f"/bin/{PROGRAM}"], "Env": ["PATH=/bin"], "User": "0:0"}
    layers = {one.architecture: packed(one, date, parents=True) for one in programs}
    return image(layers, f"{name}:{number}", date, config, notes)


def _bills(programs: Sequence[Frozen], date: int) -> dict[str, bytes]:
    """Return each program's bill of materials, with the date that it is published with."""
    bills = {}
    for one in programs:
        bill = _bill(one)
        bill["metadata"]["timestamp"] = datetime.fromtimestamp(date, UTC).isoformat()
        name = one.archive_name.removesuffix(".tar.gz") + ".cdx.json"
        bills[name] = json.dumps(bill, indent=1).encode() + b"\n"
    return bills


def _bill(program: Frozen) -> dict[str, Any]:
    file = program.home / BILL
    try:
        bill: dict[str, Any] = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RefusedError(f"{file}: {reason}; build/freeze writes this bill of materials") from error
    return bill


def _materials(program: Frozen) -> list[str]:
    """Return the package URLs of what went into a program, and of what made it."""
    bill = _bill(program)
    return [part["purl"] for part in (*bill["components"], *bill["metadata"]["tools"]["components"])]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write files, each by a rename."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        temporary = out / f".{name}"
        temporary.write_bytes(content)
        temporary.rename(out / name)
