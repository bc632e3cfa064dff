"""A program that was cut short, damaged, starved or badly started: one Error object or the right answer, never else."""

import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.node import Node
from tests.support.sandbox.node import is_frozen

VERBS = ("VERSION", "STATUS", "ADD", "CHECK", "DEL", "GC")
OF_ATTACHMENTS = ("ADD", "CHECK", "DEL")
# By the kernel, before the program's first instruction, or by its memory's end.
KILLED = {-signal.SIGKILL, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, 126, 127}


@pytest.fixture
def copy(node: Node, tmp_path: Path) -> Path:
    """The frozen program's directory, copied, and the program of the node."""
    if not is_frozen(node.program):
        pytest.skip("by design: the source is no directory build")
    directory = tmp_path / "copy"
    shutil.copytree(Path(node.program).resolve().parent, directory)
    node.program = str(directory / "cni-chain")
    return directory


def called(node: Node, verb: str, **how: Any) -> tuple[int, Any]:
    """The status and the one document on standard output, or None, of a call that is started in a way of its own."""
    stdin = json.dumps(node.request()).encode()
    environ = node.attachment(verb, "c1" if verb in OF_ATTACHMENTS else "")
    done = subprocess.run([node.program], env=environ, input=stdin, capture_output=True, check=False, **how)
    assert b"Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def require_clear(verb: str, status: int, document: Any) -> None:
    """One Error object, or the right answer."""
    if status == 0:
        assert (document is not None) is (verb in ("ADD", "VERSION")), (verb, document)
        assert document is None or "code" not in document
    else:
        assert status == 1, (verb, status, document)
        assert document["code"] > 0, (verb, document)
        assert document["msg"], verb


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_program_that_was_copied_in_part_is_never_a_success(node: Node, copy: Path, part: float) -> None:
    size = (copy / "cni-chain").stat().st_size
    os.truncate(copy / "cni-chain", int(size * part))

    for verb in VERBS:
        try:
            status, document = called(node, verb)
        except OSError:  # the kernel doesn't take it for a program
            continue
        # The last thousandth is the table of sections, which nothing needs.
        assert status in KILLED or (status == 1 and document) or part > 0.99, (verb, status, document)


def empty(archive: Path) -> None:
    archive.write_bytes(b"")


def half(archive: Path) -> None:
    os.truncate(archive, archive.stat().st_size // 2)


def damaged(archive: Path) -> None:
    """Every byte of the modules is another; the directory at the archive's end is whole."""
    content = bytearray(archive.read_bytes())
    end = content.rindex(b"PK\x01\x02")
    for place in range(200, end - 100_000, 7):
        content[place] ^= 0x55
    archive.write_bytes(content)


@pytest.mark.parametrize("harm", [Path.unlink, empty, half, damaged], ids=lambda harm: harm.__name__)
def test_a_damaged_archive_of_modules_is_an_error_in_one_line(
    node: Node, copy: Path, harm: Callable[[Path], None]
) -> None:
    """The plugin hardly needs it; the command line can't do without."""
    harm(copy / "_internal/modules.zip")

    for verb in VERBS:
        require_clear(verb, *called(node, verb))
    # A misspelt key is compared with the known ones by a module from the archive.
    typo = node.call("ADD", owners=[{"name": "cilium", "typs": ["cilium-cni"]}])
    person = subprocess.run([node.program, "show"], env=node.environ, capture_output=True, text=True, check=False)

    assert typo.code in (7, 999)
    assert person.returncode == 1
    assert person.stderr.count("\n") == 1, person.stderr
    assert person.stderr.endswith("install cni-chain again\n")


@pytest.mark.parametrize("closed", [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)], ids=str)
def test_descriptors_that_the_caller_left_closed_spoil_no_file(node: Node, copy: Path, closed: tuple[int, ...]) -> None:
    redirections = " ".join(f"{number}>&-" for number in closed)
    wrapper = copy / "closed"
    wrapper.write_text(f'#!/bin/sh\nexec "{node.program}" {redirections}\n')
    wrapper.chmod(0o755)
    node.program = str(wrapper)

    for verb in VERBS:
        status, document = called(node, verb)
        if 1 in closed:
            assert (status in (0, 1), document) == (True, None)
        else:
            require_clear(verb, status, document)
    assert all(file.read_bytes()[:1] in (b"{", b"") for file in node.records)


@pytest.mark.usefixtures("copy")
@pytest.mark.parametrize("verb", VERBS)
def test_a_program_that_has_too_little_memory_says_so(node: Node, verb: str) -> None:
    """From what the kernel can't even load to what is plenty. In between each answer is whole."""
    seen = set()
    for mebibytes in (*range(6, 16), 20, 32, 128):
        limit = mebibytes << 20

        def limited(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

        status, document = called(node, verb, preexec_fn=limited)

        seen.add(status)
        if status in KILLED and document is None and mebibytes < 10:
            continue  # there is no program yet that could say anything
        require_clear(verb, status, document)
    assert 0 in seen
    assert 1 in seen


def test_a_version_that_has_almost_enough_memory_is_answered_on_standard_output(copy: Path) -> None:
    """Also by the launcher, when the plugin has turned descriptor 1 into standard error already. Where memory ends in
    between depends on the length of the program's path, so this one is short."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short path
        program = shutil.copytree(copy, Path(folder, "c")) / "cni-chain"
        for limit in range(7 << 20, 9 << 20, 32 << 10):

            def limited(limit: int = limit) -> None:
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

            done = subprocess.run(
                [program],
                env={"CNI_COMMAND": "VERSION"},
                capture_output=True,
                check=False,
                preexec_fn=limited,
            )

            assert done.returncode != -signal.SIGABRT
            if done.returncode not in KILLED:
                require_clear("VERSION", done.returncode, json.loads(done.stdout or "null"))
