"""Are the delegates' executables there, and what do they speak. Runs them, with VERSION only."""

from __future__ import annotations

from collections.abc import Iterator

from cni_chain.checks.findings import Finding
from cni_chain.checks.places import Places
from cni_chain.node import crio, executables
from cni_chain.node.progress import Step
from cni_chain.node.survey import Survey
from cni_chain.plugin.chain import Link
from cni_chain.plugin.errors import CNIError
from cni_chain.plugin.spec import at_least

# Reference plugins whose CHECK fails for pods that are all right: the release that mends it (None: none up to 1.9.1),
# for which pods, and how that shows.
_FAILS: dict[str, tuple[tuple[int, ...] | None, str, str]] = {
    "bandwidth": ((1, 9, 1), "for a pod without bandwidth", "containernetworking/plugins issue 1221, a panic"),
    "portmap": ((1, 3, 0), "for a pod without an IPv6 address", "containernetworking/plugins issue 819"),
    "sbr": (None, "behind bridge", "it misses routes that it has moved itself"),
}


def check(survey: Survey, places: Places, step: Step) -> Iterator[Finding]:
    """Yield what is wrong with the executables of a chain; of another system's tree none is run."""
    path = ":".join(survey.bin_dirs)
    done: set[str] = set()
    for part in survey.parts:
        for link in part.links:
            step(link.type)
            yield from _ipam(survey, link, places)
            found = survey.binary(link)
            if isinstance(found, CNIError):
                yield Finding(places.link(link), found.msg)
            elif survey.tree.is_this_system and found not in done:
                done.add(found)
                yield from _versions(found, path, survey, link, places)


def _ipam(survey: Survey, link: Link, places: Places) -> Iterator[Finding]:
    """Yield whether the plugin that a delegate itself executes for addresses is missing."""
    ipam = link.conf.get("ipam")
    name = ipam.get("type") if isinstance(ipam, dict) else None
    if not isinstance(name, str) or not name or "/" in name:
        return
    found = survey.executable(name, link)
    if isinstance(found, CNIError):
        yield Finding(places.link(link, "ipam.type"), found.msg)


def _versions(file: str, path: str, survey: Survey, link: Link, places: Places) -> Iterator[Finding]:
    try:
        spoken = executables.versions(file, path)
    except executables.NoAnswerError as error:
        yield Finding(places.link(link), str(error))
        return
    if not at_least(spoken[-1], "0.4.0"):
        message = f"{file} speaks {spoken[-1]} at most: it is never asked to CHECK, and gets no prevResult at DEL"
        yield Finding(places.link(link), message, warning=True)
    asks = any(at_least(version, "0.4.0") for version in (survey.file.version, *survey.file.versions) if version)
    if link.type in _FAILS and asks and not link.disable_check and crio.may_run(survey.tree):
        yield from _check(file, spoken, link, places)


def _check(file: str, spoken: tuple[str, ...], link: Link, places: Places) -> Iterator[Finding]:
    """Yield whether a plugin's CHECK is known to fail for pods that are all right."""
    fixed, when, what = _FAILS[link.type]
    release = executables.release(file) if fixed else None
    if fixed and release is None and not executables.is_before_1_6(file, spoken):
        return
    if fixed and release is not None and release >= fixed:
        return
    sure = "fails" if release or fixed is None or fixed >= (1, 6) else "may fail"
    name = f"{link.type} {'.'.join(map(str, release))}" if release else link.type
    cure = f"install {'.'.join(map(str, fixed))} or later, or " if fixed else ""
    message = (
        f"{name} {sure} CHECK {when} ({what}): CRI-O asks after each ADD, and such a pod doesn't start; {cure}set "
        f"disableCheck for owner {link.owner.name}"
    )
    yield Finding(places.link(link), message, warning=True)
