"""What was run for each attachment, on disk: so that DEL undoes exactly that. The only module that writes state.

<stateDir>/                              root's, mode 0700
  <network>:<container ID>:<interface>   one attachment's record (none of the three may hold a ':')
  .lock                                  empty; an attachment is locked by a byte of it (`locks`)
  .versions                              what each plugin binary answered to VERSION
  .stranded/                             see `stranded`; exists only while a DEL that failed waits for its retry
  .new-…, .damaged-…                     a record being written; one that could not be read
"""

from __future__ import annotations

import errno

from cni_chain.plugin import jsontext, system
from cni_chain.plugin.locks import Locks
from cni_chain.plugin.record import Attachment, Record, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cni_chain.plugin.stranded import Stranded

_PERMISSIONS_OF_OTHERS = 0o022
_S_IFMT, _S_IFREG = 0o170000, 0o100000
_TEMPORARY = ".new-"


class UnsafeStateError(OSError):
    """Users other than root may write the state directory or a record, so it can't be trusted."""


class State:
    """The state directory of one facade. Every method may raise OSError."""

    def __init__(self, directory: str, *, allow_unsafe: bool = False) -> None:
        self.directory = directory.rstrip("/") or "/"
        self.stranded = f"{self.directory}/.stranded"
        self._allow_unsafe = allow_unsafe
        self._locks = Locks(f"{self.directory}/.lock")
        self._safe = False

    def create(self) -> None:
        """Make the directory if it doesn't exist. Raises UnsafeStateError if users other than root may write to it."""
        try:
            self.check()
        except FileNotFoundError:
            _make(self.directory, 0o700)
            self.check()

    def check(self) -> None:
        """Raise UnsafeStateError if users other than root may write to the directory, FileNotFoundError without it."""
        if self._safe:
            return
        status = system.stat(self.directory)
        if not self._allow_unsafe and _is_unsafe(status):
            raise UnsafeStateError(
                errno.EPERM, "must be owned by root, not writable by others (chown root, chmod 0700)", self.directory
            )
        self._safe = True

    @property
    def markers(self) -> Stranded:
        """The attachments that wait for the retry of a DEL that failed."""
        from cni_chain.plugin.stranded import Stranded  # most calls have none

        return Stranded(self.stranded)

    def path_of(self, attachment: Attachment) -> str:
        """Return the path of the attachment's record."""
        return f"{self.directory}/{attachment.file}"

    def lock(self, attachment: Attachment) -> bool:
        """Take the attachment for this process, until `unlock` or its end; False if another process has it."""
        return self.lock_file(attachment.file)

    def lock_file(self, name: str) -> bool:
        """Take the attachment whose record has that name, as `lock` does."""
        self.check()
        return self._locks.take(name)

    def unlock(self, attachment: Attachment) -> None:
        """Give the attachment back."""
        self._locks.give_back(attachment.file)

    def unlock_file(self, name: str) -> None:
        """Give the attachment whose record has that name back."""
        self._locks.give_back(name)

    def holder(self, attachment: Attachment) -> int:
        """Return the process that has the attachment, 0 if none has it or the kernel doesn't report it."""
        return self._locks.holder(attachment.file)

    def has_record(self, attachment: Attachment) -> bool:
        """Return whether anything exists at the path of the attachment's record: only ENOENT means no."""
        try:
            system.lstat(self.path_of(attachment))
        except FileNotFoundError:
            return False
        return True

    def load(self, attachment: Attachment) -> Record | None:
        """Return the attachment's record, None if it has none: only ENOENT means that.

        Raises ValueError if the record is damaged, or isn't a file.
        """
        return self.load_file(attachment.file)

    def load_file(self, name: str) -> Record | None:
        """Return the record in a file of that name, as `load` does."""
        try:
            self.check()
            text = self._read(name)
        except FileNotFoundError:
            return None
        record = parse(text)
        if record.attachment.file != name:
            raise ValueError(f"it is the record of {record.attachment.file}")
        return record

    def set_aside(self, attachment: Attachment) -> str:
        """Rename a damaged record, beside earlier ones, and return its new path."""
        path = first = f"{self.directory}/.damaged-{attachment.file}"
        number = 1
        while system.exists(path):
            number += 1
            path = f"{first}~{number}"
        system.rename(self.path_of(attachment), path)
        return path

    def begin(self, record: Record) -> None:
        """Write a new record so that it survives a power loss: only then may a delegate run."""
        self.create()
        self._replace(record.attachment.file, record.text(), durable=True)

    def update(self, record: Record) -> None:
        """Append the record's present state to its file, unless the file has it already."""
        line = record.line()
        if line == record.kept:
            return
        path = self.path_of(record.attachment)
        file = system.open(path, system.O_WRONLY | system.O_APPEND | system.O_NOFOLLOW)
        try:
            # A writer that was killed in the middle of its line must not spoil this one.
            _write(file, b"\n" + line)
        except OSError as error:
            raise _of(error, path) from None
        finally:
            system.close(file)
        record.kept = line

    def remove(self, attachment: Attachment) -> None:
        """Remove the attachment's record, and first what a killed process may have left of writing it."""
        for name in (_temporary(attachment.file), attachment.file):
            try:
                system.unlink(f"{self.directory}/{name}")
            except FileNotFoundError:
                pass

    def attachments(self, network: str) -> Iterator[Attachment]:
        """Yield the attachments of `network` that have a record, bytewise by file name."""
        try:
            names = sorted(system.listdir(self.directory), key=system.fsencode)
        except FileNotFoundError:
            return
        self.check()
        for name in names:
            parts = name.split(":")
            if len(parts) == 3 and parts[0] == network:
                yield Attachment(*parts)
            elif len(parts) == 2 and parts[0] == network[:100]:
                try:
                    record = self.load_file(name)
                except (OSError, ValueError):
                    continue  # only its own ADD or DEL knows the whole name
                if record is not None and record.attachment.network == network:
                    yield record.attachment

    def clear_unfinished(self, network: str) -> None:
        """Remove what killed processes have left of writing a record of `network`."""
        for name in system.listdir(self.directory):
            record = name.removeprefix(_TEMPORARY)
            ours = name != record and record.partition(":")[0] in (network, network[:100])
            if ours and self.lock_file(record):  # a running writer has its attachment's lock
                try:
                    system.unlink(f"{self.directory}/{name}")
                except FileNotFoundError:
                    pass
                self.unlock_file(record)

    def versions(self) -> dict[str, Any]:
        """Return what was remembered by `remember_versions`; nothing if that can't be read."""
        try:
            self.check()
            remembered = jsontext.decode(self._read(".versions"))
        except (OSError, ValueError):
            return {}
        return remembered if isinstance(remembered, dict) else {}

    def remember_versions(self, versions: dict[str, Any]) -> None:
        """Keep `versions` for later calls, unless another process is doing so now: then a plugin is asked once more."""
        self.create()
        if self.lock_file(".versions"):
            self._replace(".versions", jsontext.encode(versions), durable=False)
            self.unlock_file(".versions")

    def _replace(self, name: str, text: bytes, *, durable: bool) -> None:
        path = f"{self.directory}/{name}"
        written = f"{self.directory}/{_temporary(name)}"
        try:
            file = system.open(written, system.O_WRONLY | system.O_CREAT | system.O_TRUNC | system.O_NOFOLLOW, 0o600)
            try:
                _write(file, text)
                system.rename(written, path)
                written = path
                if durable:
                    # Renamed before the sync: a journalling file system then commits text and name together, not one
                    # after the other. A power loss before that may leave an empty file of that name: a damaged record,
                    # none of whose delegates has run.
                    system.fdatasync(file)
            finally:
                system.close(file)
            if durable:
                _sync(self.directory)
        except BaseException as error:
            try:
                system.unlink(written)
            except OSError:
                pass
            if isinstance(error, OSError):
                raise _of(error, path) from None
            raise

    def _read(self, name: str) -> bytes:
        path = f"{self.directory}/{name}"
        try:
            file = system.open(path, system.O_RDONLY | system.O_NOFOLLOW | system.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):
                raise ValueError("not a regular file") from None
            raise
        try:
            status = system.fstat(file)
            if status.st_mode & _S_IFMT != _S_IFREG:
                raise ValueError("not a regular file")
            # A file that was put here while others could write to the directory may not be ours.
            if not self._allow_unsafe and _is_unsafe(status):
                raise UnsafeStateError(
                    errno.EPERM, "not owned by root, or writable by others (chown root, chmod 0600)", path
                )
            pieces = []
            while piece := system.read(file, 1 << 20):
                pieces.append(piece)
        except OSError as error:
            raise _of(error, path) from None
        finally:
            system.quiet_close(file)
        return b"".join(pieces)


def _temporary(name: str) -> str:
    # Always the same, so that what a killed process left is found; the writer of `name` has its lock.
    return f"{_TEMPORARY}{name}"


def _of(error: OSError, path: str) -> OSError:
    """Return `error` with the file's name, which a call on an open file doesn't give."""
    if error.filename is None:
        error.filename = path
    return error


def _is_unsafe(status: system.stat_result) -> bool:
    return status.st_uid != 0 or bool(status.st_mode & _PERMISSIONS_OF_OTHERS)


def _make(directory: str, mode: int) -> None:
    """Make a directory, and those above it, so that they survive a power loss."""
    parent = system.dirname(directory)
    try:
        system.mkdir(directory, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        if system.isdir(parent):  # such as /proc, where no directory can be made
            raise
        _make(parent, 0o755)
        _make(directory, mode)
        return
    _sync(parent)


def _sync(directory: str) -> None:
    opened = system.open(directory, system.O_RDONLY | system.O_DIRECTORY)
    try:
        system.fsync(opened)
    except OSError as error:
        raise _of(error, directory) from None
    finally:
        system.quiet_close(opened)


def _write(file: int, text: bytes) -> None:
    while text:
        text = text[system.write(file, text) :]
