"""Which attachments wait for the retry of a DEL that failed, as markers beside the records.

<stateDir>/.stranded/<the record's file name>   a byte for each try that failed, written at the last one

An ADD that failed and could not be undone is often one of a container that the runtime has forgotten, so that no DEL
comes any more; nor does a GC, where containerd is the runtime. The directory exists only while there are markers: a
node without any learns that by one system call.
"""

from __future__ import annotations

import time

from cni_chain import system as os

# Seconds. An attachment waits twice as long after each try that fails; after a try that fails all others pause.
_FIRST_WAIT, _LONGEST_WAIT = 10.0, 3600.0
_PAUSE = 10.0


class Stranded:
    """The markers of one state directory. An attachment goes by its record's file name. Methods may raise OSError."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def mark(self, file: str) -> None:
        """Note that a DEL of the attachment has failed."""
        path = f"{self.directory}/{file}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        try:
            os.mkdir(self.directory, 0o700)
        except FileExistsError:
            pass
        try:
            marker = os.open(path, flags, 0o600)
        except FileNotFoundError:  # whoever removed the last other marker took the directory away
            os.mkdir(self.directory, 0o700)
            marker = os.open(path, flags, 0o600)
        try:
            os.write(marker, b".")
        finally:
            os.quiet_close(marker)

    def unmark(self, file: str) -> None:
        """Note that nothing of the attachment is left to retry."""
        try:
            os.unlink(f"{self.directory}/{file}")
        except FileNotFoundError:
            pass
        try:
            os.rmdir(self.directory)
        except OSError:  # there are others, or it is gone
            pass

    def due(self, network: str) -> list[str]:
        """Return the record file names whose retry is due, the one that has waited longest first.

        `network`: a name, of which a file's begins with the first 100 characters. Nothing if none is, or if another
        process has only just tried.
        """
        now = time.time()
        try:
            if _is_recent(os.stat(self.directory).st_mtime, now, _PAUSE):
                return []
            found = []
            names = os.listdir(self.directory)
            if not names:  # its last marker's remover was killed
                os.rmdir(self.directory)
            for name in names:
                if name.partition(":")[0] in (network, network[:100]):
                    status = os.stat(f"{self.directory}/{name}")
                    wait = min(_FIRST_WAIT * 2 ** min(max(status.st_size - 1, 0), 16), _LONGEST_WAIT)
                    if not _is_recent(status.st_mtime, now, wait):
                        found.append((status.st_mtime, name))
        except OSError:  # none, or being changed: the next call looks again
            return []
        return [name for _, name in sorted(found)]

    def pause(self, *, resume_at_once: bool) -> None:
        """Note that a sweep has ended: the next may begin after the pause, or with the next call."""
        try:
            if resume_at_once:
                os.utime(self.directory, (0, 0))
            else:
                os.utime(self.directory)
        except FileNotFoundError:
            pass


def _is_recent(then: float, now: float, seconds: float) -> bool:
    """Tell whether `then` is less than `seconds` ago; a time to come is of a clock that was set back."""
    return 0 <= now - then < seconds
