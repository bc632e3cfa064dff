"""Files are put in place as a whole, with their mode, and what was there before can be put back."""

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_chain.change import files
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree
from tests.support.files.outcome import wait_until


@pytest.fixture(autouse=True)
def umask() -> object:
    """An administrator who lets nobody see anything must not keep agents out of their directories."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_has_its_mode_whatever_the_umask_is(tmp_path: Path) -> None:
    files.put(str(tmp_path / "a.conflist"), b"{}", 0o644)

    assert (tmp_path / "a.conflist").read_bytes() == b"{}"
    assert (tmp_path / "a.conflist").stat().st_mode & 0o7777 == 0o644
    assert names(tmp_path) == ["a.conflist"]


def test_a_new_file_is_gone_after_undo_and_an_old_one_is_as_it_was(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"before")
    old.chmod(0o640)

    undo_new = files.put(str(tmp_path / "new"), b"x", 0o644)
    undo_old = files.put(str(old), b"after", 0o644)
    undo_old()
    undo_new()

    assert names(tmp_path) == ["old"]
    assert (old.read_bytes(), old.stat().st_mode & 0o7777) == (b"before", 0o640)


def test_who_reads_meanwhile_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "facade"
    texts = [json.dumps({"n": number, "text": "x" * 200_000}).encode() for number in range(2)]
    files.put(str(path), texts[0], 0o644)
    seen: list[bytes] = []
    end = threading.Event()

    def look() -> None:
        while not end.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=look)
    reader.start()
    wait_until(lambda: seen, "a look at the file")
    for number in range(20):
        files.put(str(path), texts[number % 2], 0o644)
    end.set()
    reader.join()

    assert seen
    assert set(seen) <= set(texts)


def test_no_runtime_or_agent_takes_the_temporary_name_for_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names_seen: list[Path] = []
    rename = os.rename

    def observed(old: str, new: str) -> None:
        names_seen.append(Path(old))
        rename(old, new)

    monkeypatch.setattr(os, "rename", observed)

    files.put(str(tmp_path / "00-cni-chain.conflist"), b"{}", 0o644)

    (temporary,) = names_seen
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".")
    assert temporary.suffix not in {".conf", ".conflist", ".json"}


def test_a_killed_process_s_left_over_is_no_hindrance_and_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"safe")
    (tmp_path / ".a.new").symlink_to(tmp_path / "victim")

    files.put(str(tmp_path / "a"), b"{}", 0o644)

    assert names(tmp_path) == ["a", "victim"]
    assert (tmp_path / "victim").read_bytes() == b"safe"


def test_what_somebody_else_has_just_changed_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"theirs")

    with pytest.raises(RefusedError, match="another process has just changed this file"):
        files.put(str(tmp_path / "a"), b"mine", 0o644, expected=b"what I read")

    assert (tmp_path / "a").read_bytes() == b"theirs"


def test_links_and_directories_in_the_place_of_a_file_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "directory").mkdir()

    for name in ("link", "directory"):
        with pytest.raises(RefusedError, match=f"{name}: is not a regular file"):
            files.put(str(tmp_path / name), b"{}", 0o644)


def test_a_disk_that_doesn_t_keep_what_was_written_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "read", lambda _: b"something else")

    with pytest.raises(RefusedError, match="a: differs from what was written"):
        files.put(str(tmp_path / "a"), b"{}", 0o644)


def test_an_error_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=f"{tmp_path}/no/a: No such file or directory"):
        files.put(str(tmp_path / "no/a"), b"{}", 0o644)

    assert names(tmp_path) == []


def test_a_link_is_swapped_and_swapped_back(tmp_path: Path) -> None:
    link = tmp_path / "cni-chain"
    files.link(str(link), "../cni-chain/1/cni-chain")

    undo = files.link(str(link), "../cni-chain/2/cni-chain")
    assert os.readlink(link) == "../cni-chain/2/cni-chain"
    undo()

    assert os.readlink(link) == "../cni-chain/1/cni-chain"
    assert names(tmp_path) == ["cni-chain"]


def test_directories_above_are_made_too_and_taken_back_if_nobody_uses_them(tmp_path: Path) -> None:
    undo = files.directory(str(tmp_path / "a/b/c"))
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o755
    (tmp_path / "a/theirs").touch()

    undo()

    assert names(tmp_path / "a") == ["theirs"]


def tree(path: Path) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "run").write_bytes(b"program")
    (path / "run").chmod(0o700)
    (path / "inner/data").write_bytes(b"data")
    (path / "inner/link").symlink_to("data")
    return path


def test_a_directory_is_copied_with_links_and_modes_for_everybody_to_read(tmp_path: Path) -> None:
    source, target = tree(tmp_path / "source"), tmp_path / "target"

    undo = files.copy(str(source), str(target))

    assert files.same(str(source), str(target))
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (target, target / "run", target / "inner/data")}
    assert modes == {"target": 0o755, "run": 0o755, "data": 0o644}
    assert os.readlink(target / "inner/link") == "data"
    undo()
    assert names(tmp_path) == ["source"]


def test_half_a_copy_is_never_seen_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tree(tmp_path / "source"), tmp_path / "target"
    pieces = files._pieces

    def fail(path: str) -> Iterator[bytes]:
        assert not target.exists()
        if path.endswith("run"):
            raise OSError(28, "No space left on device")
        return pieces(path)

    monkeypatch.setattr(files, "_pieces", fail)

    with pytest.raises(RefusedError, match="target: No space left on device"):
        files.copy(str(source), str(target))

    assert names(tmp_path) == ["source"]


@pytest.mark.parametrize("change", ["content", "mode", "more", "less", "link", "writable"])
def test_two_directories_differ_in_any_of_these(tmp_path: Path, change: str) -> None:
    one, other = tree(tmp_path / "one"), tree(tmp_path / "other")
    assert files.same(str(one), str(other))

    match change:
        case "content":
            (other / "inner/data").write_bytes(b"Data")
        case "mode":
            (other / "run").chmod(0o644)
        case "more":
            (other / "inner/more").touch()
        case "less":
            (other / "inner/data").unlink()
        case "link":
            (other / "inner/link").unlink()
            (other / "inner/link").symlink_to("../run")
        case "writable":
            (other / "inner/data").chmod(0o666)

    assert not files.same(str(one), str(other))


def test_one_command_at_a_time(tmp_path: Path) -> None:
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    later = str(tmp_path / "not/yet")

    with pytest.raises(RefusedError, match="another cni-chain command"), files.locked(Tree(), later):
        pass
    os.close(held)
    with files.locked(Tree(), later):
        pass
