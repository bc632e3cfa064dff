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
    from typing import Any

    Kinds = dict[str, type | tuple[type, ...]]

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

    def __str__(self) -> str:
        return f"attachment {self.ifname} of container {self.container_id}"

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
    try:
        if line[-_CHECKSUM_LENGTH:].startswith(_CHECKSUM_START):
            text = line[:-_CHECKSUM_LENGTH] + b"}"
            if line[-_CHECKSUM_LENGTH:] != (_CHECKSUM % crc32(text)).encode():
                raise ValueError("its checksum is wrong")
            return jsontext.decode(text, _DEPTH), True
        return jsontext.decode(line, _DEPTH), False
    except UnicodeDecodeError:
        raise ValueError("bytes that are not text") from None


# What each key of a record holds; a file that says otherwise was damaged, or is somebody else's.
_INTENT: Kinds = {
    "network": str,
    "containerID": str,
    "ifname": str,
    "created": (int, float),
    "call": dict,
    "steps": list,
}
_CALL: Kinds = {"path": str, "netns": str, "cniArgs": str}
_STEP: Kinds = {
    "owner": str,
    "type": str,
    "path": str,
    "conf": dict,
    "capabilities": list,
    "version": str,
    "disable_check": bool,
    "on_del_error": str,
}
_STATE: Kinds = {"state": str, "pending": list, "result": (dict, type(None))}
_ERROR: Kinds = {"msg": str}


def parse(text: bytes) -> Record:
    """Return the record in a file's bytes. Raises ValueError if its intent can't be read."""
    intent, newline, rest = text.partition(b"\n")
    if not text:
        raise ValueError("empty")
    if not newline:
        raise ValueError("cut short in its first line")
    later = rest.split(b"\n")[:-1]
    document, sealed = _unsealed(intent)
    kind = document.get("kind") if isinstance(document, dict) else None
    if kind != (KIND if sealed else _WITHOUT_CHECKSUMS):
        raise ValueError(f"not of kind {KIND}, with a checksum")
    _require(document, _INTENT)
    _require(document["call"], _CALL)
    if not isinstance(document["call"].get("runtimeConfig") or {}, dict):
        raise ValueError("key call.runtimeConfig: not an object")
    for step in document["steps"]:
        _require(step, _STEP)
        named = "/" not in step["type"] and step["type"] not in ("", ".", "..")
        if not named or step["version"] not in VERSIONS or any(type(one) is not str for one in step["capabilities"]):
            raise ValueError(f"type {step['type']!r} at version {step['version']!r}, or its capabilities")
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
                record.kept = line + b"\n"
                break
        except ValueError:  # cut short with its writer: the one before counts
            continue
    return record


def _require(document: Any, keys: Kinds) -> None:
    """Raise ValueError unless each key is there, of its kind, and if a text such as an environment or a path takes."""
    for key, kind in keys.items():
        value = document.get(key, ...) if isinstance(document, dict) else ...
        if not isinstance(value, kind) or (value is True and kind is not bool):
            raise ValueError(f"key {key}: missing, or not what it should be")
        if isinstance(value, str) and b"\0" in value.encode("utf-8", "surrogateescape"):
            raise ValueError(f"key {key}: holds a NUL")


def _apply(record: Record, state: Any) -> None:
    _require(state, _STATE)
    pending, steps = state["pending"], len(record.steps)
    if not all(type(index) is int and 0 <= index < steps for index in pending) or len(set(pending)) < len(pending):
        raise ValueError(f"key pending: {pending!r}")
    result = state["result"]
    if result is not None and (results.check(result) or result.get("cniVersion") != results.WHOLE):
        raise ValueError(f"key result: {results.check(result) or 'of another version'}")
    # 0.1.0 kept neither: any of its steps may have been started.
    ran, error = state.get("ran", steps), state.get("error")
    if type(ran) is not int or not 0 <= ran <= steps:
        raise ValueError(f"key ran: {ran!r}")
    if error is not None:
        _require(error, _ERROR)
    record.pending, record.result, record.state = pending, result, state["state"]
    record.ran, record.error = ran, error
