"""The real Helm and kustomize, and the chart as they read it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support import gomodules
from tests.support.sandbox.namespaces import CHECKOUT

Json = dict[str, Any]
BUILD = Path(__file__).with_name("build")
DEPLOY = CHECKOUT / "deploy"
CHART = DEPLOY / "helm/cni-chain"
# The oldest Kubernetes that the chart is for, and the newest that it was tried with.
OLDEST, NEWEST = "1.26.0", "1.36.0"
PRESET = "cilium+istio-ambient"


class Helm:
    """Helm, which keeps its own files in a folder, and the chart. Raises NotBuiltError if it isn't built."""

    def __init__(self, folder: Path) -> None:
        self._programs = gomodules.built(BUILD, "helm")
        self._environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}

    def run(self, *arguments: str | Path, program: str = "helm") -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [self._programs / program, *arguments]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)

    def printed(self, *arguments: str | Path, program: str = "helm") -> str:
        """What it prints, if it is content."""
        done = self.run(*arguments, program=program)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def template(self, *options: str, chart: Path = CHART, kubernetes: str = NEWEST) -> list[Json]:
        """The objects that a release called cni-chain has, in a namespace of that name; without `helm test`'s."""
        return [one for one in yaml.safe_load_all(self.text(*options, chart=chart, kubernetes=kubernetes)) if one]

    def text(self, *options: str, chart: Path = CHART, kubernetes: str = NEWEST) -> str:
        """The same as it is printed."""
        return self.printed(*_template(chart, kubernetes), "--skip-tests", *options)

    def refused(self, *options: str, kubernetes: str = NEWEST) -> str:
        """Why the chart refuses these options."""
        done = self.run(*_template(CHART, kubernetes), *options)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    def kustomized(self, directory: Path) -> list[Json]:
        """What a directory's kustomization makes."""
        return list(yaml.safe_load_all(self.printed(directory, program="kustomize")))


def _template(chart: Path, kubernetes: str) -> list[str | Path]:
    where = ["--namespace", "cni-chain", "--kube-version", kubernetes]
    return ["template", "cni-chain", chart, *where]


def options(values: Json) -> list[str]:
    """`--set` for each value, `--set-json` for those that are not words."""
    return [word for key, value in values.items() for word in _option(key, value)]


def _option(key: str, value: object) -> list[str]:
    if isinstance(value, str):
        return ["--set-string", f"{key}={value}"]
    return ["--set-json", f"{key}={json.dumps(value)}"]
