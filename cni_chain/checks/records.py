"""Rules about the records: attachments that no DEL undid, damaged records, records that other users can read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

from cni_chain.checks.node import Node
from cni_chain.checks.rule import ERROR, WARNING, Finding, Kind, Needs, of_node
from cni_chain.checks.wording import counted, listed
from cni_chain.node import attachments
from cni_chain.node.attachments import Entry

_PARTICULAR = re.compile(r"/(?:var/)?run/netns/\S+|\b[0-9a-f]{8,}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")

UNREADABLE_DIR = Kind(
    "records-unreadable",
    ERROR,
    "the directory of the records can't be read",
    "Every ADD and every DEL fails with error 5: no new pod starts, and pods stay Terminating.",
    "Run doctor as root; if you did, check the file system.",
)
EXPOSED = Kind(
    "records-exposed",
    WARNING,
    "users other than root can read the records",
    "Records contain the plugins' configurations, which may contain credentials.",
    "chmod 0700 the directory.",
)
SET_ASIDE = Kind(
    "records-set-aside",
    WARNING,
    "a DEL set damaged records aside",
    "That DEL used the chain as it was then, so addresses or rules of an older chain may be left. "
    "(Version 0.1.0 sets the records of later versions aside, also of pods that run.)",
    "Find out what damages files here (a full disk, a power loss); then cni-chain gc removes these records.",
)
UNREADABLE = Kind(
    "record-unreadable",
    ERROR,
    "a record can't be read, or users other than root can write it",
    "The DEL of its attachment fails with error 5 until the record can be read, and its pod stays Terminating.",
    "Run doctor as root; if you did, check the file system. If the file is lost, cni-chain gc --forget ID --force "
    "drops it, and the DEL then uses the chain as it is now.",
)
DAMAGED = Kind(
    "record-damaged",
    WARNING,
    "a record is damaged",
    "cni-chain doesn't know which plugins ran for this attachment: its DEL uses the chain as it is now.",
    "If its pod still runs, do nothing: its DEL sets the record aside. If its pod is gone: cni-chain gc "
    "--older-than 1h. It frees every damaged record of that age: first check that none of their pods runs.",
)
STALE = Kind(
    "records-stale",
    WARNING,
    "the network namespace of an attachment is gone, and its DEL never came",
    "The addresses, rules and endpoints of such an attachment are still in use. (For a minute or two after a reboot "
    "that is normal.)",
    "Run cni-chain gc.",
)
STRANDED = Kind(
    "record-stranded",
    WARNING,
    "a DEL failed and waits for its retry",
    "The pod stays Terminating, or is gone and its addresses, rules and endpoints are still in use.",
    "Fix the cause that the error names. cni-chain then retries the DEL when another pod starts or ends; cni-chain gc "
    "retries at once. If it can never succeed: cni-chain gc --forget ID drops the record; if the runtime keeps "
    'calling DEL, "onDelError": "ignore" on the owner lets the pod go.',
)
STUCK = Kind(
    "record-stuck",
    WARNING,
    "an ADD or DEL was interrupted, and no call has continued it since",
    "cni-chain was killed during the call, or version 0.1.0 left the record like this when a DEL failed.",
    "The runtime's next DEL continues it, and so does cni-chain gc.",
)


OTHER_NETWORK = Kind(
    "records-of-other-network",
    WARNING,
    "records are of a network whose name no facade has",
    "containerd sends the DEL of these pods under the facade's present name, and cni-chain doesn't find their record: "
    "it deletes what the chain of now would have made, and addresses that were taken under the old name stay taken.",
    "Give the facade the old name again, unless it was changed on purpose and no pod from before is left; cni-chain gc "
    "frees what such pods have left.",
)


@of_node(UNREADABLE_DIR, EXPOSED, needs=Needs.NODE)
def directories(node: Node) -> Iterator[Finding]:
    """Yield the directories of records that can't be read, or that users other than root can read."""
    for state in node.states:
        if state.failure:
            yield UNREADABLE_DIR.at(state.path, state.failure)
        try:
            mode = stat.S_IMODE(os.stat(node.tree.real(state.path)).st_mode)
        except OSError:
            continue
        if mode & 0o055:
            what = f"mode {mode:04o}: users other than root can read the records"
            yield EXPOSED.at(state.path, what, do=f"chmod 0700 {state.path}")


@of_node(SET_ASIDE, UNREADABLE, DAMAGED, needs=Needs.NODE)
def damaged(node: Node) -> Iterator[Finding]:
    """Yield the records that can't be used."""
    for state in node.states:
        aside = [one.path for one in state.damaged if one.set_aside]
        if aside:
            yield SET_ASIDE.at(aside[0], f"{counted(len(aside), 'damaged record')} set aside")
        for one in state.damaged:
            if one.unreadable and not one.set_aside:
                yield UNREADABLE.at(
                    one.path,
                    one.reason,
                    do=f"First check what the file has, since that DEL runs it as root; then chown root {one.path}; "
                    f"chmod 0600 {one.path}"
                    if one.unsafe
                    else "",
                )
            elif not one.set_aside:
                yield DAMAGED.at(one.path, one.reason)


# containerd gives a DEL to the configuration of the day, CRI-O to the one of the ADD.
_BY_THE_PREVIOUS_LIST = (
    "No facade is in place. If the runtime has deleted these pods by another list, as containerd does after migrate "
    "undo, only their records are left; otherwise their addresses, rules and endpoints are still in use."
)


@of_node(STALE, needs=Needs.NODE)
def stale(node: Node) -> Iterator[Finding]:
    """Yield the attachments whose namespace is gone; another system's tree doesn't show that."""
    for state in node.states if node.tree.is_this_system else ():
        names = [
            attachments.name(entry.attachment, entry.pod)
            for entry in state.entries
            if not entry.is_stranded
            and attachments.namespace(entry.record.context["netns"], entry.record.created)[0] == attachments.GONE
        ]
        if names:
            what = f"{counted(len(names), 'attachment')} whose network namespace is gone: {listed(names)}"
            yield STALE.at(state.path, what, why="" if node.surveys else _BY_THE_PREVIOUS_LIST)


@of_node(STRANDED, needs=Needs.NODE)
def stranded(node: Node) -> Iterator[Finding]:
    """Yield the attachments that wait for a retry of their DEL, once for each cause: one agent may strand many."""
    for state in node.states:
        causes: dict[tuple[str, str], list[Entry]] = {}
        for entry in state.entries:
            if entry.is_stranded:
                key = (without_particulars(entry.last_error), ", ".join(entry.left))
                causes.setdefault(key, []).append(entry)
        for (_, left), entries in causes.items():
            last = max(entries, key=lambda entry: entry.marker.last)
            names = [attachments.name(entry.attachment, entry.pod) for entry in entries]
            rest = f"; {left} left" if left else ""
            what = f"{names[0]}: {attachments.failure(last)}{rest}"
            if len(names) > 1:
                alike = (
                    f"{counted(len(names), 'attachment')} whose DEL failed with the same error: {listed(names)}{rest}"
                )
                what = f"{alike}; the last one: {attachments.failure(last)}"
            yield STRANDED.at(last.path if len(entries) == 1 else state.path, what)


@of_node(STUCK, needs=Needs.NODE)
def stuck(node: Node) -> Iterator[Finding]:
    """Yield the attachments whose ADD or DEL was interrupted."""
    for entry in (entry for state in node.states for entry in state.entries if entry.is_abandoned):
        what = f"{attachments.name(entry.attachment, entry.pod)}: {attachments.failure(entry)}"
        do = ""
        if entry.record.state == "adding":
            do = "The runtime's DEL or next ADD undoes it. If its pod is gone, run cni-chain gc."
        elif entry.left:
            what += f"; {listed(entry.left, 5)} left"
        yield STUCK.at(entry.path, what, do=do)


@of_node(OTHER_NETWORK, needs=Needs.NODE)
def renamed(node: Node) -> Iterator[Finding]:
    """Yield the networks that only records name: the facade has got another name."""
    known = {file.network for file in (*node.directory.facades, *(survey.file for survey in node.surveys))}
    for state in node.states if node.surveys else ():
        of_network: dict[str, list[str]] = {}
        for entry in state.entries:
            if entry.attachment.network not in known:
                of_network.setdefault(entry.attachment.network, []).append(
                    attachments.name(entry.attachment, entry.pod)
                )
        for network, names in sorted(of_network.items()):
            what = f"{counted(len(names), 'record')} of network {network}, and no facade has that name: {listed(names)}"
            yield OTHER_NETWORK.at(state.path, what)


def without_particulars(message: str) -> str:
    """Return an error without the paths and IDs that differ between two messages about the same fault."""
    return _PARTICULAR.sub("…", message)
