"""What the agent says of a clean-up that has failed as a whole."""

import threading
from pathlib import Path

import pytest

from cni_chain.daemon.collecting import Collector
from cni_chain.node.attachments import StateDir


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'cni-chain: no memory is left' >&2; exit 1", "gc: cni-chain: no memory is left"),
        ("kill -9 $$", "gc: was killed by signal 9"),
        ("exit 3", "gc: ended with status 3"),
        ("echo '[]'", "gc: its answer is no document"),
    ],
    ids=["its own words", "killed", "silent", "another answer"],
)
def test_why_it_printed_no_document_is_told(tmp_path: Path, script: str, said: str) -> None:
    program = tmp_path / "cni-chain"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    state = StateDir("/var/lib/cni/chain")
    state.stale_markers.append("/var/lib/cni/chain/.stranded/x")
    told: list[tuple[int, list[str]]] = []
    ended = threading.Event()

    def done(freed: int, failures: list[str]) -> None:
        told.append((freed, failures))
        ended.set()

    collector = Collector(str(program), [], 1e-9)
    collector.collect([state], done)

    assert ended.wait(20)
    assert told == [(0, [said])]
