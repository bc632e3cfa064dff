"""What cni-chain adds to a pod's start: `python -m tests.lab.runtimes.bench PROGRAM`.

The same plugins once through the facade and once in one plain conflist, under the same daemon, by turns. A benchmark,
not a test: it prints, and it fails only if a pod does.
"""

import argparse
import functools
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.files.double import Json
from tests.support.gomodules import NotBuiltError
from tests.support.runtimes.daemons import RUNTIMES
from tests.support.runtimes.kubelet import Kubelet, lay_facade
from tests.support.runtimes.nodes import kubelet_on
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.namespaces import SandboxUnavailableError
from tests.support.sandbox.node import BANDWIDTH, BRIDGE, FACADE, NET, PORTMAP, TUNING, is_frozen, whole_list

PLAIN = "05-plain.conflist"
WARM_UP = 2
LIMIT_MS = 25


class Figures(NamedTuple):
    """RunPodSandbox in milliseconds: through the plain conflist, and through cni-chain.

    Of both with `disableCheck` as well (`unchecked`), where a runtime calls CHECK.
    """

    runtime: str
    plain: list[float]
    chained: list[float]
    plain_unchecked: list[float]
    chained_unchecked: list[float]

    def summary(self) -> list[dict[str, Any]]:
        """One entry for both, one for both with `disableCheck`."""
        pairs = {"": (self.plain, self.chained), "disableCheck": (self.plain_unchecked, self.chained_unchecked)}
        return [
            {
                "runtime": self.runtime,
                "with": setting,
                "pods": len(chained),
                "plain_ms": round(statistics.median(plain), 1),
                "chained_ms": round(statistics.median(chained), 1),
                "difference_ms": round(statistics.median(chained) - statistics.median(plain), 1),
                "ratio": round(statistics.median(chained) / statistics.median(plain), 2),
            }
            for setting, (plain, chained) in pairs.items()
            if chained
        ]


def measure(kubelet: Kubelet, state: Path, pods: int) -> Figures:
    """One pod through each, by turns, so that whatever else the machine does meets both alike."""
    net = kubelet.node.sandbox.path(NET)
    # Records on a real disk: making them durable costs what it costs.
    lay_facade(kubelet.node, {"stateDir": str(state), "logLevel": "info"})
    facade = json.loads((net / FACADE).read_text())
    plain = whole_list(BRIDGE, TUNING, PORTMAP, BANDWIDTH, version="1.0.0")

    def lay(file: str, content: Json, **keys: bool) -> None:
        (net / ".tmp").write_text(json.dumps(content | keys))
        (net / ".tmp").rename(net / file)
        if file == PLAIN:
            (net / FACADE).unlink(missing_ok=True)

    before = len(kubelet.log("ADD"))
    figures = Figures(kubelet.client.version(), [], [], [], [])
    turns = [
        (PLAIN, functools.partial(lay, PLAIN, plain), figures.plain),
        (FACADE, functools.partial(lay, FACADE, facade), figures.chained),
        (PLAIN, functools.partial(lay, PLAIN, plain, disableCheck=True), figures.plain_unchecked),
        (FACADE, functools.partial(lay, FACADE, facade, disableCheck=True), figures.chained_unchecked),
    ][: 4 if kubelet.runtime.checks else 2]
    for number in range(pods + WARM_UP):
        for file, change, times in turns:
            kubelet.rewrite(change, file)
            start = time.perf_counter()
            sandbox = kubelet.run(f"pod-{number}")
            if number >= WARM_UP:
                times.append((time.perf_counter() - start) * 1000)
            kubelet.end(sandbox)
    through, wanted = len(kubelet.log("ADD")) - before, (pods + WARM_UP) * len(turns) // 2
    if through != wanted:
        raise SystemExit(f"{through} of {wanted} pods went through cni-chain: {figures.runtime} took another file")
    return figures


def compare(program: Path, pods: int) -> list[dict[str, Any]]:
    """Measure each runtime. Raises NotBuiltError, SandboxUnavailableError."""
    tools = sandbox_node.tools()
    if tools is None:
        raise NotBuiltError("the reference plugins are not built: make tools")
    summaries = []
    for kind in RUNTIMES:
        # /var/tmp is on a disk where /tmp often isn't; the sandbox has one of its own, so it can't be there.
        with (
            tempfile.TemporaryDirectory(prefix="cni-chain-bench.", dir="/var/lib") as state,
            kubelet_on(kind, program, tools) as kubelet,
        ):
            summaries += measure(kubelet, Path(state) / "chain", pods).summary()
    return summaries


def show(summaries: list[dict[str, Any]], load: float) -> None:
    kernel = re.match(r"[\d.]*\d", platform.release())
    print(f"{os.cpu_count()} cores, Linux {kernel[0] if kernel else ''}, load {load:.1f} before\n")
    print(f"{'RunPodSandbox, median ms':26}{'pods':>6}{'plain':>9}{'chained':>9}{'more':>8}{'ratio':>8}")
    for line in summaries:
        verdict = "within" if line["difference_ms"] <= LIMIT_MS else "OVER"
        times = f"{line['plain_ms']:9.1f}{line['chained_ms']:9.1f}{line['difference_ms']:8.1f}{line['ratio']:8.2f}"
        what = f"  both with {line['with']}" if line["with"] else line["runtime"]
        print(f"{what:26}{line['pods']:6}{times}  {verdict} {LIMIT_MS}")


def main() -> None:
    """Run the benchmark."""
    name = "python -m tests.lab.runtimes.bench"
    parser = argparse.ArgumentParser(prog=name, description="What cni-chain adds to the start of a pod.")
    parser.add_argument("program", type=Path, help="the frozen program")
    parser.add_argument("--pods", type=int, default=20, help="of each kind and runtime (20)")
    parser.add_argument("--json", action="store_true", help="one JSON object a runtime")
    options = parser.parse_args()
    if not is_frozen(options.program):
        parser.error("runtimes run the frozen program")
    load = os.getloadavg()[0]
    try:
        summaries = compare(options.program, options.pods)
    except (NotBuiltError, SandboxUnavailableError) as e:
        sys.exit(str(e))
    if options.json:
        for line in summaries:
            print(json.dumps(line))
    else:
        show(summaries, load)


if __name__ == "__main__":
    main()
