"""The whole comparison as Markdown, as docs/evidence/performance.md has it."""

from collections.abc import Iterable
from typing import Any

from tests.lab.bench.quick import told
from tests.lab.bench.rivals import CHAIN, LIBCNI, MULTUS, PLAIN
from tests.support.files.double import Json


def document(figures: Json) -> str:
    """Return all sections that were measured."""
    parts = [told(figures["machine"])]
    for section, write in SECTIONS.items():
        if section in figures:
            parts.append(f"### {section}: load {figures[section]['load']} before\n\n{write(figures[section])}")
    return "\n\n".join(parts)


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def ratio(of: Json, name: str, to: str, key: str = "median_ms") -> str:
    """Return how many times `to` is `name`."""
    if name not in of or to not in of:
        return "–"
    return f"{of[name][key] / of[to][key]:.2f}"


def time_of(of: Json, name: str) -> str:
    """Return a median, with the best and the 90th percentile."""
    if name not in of:
        return "–"
    found = of[name]
    return f"{found['median_ms']:.1f} ({found['best_ms']:.1f}–{found['p90_ms']:.1f})"


def verbs(figures: Json) -> str:
    """Two tables: the plugins by themselves, and through libcni beside the plain conflist."""
    direct, listed = [], []
    for number, of_verbs in figures["delegates"].items():
        for verb, of in of_verbs.items():
            processors = f"{of[CHAIN]['cpu_ms']:.1f}", f"{of[MULTUS]['cpu_ms']:.1f}" if MULTUS in of else "–"
            times = time_of(of, CHAIN), time_of(of, MULTUS), ratio(of, CHAIN, MULTUS)
            direct.append([number, verb, *times, *processors, ratio(of, CHAIN, MULTUS, "cpu_ms")])
            own = of[CHAIN + LIBCNI]["median_ms"] - of[PLAIN]["median_ms"]
            others = [time_of(of, name + LIBCNI) for name in (CHAIN, MULTUS)]
            listed.append([number, verb, time_of(of, PLAIN), *others, f"{own:.1f}"])
    head = ["delegates", "verb"]
    return (
        table([*head, "cni-chain, ms", "multus, ms", "ratio", "cni-chain, CPU ms", "multus", "ratio"], direct)
        + "\n\n"
        + table([*head, "plain conflist, ms", "cni-chain in it", "multus in it", "cni-chain's own"], listed)
    )


def storm(figures: Json) -> str:
    """Wall time for each of the pods."""
    names = list(figures["per_pod"]["ADD"])
    rows = [
        [
            *(what, verb),
            *(f"{of[name]['median_ms']:.1f}" for name in names),
            *(ratio(of, CHAIN, PLAIN), ratio(of, CHAIN, MULTUS)),
        ]
        for what, key in (("two no-op delegates", "per_pod"), ("bridge, portmap, bandwidth", "per_pod_real"))
        for verb, of in figures[key].items()
    ]
    return table(["delegates", "verb", *(f"{name}, ms a pod" for name in names), "to plain", "to multus"], rows)


def resources(figures: Json) -> str:
    """What each verb does, and the disk."""
    keys = ("system_calls", "files_opened", "syncs", "programs_started", "peak_mb")
    rows = [
        [verb, name, *(counted[key] for key in keys)]
        for verb, of in figures["verbs"].items()
        for name, counted in of.items()
    ]
    disk = [[name, of["mb"], of["files"]] for name, of in figures["disk"].items()]
    return (
        table(["verb", "", *(key.replace("_", " ") for key in keys)], rows)
        + "\n\n"
        + table(["on disk", "MB", "files"], disk)
    )


def scale(figures: Json) -> str:
    """Median by size, for records and for files."""
    parts = []
    for what in ("records", "files"):
        sizes = list(next(iter(figures[what].values())))
        rows = [
            [verb, *(time_of(of, size) for size in sizes), ratio(of, sizes[-1], sizes[0], "cpu_ms")]
            for verb, of in figures[what].items()
        ]
        parts.append(table([f"ms, by {what}", *sizes, "CPU, last to first"], rows))
    return "\n\n".join(parts)


def real(figures: Json) -> str:
    """The reference plugins."""
    rows = [
        [verb, *(time_of(of, name) for name in (PLAIN, CHAIN, MULTUS)), ratio(of, CHAIN, PLAIN)]
        for verb, of in figures["verbs"].items()
    ]
    return table(["bridge, portmap, bandwidth", "plain, ms", "cni-chain", "multus", "cni-chain to plain"], rows)


def pods(figures: Json) -> str:
    """RunPodSandbox."""
    keys = ("runtime", "with", "pods", "plain_ms", "chained_ms", "difference_ms", "ratio")
    rows = [[of[key] for key in keys] for of in figures["runtimes"]]
    head = ["RunPodSandbox, median ms", "facade with", "pods of each", "plain", "through cni-chain", "more", "ratio"]
    return table(head, rows)


def stage(found: Json | None) -> str:
    """Return a stage's median, with the best."""
    return f"{found['median_ms']:.2f} ({found['best_ms']:.2f})" if found else "–"


def profile(figures: Json) -> str:
    """Stage by stage."""
    names = dict.fromkeys(name for of in figures["verbs"].values() for name in of)
    rows = [[name, *(stage(of.get(name)) for of in figures["verbs"].values())] for name in names]
    return table(["ms", *figures["verbs"]], rows)


SECTIONS = {
    "verbs": verbs,
    "storm": storm,
    "resources": resources,
    "scale": scale,
    "real": real,
    "pods": pods,
    "profile": profile,
}
