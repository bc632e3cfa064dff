"""Who follows a log (`cni_chain.node.following`)."""

import os
from pathlib import Path

from cni_chain.node.following import Follower


def test_a_pipe_counts_as_absent_until_a_file_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    follower = Follower(str(path))
    assert follower.lines() == []

    path.unlink()
    path.write_bytes(b"a line\nhalf")
    assert follower.lines() == [b"a line"]
    follower.close()
