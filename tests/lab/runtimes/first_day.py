"""A new operator's first day: Cilium is there; Istio ambient comes, both are upgraded, Istio goes, cni-chain goes.

The same machinery as the closing walk's (`walk`). `python -m tests.lab.runtimes.first_day PROGRAM` takes it and writes
it, with the output of each command, into docs/evidence/first-day.md.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.lab.runtimes.walk import Stage, Walk, alike, settings_in, started, text
from tests.support.agents.writers import CILIUM, ISTIO
from tests.support.pages import Part
from tests.support.runtimes.agents import LIST
from tests.support.runtimes.daemons import Containerd24
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.node import CHAIN, FACADE, NET, is_frozen

PART = Part("evidence/first-day.md", "first-day")


def take(walk: Walk) -> list[Stage]:
    """Take the walk."""
    behind_the_facade(walk, comes(walk))
    goes(walk)
    return walk.stages


def comes(walk: Walk) -> dict[str, list[str]]:
    """From Cilium's own list to Cilium behind the facade, with a place for Istio; the settings that were printed."""
    walk.stage("Before", "Cilium 1.18 writes the runtime's only file. The network has no mesh.")
    walk.does("ls", NET)
    for name in ("before-1", "before-2"):
        walk.pods(name)

    walk.stage("Install, without the facade", "From the unpacked archive. Nothing changes for pods.")
    walk.does("bin/cni-chain", "install", "--no-facade")
    walk.pods("installed")

    walk.stage("Look at the plan", "Istio is to come: `--add istio`. Still nothing is changed.")
    settings = settings_in(walk.does("cni-chain", "migrate", "plan", "--add", "istio"))
    walk.well()

    walk.stage("Write", "The fragment of Cilium is a copy of what is in use. No runtime reads it yet.")
    walk.does("cni-chain", "migrate", "write", "--add", "istio")
    walk.pods("written", "before-1")

    walk.stage("Move Cilium", "With the lines of its settings. Its agent's pod is replaced; a pod waits meanwhile.")
    walk.moves(CILIUM, settings[CILIUM], "meanwhile")
    walk.pods("cilium-moved", "installed")

    walk.stage("Switch", "One rename puts the facade in place. Istio's owner is optional as long as it is not there.")
    walk.does("cni-chain", "migrate", "switch", file=FACADE)
    walk.does("cni-chain", "status")
    walk.pods("switched", "written")
    return settings


def behind_the_facade(walk: Walk, settings: dict[str, list[str]]) -> None:
    """Istio comes, both agents are upgraded, and Istio goes."""
    walk.stage(
        "Install Istio",
        "With the values that the plan has printed. Its agent writes into its own directory; pods that start from now "
        "on get its plugin.",
    )
    walk.agents.install_istio(settings[ISTIO])
    walk.enrols = True
    walk.does("cni-chain", "status")
    walk.pods("meshed", "before-2")

    walk.stage("Require Istio", "From now on no pod starts without it.")
    walk.does("cni-chain", "owner", "require", "istio")
    walk.does("cni-chain", "migrate", "status")
    walk.does("cni-chain", "verify")
    walk.pods("required", "switched")

    walk.stage("Upgrade both", "Cilium 1.18 to 1.20, then Istio's agent is rolled out anew. No command is needed.")
    with walk.agents.upgraded():
        pass
    walk.pods("cilium-upgraded", "meshed")
    walk.moves(ISTIO, walk.agents.settings[ISTIO])
    walk.does("cni-chain", "status")
    walk.pods("istio-upgraded", "meanwhile")

    walk.stage(
        "Take Istio away",
        "First its owner, then the agent. Pods that had it keep what was laid for them, and end as usual: their DEL is "
        "by the record, although the plugin is gone.",
    )
    walk.does("cni-chain", "owner", "remove", "istio")
    walk.enrols = False
    walk.agents.uninstall_istio()
    walk.does("cni-chain", "status")
    walk.pods("plain", "required", "cilium-upgraded")


def goes(walk: Walk) -> None:
    """Back to Cilium's own list, and without cni-chain."""
    walk.stage("Roll back", "One rename takes the facade away, and Cilium moves back.")
    walk.does("cni-chain", "migrate", "undo", file=LIST)
    seen = walk.kubelet.runtime.watch()
    walk.moves(CILIUM, [])
    walk.agents.wait_for_list()
    seen(LIST)
    walk.pods("back", "cilium-moved", "istio-upgraded", "plain")

    walk.stage("Uninstall", "No pod is left that was made through the facade.")
    walk.does("cni-chain", "gc", "--yes")
    walk.does("cni-chain", "uninstall")
    walk.does("rm", "-r", CHAIN, f"{NET}/{FACADE}.undone", f"{NET}/{LIST}.before-cni-chain")
    walk.does("ls", "-A", NET)
    walk.pods("after")


def shown() -> str:
    """What docs/evidence/first-day.md has of the walk."""
    return PART.read()


def main() -> None:
    """Take the walk and write it between the marks of docs/evidence/first-day.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.runtimes.first_day", description=__doc__)
    parser.add_argument("program", type=Path, help="the frozen program")
    options = parser.parse_args()
    tools = sandbox_node.tools()
    if tools is None or not is_frozen(options.program):
        parser.error("needs the frozen program and the reference plugins: make frozen tools")
    with started(Containerd24, options.program, tools, alone=True) as walk:
        begun = time.monotonic()
        block = text(take(walk))
        minutes = (time.monotonic() - begun) / 60
        walk.traffic.end_all()
    PART.write(block)
    commands = sum(len(stage.commands) for stage in walk.stages)
    sys.stdout.write(block)
    print(f"{len(walk.stages)} stages, {commands} commands, {minutes:.1f} minutes")


__all__ = ["alike", "main", "shown", "started", "take", "text"]

if __name__ == "__main__":
    main()
