"""The program itself: what it needs of the machine that it runs on."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.files.host import Host
from tests.support.sandbox.node import is_frozen


@pytest.mark.root
def test_a_pod_comes_and_goes_where_no_proc_is_mounted(host: Host) -> None:
    """As for a caller that changed its root: which file the program is has to be found out in another way."""
    answers = {"VERSION": {"cniVersion": "1.1.0", "supportedVersions": ["1.1.0"]}, "ADD": host.result()}
    for verb, answer in answers.items():
        (host.root / verb).write_text(json.dumps(answer))
    plugin = host.bin / "plain"
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


@pytest.mark.parametrize("command", ["VERSION", "ADD", "DEL", "STATUS"])
def test_a_program_that_was_copied_alone_says_what_is_missing(node: Host, command: str) -> None:
    executable = Path(node.program).resolve()
    if not is_frozen(executable):
        pytest.skip("by design: the source is no directory build")
    alone = node.root / 'copied "alone" é' / "cni-chain"
    alone.parent.mkdir()
    shutil.copy(executable, alone)
    node.program = str(alone)

    outcome = node.call(command)
    person = subprocess.run([alone, "--version"], env=node.environ, capture_output=True, text=True, check=False)

    assert (outcome.code, outcome.ran) == (999, [])
    assert outcome.msg.startswith(f"{node.root}/copied ?alone? ?/cni-chain: ")
    assert outcome.msg.endswith("; the program needs the files beside it: install cni-chain again")
    assert (person.returncode, person.stdout) == (1, "")
    missing = f"{alone.parent}/_internal/modules.zip: No such file or directory"
    assert person.stderr == f"cni-chain: {missing}; the program needs the files beside it: install cni-chain again\n"
