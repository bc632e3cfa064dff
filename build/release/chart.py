"""Packs the Helm chart: as `helm package` would, but with the image's name and digest in it, and reproducibly."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

from build.release.oci import compressed

CHART = "deploy/helm/cni-chain"
_NAME = "cni-chain"
_VERSIONS = re.compile(r'^(?:version: (?P<version>\S+)|appVersion: "(?P<app>[^"]+)")$', re.MULTILINE)
_REPOSITORY = re.compile(r"(?<=^  repository: )\S+$", re.MULTILINE)
_DIGEST = re.compile(r'(?<=^  digest: )""', re.MULTILINE)


class ChartError(Exception):
    """The chart can't be published as it is; the message says why."""


def file_name(version: str) -> str:
    """Return the name that Helm gives a chart's archive."""
    return f"{_NAME}-{version}.tgz"


def packaged(checkout: Path, version: str, date: int, image: str, digest: str) -> bytes:
    """Return the archive of a checkout's chart; its image is `image`, by `digest` if there is one.

    Raises ChartError if the chart is of another version, or its values have no image to replace.
    """
    chart = checkout / CHART
    texts = {path.relative_to(chart).as_posix(): path.read_text() for path in chart.rglob("*") if path.is_file()}
    found = [match["version"] or match["app"] for match in _VERSIONS.finditer(texts.get("Chart.yaml", ""))]
    if found != [version, version]:
        raise ChartError(f"{CHART}/Chart.yaml: has {' and '.join(found) or 'no version'}, the program is {version}")
    values = texts.get("values.yaml", "")
    for pattern, text in ((_REPOSITORY, image), (_DIGEST, f'"{digest}"')):
        values, count = pattern.subn(text, values)
        if count != 1:
            raise ChartError(f"{CHART}/values.yaml: {count} lines for the image match {pattern.pattern}, not one")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in sorted((texts | {"values.yaml": values}).items()):
            content = text.encode()
            entry = tarfile.TarInfo(f"{_NAME}/{name}")
            entry.size, entry.mtime, entry.mode = len(content), date, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return compressed(out.getvalue())
