"""Which attachments wait for the retry of a DEL that failed, as markers beside the records.

<stateDir>/.stranded/<the record's file name>   a byte for each try that failed, written at the last one

An ADD that failed and could not be undone is often one of a container that the runtime has forgotten, so that no DEL
follows; with containerd no GC follows either. The directory exists only while markers exist, so a node without markers
needs one system call to find out.
"""

from __future__ import annotations

import time

from cni_chain.plugin import system

# Seconds. An attachment waits twice as long after each try that fails; after a try that fails all others pause.
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 3600.0
_PAUSE = 10.0
_RACES = 100  # more than one call can lose against others in the same millisecond


class Stranded:
    """The markers of one state directory. An attachment goes by its record's file name. Methods may raise OSError."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def mark(self, file: str) -> None:
        """Note that a DEL of the attachment has failed."""
        swept = self._swept()
        marker = -1
        for _ in range(_RACES):
            try:
                system.mkdir(self.directory, 0o700)
            except FileExistsError:
                pass
            try:
                flags = system.O_WRONLY | system.O_APPEND | system.O_CREAT | system.O_NOFOLLOW
                marker = system.open(f"{self.directory}/{file}", flags, 0o600)
                break
            except FileNotFoundError:  # another process removed the last marker and the directory
                continue
        try:
            system.write(marker, b".")
        finally:
            system.quiet_close(marker)
        self._set_swept(swept)

    def unmark(self, file: str) -> None:
        """Note that nothing of the attachment is left to retry."""
        swept = self._swept()
        try:
            system.unlink(f"{self.directory}/{file}")
        except FileNotFoundError:
            pass
        try:
            system.rmdir(self.directory)
        except OSError:  # there are others, or it is gone
            self._set_swept(swept)

    def _swept(self) -> float:
        """Return when the last sweep ended: the directory's time, which markers that come and go don't change."""
        try:
            return system.stat(self.directory).st_mtime
        except FileNotFoundError:
            return 0.0

    def due(self, network: str) -> list[str]:
        """Return the record file names whose retry is due, the one that has waited longest first.

        `network` is a name; a file's name begins with its first 100 characters. Returns nothing if none is due, or
        during the pause after the last sweep.
        """
        now = time.time()
        try:
            if _is_recent(system.stat(self.directory).st_mtime, now, _PAUSE):
                return []
            found = []
            names = system.listdir(self.directory)
            if not names:  # the process that removed the last marker was killed
                system.rmdir(self.directory)
            for name in names:
                if name.partition(":")[0] in (network, network[:100]):
                    status = system.stat(f"{self.directory}/{name}")
                    wait = min(_FIRST_WAIT * 2 ** min(max(status.st_size - 1, 0), 16), _LONGEST_WAIT)
                    if not _is_recent(status.st_mtime, now, wait):
                        found.append((status.st_mtime, name))
        except OSError:  # none, or being changed: the next call looks again
            return []
        return [name for _, name in sorted(found)]

    def pause(self, *, resume_at_once: bool) -> None:
        """Let the next sweep begin with the next call, or after the pause."""
        self._set_swept(0.0 if resume_at_once else time.time())

    def _set_swept(self, then: float) -> None:
        try:
            system.utime(self.directory, (then, then))
        except FileNotFoundError:
            pass


def _is_recent(then: float, now: float, seconds: float) -> bool:
    """Return whether `then` is less than `seconds` ago; a time in the future means that the clock was set back."""
    return 0 <= now - then < seconds
