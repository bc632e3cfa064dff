"""Which tests may run at the same time where pytest-xdist runs them in several workers (`-n`).

The tests of one lane run in one worker, one after the other. Most tests share nothing, and each is a lane of its own.
A lane of several shares what the machine has only once, or a node that takes long to make.

xdist's own marker for this, `xdist_group`, does nothing with pytest 9.2: xdist 3.8 appends the group to `_nodeid`,
which pytest no longer reads.
"""

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

PROGRAM = r"(source|cni-chain)\b"
RUNTIME = r"(containerd-\d\.\d|CRI-O-[\d.]+)"
# The first pattern that a test's ID begins with gives the lane its name. They begin in this order: the longest first.
LANES = (
    (r"tests/cli/test_(doctor_here|rules)\.py", "sockets and ports of agents"),
    (rf"tests/system/runtimes/test_(walk|install)\.py.*{RUNTIME}", r"\1, \2"),
    (r"tests/release/test_(roots|libraries)\.py", "roots of other distributions"),
    (r"tests/system/agents/test_waiting\.py", "agents that are waited for"),
    (r"tests/release/test_(chart|monitoring)", "chart"),
    (r"tests/release/", "builds, and counts of system calls"),
    (rf"tests/system/mesh/.*\[(\S+?)-{PROGRAM}", r"mesh, \1 and \2"),
    (rf"tests/system/runtimes/(\w+)\.py::.*\[(\S+?)-{PROGRAM}", r"\1, \2 and \3"),
    (r"tests/system/agents/.*\[.*\b1\.18\b", "agents with Cilium 1.18"),
    (r"tests/system/agents/", "agents with Cilium 1.20"),
    # What one attaches to its own cgroup, `mesh check` and `status` note in the other.
    (r"tests/system/(service_address/|shim/|capture/test_pods\.py|runtimes/test_first_day\.py)", "programs of cgroups"),
    (r"tests/system/(?!pods/|daemon/)((?:runtimes/|owners/)?\w+)", r"\1"),
)


def begins(test: str) -> int:
    """The place of a test's lane in the order in which lanes begin; lanes of one test come last."""
    return next((place for place, (pattern, _) in enumerate(LANES) if re.match(pattern, test)), len(LANES))


def lane(test: str) -> str:
    """The lane of a test, by the test's ID."""
    matches = ((re.match(pattern, test), name) for pattern, name in LANES)
    return next((match.expand(name) for match, name in matches if match), test)


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """A worker that has nothing left gets the next lane, in the order of their first tests."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return lane(nodeid)
