"""What freezing and an interpreter add to the environment is taken out again."""

from __future__ import annotations

import pytest

from cni_chain import environment

HOME = "/opt/cni/cni-chain/1.0/_internal"


@pytest.mark.parametrize(
    ("environ", "callers"),
    [
        pytest.param({"LD_LIBRARY_PATH": HOME}, {}, id="none was set"),
        pytest.param(
            {"LD_LIBRARY_PATH": f"{HOME}:/opt/containerd/lib:", "LD_LIBRARY_PATH_ORIG": "/opt/containerd/lib:"},
            {"LD_LIBRARY_PATH": "/opt/containerd/lib:"},
            id="containerd's",
        ),
        pytest.param(
            {"LD_LIBRARY_PATH": HOME, "LD_LIBRARY_PATH_ORIG": "/theirs"},
            {"LD_LIBRARY_PATH_ORIG": "/theirs"},
            id="a caller that is frozen itself and passed its note on",
        ),
        pytest.param({"LD_LIBRARY_PATH": "/other"}, {"LD_LIBRARY_PATH": "/other"}, id="untouched"),
        pytest.param({"_PYI_ARCHIVE_FILE": "/x", "_PYI_PARENT_PROCESS_LEVEL": "1", "A": "b"}, {"A": "b"}, id="notes"),
    ],
)
def test_what_the_boot_loader_adds_is_undone(environ: dict[str, str], callers: dict[str, str]) -> None:
    assert environment.before_boot_loader(environ, HOME) == callers


@pytest.mark.parametrize(
    ("block", "variables"),
    [
        pytest.param(b"A=b\0C=d=e\0", {"A": "b", "C": "d=e"}, id="usual"),
        pytest.param(b"A=1\0A=2\0", {"A": "1"}, id="the first of two counts"),
        pytest.param(b"A=\xff\0", {"A": "\udcff"}, id="not UTF-8"),
        pytest.param(b"A=\0nonsense\0=x\0", {"A": ""}, id="empty, and what is no variable"),
        pytest.param(b"", {}, id="none"),
    ],
)
def test_the_environment_is_the_one_that_the_process_was_started_with(block: bytes, variables: dict[str, str]) -> None:
    assert environment.parse(block) == variables
