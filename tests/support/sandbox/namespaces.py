"""A machine of namespaces: its network, mounts and processes are its own, and go with their maker."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

CHECKOUT = Path(__file__).resolve().parents[3]

# Private and empty in there. A checkout or an interpreter that lies below one of them (/tmp) is put back.
EMPTY = (
    *("/tmp", "/var/tmp", "/var/log", "/dev/shm", "/var/lib/cni", "/opt/cni"),  # noqa: S108
    *("/etc/cni", "/etc/containerd", "/etc/crio", "/etc/logrotate.d", "/usr/local/share/man", "/run"),
)

# Process 1 of the sandbox. It ends with its standard input: when we close it, or when we die.
INIT = r"""
set -euo pipefail
declare -A kept overlaid
for path in "$@"; do
    exec {fd}<"$path"
    kept[$path]=$fd
done
mount -t tmpfs sandbox /run  # for the overlays; hidden below
for directory in $EMPTY; do
    if [ ! -d "$directory" ]; then
        # The mount point is made on an overlay, so that not even an empty directory stays on the machine.
        parent=$(dirname "$directory")
        if [ -z "${overlaid[$parent]:-}" ]; then
            mkdir -p "/run/upper$parent" "/run/work$parent"
            layers=lowerdir=$parent,upperdir=/run/upper$parent,workdir=/run/work$parent
            mount -t overlay -o "$layers" sandbox "$parent"
            overlaid[$parent]=1
        fi
        mkdir "$directory"
    fi
done
for directory in $EMPTY; do
    mount -t tmpfs -o mode=755 sandbox "$directory"
done
for path in "$@"; do
    if [ ! -e "$path" ]; then
        mkdir -p "$path"
        mount --no-canonicalize --bind "/proc/self/fd/${kept[$path]}" "$path"
    fi
done
chmod 1777 /tmp /var/tmp /dev/shm
mkdir -p /run/netns /run/lock
ip link set lo up
# With SIGCHLD ignored the kernel itself reaps what this process inherits: so from before it is said to be ready.
exec env --ignore-signal=CHLD cat /proc/self/fd/9 - 9<<<ready
"""

# Into a cgroup, which becomes the root of a cgroup namespace, and in there into another; a command that joins later.
ENTER = """
echo 0 >"$1/cgroup.procs"
exec unshare --cgroup bash -euc 'echo 0 >"$1/cgroup.procs"; shift; exec "$@"' inside "$2" "${@:3}"
"""
JOIN = 'echo 0 >"$1/cgroup.procs"; shift; exec "$@"'

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


class SandboxUnavailableError(Exception):
    """This machine does not let us make namespaces; the message says why."""


class Sandbox:
    """The namespaces, and the way to run commands and to see files in there."""

    def __init__(self, *, within: "Sandbox | None" = None, cgroups: tuple[Path, Path] | None = None) -> None:
        """`within` another one it sees that one's mounts, and ends with it.

        With `cgroups`, a group and one below it, the first is the root of a cgroup namespace, and all runs in the
        second; host name and System V's queues are its own then too.
        """
        if os.geteuid() != 0:
            raise SandboxUnavailableError("not root: a sandbox of namespaces can't be made")
        self._more, self._before = ["--net", "--mount"], []
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if cgroups:
            self._more += ["--uts", "--ipc", "--cgroup"]
            self._before = ["bash", "-euc", JOIN, "join", str(cgroups[1])]
            command = ["bash", "-euc", ENTER, "enter", *map(str, cgroups), *command, "--uts", "--ipc"]
        if within:
            command = [*within.entering(), *command]
        command += ["bash", "-c", INIT, "sandbox", str(CHECKOUT), sys.base_prefix]
        pipe = subprocess.PIPE
        environment = ENVIRONMENT | {"EMPTY": " ".join(EMPTY)}
        try:
            self._init = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
        except FileNotFoundError as e:
            raise SandboxUnavailableError(f"a sandbox of namespaces needs {e.filename}") from e
        assert self._init.stdout
        assert self._init.stderr
        if self._init.stdout.readline() != "ready\n":
            reason = self._init.stderr.read().strip()
            self.close()
            raise SandboxUnavailableError(f"a sandbox of namespaces can't be made: {reason}")
        # Below what has entered the other sandbox is the one that has made the namespaces.
        self.pid = _child(self._init.pid) if within else self._init.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End process 1: the kernel then ends all others in there, and drops what the namespaces held."""
        for stream in (self._init.stdin, self._init.stdout, self._init.stderr):
            if stream:
                stream.close()
        self._init.wait(60)

    def path(self, inside: str) -> Path:
        """A file in there, as it can be opened from out here. Absolute links on the way lead back out."""
        return Path(f"/proc/{self.pid}/root", inside.lstrip("/"))

    def run(
        self,
        *command: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 300,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in there to its end."""
        with self.start(*command, env=env) as process:
            try:
                out, err = process.communicate(stdin, timeout)
            except BaseException:
                kill(process)
                raise
        if check and process.returncode:
            raise AssertionError(f"{shlex.join(command)}: exit {process.returncode}\n{out}{err}")
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def entering(self) -> list[str]:
        """The start of a command that is run in there."""
        namespaces = f"--pid=/proc/{self.pid}/ns/pid_for_children"
        return [*self._before, "nsenter", f"--target={self.pid}", *self._more, namespaces, "--wd=/"]

    def start(self, *command: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command in there, in a process group of its own: nsenter, and below it the command."""
        return subprocess.Popen(
            [*self.entering(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT | dict(env or {}),
            start_new_session=True,
        )

    @contextlib.contextmanager
    def running(self, *command: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """A command that runs beside the block: started and heard of (its first line), and ended after it."""
        with self.start(*command, env=env) as process:
            try:
                assert process.stdout
                assert process.stderr
                if not process.stdout.readline():
                    raise AssertionError(f"{shlex.join(command)} did not start:\n{process.stderr.read()}")
                yield process
            finally:
                kill(process)

    def python(self, script: Path, *arguments: str) -> Sequence[str]:
        """The command that runs a script of this checkout with the interpreter that runs us."""
        return [sys.executable, "-I", str(script), *arguments]


def kill(process: subprocess.Popen[str]) -> None:
    """End a command and what it has started, and wait for the end of all. Not nsenter: it reaps what it has forked."""
    end = time.monotonic() + 60
    while process.poll() is None or members(process):
        assert time.monotonic() < end, f"{process.args!r} does not end"
        # What was forked meanwhile, and, of a command that has only just been started, the command itself.
        for pid in members(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.send_signal(signal.SIGCONT)  # nsenter, which stops when what it has started stops
        time.sleep(0.005)


def members(process: subprocess.Popen[str]) -> list[int]:
    """The processes of a command in a sandbox, by the numbers that they have out here; nsenter is not among them."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(int(number)) == process.pid != int(number):
                found.append(int(number))
    return found


def _child(pid: int) -> int:
    """The process that one has forked."""
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
