"""Pods that can't start, again and again, until somebody corrects the mistake: nothing of them stays."""

import pytest

from tests.lab.runtimes.refused import MISTAKES, NOTHING, TRIES, Mistake, both
from tests.support.runtimes.kubelet import Kubelet


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name.replace(" ", "-") for mistake in MISTAKES])
def test_ten_refused_pods_leave_nothing_once_it_is_corrected(kubelet: Kubelet, mistake: Mistake) -> None:
    """Nobody calls GC. A plain conflist loses an address for each, where the runtime has forgotten the pod."""
    runtime = kubelet.runtime

    ours, plain = both(kubelet, mistake)

    # CRI-O takes no conflist with such a plugin, so that nothing ever runs; containerd 1.6 forgets no pod.
    harmless = runtime.keeps_failed or (runtime.needs_binaries and mistake.no_binary)
    assert len(ours.told) == len(plain.told) == TRIES
    assert all("istio/" in said for said in ours.told)
    assert ours.later == NOTHING
    assert plain.later.addresses == (0 if harmless else TRIES)
