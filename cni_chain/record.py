"""What was, or may have been, run for one attachment, and its text. Pure.

A record is lines of JSON. The first is the intent: the whole chain, durable before any delegate runs, never changed.
Each later line is the attachment's state from then on, written by one append: the last complete line counts. So a
process that is killed loses nothing, and a power loss, which may take the unsynced end of a file (or, on XFS, all of a
file that was renamed over another), leaves the intent: every delegate that may have run is known.
"""

from __future__ import annotations

from cni_chain import jsontext, results
from cni_chain.spec import VERSIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Kinds = dict[str, type | tuple[type, ...]]

KIND = "cni-chain/1"
_DEPTH = jsontext.DEPTH + 10  # a delegate's configuration, and what is around it
_NAME_LIMIT = 200  # bytes; file systems take 255, and the temporary name is longer


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

    `pending` are the indices of the steps that still need their DEL; `result` is the last one that a delegate gave, in
    results.WHOLE; `call` has what a DEL without a runtime needs: path, netns, args, runtimeConfig, cniArgs.
    """

    __slots__ = ("attachment", "call", "created", "pending", "result", "state", "steps")

    def __init__(self, attachment: Attachment, steps: list[Step], call: dict[str, Any], created: float) -> None:
        self.attachment = attachment
        self.steps = steps
        self.call = call
        self.created = created  # seconds since the epoch
        self.pending = list(range(len(steps)))
        self.result: dict[str, Any] | None = None
        self.state = "adding"  # then "added", "deleting"

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
        return {"state": self.state, "pending": self.pending, "result": self.result}

    def text(self) -> bytes:
        """Return the whole record, as it is first written."""
        return jsontext.encode(self._intent()) + b"\n"

    def line(self) -> bytes:
        """Return the line that tells the record's present state."""
        return jsontext.encode(self._state()) + b"\n"


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


def parse(text: bytes) -> Record:
    """Return the record in a file's bytes. Raises ValueError if its intent can't be read."""
    intent, newline, rest = text.partition(b"\n")
    if not newline:
        raise ValueError("cut short in its first line")
    later = rest.split(b"\n")[:-1]
    document = jsontext.decode(intent, _DEPTH)
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise ValueError(f"not of kind {KIND}")
    _require(document, _INTENT)
    _require(document["call"], _CALL)
    for step in document["steps"]:
        _require(step, _STEP)
        if step["version"] not in VERSIONS or "/" in step["type"]:
            raise ValueError(f"type {step['type']!r} at version {step['version']!r}")
    record = Record(
        Attachment(document["network"], document["containerID"], document["ifname"]),
        [Step(**{key: step[key] for key in _STEP}) for step in document["steps"]],
        document["call"],
        document["created"],
    )
    _apply(record, document)
    for line in reversed(later):
        try:
            _apply(record, jsontext.decode(line, _DEPTH))
            break
        except ValueError:  # cut short with its writer: the one before counts
            continue
    return record


def _require(document: Any, keys: Kinds) -> None:
    for key, kind in keys.items():
        if not isinstance(document, dict) or not isinstance(document.get(key, ...), kind):
            raise ValueError(f"key {key}: missing or of the wrong kind")


def _apply(record: Record, state: Any) -> None:
    _require(state, _STATE)
    if not all(type(index) is int and 0 <= index < len(record.steps) for index in state["pending"]):
        raise ValueError(f"key pending: {state['pending']!r}")
    result = state["result"]
    fault = "" if result is None else results.check(result)
    if fault or (result is not None and "cniVersion" not in result):
        raise ValueError(f"key result: {fault or 'without cniVersion'}")
    record.pending, record.result, record.state = state["pending"], result, state["state"]
