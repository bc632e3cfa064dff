"""Rules about the file system of the records: without a record, no pod gets its network."""

from __future__ import annotations

from collections.abc import Iterator

from cni_chain.checks.places import Places
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, of_chain
from cni_chain.node import space
from cni_chain.node.survey import Survey

UNWRITABLE = Kind(
    "records-unwritable",
    ERROR,
    f"the directory of the records (`stateDir`) is on a read-only file system, or on one with less than "
    f"{space.FEW_BYTES >> 10} KiB or {space.FEW_INODES} inodes left (not looked at below `--root`)",
    "Every ADD fails with error 5 before a plugin runs: what ran for a pod is recorded first, so that DEL can undo it.",
    "Free space on it (df -h, df -i), or mount it writable: a file system that failed is often mounted read-only, and "
    "dmesg says why.",
    refused=True,
)
LOW = Kind(
    "records-space-low",
    WARNING,
    f"the file system of the records has less than {space.LOW_BYTES >> 20} MiB or {space.LOW_INODES} inodes left, and "
    f"less than a {space.LOW_PART}th of all it has (not looked at below `--root`)",
    "When it is full, every ADD fails with error 5.",
    "Free space on it: df -h and df -i show what is left.",
)


@of_chain(UNWRITABLE, LOW)
def room(survey: Survey, _: Places) -> Iterator[Finding]:
    """Yield what keeps, or will soon keep, records from being written."""
    found = space.left(survey.tree, survey.facade.state_dir)
    if found is None:
        return
    if found.failing:
        yield UNWRITABLE.at(survey.facade.state_dir, f"no record can be written here: {found.failing}")
    elif found.low:
        yield LOW.at(survey.facade.state_dir, found.low)
