"""Are the delegates' executables there, and what do they speak. Runs them, with VERSION only."""

from __future__ import annotations

from collections.abc import Iterator

from cni_chain import answer, delegate, jsontext
from cni_chain.chain import Link
from cni_chain.cli.findings import Finding
from cni_chain.cli.places import Places
from cni_chain.cli.survey import Survey
from cni_chain.errors import CNIError
from cni_chain.spec import at_least

_SECONDS = 5.0


def check(survey: Survey, places: Places) -> Iterator[Finding]:
    """Yield what is wrong with the executables of a chain; of another system's tree none is run."""
    path = ":".join(survey.bin_dirs)
    asked: set[str] = set()
    for part in survey.parts:
        for link in part.links:
            yield from _ipam(survey, link, places)
            found = survey.binary(link)
            if isinstance(found, CNIError):
                yield Finding(places.link(link), found.msg)
            elif survey.tree.is_this_system and found not in asked:
                asked.add(found)
                yield from _versions(found, path, link, places)


def _ipam(survey: Survey, link: Link, places: Places) -> Iterator[Finding]:
    """Yield whether the plugin that a delegate itself executes for addresses is missing."""
    ipam = link.conf.get("ipam")
    name = ipam.get("type") if isinstance(ipam, dict) else None
    if not isinstance(name, str) or not name or "/" in name:
        return
    found = survey.executable(name, link)
    if isinstance(found, CNIError):
        yield Finding(places.link(link, "ipam.type"), found.msg)


def _versions(file: str, path: str, link: Link, places: Places) -> Iterator[Finding]:
    place = places.link(link)
    try:
        # Plugins built with an old skel want the other variables too (libcni `pkg/invoke/exec.go`, GetVersionInfo).
        environ = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "CNI_COMMAND": "VERSION",
            "CNI_PATH": path,
            "CNI_IFNAME": "dummy",
            "CNI_NETNS": "dummy",
        }
        outcome = delegate.execute(file, environ, jsontext.encode({"cniVersion": "1.0.0"}), _SECONDS)
        spoken = answer.versions(outcome)
    except OSError as error:
        yield Finding(place, f"{file} can't be executed: {error.strerror}")
    except CNIError as error:
        details = f": {error.details}" if error.details else ""
        yield Finding(place, f"{file}, asked for its versions: {error.msg}{details}")
    else:
        if not at_least(spoken[-1], "0.4.0"):
            message = f"{file} speaks {spoken[-1]} at most: it is never asked to CHECK, and gets no prevResult at DEL"
            yield Finding(place, message, warning=True)
