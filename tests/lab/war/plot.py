"""The war and its end as one picture: SVG, written by hand so that nothing has to be installed for it.

It follows the reader's light or dark mode and brings its own background, so that it can be read on any page.
Again from figures that were kept:  python -m tests.lab.war.plot FILE.json FILE.svg
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.lab.war.account import COMPLETE, Json
from tests.lab.war.scenarios import NOTHING, WAITS
from tests.support.agents.writers import CILIUM, ISTIO

WIDTH, MARGIN, LEFT, RIGHT = 880, 24, 124, 60
SPAN = WIDTH - LEFT - RIGHT
BAND, LANE = 30, 24
ZOOM = 3.0  # the enlarged part is so many times as long as what it shows
NAMES = {ISTIO: "Istio", CILIUM: "Cilium"}

STYLE = """
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-size:12.5px}
text{fill:#1f2328}.soft{fill:#59636e}.in{fill:#fff;font-weight:600}
.title{font-size:17px;font-weight:600}.head{font-size:14px;font-weight:600}
.page{fill:#fff;stroke:#d1d9e0}.line{stroke:#d1d9e0}.lens{fill:#818b98;fill-opacity:.13}
.outside{fill:#d1453b}.inside{fill:#0f8a73}.waits{fill:#818b98}.said-outside{fill:#c0362c}.said-inside{fill:#0b7561}
.istio{stroke:#0969da;fill:#0969da}.cilium{stroke:#8250df;fill:#8250df}
.runs{stroke-opacity:.28;stroke-width:5;stroke-linecap:round}.write{stroke-width:1.6}.end{stroke-width:1.6;fill:none}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.soft{fill:#9198a1}.in{fill:#fff}
.page{fill:#0d1117;stroke:#3d444d}.line{stroke:#3d444d}.lens{fill:#9198a1;fill-opacity:.16}
.outside{fill:#c93c37}.inside{fill:#12806b}.waits{fill:#656c76}.said-outside{fill:#ff7b72}.said-inside{fill:#3fc8aa}
.istio{stroke:#58a6ff;fill:#58a6ff}.cilium{stroke:#bc8cff;fill:#bc8cff}}
""".strip()


def picture(document: Json) -> str:
    """Return both timelines, of the war and of the split, one below the other on one axis."""
    of = {figures["scenario"]: figures for figures in document["scenarios"]}
    war, split = of["war"], of["split"]
    seconds = max(war["seconds"], split["seconds"])
    versions = f"Cilium {document['versions'][CILIUM]} and Istio ({document['versions'][ISTIO]})"
    parts = [
        words(MARGIN, 36, "What a new pod gets, moment by moment", "title"),
        words(
            MARGIN,
            56,
            f"{versions} on one node, written by their own code; each change as the kernel reports it.",
            "soft",
        ),
    ]
    y = 92.0
    told = f"Without the mesh {share(war, 'outside'):.2%} of the time. Istio never becomes ready."
    parts += heading(y, "One directory for both", "the agents' defaults", told, "said-outside")
    parts += Panel(war, seconds, y + 16).draw()
    y += 16 + BAND + 2 * LANE + 8
    zoomed, y = zoom(war, seconds, y)
    parts += zoomed
    y += 46
    restarts = sum(split["starts"].values()) - 2
    told = f"Without the mesh {share(split, 'outside'):.0%} of the time. {len(split['foreign'])} foreign writes."
    parts += heading(y, "cni-chain: a directory for each", f"{restarts} restarts at random", told, "said-inside")
    parts += Panel(split, seconds, y + 16).draw()
    y += 16 + BAND + 2 * LANE + 8
    parts += axis(seconds, y)
    y += 52
    parts += legend(y)
    height = y + 22
    page = f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    title = "<title>What a pod gets: with both agents in one directory, and with a directory for each</title>"
    inside = "\n".join(["<style>", STYLE, "</style>", title, page, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">\n{inside}\n</svg>\n'


def share(figures: Json, of_kind: str) -> float:
    """The share of the time in which a new pod would have got what is of a kind."""
    return float(sum(one["share"] for one in figures["pods get"] if kind(one["state"]) == of_kind))


class Panel:
    """The lanes of one scenario."""

    def __init__(self, figures: Json, seconds: float, top: float) -> None:
        self._figures = figures
        self._seconds = seconds
        self._top = top

    def draw(self) -> list[str]:
        parts = [words(LEFT - 14, self._top + BAND / 2 + 4.5, "a pod gets", anchor="end"), *self._band()]
        for number, (agent, name) in enumerate(NAMES.items()):
            y = self._top + BAND + LANE * (number + 0.5) + 4
            parts.append(words(LEFT - 14, y + 4.5, f"{name} writes", anchor="end"))
            parts += self._lane(agent, y)
            count = len(self._figures["writes"][agent])
            parts.append(words(WIDTH - MARGIN, y + 4.5, f"{count}×", "head", anchor="end"))
        return parts

    def _x(self, at: float) -> float:
        return LEFT + min(at, self._seconds) / self._seconds * SPAN

    def _band(self) -> Iterator[str]:
        """What a pod would get; a stretch that is too short to be seen is drawn as a thin line."""
        ends = [at for at, _ in self._figures["looks"][1:]] + [self._figures["seconds"]]
        spans = list(zip(self._figures["looks"], ends, strict=True))
        for (at, state), end in spans:
            width = self._x(end) - self._x(at)
            if kind(state) != "inside" or width > 1:
                yield box(kind(state), self._x(at), self._top, max(width, 0.1), BAND)
        for (at, state), end in spans:
            if kind(state) == "inside" and self._x(end) - self._x(at) <= 1:
                yield box("inside", self._x(at), self._top, 1, BAND)
        of_kind = kind(max(spans, key=lambda one: one[1] - one[0][0])[0][1])
        said = {"inside": "cilium-cni → istio-cni: in the mesh", "outside": "cilium-cni alone: outside the mesh"}[
            of_kind
        ]
        yield box(of_kind, LEFT + SPAN / 2 - 130, self._top, 260, BAND)  # no lines behind the words
        yield words(LEFT + SPAN / 2, self._top + BAND / 2 + 4.5, said, "in", anchor="middle")

    def _lane(self, agent: str, y: float) -> Iterator[str]:
        for start, end, how in self._lives(agent):
            yield line(f"{agent} runs", self._x(start), y, max(self._x(end), self._x(start) + 0.5), y)
            if how.startswith("killed"):
                x = self._x(end) + 3
                yield f'<path class="{agent} end" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"/>'
        for at in self._figures["writes"][agent]:
            yield line(f"{agent} write", self._x(at), y - 7, self._x(at), y + 7)

    def _lives(self, agent: str) -> Iterator[tuple[float, float, str]]:
        """When an agent ran: from, to, and how that ended."""
        start = None
        for at, whose, what in [*self._figures["steps"], [self._figures["seconds"], agent, ""]]:
            if whose != agent or what == "ready":
                continue
            if what == "started":
                start = at
            elif start is not None:
                yield start, at, what
                start = None


def kind(state: str) -> str:
    if state == COMPLETE:
        return "inside"
    return "waits" if state.startswith(WAITS) or state == NOTHING else "outside"


def zoom(war: Json, seconds: float, y: float) -> tuple[list[str], float]:
    """One round of the war, enlarged, and where what comes below it begins."""
    answers = war["overwritten by Cilium after, ms"]
    rounds = [
        (at, next(one for one in war["writes"][CILIUM] if one >= at))
        for at in war["writes"][ISTIO]
        if any(one >= at for one in war["writes"][CILIUM])
    ]
    # The most usual one, not far from the middle.
    middle = sorted(rounds, key=lambda one: abs(one[0] - seconds / 2))[:12]
    wrote, answered = min(middle, key=lambda one: abs((one[1] - one[0]) * 1000 - answers["median"]))
    shown = (answered - wrote) * ZOOM
    left, width, top = LEFT + 66.0, SPAN - 132.0, y + 20
    begin = left + width * 0.25
    scale = width / shown
    end = begin + (answered - wrote) * scale
    x = LEFT + wrote / seconds * SPAN
    parts = [
        f'<path class="lens" d="M{x:.1f} {y - 6}L{left} {top - 8}h{width}z"/>',
        box("lens", left, top - 8, width, 92),
    ]
    parts += [
        box("outside", left, top, begin - left, BAND),
        box("inside", begin, top, end - begin, BAND),
        box("outside", end, top, left + width - end, BAND),
        words((begin + end) / 2, top + BAND / 2 + 4.5, f"{(answered - wrote) * 1000:.1f} ms", "in", anchor="middle"),
        line("istio write", begin, top - 4, begin, top + BAND + 8),
        line("cilium write", end, top - 4, end, top + BAND + 8),
        words(begin, top + BAND + 24, "Istio adds itself", anchor="middle"),
        words(end, top + BAND + 24, "Cilium writes its own again", anchor="middle"),
    ]
    longer = float(f"{scale / (SPAN / seconds):.1g}")
    times = (
        f"One of {answers['times']} times, {longer:,.0f} times as long as above; median {answers['median']:.1f} ms, "
        f"longest {answers['longest']:.1f} ms"
    )
    parts.append(words(left + width / 2, top + BAND + 46, times, "soft", anchor="middle"))
    return parts, top + 84


def heading(y: float, title: str, rest: str, told: str, style: str) -> list[str]:
    tail = f'<tspan class="soft" font-weight="400" dx="8">{escape(rest)}</tspan>' if rest else ""
    return [
        f'<text class="head" x="{MARGIN}" y="{y}">{escape(title)}{tail}</text>',
        words(WIDTH - MARGIN, y, told, f"{style}", anchor="end", weight="600"),
    ]


def axis(seconds: float, y: float) -> Iterator[str]:
    step = next(one for one in (1, 2, 5, 10, 20, 60, 120) if seconds / one <= 12)
    yield line("line", LEFT, y, LEFT + SPAN, y)
    for tick in range(0, int(seconds) + 1, step):
        x = LEFT + tick / seconds * SPAN
        yield line("line", x, y, x, y + 5)
        yield words(x, y + 19, f"{tick} s", "soft", anchor="middle")


def legend(y: float) -> Iterator[str]:
    x = float(LEFT)
    for style, said, width in (
        ("outside", "outside the mesh", 140),
        ("inside", "in the mesh", 110),
        ("waits", "no network yet: the pod waits", 222),
    ):
        yield box(style, x, y - 10, 13, 12)
        yield words(x + 19, y, said, "soft")
        x += width
    yield line("cilium runs", x + 3, y - 4, x + 21, y - 4)
    yield line("cilium write", x + 12, y - 11, x + 12, y + 3)
    yield words(x + 31, y, "agent runs, writes", "soft")
    x += 162
    yield f'<path class="cilium end" d="M{x} {y - 7}l6 6m0 -6l-6 6"/>'
    yield words(x + 14, y, "killed", "soft")


def box(style: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{style}" x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{height}"/>'


def line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def words(x: float, y: float, said: str, style: str = "", *, anchor: str = "start", weight: str = "") -> str:
    given: dict[str, Any] = {"class": style, "text-anchor": anchor.replace("start", ""), "font-weight": weight}
    attributes = "".join(f' {key}="{value}"' for key, value in given.items() if value)
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(said)}</text>'


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(picture(json.loads(Path(sys.argv[1]).read_text())))
