"""The C that is in the program: as it is checked at run time, and the start that takes the place of the usual one."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.release.test_freeze import freeze
from tests.support.compiler import compiled
from tests.support.files.node import Node, called_node

pytestmark = pytest.mark.slow

SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
# Each argument's kind, the number of arguments, and results of either sign.
SCRIPT = """
import errno, os
from _system_calls import system_call
GETPID, OPENAT, READ, CLOSE = NUMBERS
assert system_call(GETPID) == os.getpid()
buffer = bytearray(4)
opened = system_call(OPENAT, -100, b"/proc/self/comm\\0", os.O_RDONLY)
assert system_call(READ, opened, buffer, len(buffer)) == 4
assert bytes(buffer) == open("/proc/self/comm", "rb").read()[:4]
assert system_call(CLOSE, opened) == 0
for wrong, expected in (
    (lambda: system_call(CLOSE, opened), errno.EBADF),
    (lambda: system_call(CLOSE, (1 << 64) - 1), errno.EBADF),
    (lambda: system_call(10 ** 6), errno.ENOSYS),
):
    try:
        wrong()
    except OSError as error:
        assert error.errno == expected, error
    else:
        raise AssertionError(expected)
for wrong in (lambda: system_call(), lambda: system_call(*range(8)), lambda: system_call(CLOSE, "text"),
              lambda: system_call(READ, opened, buffer, None)):
    try:
        wrong()
    except TypeError:
        continue
    raise AssertionError
buffer.extend(b"not locked any more")
print("ok")
"""
NUMBERS = {"x86_64": (39, 257, 0, 3), "aarch64": (172, 56, 63, 57)}


def test_system_calls_are_clean_under_the_sanitizers(tmp_path: Path) -> None:
    """As an extension module, so that an ordinary interpreter can load it with the sanitizers' library in front."""
    include = sysconfig.get_path("include")
    # The interpreter's headers aren't ours: no warning of theirs counts.
    options = ("-shared", "-fPIC", "-isystem", include, *SANITIZED)
    compiled(CHECKOUT / "build/system_calls.c", tmp_path / "_system_calls.so", *options)
    library = subprocess.run(
        ["/usr/bin/gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    )
    environ = {"LD_PRELOAD": library.stdout.strip(), "PYTHONPATH": str(tmp_path), "ASAN_OPTIONS": "detect_leaks=0"}
    script = SCRIPT.replace("NUMBERS", str(NUMBERS[os.uname().machine]))

    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")


@pytest.fixture(scope="module", params=["", "FULL_START", "SANITIZE"])
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with the interpreter's core only, with all of it, and with sanitizers in its own C."""
    name = request.param
    return freeze(tmp_path_factory.mktemp(name or "CORE_START") / "out", **({name: "1"} if name else {}))


@pytest.fixture
def host(variant: Path, double: Path, tmp_path: Path) -> Iterator[Node]:
    host = called_node(tmp_path, str(variant), double)
    host.owner("cilium", "cilium-cni")
    host.owner("local", "portmap")
    yield host
    host.close()


def test_pods_come_and_go_however_the_interpreter_was_started(host: Node) -> None:
    calls = [host.call(verb) for verb in ("VERSION", "STATUS", "ADD", "CHECK", "DEL", "GC")]

    assert [call.code for call in calls] == [0] * len(calls)
    assert [len(call.ran) for call in calls[2:5]] == [2, 2, 2]
    assert [call.stderr for call in calls] == [""] * len(calls)


def test_what_a_call_rarely_needs_is_found_however_the_interpreter_was_started(host: Node) -> None:
    """The module that compares words is in the archive, which the core alone can't read."""
    outcome = host.call("ADD", owners=[{"name": "cilium", "typs": ["cilium-cni"]}])

    assert outcome.code == 7
    assert "types" in outcome.msg


def test_no_text_is_lost_however_the_interpreter_was_started(host: Node) -> None:
    """Without the codecs that an interpreter otherwise has when it is complete."""
    name = os.fsdecode(b"pod-\xc3\xa9-\xff")

    outcome = host.call("ADD", CNI_ARGS=f"K8S_POD_NAME={name}", args={"é": "\ud83d\ude00 \u0000"})

    assert outcome.ok
    assert [call.env["CNI_ARGS"] for call in outcome.calls] == [f"K8S_POD_NAME={name}"] * 2
    assert [call.conf["args"] for call in outcome.calls] == [{"é": "\U0001f600 \u0000"}] * 2


def test_the_command_line_works_however_the_interpreter_was_started(variant: Path) -> None:
    done = subprocess.run([variant, "--version"], env={}, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("cni-chain ")


def test_a_typo_keeps_no_pod_terminating_where_the_files_beside_the_program_are_missing(
    host: Node, variant: Path
) -> None:
    archive = variant.resolve().parent / "_internal/modules.zip"
    hidden = archive.rename(archive.with_suffix(".hidden"))
    try:
        added = host.call("ADD")
        refused = host.call("ADD", owners=[{"name": "cilium", "typs": ["cilium-cni"]}])
        deleted = host.call("DEL", owners=[{"name": "cilium", "typs": ["cilium-cni"]}])
    finally:
        hidden.rename(archive)

    assert (added.code, refused.code, deleted.code) == (0, 7, 0)


def test_a_module_that_is_nowhere_is_an_import_error_however_the_interpreter_was_started(
    host: Node, variant: Path
) -> None:
    archive = variant.resolve().parent / "_internal/modules.zip"
    hidden = archive.rename(archive.with_suffix(".hidden"))
    try:
        outcome = host.call("ADD", CNI_CONTAINERID="c" * 250)  # too long for a file's name, so its hash is needed
    finally:
        hidden.rename(archive)

    assert (outcome.code, outcome.msg.count("hashlib")) == (999, 1)
    assert json.loads(outcome.stdout)["msg"].endswith("install cni-chain again")
