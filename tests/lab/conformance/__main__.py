"""Kubernetes' conformance tests of the network, with and without: `python -m tests.lab.conformance PROGRAM`.

One node with a bridge and portmap in one list, kube-proxy and CoreDNS. The same tests run twice, each time on a node
from nothing: as it is, and after the chart has put cni-chain in front of the same plugins. It prints each test with
both verdicts, and fails where they differ or one is missing. Root; `make conformance` has built what it needs.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.lab.cluster.chart import NAME, Node
from tests.lab.cluster.daemon import wait_until
from tests.lab.cluster.kubernetes import KUBECONFIG, SOCKET
from tests.lab.cluster.machine import Cgroups, Machine, compare
from tests.lab.cluster.report import kernel
from tests.lab.conformance import image
from tests.lab.conformance.network import Network
from tests.support import gomodules
from tests.support.helm import CHART
from tests.support.pages import Part
from tests.support.runtimes import daemons
from tests.support.runtimes.cri import PAUSE
from tests.support.runtimes.daemons import DISK
from tests.support.sandbox.namespaces import CHECKOUT, ENTER, Sandbox
from tests.support.sandbox.node import FACADE, LEASES, LOG, STATE

PART = Part("evidence/conformance.md", "seen")
OUT = CHECKOUT / "out/conformance"
PLAIN, CHAINED = "plain", "cni-chain"
FOCUS = r"\[sig-network\].*\[Conformance\]"
# What can't run here: part of its name, and why.
SKIPPED: dict[str, str] = {}
IMAGES = Path("images")


class Seen(NamedTuple):
    """What became of a layout's run: test → passed, failed; and what was looked at after it."""

    tests: dict[str, str]
    seconds: float
    notes: list[str]


def built(name: str) -> Path:
    """The directory of what the build script beside this file has built. Raises NotBuiltError."""
    return gomodules.built(Path(__file__).with_name("build"), name)


def run_layout(layout: str, archives: Path, cgroups: Cgroups, options: list[str]) -> Seen:
    """A node from nothing, and the tests on it."""
    with Sandbox() as sandbox:
        node = Node(sandbox, cgroups, archives / "cni-chain.tar")
        network = Network(sandbox, node.kubernetes, built("e2e"), built("coredns"))
        try:
            node.start()
            load(node, archives)
            if layout == CHAINED:
                values = ("--set", "owners={network:bridge,local}", "--set", "networkName=pods")
                node.step("install", NAME, str(CHART), *values)
                node.step("upgrade", NAME, str(CHART), "--reuse-values", "--set", "state=on")
            network.start()
            start = time.monotonic()
            tests = conformance(node, OUT / layout, options)
            seconds = time.monotonic() - start
            return Seen(tests, seconds, after(node, layout))
        finally:
            node.kubernetes.save_logs(OUT / layout / "logs")
            network.close()
            node.kubernetes.close()


def load(node: Node, archives: Path) -> None:
    """Give the runtime the tests' image, by each of its names."""
    ctr = [str(daemons.built("containerd") / "ctr"), "-a", SOCKET, "-n", "k8s.io", "images"]
    shutil.copy(archives / "agnhost.tar", node.sandbox.path(f"{DISK}/agnhost.tar"))
    node.sandbox.run(*ctr, "import", f"{DISK}/agnhost.tar")
    node.sandbox.path(f"{DISK}/agnhost.tar").unlink()
    first, *others = image.names(built("e2e"))
    node.sandbox.run(*ctr, "tag", first, *others)
    node.sandbox.run(*ctr, "tag", PAUSE, *image.names(built("e2e"), image.PAUSE))


def conformance(node: Node, out: Path, options: list[str]) -> dict[str, str]:
    """Run the tests: name → what became of it."""
    e2e, report = built("e2e"), f"{DISK}/report"
    node.sandbox.path(report).mkdir()
    skips = [f"--skip={part}" for part in SKIPPED]
    ours = [
        "--no-color",
        f"--focus={FOCUS}",
        *skips,
        "--timeout=2h",
        f"--output-dir={report}",
        "--json-report=report.json",
    ]
    theirs = [f"--kubeconfig={KUBECONFIG}", "--provider=skeleton", "--num-nodes=1", "--dump-logs-on-failure=false"]
    theirs += [f"--kubectl-path={shutil.which('kubectl', path=node.kubernetes.path)}", f"--e2e-output-dir={report}"]
    out.mkdir(parents=True, exist_ok=True)
    # ginkgo finds no path from the root directory.
    into = f'cd {report}; exec "$@" >output.txt 2>&1'
    command = ["sh", "-c", into, "ginkgo", str(e2e / "ginkgo"), *ours, *options, str(e2e / "e2e.test"), "--", *theirs]
    environment = {"HOME": f"{DISK}/home", "PATH": node.kubernetes.path, "TMPDIR": report}
    try:
        node.sandbox.run(*command, env=environment, timeout=2 * 3600, check=False)
    finally:
        shutil.copy(node.sandbox.path(f"{report}/output.txt"), out)
    file = node.sandbox.path(f"{report}/report.json")
    if not file.exists():
        raise SystemExit(f"the tests did not run: {out}/output.txt")
    shutil.copy(file, out)
    specs = [spec for suite in json.loads(file.read_text()) for spec in suite["SpecReports"] or []]
    ran = [spec for spec in specs if spec["LeafNodeType"] == "It" and spec["State"] not in {"skipped", "pending"}]
    return {" ".join([*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]]): spec["State"] for spec in ran}


def after(node: Node, layout: str) -> list[str]:
    """What is left once the tests' pods are gone, and what cni-chain did."""

    def gone() -> bool:
        return all(pod["spec"].get("hostNetwork") for pod in node.kubernetes.get("pods", "--all-namespaces"))

    wait_until(gone, "the end of the tests' pods", 180)
    leases = node.sandbox.path(f"{LEASES}/pods")
    addresses = [one.name for one in leases.iterdir() if one.name[0].isdigit()] if leases.is_dir() else []
    notes = [f"{len(addresses)} addresses left"]
    log = node.sandbox.path(LOG)
    if layout == PLAIN:
        assert not log.exists(), "cni-chain was called"
        return notes
    assert node.first() == FACADE
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    for verb in ("ADD", "DEL"):
        of_verb = [call for call in calls if call.get("verb") == verb]
        failed = [call for call in of_verb if call.get("code")]
        notes.append(f"{len(of_verb)} {verb}, {len(failed)} failed")
        notes += sorted({f"failed: {call['code']} {call.get('msg')}" for call in failed})
    records = list(node.sandbox.path(STATE).glob("**/*.json*"))
    return [*notes, f"{len(records)} records left"]


def report(seen: dict[str, Seen]) -> str:
    """Each test with its verdicts."""
    names = sorted({name for one in seen.values() for name in one.tests})
    lines = [f"{os.cpu_count()} cores, Linux {kernel()}; a load of {os.getloadavg()[2]:.0f}.", ""]
    lines += [f"* {layout}: {summary(one)}" for layout, one in seen.items()]
    lines += ["", "| test | " + " | ".join(seen) + " |", "|---" * (len(seen) + 1) + "|"]
    for name in names:
        verdicts = [one.tests.get(name, "did not run") for one in seen.values()]
        lines.append(f"| {plain(name)} | " + " | ".join(verdicts) + " |")
    return "\n".join(lines) + "\n"


def summary(seen: Seen) -> str:
    """How many passed, how long it took, and what was left."""
    passed = sum(verdict == "passed" for verdict in seen.tests.values())
    return f"{passed} of {len(seen.tests)} passed in {seen.seconds:.0f} s; {', '.join(seen.notes)}"


def plain(name: str) -> str:
    """A test's name without what all have."""
    return name.removeprefix("[sig-network] ").removesuffix(" [Conformance]").replace("|", r"\|")


def same(seen: dict[str, Seen]) -> bool:
    """Whether each test that ran has passed in each layout."""
    verdicts = [one.tests for one in seen.values()]
    return all(one == verdicts[0] and one and set(one.values()) == {"passed"} for one in verdicts)


def run_inside(archives: Path, cgroups: Cgroups, layouts: list[str], options: list[str]) -> None:
    """The layouts, in the cgroup namespace."""
    for layout in layouts:
        seen = run_layout(layout, archives, cgroups, options)
        cgroups.empty()
        print(f"{layout}: {summary(seen)}", flush=True)
        seen_file(layout).write_text(json.dumps(seen._asdict(), indent=1))


def seen_file(layout: str) -> Path:
    """Where a layout's run is kept: the layouts may run one by one."""
    return OUT / layout / "seen.json"


def make_images(frozen: Path, folder: Path) -> None:
    """The product's image, and the tests'."""
    command = [
        sys.executable,
        "-m",
        "build.release",
        "image",
        "--name",
        "localhost/cni-chain",
        str(folder),
        str(frozen),
    ]
    subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.DEVNULL)
    [archive] = folder.glob("*.tar")
    archive.rename(folder / "cni-chain.tar")
    OUT.mkdir(parents=True, exist_ok=True)
    (folder / "agnhost.tar").symlink_to(image.make(OUT, image.names(built("e2e"))[0], built("e2e")))


def main() -> int:
    """Run the layouts, inside or from outside."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.conformance", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument(
        "--layout", action="append", choices=[PLAIN, CHAINED], help="only this one; the other is as it ran last"
    )
    parser.add_argument("--write", action="store_true", help="put what was seen into docs/ as well")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    # What is left is ginkgo's: --procs=4, --focus.
    options, ginkgo = parser.parse_known_args()
    layouts = options.layout or [PLAIN, CHAINED]
    if options.inside:
        run_inside(options.program, Cgroups(options.inside), layouts, ginkgo)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for layout in layouts:
        seen_file(layout).unlink(missing_ok=True)
    before, cgroups = Machine.look(), Cgroups(f"/cni-chain-conformance-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        make_images(options.program.absolute().parent.parent, Path(folder))
        cgroups.make()
        command = [sys.executable, "-m", "tests.lab.conformance", folder, "--inside", cgroups.name]
        command += [f"--layout={layout}" for layout in layouts]
        try:
            enter = ["bash", "-euc", ENTER, "enter", str(cgroups.top), str(cgroups.daemons), *command, *ginkgo]
            status = subprocess.run(enter, check=False).returncode
        finally:
            left = cgroups.remove()
    # Here runs no BPF program: those that are new are of a Cilium beside this, in another cluster.
    changed = [*left, *(line for line in compare(before) if not line.startswith("BPF "))]
    print("\n".join(["This machine is NOT as it was:", *changed] if changed else ["This machine is as it was."]))
    there = [layout for layout in (PLAIN, CHAINED) if seen_file(layout).exists()]
    if status or not set(layouts) <= set(there):
        return status or 1
    seen = {layout: Seen(**json.loads(seen_file(layout).read_text())) for layout in there}
    text = report(seen)
    print(f"\n{text}")
    if options.write and not changed:
        PART.write(text)
    return int(bool(changed) or not same(seen))


if __name__ == "__main__":
    sys.exit(main())
