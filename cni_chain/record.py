"""What was, or may have been, run for one attachment, and its text. Pure.

A record is lines of JSON. The first is the intent: the whole chain, durable before any delegate runs, never changed.
Each later line is the attachment's state from then on, written by one append: the last complete line counts. So a
process that is killed loses nothing, and a power loss, which may take the unsynced end of a file (or, on XFS, all of a
file that was renamed over another), leaves the intent: every delegate that may have run is known.

Each line ends with a checksum of itself: a DEL with a configuration of which one bit was flipped would free another
pod's address. Records of 0.1.0 have none and are read as well.
"""

from __future__ import annotations

from binascii import crc32

from cni_chain import jsontext, results
from cni_chain.spec import VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Kinds = dict[str, Callable[[Any], bool]]

KIND = "cni-chain/2"
_WITHOUT_CHECKSUMS = "cni-chain/1"
_DEPTH = jsontext.DEPTH + 10  # a delegate's configuration, and what is around it
_NAME_LIMIT = 200  # bytes; file systems take 255, and the temporary name is longer

# How a line ends: the CRC-32 (binascii.crc32) of the object as it would be without this key.
_CHECKSUM = ',"crc":"%08x"}'
_CHECKSUM_START = b',"crc":"'
_CHECKSUM_LENGTH = len(_CHECKSUM % 0)


class Attachment:
    """What a record is kept for: the specification's (container ID, interface) on one network."""

    __slots__ = ("container_id", "ifname", "network")

    def __init__(self, network: str, container_id: str, ifname: str) -> None:
        self.network = network
        self.container_id = container_id
        self.ifname = ifname

    @property
    def file(self) -> str:
        """The record's file name. IDs that are too long for one are told apart by their hash."""
        name = f"{self.network}:{self.container_id}:{self.ifname}"
        if len(name.encode("utf-8", "surrogateescape")) <= _NAME_LIMIT:
            return name
        import hashlib  # no runtime's IDs are that long, so nobody else pays for it

        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        return f"{self.network[:100]}:{digest}"


class Step:
    """One delegate of a record: what was, or may have been, run."""

    __slots__ = ("capabilities", "conf", "disable_check", "on_del_error", "owner", "path", "type", "version")

    def __init__(
        self,
        *,
        owner: str,
        type: str,  # noqa: A002  # CNI's word
        path: str,
        conf: dict[str, Any],
        capabilities: list[str],
        version: str,
        disable_check: bool,
        on_del_error: str,
    ) -> None:
        self.owner = owner
        self.type = type
        self.path = path  # the fragment
        self.conf = conf  # what of the PluginConf reaches the delegate as written; its JSON keeps every value exactly
        self.capabilities = capabilities
        self.version = version  # what the delegate was spoken to in
        self.disable_check = disable_check
        self.on_del_error = on_del_error


class Record:
    """An attachment's intent and state.

    `pending` are the indices of the steps that still need their DEL; `ran` is the number of steps whose ADD has come
    to an end, so that the one of this index may have been started and those behind it were not; `result` is the last
    one that a delegate gave, in results.WHOLE; `error` is the Error object of the last DEL that failed; `call` has what
    a DEL without a runtime needs: path, netns, args, runtimeConfig, cniArgs. `kept` is the line that tells its state
    on disk.
    """

    __slots__ = ("attachment", "call", "created", "error", "kept", "pending", "ran", "result", "state", "steps")

    def __init__(self, attachment: Attachment, steps: list[Step], call: dict[str, Any], created: float) -> None:
        self.attachment = attachment
        self.steps = steps
        self.call = call
        self.created = created  # seconds since the epoch
        self.pending = list(range(len(steps)))
        self.ran = 0
        self.error: dict[str, Any] | None = None
        self.result: dict[str, Any] | None = None
        self.state = "adding"  # then "added", "deleting"
        self.kept = b""

    def _intent(self) -> dict[str, Any]:
        return {
            "kind": KIND,
            "network": self.attachment.network,
            "containerID": self.attachment.container_id,
            "ifname": self.attachment.ifname,
            "created": self.created,
            "call": self.call,
            "steps": [{key: getattr(step, key) for key in Step.__slots__} for step in self.steps],
            **self._state(),
        }

    def _state(self) -> dict[str, Any]:
        keys = ("state", "pending", "ran", "result", "error")
        return {key: getattr(self, key) for key in keys}

    def text(self) -> bytes:
        """Return the whole record, as it is first written."""
        return _sealed(self._intent())

    def line(self) -> bytes:
        """Return the line that tells the record's present state."""
        return _sealed(self._state())


def _sealed(document: dict[str, Any]) -> bytes:
    text = jsontext.encode(document)
    return text[:-1] + (_CHECKSUM % crc32(text)).encode() + b"\n"


def _unsealed(line: bytes) -> tuple[Any, bool]:
    """Return what a line holds, and whether it has a checksum. Raises ValueError if that isn't the line's."""
    if line[-_CHECKSUM_LENGTH:].startswith(_CHECKSUM_START):
        text = line[:-_CHECKSUM_LENGTH] + b"}"
        if line[-_CHECKSUM_LENGTH:] != (_CHECKSUM % crc32(text)).encode():
            raise ValueError("its checksum is wrong")
        return jsontext.decode(text, _DEPTH), True
    return jsontext.decode(line, _DEPTH), False


def _is_text(value: Any) -> bool:
    """Tell whether a value can be part of an environment or of a path."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_type(value: Any) -> bool:
    return _is_text(value) and "/" not in value and value not in ("", ".", "..")


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_object_or_null(value: Any) -> bool:
    return value is None or isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _is_whole_result(value: Any) -> bool:
    return value is None or (not results.check(value) and value.get("cniVersion") == results.WHOLE)


def _is_error(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and isinstance(value.get("msg"), str))


# What each key of a record holds; a file that says otherwise was damaged, or is somebody else's.
_INTENT: Kinds = {
    "network": _is_text,
    "containerID": _is_text,
    "ifname": _is_text,
    "created": lambda value: type(value) in (int, float),
    "call": _is_object,
    "steps": _is_list,
}
_CALL: Kinds = {"path": _is_text, "netns": _is_text, "cniArgs": _is_text}
_STEP: Kinds = {
    "owner": _is_text,
    "type": _is_type,
    "path": _is_text,
    "conf": _is_object,
    "capabilities": _is_texts,
    "version": lambda value: value in VERSIONS,
    "disable_check": lambda value: isinstance(value, bool),
    "on_del_error": _is_text,
}
_STATE: Kinds = {"state": _is_text, "pending": _is_list, "result": _is_whole_result}


def parse(text: bytes) -> Record:
    """Return the record in a file's bytes. Raises ValueError if its intent can't be read."""
    intent, newline, rest = text.partition(b"\n")
    if not newline:
        raise ValueError("cut short in its first line")
    later = rest.split(b"\n")[:-1]
    document, sealed = _unsealed(intent)
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind != (KIND if sealed else _WITHOUT_CHECKSUMS):
        raise ValueError(f"not of kind {KIND}, with a checksum")
    _require(document, _INTENT)
    _require(document["call"], _CALL)
    if not _is_object_or_null(document["call"].get("runtimeConfig")):
        raise ValueError("key call.runtimeConfig: not an object")
    for step in document["steps"]:
        _require(step, _STEP)
    record = Record(
        Attachment(document["network"], document["containerID"], document["ifname"]),
        [Step(**{key: step[key] for key in _STEP}) for step in document["steps"]],
        document["call"],
        document["created"],
    )
    _apply(record, document)
    for line in reversed(later):
        try:
            state, has_checksum = _unsealed(line)
            if has_checksum or not sealed:
                _apply(record, state)
                break
        except ValueError:  # cut short with its writer: the one before counts
            continue
    record.kept = record.line()
    return record


def _require(document: Any, keys: Kinds) -> None:
    for key, fits in keys.items():
        if not isinstance(document, dict) or key not in document or not fits(document[key]):
            raise ValueError(f"key {key}: missing, or not what it should be")


def _apply(record: Record, state: Any) -> None:
    _require(state, _STATE)
    pending, steps = state["pending"], len(record.steps)
    if not all(type(index) is int and 0 <= index < steps for index in pending) or len(set(pending)) < len(pending):
        raise ValueError(f"key pending: {pending!r}")
    # 0.1.0 kept neither: any of its steps may have been started.
    ran, error = state.get("ran", steps), state.get("error")
    if type(ran) is not int or not 0 <= ran <= steps or not _is_error(error):
        raise ValueError("key ran or error: not what it should be")
    record.pending, record.result, record.state = pending, state["result"], state["state"]
    record.ran, record.error = ran, error
