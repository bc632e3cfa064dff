"""`cni-chain watch` on the real kernel: who writes what, also a writer that has ended; and rewrite wars."""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from tests.cli.test_terminal import ESCAPE, shown_by
from tests.support.files import mounts, schemas
from tests.support.files.node import Json, Node
from tests.support.files.outcome import stop, wait_until

pytestmark = pytest.mark.root

WITHOUT_FANOTIFY = ("/usr/bin/setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
# Writes what it is told, each time as agents do: a temporary file that it renames.
WRITER = """\
import os, sys
open("/proc/self/comm", "w").write(sys.argv[1])
for line in sys.stdin:
    path, text = line.split()
    with open(path + ".tmp", "w") as file:
        file.write(text)
    os.rename(path + ".tmp", path)
"""


class Watch:
    """`cni-chain watch` at work, and what it has printed."""

    def __init__(self, node: Node, out: Path, *options: str, before: tuple[str, ...] = ()) -> None:
        node.change_facade(chainDir=str(node.chain_dir))
        self.out = out
        command = [*before, node.program, "watch", "--net-dir", str(node.net_dir), *options]
        with out.open("wb") as stdout:
            self.process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.STDOUT)
        self.prints("watching")

    def prints(self, pattern: str) -> str:
        """Wait until that is printed; return it."""
        found: list[re.Match[str]] = []

        def printed() -> bool:
            found[:] = re.finditer(pattern, self.out.read_text(), re.MULTILINE)
            return bool(found)

        wait_until(printed, f"{pattern} in {self.out.read_text()}")
        return found[0][0]

    def has_printed(self, pattern: str, times: int) -> None:
        """Wait until a pattern is printed so many times."""
        wait_until(lambda: len(re.findall(pattern, self.out.read_text())) >= times, f"{pattern}, {times} times")

    def ends(self) -> tuple[int, str]:
        """Let Ctrl-C end it; return the exit status and the summary."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(20)
        return status, self.out.read_text().rpartition("\n\nwatched ")[2].partition("\n")[2].lstrip("\n")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Start = Callable[..., Watch]


@pytest.fixture
def start(node: Node, tmp_path: Path) -> Iterator[Start]:
    watches: list[Watch] = []

    def begin(*options: str, before: tuple[str, ...] = ()) -> Watch:
        watches.append(Watch(node, tmp_path / f"out{len(watches)}", *options, before=before))
        return watches[-1]

    yield begin
    for watch in watches:
        watch.kill()


class Writing:
    """A process of that name, which writes when it is told."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-I", "-c", WRITER, name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1)

    def write(self, path: Path, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{path} {text}\n")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def agents() -> Iterator[tuple[Writing, Writing]]:
    made = Writing("cilium-agent"), Writing("install-cni")
    yield made
    for one in made:
        one.end()


def fights(watch: Watch, agents: tuple[Writing, Writing], path: Path, turns: int) -> None:
    """Each of two agents writes in turn; each write is seen before the next."""
    for number in range(turns):
        one = number % 2
        agents[one].write(path, f"{'ab'[one]}")
        watch.has_printed(f"{path}  moved in", number + 1)


def test_each_change_is_a_line_with_its_writer_and_the_summary_counts_them(
    node: Node, start: Start, agents: tuple[Writing, Writing]
) -> None:
    watch = start()
    cilium, fragment = agents[0], node.chain_dir / "cilium.d/05-cilium.conflist"
    cilium.write(fragment, "{}")
    watch.prints(rf"^\d\d:\d\d:\d\d  {fragment}  moved in  by cilium-agent {cilium.process.pid}(, .*)?$")
    (node.net_dir / "99-mine.conf").write_text("{}")
    watch.prints(rf"  {node.net_dir}/99-mine.conf  .*written  by python\S* {os.getpid()}(, .*)?$")
    (node.net_dir / "99-mine.conf").unlink()
    watch.prints(rf"  {node.net_dir}/99-mine.conf  removed  by python")

    status, summary = watch.ends()

    assert status == 0
    # Neither the agent's temporary file nor what came and went is anything that a runtime has to do with.
    assert re.fullmatch(rf"{fragment}\n      1  cilium-agent(, .*)?, \d+s ago\n", summary), summary


def test_two_agents_that_change_a_file_back_and_forth_are_a_war(
    node: Node, start: Start, agents: tuple[Writing, Writing]
) -> None:
    watch = start()
    path = node.net_dir / "05-cilium.conflist"
    fights(watch, agents, path, 4)
    assert "war" not in watch.out.read_text()  # three turns may be a roll-out
    agents[0].write(path, "a")

    told = watch.prints(rf"^\d\d:\d\d:\d\d  {path}  ! a rewrite war: .*$")
    status, summary = watch.ends()

    by = r"by cilium-agent.* and install-cni.*, which change it back and forth"
    assert re.search(rf"a rewrite war: [1-9]\d* writes a minute {by}", told)
    assert status == 1
    assert re.search(rf"^{path}\n  ! a rewrite war: ", summary)
    assert re.search(r"^ +3  cilium-agent.*\n +2  install-cni", summary, re.MULTILINE)


def test_a_file_that_one_agent_rewrites_is_no_war(node: Node, start: Start, agents: tuple[Writing, Writing]) -> None:
    watch = start()
    path = node.net_dir / "05-cilium.conflist"
    for number in range(8):
        agents[0].write(path, str(number % 2))
        watch.has_printed(f"{path}  moved in", number + 1)

    status, summary = watch.ends()

    assert (status, "war" in summary) == (0, False)


def test_a_writer_that_has_ended_before_it_was_asked_about_is_named_all_the_same(node: Node, start: Start) -> None:
    """While the watch is stopped a shell writes and ends; its parent, which has not waited for it, does so later."""
    watch = start()
    stop(watch.process.pid)
    waiting = subprocess.Popen(["/bin/sh", "-c", f"echo 1 >{node.net_dir}/10-waiting.conf"])
    gone = subprocess.Popen(["/bin/sh", "-c", f"echo 1 >{node.net_dir}/20-gone.conf"])
    gone.wait()
    os.waitid(os.P_PID, waiting.pid, os.WEXITED | os.WNOWAIT)
    watch.process.send_signal(signal.SIGCONT)

    watch.prints(rf"10-waiting.conf  .*written  by sh {waiting.pid}(, .*)?$")
    watch.prints(rf"20-gone.conf  .*written  by an ended child of python\S* {gone.pid}(, .*)?$")
    waiting.wait()


def test_so_is_one_that_a_busy_node_has_started_meanwhile(node: Node, start: Start) -> None:
    """Hundreds of processes have come and gone, of which the kernel reports several steps each."""
    watch = start()
    stop(watch.process.pid)
    subprocess.run(["/bin/sh", "-c", "for one in $(seq 500); do /bin/true; done"], check=True)
    gone = subprocess.Popen(["/bin/sh", "-c", f"echo 1 >{node.net_dir}/20-gone.conf"])
    gone.wait()
    watch.process.send_signal(signal.SIGCONT)

    watch.prints(rf"20-gone.conf  .*written  by an ended child of python\S* {gone.pid}(, .*)?$")


def test_an_owner_that_comes_while_the_watch_lasts_is_watched_too(node: Node, start: Start) -> None:
    watch = start()
    (node.chain_dir / "mesh.d").mkdir()
    watch.prints(rf"{node.chain_dir}/mesh.d  created \(a directory\)  by python")
    (node.chain_dir / "mesh.d/10-mesh.conf").write_text("{}")
    watch.prints(r"mesh.d/10-mesh.conf  .*written  by python")


@pytest.mark.parametrize("removed", ["removed", "moved away"])
@pytest.mark.parametrize("before", [(), WITHOUT_FANOTIFY], ids=["fanotify", "inotify"])
def test_an_owner_whose_directory_comes_anew_is_watched_again(
    node: Node, start: Start, removed: str, before: tuple[str, ...]
) -> None:
    watch = start(before=before)
    directory = node.chain_dir / "mesh.d"
    for time in range(1, 4):
        directory.mkdir()
        watch.has_printed(rf"{directory}  created \(a directory\)", time)
        (directory / "10-mesh.conf").write_text("{}")
        watch.has_printed(r"mesh.d/10-mesh.conf  (created, )?written", time)
        if removed == "removed":
            shutil.rmtree(directory)
        else:
            directory.rename(node.net_dir / f"mesh{time}")
        watch.has_printed(rf"{directory}  {removed} \(a directory\)", time)


def test_what_cni_chain_itself_writes_is_marked(node: Node, start: Start) -> None:
    watch = start("--json")
    done = subprocess.run(
        [node.program, "owner", "add", "mesh", "--optional", "--net-dir", str(node.net_dir)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    watch.prints(re.escape(str(node.facade)))
    watch.process.send_signal(signal.SIGINT)

    assert watch.process.wait(20) == 0
    lines = objects(watch)
    of_facade = [one for one in lines[:-1] if one.get("path") == str(node.facade)]
    assert {one["writer"]["isCniChain"] for one in of_facade} == {True}


def objects(watch: Watch) -> list[Json]:
    """What `--json` has printed; every line is as its schema says."""
    *lines, last = [json.loads(one) for one in watch.out.read_text().splitlines()]
    assert schemas.problem(last) == ""
    definitions = schemas.schema("watch")["$defs"]
    for one in lines:
        kind = "declaration" if "war" in one else "beginning" if "watching" in one else "change"
        Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": definitions}).validate(one)
    return [*lines, last]


def test_objects_are_as_their_schema_says_and_the_last_sums_up(
    node: Node, start: Start, agents: tuple[Writing, Writing]
) -> None:
    watch = start("--json")
    path = node.net_dir / "05-cilium.conflist"
    for number in range(6):
        agents[number % 2].write(path, "ab"[number % 2])
        moved = f'"path": "{path}", "changes": ["moved in"]'
        watch.has_printed(re.escape(moved), number + 1)
    watch.prints('"war": {')
    watch.process.send_signal(signal.SIGINT)

    assert watch.process.wait(20) == 1
    lines = objects(watch)
    (file,) = [one for one in lines[-1]["files"] if one["path"] == str(path)]
    assert {one["writer"]["command"]: one["writes"] for one in file["writers"]} == {"cilium-agent": 3, "install-cni": 3}
    assert {one["command"] for one in file["war"]["writers"]} == {"cilium-agent", "install-cni"}


def test_where_the_kernel_refuses_fanotify_changes_are_printed_without_their_writers(
    node: Node, start: Start, agents: tuple[Writing, Writing]
) -> None:
    watch = start(before=WITHOUT_FANOTIFY)
    why = r"The kernel doesn't name the writers \(fanotify: Operation not permitted\); run as root to see them\."
    watch.prints(f"^{why}$")
    path = node.net_dir / "05-cilium.conflist"
    fights(watch, agents, path, 7)
    watch.prints(rf"{path}  moved in  by an unknown process$")
    watch.prints(rf"{path}  ! a rewrite war: \d+ writes a minute, which change it back and forth$")

    status, summary = watch.ends()

    assert status == 1
    assert "      7  an unknown process, " in summary


def test_on_a_terminal_a_table_is_drawn_again_and_the_summary_stays(node: Node) -> None:
    node.change_facade(chainDir=str(node.chain_dir))

    shown = shown_by([node.program, "watch", "--net-dir", str(node.net_dir), "--for", "3s"], COLUMNS="80")

    assert shown.count("\x1b[H\x1b[2J") >= 2
    last = ESCAPE.sub("", shown.rpartition("\x1b[2J")[2])
    assert re.fullmatch(r"watched \S+ and 4 more directories for \d+s\n\nNothing was written\.\n", last), last


@pytest.fixture
def pod_of_this_test() -> Iterator[tuple[str, str, Path]]:
    """A pod's UID, its container's ID, and its cgroup, as the kubelet's cgroupfs driver lays them out."""
    uid, container = str(uuid.uuid4()), uuid.uuid4().hex * 2
    mounted = [one.split() for one in Path("/proc/mounts").read_text().splitlines()]
    for mount in mounted:
        top = Path(mount[1]) / f"kubepods-{uid}" / f"pod{uid}"
        if mount[2] not in ("cgroup", "cgroup2"):
            continue
        try:
            (top / container).mkdir(parents=True)
            (top / container / "cgroup.procs").read_text()
        except OSError:
            continue
        break
    else:
        pytest.skip("no cgroup can be made here")
    yield uid, container, top / container
    for folder in (top / container, top, top.parent):
        wait_until(functools.partial(is_removed, folder), f"the removal of {folder}")


def is_removed(cgroup: Path) -> bool:
    """Whether a cgroup is removed now; it takes a moment until the kernel has forgotten a process that has ended."""
    with contextlib.suppress(OSError):
        cgroup.rmdir()
    return not cgroup.exists()


def test_the_pod_of_a_writer_is_named_by_its_cgroup_and_the_kubelets_logs(
    node: Node, start: Start, agents: tuple[Writing, Writing], pod_of_this_test: tuple[str, str, Path]
) -> None:
    uid, container, cgroup = pod_of_this_test
    writer = agents[0]
    (cgroup / "cgroup.procs").write_text(str(writer.process.pid))
    try:
        with mounts.private():
            mounts.mount(Path("/var/log"), "enough")
            Path(f"/var/log/pods/kube-system_cilium-x7k2p_{uid}/cilium-agent").mkdir(parents=True)
            watch = start()
            writer.write(node.net_dir / "05-cilium.conflist", "{}")
            pattern = rf"moved in  by cilium-agent {writer.process.pid}, pod kube-system/cilium-x7k2p$"
            watch.prints(pattern)
            assert watch.ends()[0] == 0
        with_uid = start("--json")
        writer.write(node.net_dir / "05-cilium.conflist", "{1}")
        with_uid.prints(f'"podUID": "{uid}", "container": "{container}"')
    finally:
        writer.end()


def test_a_directory_that_does_not_exist_is_said(node: Node) -> None:
    node.change_facade(chainDir="/nowhere/chain.d")

    result = node_watch(node, "--for", "1s")

    assert result.returncode == 0
    assert "/nowhere/chain.d can't be watched: No such file or directory\n" in result.stdout


def test_without_a_facade_no_directory_of_owners_has_to_exist(node: Node) -> None:
    node.facade.unlink()

    result = node_watch(node, "--for", "1s")

    assert result.returncode == 0
    assert "can't be watched" not in result.stdout


def node_watch(node: Node, *options: str) -> subprocess.CompletedProcess[str]:
    command = [node.program, "watch", "--net-dir", str(node.net_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)
