"""An attachment that another process works on: which process that is, and the error of this call."""

from __future__ import annotations

from cni_chain.plugin.errors import INVALID_CONFIG, TRY_AGAIN, CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni_chain.plugin.record import Attachment
    from cni_chain.plugin.records import State

_DEPTH_OF_PROCESSES = 64  # more than exist between a runtime and a plugin that a plugin started


def busy(state: State, attachment: Attachment) -> CNIError:
    """Return the error for an attachment that another process works on: 11, or 7 if that process called this one."""
    if is_below_holder(state, attachment):
        return CNIError(
            INVALID_CONFIG,
            f"network {attachment.network} leads back to itself: a plugin of its chain calls cni-chain for the same "
            "network again; remove that plugin there, or give it another network",
        )
    return CNIError(
        TRY_AGAIN,
        f"{attachment.ifname} of container {attachment.container_id} is busy: another call for it is still running",
    )


def is_below_holder(state: State, attachment: Attachment) -> bool:
    """Return whether the process that has the attachment started this one, directly or through others."""
    holder, process = state.holder(attachment), "self"
    for _ in range(_DEPTH_OF_PROCESSES if holder else 0):
        process = _parent(process)
        if process == str(holder):
            return True
    return False


def _parent(process: str) -> str:
    """Return the parent of a process as /proc names it, "" if /proc doesn't."""
    try:
        with open(f"/proc/{process}/stat", "rb", buffering=0) as file:
            return file.readall().rpartition(b")")[2].split()[1].decode()
    except (OSError, LookupError):
        return ""
