"""What there is on a node, one line a thing, so that two lists tell what a test has left behind."""

import json
import os
import re
import time
from collections.abc import Callable

from tests.support.sandbox.namespaces import CHECKOUT, Sandbox

PLACES = ("/run", "/tmp", "/var/tmp", "/dev/shm", "/var/lib/cni", "/opt/cni")  # noqa: S108
# What is not an attachment's, and stays by design: of host-local, of cni-chain, of iptables, of libcni.
KEPT = re.compile(
    r"file /var/lib/cni/networks/[^/]+/(lock|last_reserved_ip\.\d+)"
    r"|file /var/lib/cni/[^/]+/\.(lock|versions)"
    r"|file /run/xtables\.lock"
    r"|directory /var/lib/cni/(chain|results)"
)


def inventory(sandbox: Sandbox) -> set[str]:
    return {*files(sandbox), *links(sandbox), *rules(sandbox), *processes(sandbox), *mounts(sandbox)}


def left(sandbox: Sandbox, before: set[str]) -> list[str]:
    """What there is that wasn't before; what is going is waited for."""
    return sorted(settled(lambda: inventory(sandbox) - before))


def settled(look: Callable[[], set[str]], seconds: float = 20) -> set[str]:
    """What is found once nothing of it goes by itself any more.

    The kernel ends a deleted namespace's devices some time later, and a process that was killed once it is its turn.
    """
    end = time.monotonic() + seconds
    while (found := look()) and time.monotonic() < end:
        if not any(thing.startswith(("link ", "process ")) for thing in found):
            break
        time.sleep(0.2)
    return found


def files(sandbox: Sandbox) -> set[str]:
    """Named network namespaces, leases, records, temporary files. Directories too, where empty."""
    found = set()
    for place in PLACES:
        for parent, directories, names in os.walk(sandbox.path(place)):
            inside = place + parent.removeprefix(str(sandbox.path(place)))
            if inside == str(CHECKOUT):  # in /tmp, say: what Python compiles in there is nobody's left-over
                directories.clear()
                continue
            found |= {f"file {inside}/{name}" for name in names}
            if not names and not directories:
                found.add(f"directory {inside}")
    return {thing for thing in found if not KEPT.fullmatch(thing)}


def links(sandbox: Sandbox) -> set[str]:
    """Every interface but bridges: the plugin makes one for all pods and keeps it. Its ports are listed."""
    listed = json.loads(sandbox.run("ip", "-json", "-details", "link").stdout)
    return {f"link {x['ifname']}" for x in listed if x.get("linkinfo", {}).get("info_kind") != "bridge"}


def rules(sandbox: Sandbox) -> set[str]:
    """Tables, chains and rules, as nft and as both kinds of iptables see them; without their counters."""
    script = "nft list ruleset; for kind in '' 6; do ip${kind}tables-save; done 2>/dev/null"
    found, where = set(), [""]
    for line in sandbox.run("sh", "-c", script, check=False).stdout.splitlines():
        text = re.sub(r"counter packets \d+ bytes \d+ ?|\[\d+:\d+\]", "", line.partition("#")[0]).strip()
        if text.endswith("{"):
            where.append(text)
        if text == "}":
            where.pop()
        elif text:
            found.add(f"rule {' '.join([*where[1:], text])}")
    return found


def processes(sandbox: Sandbox) -> set[str]:
    """All but process 1. What has ended is given a moment to be reaped."""
    end = time.monotonic() + 1
    while numbers := [n for n in os.listdir(sandbox.path("/proc")) if n.isdigit() and n != "1"]:
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    return {f"process {n} {command_line(sandbox, n)}" for n in numbers}


def command_line(sandbox: Sandbox, number: str) -> str:
    try:
        return sandbox.path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return "(ended just now)"


def mounts(sandbox: Sandbox) -> set[str]:
    return {f"mount {line.split()[1]}" for line in sandbox.path("/proc/1/mounts").read_text().splitlines()}
