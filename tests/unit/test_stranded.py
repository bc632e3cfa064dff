"""The markers of what is stranded: none is lost, and they tell when the last sweep was."""

from __future__ import annotations

import os
from pathlib import Path

from cni_chain.plugin.stranded import Stranded


def test_no_marker_is_lost_however_many_come_and_go(tmp_path: Path) -> None:
    """Each process' own is there after it was made, though the others take the directory away again and again."""
    children = []
    for number in range(6):
        child = os.fork()
        if not child:
            stranded, lost = Stranded(str(tmp_path / ".stranded")), 0
            for _ in range(200):
                stranded.mark(f"net:{number}:eth0")
                lost += not (tmp_path / ".stranded" / f"net:{number}:eth0").exists()
                stranded.unmark(f"net:{number}:eth0")
            os._exit(min(lost, 1))
        children.append(child)

    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 6
    assert not (tmp_path / ".stranded").exists()


def test_markers_that_come_and_go_do_not_begin_a_pause(tmp_path: Path) -> None:
    stranded = Stranded(str(tmp_path / ".stranded"))
    for number in range(3):
        stranded.mark(f"net:{number}:eth0")
    stranded.unmark("net:0:eth0")
    os.utime(tmp_path / ".stranded/net:1:eth0", (0, 0))

    assert stranded.due("net") == ["net:1:eth0"]

    stranded.pause(resume_at_once=False)
    stranded.mark("net:3:eth0")
    assert stranded.due("net") == []

    stranded.pause(resume_at_once=True)
    assert stranded.due("net") == ["net:1:eth0"]
