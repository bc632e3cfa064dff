"""The war for one directory, and the end of it, with the agents' own writers:  python -m tests.lab.war"""

import argparse
import json
import random
import sys
import textwrap
from pathlib import Path

from tests.lab.war import plot
from tests.lab.war.account import Json, account, broken_promises, short, unexpected
from tests.lab.war.run import Restarts, run
from tests.lab.war.scenarios import SCENARIOS
from tests.support.agents.writers import CILIUM, ISTIO, version
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox import node as lay
from tests.support.sandbox.namespaces import SandboxUnavailableError

NAMES = {CILIUM: "Cilium", ISTIO: "Istio"}
RESTART_EVERY = 4.0  # seconds, about
COLOUR = sys.stdout.isatty()


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; 0 if the split was as it promises to be."""
    options = parse(arguments)
    tools = lay.tools()
    if tools is None:
        print("cnitool and the reference plugins are not built: make tools", file=sys.stderr)
        return 1
    print("Cilium and Istio on one node. What writes is their own code: the conflist writer of Cilium")
    print(
        f"{version(CILIUM)} and Istio's installer ({version(ISTIO)}). Every change that is counted was reported by the"
    )
    print("kernel, with the process that made it (fanotify); nothing is sampled.")
    all_figures = []
    broken: list[str] = []
    try:
        for name in options.scenario or ("war", "split"):
            scenario = SCENARIOS[name]
            every = options.restart_every if options.restart_every is not None else RESTART_EVERY * scenario.restarts
            restarts = Restarts(options.seed, every) if every else None
            seen = run(scenario, options.program, tools, options.seconds, restarts)
            figures = account(name, scenario, seen, options.seed if restarts else None)
            all_figures.append(figures)
            show(figures)
            if scenario.split:
                broken += broken_promises(figures)
    except (NotBuiltError, SandboxUnavailableError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    if options.save:
        document = {"versions": {agent: version(agent) for agent in NAMES}, "scenarios": all_figures}
        options.save.write_text(json.dumps(document) + "\n")
        if options.plot:
            options.plot.write_text(plot.picture(document))
    for one in broken:
        print(f"\nNot as it should be: {one}", file=sys.stderr)
    return 1 if broken else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.war", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; without any: war, then split")
    parser.add_argument("--program", type=Path, default=Path("out/frozen/bin/cni-chain"), help="cni-chain")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=float, default=30, help="of each scenario (30)")
    length.add_argument("--minutes", type=lambda text: float(text) * 60, dest="seconds")
    parser.add_argument(
        "--restart-every",
        type=float,
        metavar="SECONDS",
        help="restart an agent, or both, at random about so often; 0: never (4 for split and not-exclusive, else 0)",
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the restarts")  # noqa: S311
    parser.add_argument("--save", type=Path, metavar="FILE", help="all figures as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="with --save: draw them as SVG")
    options = parser.parse_args(arguments)
    if options.plot and not options.save:
        parser.error("--plot draws what --save keeps: give both")
    for name in options.scenario:
        if name not in SCENARIOS:
            parser.error(f"no scenario {name}; there are {', '.join(SCENARIOS)}")
    return options


def show(figures: Json) -> None:
    """Print one scenario."""
    bold, plain = ("\033[1m", "\033[0m") if COLOUR else ("", "")
    print(f"\n{bold}{figures['title']:<15}{plain}{figures['told']}; {figures['seconds']:.0f} s")
    for agent, name in NAMES.items():
        wrapped(f"{name} writes to", " ".join([figures["directories"][agent], *figures["settings"][agent]]))
    for number, one in enumerate(figures["pods get"]):
        often = f"{times(one['times'])}, {milliseconds(one['longest_ms'])} at most" if one["times"] > 1 else ""
        row("a new pod gets" * (number == 0), f"{one['share']:8.2%}  {short(one['state']):<34}  {often}")
    row("files written", ", ".join(f"{name} {len(figures['writes'][agent])}" for agent, name in NAMES.items()))
    answers = figures["overwritten by Cilium after, ms"]
    if answers:
        told = f"{times(answers['times'])} after {milliseconds(answers['median'])} (median)"
        row("overwritten", f"what Istio wrote, by Cilium, {told}, {milliseconds(answers['longest'])} at most")
    row("renamed away", f"by Cilium: {figures['renamed by Cilium']}")
    if figures["seed"] is not None:
        ends = (
            f"{name} {times(figures['starts'][agent] - 1)} ({figures['killed'][agent]} by SIGKILL)"
            for agent, name in NAMES.items()
        )
        row("restarted", f"{', '.join(ends)}; seed {figures['seed']}")
    row("Istio ready", readiness(figures["istio ready"]))
    if figures["foreign"] is not None:
        row("foreign writes", str(len(figures["foreign"])))
        touched = "same inode, time and bytes as at the start" if figures["facade untouched"] else "changed"
        row("the facade", touched)
        row("cni-chain verify", f"{times(figures['verified'])}, after each change: {verdict(figures)}")


def readiness(ready: Json) -> str:
    if not ready["after"]:
        return "never"
    ended = f"; it was ended before that {times(len(ready['never in']))}" if ready["never in"] else ""
    return f"{times(len(ready['after']))}, {max(ready['after']):.1f} s after a start at most{ended}"


def verdict(figures: Json) -> str:
    amiss = unexpected(figures)
    if amiss:
        return f"{len(amiss)} findings"
    return "nothing, but that an owner had yet to write" if figures["findings"] else "nothing"


def times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def milliseconds(value: float) -> str:
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.1f} ms"


def row(label: str, text: str) -> None:
    print(f"  {label:<17}{text}".rstrip())


def wrapped(label: str, text: str) -> None:
    start, *others = textwrap.wrap(text, 80, break_long_words=False, break_on_hyphens=False)
    row(label, start)
    for other in others:
        row("", other)


if __name__ == "__main__":
    sys.exit(main())
