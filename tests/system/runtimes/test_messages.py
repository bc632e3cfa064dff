"""What docs/evidence/runtimes.md shows of each failure is what a kubelet is told, word for word."""

import pytest

from tests.lab.runtimes.messages import PART
from tests.support.runtimes.failures import FAILURES, Failure, told
from tests.support.runtimes.kubelet import Kubelet


@pytest.mark.parametrize("failure", FAILURES, ids=[failure.name.replace(" ", "-") for failure in FAILURES])
def test_what_is_said(kubelet: Kubelet, failure: Failure) -> None:
    """`python -m tests.lab.runtimes.messages` writes it anew."""
    if failure.verb == "CHECK" and not kubelet.runtime.checks:
        pytest.skip("by design: only CRI-O calls CHECK")

    said = told(kubelet, failure)

    assert f"\n{kubelet.runtime.family}: {said}\n" in PART.read()
