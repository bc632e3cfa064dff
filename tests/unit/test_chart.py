"""The chart's files say what the program knows: its version, its agents, its distributions, its metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml

from cni_chain import __version__
from cni_chain.agents.registry import AGENTS, BY_OWNER
from cni_chain.daemon import wanted
from cni_chain.node.distros import DISTROS
from tests.support.helm import CHART, DEPLOY
from tests.support.owners.chains import CHAINS, Chain
from tests.support.sandbox.namespaces import CHECKOUT

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
PRESETS = yaml.safe_load((CHART / "presets.yaml").read_text())


def test_the_chart_has_the_programs_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_what_is_made_of_the_chart_has_it_too() -> None:
    written = re.compile(r'(?:/version: "|targetRevision: |^    tag: |/cni-chain:)(\d+\.\d+\.\d+)', re.MULTILINE)
    found = {path.name: written.findall(path.read_text()) for path in DEPLOY.rglob("*.yaml")}

    names = {name: set(versions) for name, versions in found.items() if versions}
    assert names == {name: {__version__} for name in ("argocd.yaml", "flux.yaml", "cni-chain.yaml")}


def test_the_image_is_what_make_image_makes() -> None:
    [name] = re.findall(r"^IMAGE  \?= (\S+)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)

    assert VALUES["image"]["repository"] == name


def test_the_port_is_the_agents_own() -> None:
    assert f"127.0.0.1:{VALUES['port']}" == wanted.ADDRESS


def test_the_presets_are_those_of_the_agents_entries() -> None:
    script = (
        "import sys; sys.path.insert(0, 'build'); import presets\n"
        "print(presets.text() == presets.PRESETS.read_text(), presets.schema() == presets.SCHEMA.read_text())"
    )

    same = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert same.stdout == "True True\n", "an entry has changed: python build/presets.py writes them again"


def test_every_known_network_and_mesh_is_in_a_preset() -> None:
    assert set(PRESETS["networks"]) == {agent.owner for agent in AGENTS if agent.network}
    assert set(PRESETS["meshes"]) == {agent.owner for agent in AGENTS if agent.mesh} | {"istio-ambient"}
    assert not any(agent.mesh for agent in AGENTS if agent.network), "a mesh is never first"


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_a_chain_that_is_tested_has_the_owners_and_the_name_of_its_preset(chain: Chain) -> None:
    owners = [one for one in chain.owners if one != "local"]
    known = [BY_OWNER.get(one.partition(":")[0]) for one in owners]
    if chain.network != (known[0].network if known[0] else ""):
        pytest.skip("by design: this chain is of no preset")

    assert owners == [agent.option for agent in known if agent]


def test_the_schema_has_every_distribution() -> None:
    assert SCHEMA["properties"]["distro"]["enum"] == list(DISTROS)
    comment = re.search(r"configurations are: (.+)\.$", (CHART / "values.yaml").read_text(), re.MULTILINE)
    assert comment
    assert comment[1].split(", ") == list(DISTROS)


def test_every_value_is_in_the_schema_and_the_schema_is_closed() -> None:
    def keys(schema: dict[str, object], values: dict[str, object], path: str) -> list[str]:
        properties: dict[str, dict[str, object]] = schema["properties"]  # type: ignore[assignment]
        wrong = [f"{path}{key}" for key in set(properties) ^ set(values) if key != "global"]
        if schema.get("additionalProperties") is not False:
            wrong.append(f"{path}: open")
        for key, value in values.items():
            if "properties" in properties.get(key, {}) and isinstance(value, dict):
                wrong += keys(properties[key], value, f"{path}{key}.")
        return wrong

    assert keys(SCHEMA, VALUES, "") == []


def test_the_taint_of_the_readiness_controller_goes_by_what_its_reporter_reports() -> None:
    folder = DEPLOY / "node-readiness-controller"
    rule = yaml.safe_load((folder / "rule.yaml").read_text())
    reporter = list(yaml.safe_load_all((folder / "reporter.yaml").read_text()))[-1]
    [container] = reporter["spec"]["template"]["spec"]["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}

    assert [one["type"] for one in rule["spec"]["conditions"]] == [environment["CONDITION_TYPE"]]
    assert environment["CHECK_ENDPOINT"] == f"http://127.0.0.1:{VALUES['port']}/readyz"
    # The controller refuses another prefix: its CustomResourceDefinition.
    assert rule["spec"]["taint"]["key"].startswith("readiness.k8s.io/")


def leaves(values: dict[str, object], path: str = "") -> list[str]:
    """The names of values as `--set` takes them, where the schema has no more below."""
    found: list[str] = []
    for key, value in values.items():
        deeper = isinstance(value, dict) and value and key in ("paths", "image", "rollout", "metrics", "startupTaint")
        found += leaves(value, f"{path}{key}.") if deeper and isinstance(value, dict) else [f"{path}{key}"]
    return found


def test_the_page_of_the_chart_lists_every_value_and_every_part_of_a_preset() -> None:
    page = (CHECKOUT / "docs/reference/chart.md").read_text()
    rows = re.findall(
        r"^\| ((?:`[\w.]+`(?:, )?)+) \|", page.partition("## Values")[2].partition("\n## ")[0], re.MULTILINE
    )

    assert re.findall(r"`([\w.]+)`", " ".join(rows)) == leaves(VALUES)
    parts = {kind: re.findall(rf"^\| {kind} \| (.+) \|$", page, re.MULTILINE) for kind in ("network", "mesh")}
    named = {kind: re.findall(r"`([\w-]+)`", found[0]) for kind, found in parts.items()}
    assert named == {"network": sorted(PRESETS["networks"]), "mesh": sorted(PRESETS["meshes"])}


@pytest.mark.parametrize("name", ["argocd.yaml", "flux.yaml"])
def test_the_page_of_gitops_shows_the_whole_example(name: str) -> None:
    page = (CHECKOUT / "docs/guides/gitops.md").read_text()

    assert f"```yaml\n{(DEPLOY / 'gitops' / name).read_text()}```\n" in page
