"""What a delegate's failed DEL means: it counts as done, or is tried again with its owner's current configuration."""

from __future__ import annotations

import time

from cni_chain.plugin import quirks, system
from cni_chain.plugin.errors import CNIError
from cni_chain.plugin.request import recorded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from cni_chain.plugin.call import CurrentChain
    from cni_chain.plugin.invoke import Invoker
    from cni_chain.plugin.record import Record, RecordedDelegate


def needs_no_binary(chain: CurrentChain, record: Record, index: int, *, on_disk: bool) -> bool:
    """Return whether the DEL of a delegate whose binary is missing counts as done."""
    return (on_disk and _never_started(record, index)) or is_uninstalled(chain, record.delegates[index])


def _never_started(record: Record, index: int) -> bool:
    """Return whether the record says that a delegate's ADD was never begun.

    cni-chain doesn't sync those lines, so a power loss may remove them: they count only until the next boot.
    """
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return index > record.ran and record.created > booted


def is_uninstalled(chain: CurrentChain, delegate: RecordedDelegate) -> bool:
    """Return whether no file on this node names a delegate any more, so that its plugin won't come back by itself.

    False if files can't be used just now, because their agent may be in the middle of an upgrade, and if the chain's
    directory doesn't exist, because it may not be mounted yet.
    """
    owner = chain.owner(delegate.owner)
    if owner is None:
        return True
    directory = chain.owner_chain(owner, exempt=False).directory
    if directory.faults or (directory.missing and not system.isdir(chain.chain_dir)):
        return False
    return all(conf["type"] != delegate.type for fragment in directory.fragments for conf in fragment.plugins)


def corrected(chain: CurrentChain, record: Record, index: int, version: str) -> RecordedDelegate | None:
    """Return a delegate as its owner has it now, in `version`; None if that is as recorded, or unknown.

    Of several delegates of one type it is the one at the same position; None if their number has changed.
    """
    delegate, delegates = record.delegates[index], record.delegates
    owner = chain.owner(delegate.owner)
    if owner is None:
        return None
    same = [at for at, other in enumerate(delegates) if (other.owner, other.type) == (delegate.owner, delegate.type)]
    today = chain.owner_chain(owner, exempt=False)
    current = [recorded(one, version) for one in today.delegates if one.type == delegate.type]
    as_recorded = any((other.conf, other.capabilities) == (delegate.conf, delegate.capabilities) for other in current)
    if today.directory.faults or as_recorded or len(current) != len(same):
        return None
    return current[same.index(index)]


def what_is_gone(delegate: RecordedDelegate, said: str, environ: Mapping[str, str]) -> str:
    """Return what is gone by a delegate's own words, if that delegate has nothing to delete without it; else ""."""
    netns = environ.get("CNI_NETNS", "")
    if (not netns or _leads_nowhere(netns)) and quirks.namespace_is_gone(said, netns):
        return "the network namespace"
    if delegate.type == quirks.HOST_DEVICE and quirks.device_is_back(said, environ.get("CNI_IFNAME", "")):
        return "the interface"
    return ""


def _leads_nowhere(path: str) -> bool:
    try:
        system.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_taken_away(chain: CurrentChain, invoker: Invoker, delegate: RecordedDelegate) -> bool:
    """Return whether a delegate, which was found a moment ago, has been uninstalled since."""
    try:
        invoker.find(delegate)
    except CNIError:
        return is_uninstalled(chain, delegate)
    return False
