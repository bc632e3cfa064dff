"""What the agent is woken by: on the real kernel, in directories of the test's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from cni_chain.daemon.watch import Watch
from tests.support.sandbox.namespaces import CHECKOUT

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
    return Watch(plain, [nested], f"{plain[0]}/00-cni-chain.conflist")


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
    watch = Watch([str(tmp_path / "later")], [], "")
    assert not watch.wait(AT_ONCE)
    (tmp_path / "later").mkdir()
    assert watch.wait(PATIENCE)


@pytest.mark.root  # the kernel names writers to nobody else
def test_the_last_writer_is_the_last_one_also_of_a_name_that_was_written_before(
    watch: Watch, directories: list[Path]
) -> None:
    facade, renamed = directories[0] / "00-cni-chain.conflist", directories[0] / "00-cni-chain.conflist.cilium_bak"
    for path in (facade, renamed, facade):
        other(f'echo {{}} >"$1/{path.name}"', directories[0])
        assert watch.wait(PATIENCE)
        settle(watch)

        assert watch.writer().endswith(f": {path}")


@pytest.mark.root
def test_names_that_writers_make_up_take_no_memory(watch: Watch, directories: list[Path]) -> None:
    """In a war of two agents they would be 100,000 a day."""
    settle(watch)
    other('for i in $(seq 500); do echo {} >"$1/10-list.$i"; done', directories[0])
    settle(watch)

    assert size(watch) < 50_000


def size(found: object) -> int:
    """The bytes of what the program has in an object of its own."""
    inner: list[object] = []
    if isinstance(found, dict):
        inner = [*found.keys(), *found.values()]
    elif isinstance(found, list | tuple):
        inner = list(found)
    elif type(found).__module__.startswith("cni_chain"):
        inner = list(vars(found).values())
    return sys.getsizeof(found) + sum(map(size, inner))


FEW = """
import pathlib, sys, time
from cni_chain.daemon.watch import Watch
limit = pathlib.Path("/proc/sys/user/max_inotify_instances")  # of this user namespace, in which fanotify is forbidden
limit.write_text(sys.argv[1])
watch = Watch([sys.argv[2]], [sys.argv[3]], sys.argv[2])
print(watch.unwatched)
begun = time.monotonic()
assert not watch.wait(0.2) and time.monotonic() - begun < 5
limit.write_text("100")
assert not watch.wait(0.2)
print(watch.unwatched)
"""


@pytest.mark.parametrize(("many", "named"), [(0, ["net.d", "chain.d"]), (1, ["chain.d"])])
def test_what_can_not_be_watched_is_named_until_it_can(tmp_path: Path, many: int, named: list[str]) -> None:
    """Other programs may have taken all that the kernel gives."""
    directories = [tmp_path / "net.d", tmp_path / "chain.d"]
    for directory in directories:
        directory.mkdir()
    inside = ["unshare", "--user", "--map-root-user", sys.executable, "-c", FEW, str(many), *map(str, directories)]

    done = subprocess.run(inside, capture_output=True, text=True, check=False, cwd=CHECKOUT)

    words = "; ".join(f"{tmp_path / name} can't be watched: Too many open files" for name in named)
    assert (done.stdout, done.returncode) == (f"{words}\n\n", 0), done.stderr
