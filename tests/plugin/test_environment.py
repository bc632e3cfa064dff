"""Section 4 of the contract: a delegate's environment is exactly the caller's."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.files.node import Call, Node

CALLERS = [
    pytest.param({}, id="bare"),
    pytest.param({"LC_ALL": "C"}, id="C-locale"),
    pytest.param({"LANG": "C.UTF-8", "HOME": "/root"}, id="UTF-8-locale"),
    pytest.param({"LD_LIBRARY_PATH": "/opt/containerd/lib:"}, id="containerds-libraries"),
    pytest.param({"LD_PRELOAD": "", "GCONV_PATH": "/x"}, id="loader"),
    pytest.param({"TRACEPARENT": "00-1-2-01", "TRACESTATE": "", "BAGGAGE": "a=b"}, id="tracing"),
    pytest.param({"PYTHONPATH": "/x", "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/x"}, id="python"),
    pytest.param({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "0", "PYTHONWARNINGS": "error"}, id="python-flags"),
    pytest.param({"XDG_RUNTIME_DIR": "", "EMPTY": "", "A": "b=c", "a": "\n é"}, id="odd-values"),
    pytest.param({"BYTES": os.fsdecode(b"\xff\xfe")}, id="not-UTF-8"),
    pytest.param({"TMPDIR": "/nowhere", "HOME": ""}, id="no-tmp"),
    pytest.param({"CNI_NETNS_OVERRIDE": "1", "CNI_FUTURE": "x"}, id="other-CNI-variables"),
]

C_LIBRARYS_OWN = 0b11 << 31  # signals 32 and 33, which glibc's posix_spawn always leaves ignored


def entries(env: dict[str, str]) -> list[str]:
    return sorted(f"{key}={value}" for key, value in env.items())


@pytest.mark.parametrize("more", CALLERS)
def test_a_delegate_has_the_callers_environment_and_nothing_else(node: Node, more: dict[str, str]) -> None:
    """What freezing adds is undone, and what an interpreter adds by itself as well."""
    node.environ.update(more)
    for verb in ("ADD", "CHECK", "DEL"):
        env = node.attachment(verb, "c1", CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web")

        outcome = node.call(verb, CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web")

        assert [call.environ for call in outcome.calls] == [entries(env)] * 3


@pytest.fixture
def declared(host: Node) -> Node:
    """One owner whose file declares 1.1.0, so that it is asked for STATUS and GC."""
    host.owner("cilium")
    host.fragment("cilium", "10.conf", {"type": "cilium-cni", "cniVersion": "1.1.0"})
    return host


def changed(host: Node, call: Call) -> dict[str, str]:
    """The variables that aren't as the runtime gave them."""
    given = host.attachment(call.verb, "")
    assert call.env.keys() == given.keys()
    return {key: value for key, value in call.env.items() if given[key] != value}


def test_status_and_gc_pass_the_empty_variables_on(declared: Node) -> None:
    calls = [*declared.status().calls, *declared.gc([]).calls]

    assert [(call.verb, changed(declared, call)) for call in calls] == [("STATUS", {}), ("GC", {})]


def test_the_dels_of_gc_take_the_attachment_from_its_record(declared: Node) -> None:
    """A GC's DELs take CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS and CNI_ARGS from the record."""
    declared.add("c1", CNI_ARGS="K8S_POD_NAME=web", CNI_NETNS="/run/netns/gone")

    delete, collect = declared.gc(None).calls

    attachment = {
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/run/netns/gone",
        "CNI_ARGS": "K8S_POD_NAME=web",
    }
    assert (delete.verb, changed(declared, delete)) == ("DEL", attachment)
    assert (collect.verb, changed(declared, collect)) == ("GC", {})


def test_only_the_command_differs_on_rollback_and_for_version(node: Node) -> None:
    node.plugin("istio-cni").fails("ADD")
    env = node.attachment("ADD", "c1")

    outcome = node.add()

    assert {call.verb for call in outcome.every_call} == {"VERSION", "ADD", "DEL"}
    for call in outcome.every_call:
        assert call.environ == entries(env | {"CNI_COMMAND": call.verb})


def test_only_the_command_differs_on_the_dels_of_a_left_over_record(node: Node) -> None:
    node.add()
    env = node.attachment("ADD", "c1")

    outcome = node.add()

    assert {call.verb for call in outcome.calls} == {"ADD", "DEL"}
    for call in outcome.calls:
        assert call.environ == entries(env | {"CNI_COMMAND": call.verb})


def ignored_signals() -> int:
    """Those that a process started here begins with: ours, but for the two that only Python ignores."""
    (ours,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("SigIgn")]
    return int(ours.split()[1], 16) & ~(1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)) & ~C_LIBRARYS_OWN


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_a_delegate_has_the_callers_directory_umask_and_signals(node: Node, umask: int) -> None:
    """An interpreter ignores SIGPIPE; its delegates must not inherit that."""
    calls = node.add().calls

    for call in calls:
        assert (call.folder / "cwd").read_text() == str(node.root)
        assert int(call.status["Umask"], 8) == umask
        assert int(call.status["SigIgn"], 16) & ~C_LIBRARYS_OWN == ignored_signals()
        assert int(call.status["SigBlk"], 16) == 0
        assert (call.folder / "cmdline").read_bytes().split(b"\0") == [os.fsencode(node.bin_dir / call.type), b""]


def test_a_signal_that_the_runtime_ignores_stays_ignored(host: Node) -> None:
    """As it would be if the runtime had run the delegate itself."""
    host.owner("cilium", "cilium-cni")

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    subprocess.run(
        [host.program],
        input=json.dumps(host.request()).encode(),
        env=host.attachment("ADD", "c1"),
        preexec_fn=ignore,
        check=True,
        capture_output=True,
    )

    (call,) = [call for call in host.calls if call.verb == "ADD"]
    assert int(call.status["SigIgn"], 16) & ~C_LIBRARYS_OWN == ignored_signals() | 1 << (signal.SIGHUP - 1)
