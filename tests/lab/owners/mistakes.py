"""The mistakes of an operator as a table: what the runtime says of a new pod, and what each command says of the node.

libcni itself calls the program, with the file that a runtime takes. `python -m tests.lab.owners.mistakes [PROGRAM]`
makes every mistake on a node of files and writes the table into docs/evidence/mistakes.md.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.files import mounts
from tests.support.files.node import WEB, Json, Node, called_node, run, with_pods
from tests.support.pages import Part
from tests.support.sandbox.node import tools

PART = Part("evidence/mistakes.md", "mistakes")

# The plugins of a node on which all is well, in the order in which they run for a new pod.
WHOLE = ["cilium-cni", "istio-cni", "portmap"]

# Of cni-chain's own words those that an application's developer doesn't know; a key's name may follow "key".
PRIVATE = ("owner", "fragment", "delegate", "facade", "attachment")


class Mistake(NamedTuple):
    """One mistake: how it is made, what a new pod gets, and what a command finds."""

    name: str
    make: Callable[[Node], object]
    id: str  # of the finding
    severity: str = "error"
    says: str = ""  # part of what the runtime says; "": the pod starts
    code: int = 0  # of the runtime's error; 0: it has none of cni-chain's
    runs: list[str] = WHOLE  # the plugins of a pod that starts
    by: str = "verify"  # the command that finds it; doctor finds all that verify finds


def node_of(root: Path, program: str, double: Path) -> Node:
    """Return a node on which all is well, whose plugins record their calls."""
    node = with_pods(called_node(root, program, double))
    node.network = "cilium"
    node.owner("cilium", "cilium-cni", types=["cilium-cni"])
    exempt = [{"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}]
    node.owner("istio", "istio-cni", types=["istio-cni"], exempt=exempt)
    node.owner("local", "portmap", required=False)
    node.write_facade(capabilities={"portMappings": True, "ips": True})
    (node.bin_dir / "cni-chain").symlink_to(program)
    (root / "cilium.sock").touch()
    return node


# How each mistake is made.


def misspelt(before: str, after: str) -> Callable[[Node], object]:
    """Return what misspells a text of the facade."""

    def make(node: Node) -> None:
        text = node.facade.read_text()
        assert before in text
        node.facade.write_text(text.replace(before, after, 1))

    return make


def of_another_user(node: Node) -> None:
    os.chown(node.path("istio.d/10-istio-cni.conf"), 1000, 1000)


def in_the_runtimes_directory(node: Node) -> None:
    node.path("istio.d/10-istio-cni.conf").rename(node.net_dir / "10-istio-cni.conf")
    later = time.time() + 60
    document = {"cniVersion": "1.0.0", "name": "istio", "type": "istio-cni"}
    (node.net_dir / "10-istio-cni.conf").write_text(json.dumps(document))
    os.utime(node.net_dir / "10-istio-cni.conf", (later, later))


def renamed_by_cilium(node: Node) -> None:
    node.facade.rename(node.facade.with_name(f"{node.facade.name}.cilium_bak"))
    node.conflist("05-cilium.conflist", "cilium", "cilium-cni")


def appended_by_istio(node: Node) -> None:
    plugins = json.loads(node.facade.read_bytes())["plugins"]
    node.change_facade(of_list={"plugins": [*plugins, {"type": "istio-cni"}]})


def renamed(node: Node) -> None:
    assert runtime(node, "add", "before").status == 0
    node.change_facade(of_list={"name": "cluster"})


def with_drop_ins(node: Node) -> None:
    (node.net_dir / "cilium").mkdir()
    (node.net_dir / "cilium/10-tuning.conf").write_text('{"type": "tuning"}')
    node.plugin("tuning")


def with_records_on(what: str) -> Callable[[Node], object]:
    return lambda node: mounts.mount(node.state_dir, what)


def that_hangs(node: Node) -> None:
    node.change_owner("istio", timeoutSeconds=0.5)
    node.plugin("istio-cni").does("ADD", "sleep 60")


MISTAKES = (
    Mistake(
        "a file that others may write",
        lambda node: node.path("istio.d/10-istio-cni.conf").chmod(0o666),
        "fragment-unusable",
        says="istio's CNI configuration is refused: ",
        code=7,
    ),
    Mistake("a file of another user", of_another_user, "fragment-unusable", says="must be owned by root", code=7),
    Mistake(
        "a key of cni-chain misspelt",
        lambda node: node.change_facade(timeout={"ADD": 60}),
        "facade-key-misspelt",
    ),
    Mistake(
        "the key `owners` misspelt",
        misspelt('"owners"', '"owner"'),
        "facade-key-invalid",
        says="did you mean owners?",
        code=7,
    ),
    Mistake(
        "a key of an owner misspelt",
        misspelt('"types"', '"type"'),
        "facade-key-invalid",
        says="did you mean types?",
        code=7,
    ),
    Mistake(
        "an owner's name misspelt",
        misspelt('"istio"', '"istoi"'),
        "owner-without-fragment",
        says="waiting for istoi's CNI configuration: the directory ",
        code=11,
    ),
    Mistake(
        "an owner's type misspelt",
        misspelt('"istio-cni"', '"istio-cnii"'),
        "owner-types-exclude-all",
        says="own configuration); correct types (there: cni-chain status)",
        code=11,
    ),
    Mistake(
        "`cni-chain` misspelt",
        misspelt('"cni-chain"', '"cni-chian"'),
        "facade-type-misspelt",
        says='failed to find plugin "cni-chian"',
    ),
    Mistake(
        "the facade is not JSON",
        lambda node: node.facade.write_text(node.facade.read_text().replace(",", "", 1)),
        "first-file-invalid",
        says="error parsing configuration list",
    ),
    Mistake(
        "half a file of an agent",
        lambda node: node.write("istio.d/10-istio-cni.conf", '{"type": "isti'),
        "fragment-unusable",
        says="istio's CNI configuration is not complete yet: ",
        code=11,
    ),
    Mistake(
        "the agent still writes to the runtime's directory",
        in_the_runtimes_directory,
        "owner-without-fragment",
        says="is its agent (istio-cni-node) running on this node? (there: cni-chain status)",
        code=11,
    ),
    Mistake(
        "a plugin's executable is missing",
        lambda node: node.uninstall("istio-cni"),
        "plugin-missing",
        says="istio/istio-cni: no plugin istio-cni in ",
        code=11,
    ),
    Mistake(
        "a plugin is not executable",
        lambda node: (node.bin_dir / "istio-cni").chmod(0o644),
        "plugin-not-executable",
        says="is not executable (chmod +x)",
        code=11,
    ),
    Mistake(
        "two facades",
        lambda node: shutil.copy(node.facade, node.net_dir / "10-cni-chain.conflist"),
        "facade-second",
        "warning",
    ),
    Mistake(
        "Cilium still renames other files (`cni.exclusive=true`)",
        renamed_by_cilium,
        "facade-renamed",
        runs=["cilium-cni"],
    ),
    Mistake(
        "a copy that Cilium has renamed was left",
        lambda node: shutil.copy(node.facade, node.net_dir / f"{node.facade.name}.cilium_bak"),
        "facade-renamed",
        "warning",
    ),
    Mistake(
        "Istio still appends itself (`chained: true`)",
        appended_by_istio,
        "facade-edited",
        runs=[*WHOLE, "istio-cni"],
    ),
    Mistake(
        "the disk is full",
        with_records_on("full"),
        "records-unwritable",
        says="No space left on device",
        code=5,
    ),
    Mistake(
        "the disk is read-only",
        with_records_on("read-only"),
        "records-unwritable",
        says="Read-only file system",
        code=5,
    ),
    Mistake(
        "an invalid name of the network",
        lambda node: node.change_facade(of_list={"name": "a/b"}),
        "network-name-invalid",
        says="invalid characters found in network name",
        code=7,
    ),
    Mistake(
        "the network renamed while pods run",
        renamed,
        "records-of-other-network",
        "warning",
        by="doctor",
    ),
    Mistake("a directory of drop-ins", with_drop_ins, "drop-in-directory", "warning"),
    Mistake(
        "a plugin hangs",
        that_hangs,
        "calls-failing",
        says="istio/istio-cni: did not end in time and was killed (timeoutSeconds is 0.5 s): ",
        code=101,
        by="doctor",
    ),
)


# What is said.


class Seen(NamedTuple):
    """What a runtime got for a new pod: cnidrv's exit status, the whole message, the code of the plugin's error."""

    status: int
    said: str
    code: int


class Answers(NamedTuple):
    """What the runtime and each command said of one node, with paths as on a node."""

    pod: Seen
    ran: list[str]
    verify: tuple[int, list[Json]]
    doctor: tuple[int, list[Json]]
    show: tuple[int, str]  # its last line, the verdict
    status: tuple[int, str]  # its first line, the verdict


def runtime(node: Node, verb: str, container: str) -> Seen:
    """Call what the runtime's directory says, as containerd does: the first file, whatever it is, through libcni."""
    driver = tools()
    assert driver is not None, "cnitool and the reference plugins are not built: make tools"
    first = min(path for path in node.net_dir.iterdir() if path.suffix in (".conf", ".conflist", ".json"))
    command = [
        f"{driver}/cnidrv", f"-conf={first}", f"-cache={node.root / 'cache'}", f"-id={container}",
        f"-netns={node.netns(container)}", f"-args={WEB}", verb,
    ]  # fmt: skip
    environ = node.environ | {"CNI_PATH": str(node.bin_dir)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    code = json.loads(done.stdout)["code"] if done.returncode and done.stdout else 0
    return Seen(done.returncode, done.stderr.strip().replace(str(node.root), ""), code)


def answers(node: Node, mistake: Mistake) -> Answers:
    """Make the mistake, let a runtime start a pod, and ask each command."""
    mistake.make(node)
    before = set(node.folders)
    pod = runtime(node, "add", "c1")
    ran = [call.type for call in node.calls if call.folder not in before and call.verb == "ADD"]
    state = ["--state-dir", str(node.state_dir)]
    shown, glance = told(node, "show"), told(node, "status", *state)
    return Answers(
        pod,
        ran if pod.status == 0 else [],
        found(node, "verify"),
        found(node, "doctor", *state),
        (shown[0], " ".join(shown[1].rpartition("\n\n")[2].split())),
        (glance[0], glance[1].partition("\n")[0]),
    )


def told(node: Node, command: str, *arguments: str) -> tuple[int, str]:
    """Return a command's exit status and what it said."""
    where = ["--net-dir", str(node.net_dir), "--bin-dir", str(node.bin_dir)]
    # A file in the place of Cilium's socket shows nothing about its agent.
    done = run(node.program, command, *arguments, *where, environ={"CILIUM_SOCK": str(node.root / "cilium.sock")})
    return done.status, (done.stdout or done.stderr).strip().replace(str(node.root), "")


def found(node: Node, command: str, *arguments: str) -> tuple[int, list[Json]]:
    status, document = told(node, command, "--json", *arguments)
    findings: list[Json] = json.loads(document)["findings"]
    return status, findings


# The table.


def row(mistake: Mistake, seen: Answers) -> str:
    """Return the row of the table for people."""
    if seen.pod.status:
        pod = f"`{_short(seen.pod.said)}`"
    else:
        pod = "the pod starts" if seen.ran == WHOLE else f"the pod starts with {', '.join(seen.ran)}"
    finding = next(one for one in seen.doctor[1] if one["id"] == mistake.id)
    what = f"{finding['severity']} [`{mistake.id}`](../reference/checks.md#{mistake.id}): {finding['what']}"
    what = re.sub(r"\d+s ago", "a moment ago", what)
    statuses = " ".join(str(one[0]) for one in (seen.verify, seen.doctor, seen.show, seen.status))
    cells = [mistake.name, pod, what, statuses, _short(seen.status[1]), _short(seen.show[1])]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300].rpartition(' ')[0]} …"


def block(rows: list[str]) -> str:
    """Return the whole table for the document."""
    heads = ("mistake", "what the runtime says of a new pod", "what is found", "exits", "`status`", "`show`")
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *rows]) + "\n"


def main() -> None:
    """Write the table between the marks of docs/evidence/mistakes.md."""
    from tests.conftest import compiled_double, launched

    rows = []
    for mistake in MISTAKES:
        with tempfile.TemporaryDirectory() as folder, mounts.private():
            root = Path(folder)
            program = str(launched(sys.argv[1] if sys.argv[1:] else "source", root))
            node = node_of(root / "node", program, compiled_double(root))
            rows.append(row(mistake, answers(node, mistake)))
            node.close()
            if mistake.id == "records-unwritable":
                subprocess.run(["/usr/bin/umount", node.state_dir], check=True)
    PART.write(block(rows))
    sys.stdout.write(block(rows))


if __name__ == "__main__":
    main()
