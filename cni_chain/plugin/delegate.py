"""Finds and executes delegates. The only module that starts processes.

Each delegate has its own process group and its own pipes, and doesn't outlive cni-chain. It never gets the runtime's
pipes: the runtime would wait for as long as any process of the delegate holds them.
"""

from __future__ import annotations

import errno
import fcntl
import select
import time

from cni_chain.plugin import system
from cni_chain.plugin.answer import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # File, environment, standard input, seconds: as `execute` takes them.
    Execute = Callable[[str, Mapping[str, str], bytes, float], Outcome]

# How long an executable that is being written may stay "text file busy", as in libcni (`pkg/invoke/raw_exec.go`).
_BUSY_SECONDS = 5.0
_BUSY_INTERVAL = 0.05
_STDERR_KEPT = 4096
_STDERR_WAIT = 200  # milliseconds, once
_STDOUT_LIMIT = 16 << 20
_PIECE = 1 << 16
_PIPE_LIMIT = 1 << 20  # as large as a pipe gets (/proc/sys/fs/pipe-max-size)
_DYING_SECONDS = 1.0

# include/uapi/asm-generic/signal.h; `import signal` would cost more than the call it serves.
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25


class NotFoundError(Exception):
    """No plugin of this name is in CNI_PATH, or what is there can't be executed; the text says which and where."""


class NotStartedError(OSError):
    """The system did not start a plugin: nothing of it has run."""


def find(name: str, path: str) -> str:
    """Return the file of plugin `name` in the directories of CNI_PATH `path`; searches as `pkg/invoke/find.go` does.

    Raises NotFoundError.
    """
    directories = [directory for directory in path.split(":") if directory]
    for directory in directories:
        file = f"{directory}/{name}"
        if system.isfile(file):
            if not system.access(file, system.X_OK):
                raise NotFoundError(f"{file} is not executable (chmod +x)")
            return file
    raise NotFoundError(f"no plugin {name} in {', '.join(directories) or 'CNI_PATH'}; its agent installs it there")


def execute(
    file: str,
    environ: Mapping[str, str],
    stdin: bytes,
    seconds: float,
    *,
    arguments: tuple[str, ...] = (),
    pass_on: bool = True,
) -> Outcome:
    """Run a plugin, or another program with its arguments, to its end; kill its process group after `seconds`.

    With `pass_on`, its stderr goes to ours as it comes; the end of it is in the outcome in any case.

    The answer is complete when the plugin's own process ends, even if other processes still hold its pipes.
    Raises NotStartedError if it can't be started, another OSError if it can't be followed: it is killed then.
    """
    start = time.monotonic()
    running = _Running([file, *arguments], environ, stdin, start + seconds, pass_on=pass_on)
    try:
        in_time = running.exchange(start + seconds)
    finally:
        # Of a plugin that has ended this kills only what it left in its group, at the deadline or on an error.
        status = running.end()
    ms = (time.monotonic() - start) * 1000
    return Outcome(status if in_time else None, bytes(running.stdout), bytes(running.stderr), ms)


class _Running:
    """A delegate's process and our ends of its pipes."""

    def __init__(
        self, command: list[str], environ: Mapping[str, str], text: bytes, until: float, *, pass_on: bool
    ) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._unsent = memoryview(text)
        self._ended = False
        self._passed_on = pass_on
        self._pid = 0
        pipes: list[int] = []
        try:
            for _ in range(4):
                pipes += system.pipe()
            stdin, self._stdin, self._stdout, stdout, self._stderr, stderr, read_end, self._lifeline = pipes
            for descriptor in (self._stdin, self._stdout, self._stderr):
                system.set_blocking(descriptor, False)
            self._held = read_end
            inherited = _out_of_the_way(read_end)
            pipes.append(inherited)
            given = [(system.POSIX_SPAWN_DUP2, end, at) for at, end in enumerate((stdin, stdout, stderr))]
            self._pid = _spawn(command, environ, given, until)
            _end_with_us(self._pid, read_end)
        except BaseException as error:
            if self._pid:
                _kill(self._pid)
                system.waitpid(self._pid, 0)
            system.quiet_close(*pipes)
            if isinstance(error, OSError) and not self._pid:
                raise NotStartedError(error.errno, error.strerror) from None
            raise
        system.quiet_close(stdin, stdout, stderr, inherited)

    def exchange(self, until: float) -> bool:
        """Feed stdin and take stdout and stderr until the process ends (True) or time is up (False)."""
        poll = select.poll()
        poll.register(self._stdin, select.POLLOUT)
        poll.register(self._stdout, select.POLLIN)
        poll.register(self._stderr, select.POLLIN)
        try:
            end = system.pidfd_open(self._pid)
            poll.register(end, select.POLLIN)
        except OSError:  # a kernel before 5.3: look now and then
            end = -1
        try:
            while not self._ended:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._turn(poll, end, left)
        finally:
            system.quiet_close(end)
        for descriptor in (self._stdout, self._stderr):
            self._drain(descriptor)
        return True

    def _drain(self, descriptor: int) -> None:
        """Read what the ended process left in a pipe: at most a pipe's size, because others may write on for ever."""
        try:
            for _ in range(_PIPE_LIMIT // _PIECE):
                if not self._read(descriptor):
                    return
        except BlockingIOError:
            return

    def _turn(self, poll: select.poll, end: int, seconds: float) -> None:
        """Serve the pipes that are ready within `seconds`, and learn whether the process has ended."""
        if end < 0:
            seconds = min(seconds, 0.005)
        for descriptor, _ in poll.poll(seconds * 1000 + 1):
            if descriptor == end:
                self._ended = True
            elif not self._serve(descriptor):
                poll.unregister(descriptor)
        if end < 0:
            flags = system.WEXITED | system.WNOHANG | system.WNOWAIT
            self._ended = system.waitid(system.P_PID, self._pid, flags) is not None

    def end(self) -> int:
        """Kill the process and its group unless it ended by itself; return its status and close what is open."""
        if self._ended:
            _let_live(self._held)
        else:
            _kill(self._pid)
        system.quiet_close(self._stdin, self._stdout, self._stderr, self._held, self._lifeline)
        return self._status()

    def _status(self) -> int:
        # A process that hangs in the kernel takes no signal, and must not make us hang too.
        until = time.monotonic() + _DYING_SECONDS
        while (found := system.waitpid(self._pid, 0 if self._ended else system.WNOHANG)) == (0, 0):
            if time.monotonic() >= until:
                return -_SIGKILL
            time.sleep(0.001)
        return system.waitstatus_to_exitcode(found[1])

    def _serve(self, descriptor: int) -> bool:
        """Read from or write to a pipe that is ready; return whether to watch it further."""
        try:
            return self._write() if descriptor == self._stdin else self._read(descriptor)
        except BlockingIOError:
            return True

    def _write(self) -> bool:
        try:
            sent = system.write(self._stdin, self._unsent[:_PIECE])
        except BrokenPipeError:  # it may answer without having read all
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if self._unsent:
            return True
        system.quiet_close(self._stdin)
        self._stdin = -1
        return False

    def _read(self, descriptor: int) -> bool:
        """Take a piece of stdout or stderr; return whether more may come."""
        piece = system.read(descriptor, _PIECE)
        if descriptor == self._stdout:
            if len(self.stdout) < _STDOUT_LIMIT:
                self.stdout += piece
        elif piece:
            self.stderr += piece
            del self.stderr[:-_STDERR_KEPT]
            self._passed_on = self._passed_on and _pass_on(piece)
        return bool(piece)


def _spawn(command: list[str], environ: Mapping[str, str], given: list[tuple[int, int, int]], until: float) -> int:
    until = min(until, time.monotonic() + _BUSY_SECONDS)
    while True:
        try:
            # Python ignores these two signals, and a program that it starts would ignore them too.
            return system.posix_spawn(
                command[0], command, environ, file_actions=given, setpgroup=0, setsigdef=(_SIGPIPE, _SIGXFSZ)
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY or time.monotonic() >= until:
                raise
            time.sleep(_BUSY_INTERVAL)


def _out_of_the_way(descriptor: int) -> int:
    """Return a copy that a delegate inherits, at a number that no shell script redirects to something else."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100)
    except OSError:  # the limit of descriptors is lower
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 3)


def _end_with_us(pid: int, lifeline: int) -> None:
    """Have the kernel kill process group `pid` when this process is gone, however it ends.

    This process alone can write to the lifeline; `pid` holds the other end as well. When the last writer is gone the
    kernel signals the reader's owner (fcntl(2), F_SETSIG; `fs/pipe.c`, pipe_release): the group. Otherwise an IPAM
    plugin in it could write its lease after the next DEL has succeeded. Unlike PR_SET_PDEATHSIG this needs nothing to
    run between fork and exec, and a plugin that changes its credentials doesn't escape. Should this process end before
    these lines, the plugin's stdin ends before its configuration does.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -pid)
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, _SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | system.O_ASYNC)


def _let_live(lifeline: int) -> None:
    """Undo `_end_with_us` for what a plugin that has ended left in its group on purpose."""
    try:
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, 0)
    except OSError:  # then the kernel kills it at our end
        return


def _kill(pid: int) -> None:
    for kill in (system.killpg, system.kill):
        try:
            kill(pid, _SIGKILL)
        except OSError:  # gone, or out of reach of a user namespace
            pass


def _pass_on(text: bytes) -> bool:
    """Copy a piece to our own stderr; return whether its reader took it. A slow reader must not delay a pod."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    try:
        # A pipe that is ready takes this much at once (pipe(7), PIPE_BUF).
        for start in range(0, len(text), 4096):
            if not poll.poll(_STDERR_WAIT):
                return False
            system.write(2, text[start : start + 4096])
    except OSError:
        return False
    return True
