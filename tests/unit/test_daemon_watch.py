"""What the agent is woken by: on the real kernel, in directories of the test's own."""

import subprocess
from pathlib import Path

import pytest

from cni_chain.daemon.watch import Watch

PATIENCE = 20.0
AT_ONCE = 0.3  # long enough for an event, and shorter than anything else that ends a wait


@pytest.fixture
def directories(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "net.d", tmp_path / "bin", tmp_path / "chain.d"]
    for directory in made:
        directory.mkdir()
    (made[-1] / "istio.d").mkdir()
    return made


@pytest.fixture
def watch(directories: list[Path]) -> Watch:
    *plain, nested = map(str, directories)
    return Watch(plain, [nested])


def other(script: str, directory: Path) -> None:
    """Another process does it: what the agent writes itself doesn't wake it."""
    subprocess.run(["/bin/sh", "-euc", script, "other", str(directory)], check=True)


def settle(watch: Watch) -> None:
    while watch.wait(AT_ONCE):
        pass


def test_what_changes_before_the_first_wait_ends_it(watch: Watch, directories: list[Path]) -> None:
    other('rm -r "$1"', directories[0])
    assert watch.wait(PATIENCE)


@pytest.mark.parametrize("number", range(3), ids=["net.d", "bin", "chain.d"])
def test_a_directory_that_is_made_anew_is_watched_again(watch: Watch, directories: list[Path], number: int) -> None:
    """Most file systems give a new directory the number of one that was removed just before."""
    directory = directories[number]
    for _ in range(3):
        other('rm -r "$1"; mkdir "$1"', directory)
        settle(watch)
        other('echo {} >"$1/10-file.conf"', directory)
        assert watch.wait(PATIENCE)
        settle(watch)


def test_it_may_wait_for_longer_than_one_call_of_the_system_can(watch: Watch, directories: list[Path]) -> None:
    settle(watch)
    other('echo {} >"$1/10-file.conf"', directories[0])
    assert watch.wait(1e15)


def test_a_directory_of_an_owner_that_is_made_anew_is_watched_again(watch: Watch, directories: list[Path]) -> None:
    directory = directories[-1] / "istio.d"
    for _ in range(3):
        other('rm -r "$1"; mkdir "$1"', directory)
        settle(watch)
        other('echo {} >"$1/10-istio.conf"', directory)
        assert watch.wait(PATIENCE)
        settle(watch)


def test_a_directory_that_comes_later_ends_the_wait(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path / "later")], [])
    assert not watch.wait(AT_ONCE)
    (tmp_path / "later").mkdir()
    assert watch.wait(PATIENCE)
