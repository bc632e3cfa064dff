"""What was, or may have been, run for one attachment, and its text. Pure.

A record is lines of JSON. The first is the intent: the whole chain, durable before any delegate runs, never changed.
Each later line is the attachment's state from then on, written by one append: the last complete line counts. So a
process that is killed loses nothing, and a power loss, which may take the unsynced end of a file (or, on XFS, all of a
file that was renamed over another), leaves the intent: every delegate that may have run is known.
"""

from __future__ import annotations

from cni_chain import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KIND = "cni-chain/1"
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
    the version of the ADD; `call` has what a DEL without a runtime needs: path, netns, args, runtimeConfig, cniArgs.
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


def parse(text: bytes) -> Record:
    """Return the record in a file's bytes. Raises ValueError if its intent can't be read."""
    intent, *later = text.split(b"\n")[:-1]
    document = jsontext.decode(intent)
    try:
        if document["kind"] != KIND:
            raise ValueError(f"of kind {document['kind']!r}, not {KIND!r}")
        attachment = Attachment(document["network"], document["containerID"], document["ifname"])
        steps = [Step(**step) for step in document["steps"]]
        record = Record(attachment, steps, document["call"], document["created"])
        _apply(record, document)
        for line in reversed(later):
            try:  # the last may have been cut short with its writer; then the one before counts
                _apply(record, jsontext.decode(line))
                break
            except (ValueError, TypeError, KeyError):
                continue
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a record: {error!r}") from None
    return record


def _apply(record: Record, state: dict[str, Any]) -> None:
    pending, result, name = state["pending"], state["result"], state["state"]
    if not isinstance(pending, list) or not all(
        type(index) is int and 0 <= index < len(record.steps) for index in pending
    ):
        raise ValueError(f"pending: {pending!r}")
    record.pending, record.result, record.state = pending, result, name
