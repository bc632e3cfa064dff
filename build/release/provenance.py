"""Writes where a release comes from: an in-toto statement with SLSA's provenance as its predicate.

https://in-toto.io/Statement/v1 and https://slsa.dev/provenance/v1. It has no time in it: the same commit, built in the
same way, gives the same statement.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PAGE = "docs/develop/releasing.md"


@dataclass(frozen=True)
class Origin:
    """What was built, and by whom."""

    repository: str  # https://…, where the source is published
    commit: str
    version: str
    builder: str  # the URI of who ran the build; empty: a person, by the steps of PAGE

    @property
    def build_type(self) -> str:
        """How it was built: the page that describes it, as it was in this version."""
        return f"{self.repository}/blob/v{self.version}/{PAGE}"

    @property
    def source(self) -> dict[str, Any]:
        return {"uri": f"git+{self.repository}@refs/tags/v{self.version}", "digest": {"gitCommit": self.commit}}


def statement(
    origin: Origin, files: Mapping[str, bytes], image: tuple[str, str], materials: Iterable[str], date: int
) -> bytes:
    """Return the statement about these files (name and content) and an image (name and digest), as JSON.

    `materials` are the packages (package URLs) that went into the build.
    """
    name, digest = image
    subjects = [_subject(file, hashlib.sha256(content).hexdigest()) for file, content in sorted(files.items())]
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [*subjects, _subject(name, digest.removeprefix("sha256:"))],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": origin.build_type,
                "externalParameters": {"source": origin.source["uri"], "image": name},
                "internalParameters": {"SOURCE_DATE_EPOCH": date},
                "resolvedDependencies": [origin.source, *({"uri": uri} for uri in sorted(set(materials)))],
            },
            "runDetails": {"builder": {"id": origin.builder or f"{origin.build_type}#steps"}},
        },
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _subject(name: str, sha256: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": sha256}}
