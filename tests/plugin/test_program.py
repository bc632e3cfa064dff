"""The program itself: what it needs of the machine that it runs on."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.files.node import Node
from tests.support.sandbox.node import is_frozen


@pytest.mark.root
def test_a_pod_comes_and_goes_where_no_proc_is_mounted(host: Node) -> None:
    """As for a caller that changed its root: which file the program is has to be found out in another way."""
    answers = {"VERSION": {"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}, "ADD": host.result()}
    for verb, answer in answers.items():
        (host.root / verb).write_text(json.dumps(answer))
    plugin = host.bin_dir / "plain"
    plugin.write_text(
        f"#!/bin/sh\ncat >/dev/null\ntest ! -e {host.root}/$CNI_COMMAND || cat {host.root}/$CNI_COMMAND\n"
    )
    plugin.chmod(0o755)
    host.owner("local")
    host.fragment("local", "10-plain.conf", {"type": "plain"}, install=False)
    without = host.root / "without-proc"
    without.write_text(f"#!/bin/sh\nexec unshare --mount sh -c 'umount --lazy /proc && exec {host.program}'\n")
    without.chmod(0o755)
    host.program = str(without)

    assert host.add().answer["ips"] == host.result()["ips"]
    assert host.delete().ok


@pytest.fixture
def alone(node: Node) -> Path:
    """The program, copied without the directory beside it, in the place of the node's."""
    executable = Path(node.program).resolve()
    if not is_frozen(executable):
        pytest.skip("by design: the source is no directory build")
    copy = node.root / 'copied "alone" é' / "cni-chain"
    copy.parent.mkdir()
    shutil.copy(executable, copy)
    node.program = str(copy)
    return copy


def test_pods_come_and_go_with_a_program_that_was_copied_alone(node: Node, alone: Path) -> None:
    """What a call needs is built in: an upgrade that was cut short in the middle keeps no pod Terminating."""
    assert not (alone.parent / "_internal").exists()

    calls = [node.call(verb) for verb in ("VERSION", "STATUS", "ADD", "CHECK", "DEL", "GC")]

    assert [call.code for call in calls] == [0] * len(calls)
    assert [len(call.ran) for call in calls[2:5]] == [3, 3, 3]


def test_a_program_that_was_copied_alone_says_what_is_missing(node: Node, alone: Path) -> None:
    """Only what hardly a call needs is missing: here a hash, for an ID that is too long for a file's name."""
    outcome = node.call("ADD", CNI_CONTAINERID="c" * 250)
    person = subprocess.run([alone, "--version"], env=node.environ, capture_output=True, text=True, check=False)

    assert (outcome.code, outcome.ran) == (999, [])
    needs = "the program needs the files beside it: install cni-chain again"
    assert outcome.msg == f"{alone}: No module named 'hashlib'; {needs}"
    assert (person.returncode, person.stdout) == (1, "")
    missing = f"{alone.parent}/_internal/modules.zip: No such file or directory"
    assert person.stderr == f"cni-chain: {missing}; {needs}\n"


@pytest.mark.usefixtures("alone")
def test_a_program_that_was_copied_alone_refuses_a_misspelt_key_without_a_proposal(node: Node) -> None:
    outcome = node.call("ADD", owners=[{"name": "cilium", "typs": ["cilium-cni"]}])

    assert (outcome.code, outcome.ran) == (7, [])
    assert "typs" in outcome.msg
    assert "did you mean" not in outcome.msg
