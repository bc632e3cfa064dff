"""Writes an OCI image FROM scratch, of one layer for each architecture, without an engine.

The form is an OCI image layout in a tar file, which containerd, podman, skopeo and CRI-O's store read, and any tool for
registries pushes: https://github.com/opencontainers/image-spec. The same content gives the same digest.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_OCI = "application/vnd.oci.image"


@dataclass(frozen=True)
class Image:
    """An image archive, and the digest of its index, under which a registry will have it."""

    digest: str
    archive: bytes


@dataclass
class _Layout:
    """The blobs of a layout, by their digest."""

    blobs: dict[str, bytes] = field(default_factory=dict)

    def add(self, kind: str, blob: bytes, **more: Any) -> dict[str, Any]:
        """Take a blob, and return its descriptor."""
        digest = hashlib.sha256(blob).hexdigest()
        self.blobs[digest] = blob
        return {"mediaType": f"{_OCI}.{kind}", "digest": f"sha256:{digest}", "size": len(blob), **more}

    def tar(self, index: bytes, date: int) -> bytes:
        """Return the layout as a tar file."""
        files = {"oci-layout": _document({"imageLayoutVersion": "1.0.0"}), "index.json": index}
        files |= {f"blobs/sha256/{digest}": blob for digest, blob in sorted(self.blobs.items())}
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(content), date
                tar.addfile(entry, io.BytesIO(content))
        return out.getvalue()


def image(layers: Mapping[str, bytes], name: str, date: int, config: dict[str, Any], notes: dict[str, str]) -> Image:
    """Return an image of one layer for each architecture, as tar; a runtime that loads it calls it `name`.

    `config` is how a container of it is started, `notes` are the labels and annotations.
    An index of the architectures stands in the layout's index, as `docker buildx` writes it, for one architecture too:
    so the name has one digest, which does not depend on how the image is moved.
    """
    layout = _Layout()
    config = config | ({"Labels": notes} if notes else {})
    manifests = [_manifest(layout, one, layer, date, config, notes) for one, layer in sorted(layers.items())]
    inner = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": manifests, "annotations": notes}
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    top = layout.add("index.v1+json", _document(inner), annotations=names)
    outer = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [top]}
    return Image(top["digest"], layout.tar(_document(outer), date))


def compressed(tar: bytes) -> bytes:
    """Return it as gzip packs it, without a name or a date in it."""
    return gzip.compress(tar, 9, mtime=0)


def _manifest(
    layout: _Layout, architecture: str, tar: bytes, date: int, config: dict[str, Any], notes: dict[str, str]
) -> dict[str, Any]:
    """Add one architecture's layer, configuration and manifest, and return the manifest's descriptor."""
    layer = layout.add("layer.v1.tar+gzip", compressed(tar))
    created = datetime.fromtimestamp(date, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    configuration = {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"created": created}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": layout.add("config.v1+json", _document(configuration)),
        "layers": [layer],
        "annotations": notes,
    }
    platform = {"os": "linux", "architecture": architecture}
    return layout.add("manifest.v1+json", _document(manifest), platform=platform)


def _document(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
