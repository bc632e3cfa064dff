"""The frozen program whose publication is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import programs


@pytest.fixture(scope="session")
def frozen(request: pytest.FixtureRequest) -> Path:
    """The directory that `make frozen` made: whatever `--program` names beside the source."""
    paths = [Path(name).absolute() for name in programs(request.config) if name != "source"]
    if not paths:
        pytest.skip("by design: what is published is the frozen program: --program out/frozen/bin/cni-chain")
    return paths[0].parent.parent
