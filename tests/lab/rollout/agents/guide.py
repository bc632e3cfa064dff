"""An operator who follows a page of the guides, word by word, where the agents' charts and the checkout are at hand."""

import re
import textwrap
from typing import Protocol

from tests.lab.rollout.agents.release import Release
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox

GUIDES = CHECKOUT / "docs/guides"
HERE = "/mnt/operator"
# The only words of the guides that differ here: there is no registry.
REGISTRY, IMAGE = "registry.example.org/cni-chain", "localhost/cni-chain"
BLOCK = re.compile(r"^(?P<indent> *)```sh\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


class Lab(Protocol):
    """What is asked of the lab."""

    @property
    def sandbox(self) -> Sandbox: ...

    @property
    def environment(self) -> dict[str, str]: ...


class Shown(Protocol):
    """Where what was done is told."""

    def say(self, text: str) -> None: ...


def blocks(page: str, heading: str) -> list[str]:
    """The commands below a heading of a page, one text for each block."""
    text = (GUIDES / f"{page}.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    [found] = [one for one in section if one.startswith(f"{heading}\n")]
    return [textwrap.dedent(match["text"]).strip() for match in BLOCK.finditer(found)]


class Operator:
    """At the control plane, in a directory where `helm` finds each chart by the name that the guides have for it."""

    def __init__(self, lab: Lab, shown: Shown, *releases: Release) -> None:
        self._lab, self._shown = lab, shown
        place = lab.sandbox.path(HERE)
        place.mkdir(exist_ok=True)
        for name in ("deploy", "conf"):
            (place / name).symlink_to(CHECKOUT / name)
        for release in releases:
            chart = place / release.of.name
            chart.parent.mkdir(exist_ok=True)
            chart.symlink_to(release.path)

    def does(self, commands: str, *, quiet: bool = False) -> None:
        """Run them, and tell each with what it prints; `quiet`: without Helm's notes."""
        for command in re.split(r"(?<!\\)\n", commands.replace(REGISTRY, IMAGE)):
            script = f"cd {HERE}; set -euo pipefail; exec 2>&1\n{command}"
            environment = self._lab.environment
            done = self._lab.sandbox.run("bash", "-c", script, env=environment, check=False, timeout=600)
            out = done.stdout.partition("\nNOTES:")[0] if quiet else done.stdout
            self._shown.say(f"$ {command}\n{out.strip()}".strip())
            assert done.returncode == 0, f"{command}\n{done.stdout}"
