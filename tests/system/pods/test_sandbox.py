"""The tests' own ground: a leak check that misses a kind of thing would let every test pass."""

import os
import shlex
import subprocess
import sys

import pytest

from tests.support.sandbox.inventory import inventory
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import LEASES, STATE, wait_for


@pytest.mark.parametrize(
    ("command", "seen"),
    [
        ("ip netns add x", "file /run/netns/x"),
        ("ip link add x type veth peer name y", "link x"),
        ("iptables -A FORWARD -s 10.9.9.9 -j DROP", "10.9.9.9"),
        ("nft add table inet x", "table inet x"),
        (f"install -D /dev/null {LEASES}/cilium/10.9.9.9", "10.9.9.9"),
        (f"install -D /dev/null {STATE}/cilium:id:eth0", "cilium:id:eth0"),
        ("touch /tmp/_MEI123", "file /tmp/_MEI123"),
        ("mount -t tmpfs x /mnt", "mount /mnt"),
        ("sh -c 'sleep 60 </dev/null >/dev/null 2>&1 &'", "sleep 60"),
    ],
)
def test_the_leak_check_sees(sandbox: Sandbox, command: str, seen: str) -> None:
    """Namespace, interface, rule, table, lease, record, temporary file, mount, process."""
    before = inventory(sandbox)

    sandbox.run(*shlex.split(command))

    new = inventory(sandbox) - before
    assert [thing for thing in new if seen in thing], new


@pytest.mark.usefixtures("sandbox")
def test_nothing_survives_the_one_who_made_a_sandbox() -> None:
    """Even if it is killed: process 1 reads its standard input, and ends with it."""
    script = """if True:
        import sys
        from tests.support.sandbox.namespaces import Sandbox
        sandbox = Sandbox()
        sandbox.start("sleep", sys.argv[1]).wait()
    """
    seconds = f"1234.{os.getpid()}"  # nobody else's
    with subprocess.Popen([sys.executable, "-c", script, seconds], cwd=CHECKOUT) as maker:
        try:
            wait_for(lambda: sleepers(seconds) != [], "the sandbox and what runs in it")
        finally:
            maker.kill()

    wait_for(lambda: not sleepers(seconds), "the end of the sandbox")


def sleepers(seconds: str) -> list[str]:
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{number}/cmdline", encoding="utf-8") as file:
                command = file.read().split("\0")
        except OSError:
            continue
        if command[:2] == ["sleep", seconds]:
            found.append(number)
    return found
