"""The comparison as a picture: SVG, written by hand so that nothing has to be installed for it."""

from tests.lab.bench.quick import VERBS
from tests.lab.bench.rivals import CHAIN, LIBCNI, MULTUS, PLAIN
from tests.support.files.double import Json

COLOURS = {PLAIN: "#9aa5b1", CHAIN: "#2f6fde", MULTUS: "#e08a2c"}
WIDTH, ROW, LEFT, SCALE_WIDTH, TOP = 760, 16, 90, 580, 56


def picture(figures: Json) -> str:
    """Return bars for each verb with two delegates, and for ADD with each number of them: medians through libcni."""
    delegates = figures["verbs"]["delegates"]
    groups = [(verb, delegates["2"][verb]) for verb in VERBS]
    groups += [(f"ADD, {number}", of["ADD"]) for number, of in delegates.items()]
    bars = [(label, [(name, value(of, name)) for name in COLOURS if value(of, name)]) for label, of in groups]
    longest = max(found for _, of in bars for _, found in of)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if longest / step <= 8)
    parts, y = [], TOP
    for number, (label, of) in enumerate(bars):
        if number == len(VERBS):
            y += 24
            parts.append(text(LEFT, y - 10, "ADD, by number of delegates", weight="bold"))
        parts.append(text(LEFT - 8, y + ROW * len(of) / 2 + 4, label, anchor="end"))
        for name, found in of:
            width = found / longest * SCALE_WIDTH
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{ROW - 2}" fill="{COLOURS[name]}"/>')
            parts.append(text(LEFT + width + 5, y + 11, f"{found:.1f}"))
            y += ROW
        y += 10
    lines = []
    for tick in range(0, int(longest) + 1, step):
        x = LEFT + tick / longest * SCALE_WIDTH
        lines.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{y}" stroke="#dde2e7"/>')
        lines.append(text(x, y + 14, str(tick), anchor="middle"))
    head = [text(LEFT, 18, "milliseconds a call through libcni, no-op delegates: two, then 1 to 8", weight="bold")]
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + number * 150
        head.append(f'<rect x="{x}" y="28" width="12" height="12" fill="{colour}"/>')
        head.append(text(x + 18, 38, name))
    inside = "\n".join([*lines, *head, *parts])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="{WIDTH}" height="{y + 24}" fill="#ffffff"/>\n'
        f"{inside}\n</svg>\n"
    )


def value(of: Json, name: str) -> float:
    """Return a median, 0 if there is none."""
    through = name if name == PLAIN else name + LIBCNI
    found: float = of.get(through, {}).get("median_ms", 0.0)
    return found


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    """Return words in the picture."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="#22272e">{words}</text>'
