"""The state directory: which errors mean what, and what is left behind nowhere."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cni_chain.plugin.record import Attachment, Record
from cni_chain.plugin.records import State

ATTACHMENT = Attachment("net", "c1", "eth0")


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(str(tmp_path / "state"), allow_unsafe=os.geteuid() != 0)
    state.create()
    return state


def a_record(attachment: Attachment = ATTACHMENT) -> Record:
    return Record(attachment, [], {"path": "/bin", "netns": "/n", "cniArgs": ""}, 1.5)


@pytest.mark.parametrize(
    ("given", "path"), [("/", "//net:c1:eth0"), ("/s", "/s/net:c1:eth0"), ("/s//", "/s/net:c1:eth0")]
)
def test_any_directory_may_hold_the_state(given: str, path: str) -> None:
    assert State(given).path_of(ATTACHMENT) == path


def test_an_error_names_the_file_that_it_is_of(state: State) -> None:
    """A record's path that is taken by a directory: it isn't the state directory that is at fault."""
    path = state.path_of(ATTACHMENT)
    os.mkdir(path)

    with pytest.raises(OSError, match=r".") as caught:
        state.begin(a_record())

    assert path in (caught.value.filename, caught.value.filename2)


def test_a_writer_that_was_killed_is_cleared_up_after_and_one_at_work_is_not(state: State, tmp_path: Path) -> None:
    long = Attachment("net", "c" * 300, "eth0")
    names = [f".new-{name}" for name in ("net:c1:eth0", "net:c2:eth0", long.file, "network:c1:eth0", ".versions")]
    for name in names:
        Path(state.directory, name).touch()
    writer, ours = os.pipe()
    child = os.fork()
    if not child:
        held = State(state.directory, allow_unsafe=True).lock(Attachment("net", "c2", "eth0"))
        os.write(ours, b"y" if held else b"n")
        signal.pause()
    assert os.read(writer, 1) == b"y"

    state.clear_unfinished("net")

    os.kill(child, 9)
    os.waitpid(child, 0)
    left = {path.name for path in (tmp_path / "state").glob(".new-*")}
    assert left == {".new-net:c2:eth0", ".new-network:c1:eth0", ".new-.versions"}


def test_the_process_that_holds_an_attachment_is_known(state: State) -> None:
    other = State(state.directory, allow_unsafe=True)
    assert state.lock(ATTACHMENT)
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        other.lock(ATTACHMENT)
        os.write(write_end, str(other.holder(ATTACHMENT)).encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert int(os.read(read_end, 20)) == os.getpid()
    assert state.holder(ATTACHMENT) == 0
