"""Images made here, so that no registry is asked: OCI archives of one layer."""

import gzip
import hashlib
import io
import json
import platform
import shutil
import tarfile
from pathlib import Path
from typing import Any

from tests.support.compiler import compiled
from tests.support.runtimes.cri import BUSYBOX, PAUSE

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def make(directory: Path) -> dict[str, Path]:
    """Both images that the tests use: name → archive. Needs gcc and a static busybox."""
    busybox = shutil.which("busybox")
    assert busybox, "no busybox: tests/support/runtimes/packages"
    pause = compiled(Path(__file__).with_name("pause.c"), directory / "pause", "-Os", "-static")
    made = {PAUSE: directory / "pause.tar", BUSYBOX: directory / "busybox.tar"}
    archive(made[PAUSE], PAUSE, "/pause", {"pause": pause.read_bytes()})
    archive(made[BUSYBOX], BUSYBOX, "/bin/busybox", {"bin/busybox": Path(busybox).read_bytes(), "bin/sh": "busybox"})
    return made


def archive(file: Path, name: str, entry: str, files: dict[str, bytes | str]) -> None:
    """Write an image of these files; text is where a symbolic link points."""
    layer = tar(files)
    packed = gzip.compress(layer, mtime=0)
    config = document(
        {
            "architecture": ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Entrypoint": [entry], "Env": ["PATH=/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
            "history": [{"created": "2020-01-01T00:00:00Z"}],
        }
    )
    oci = "application/vnd.oci.image"
    manifest = document(
        {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": descriptor(f"{oci}.config.v1+json", config),
            "layers": [descriptor(f"{oci}.layer.v1.tar+gzip", packed)],
        }
    )
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {
        "schemaVersion": 2,
        "manifests": [descriptor(f"{oci}.manifest.v1+json", manifest) | {"annotations": names}],
    }
    blobs = {f"blobs/sha256/{digest(blob).removeprefix('sha256:')}": blob for blob in (packed, config, manifest)}
    file.write_bytes(tar({"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": document(index), **blobs}))


def tar(files: dict[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archived:
        directories = {str(parent) for name in files for parent in Path(name).parents if str(parent) != "."}
        for directory in sorted(directories):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archived.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode = 0o755
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archived.addfile(entry)
            else:
                entry.size = len(content)
                archived.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def document(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(blob), "size": len(blob)}
