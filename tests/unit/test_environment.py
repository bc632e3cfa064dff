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
    ("given", "callers"),
    [
        pytest.param(b"A=b\0", {"A": "b"}, id="python's"),
        pytest.param(b"A=b\0LC_CTYPE=C.UTF-8\0", {"A": "b", "LC_CTYPE": "C.UTF-8"}, id="the caller's own"),
        pytest.param(b"A=b\0LC_CTYPE=C\0", {"A": "b", "LC_CTYPE": "C"}, id="changed by python"),
    ],
)
def test_the_locale_that_python_sets_is_undone(given: bytes, callers: dict[str, str]) -> None:
    assert environment.before_interpreter({"A": "b", "LC_CTYPE": "C.UTF-8"}, given) == callers
