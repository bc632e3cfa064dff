"""Alert rules, dashboard and page of the agent's metrics: Prometheus reads them, and they ask for what exists."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cni_chain.daemon.metrics import Histogram
from tests.support.helm import DEPLOY, Json
from tests.support.sandbox.namespaces import CHECKOUT

FOLDER = DEPLOY / "monitoring"
PAGE = (CHECKOUT / "docs/guides/monitoring.md").read_text()
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
# What a histogram has of its name, and what any process has.
SERIES = re.compile(r"\b(cni_chain_\w+?|process_\w+?)(?:_bucket|_sum|_count)?\b(?=[{\s)\[]|$)")


@pytest.fixture(scope="module")
def promtool() -> Path:
    built = subprocess.run(
        [CHECKOUT / "tests/support/promtool/build", "--built"], capture_output=True, text=True, check=False
    )
    if built.returncode:
        pytest.skip("a tool is missing: tests/support/promtool/build")
    return Path(built.stdout.strip(), "promtool")


def said(promtool: Path, *arguments: str | Path) -> str:
    done = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries() -> list[str]:
    """The dashboard's, with what Grafana puts in the place of its variables."""
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [query.replace("$node", ".*").replace("$__rate_interval", "5m") for query in found]


def metrics() -> dict[str, set[str]]:
    """The metrics that the page of the agent lists, and the labels of its row."""
    page = (CHECKOUT / "docs/reference/agent.md").read_text()
    found: dict[str, set[str]] = {}
    for cell in re.findall(r"^\| (`(?:cni_chain|process)_[^|]+) \|", page, re.MULTILINE):
        labels = {label for names in re.findall(r"\{([\w,]+)\}", cell) for label in names.split(",")}
        found |= dict.fromkeys(re.findall(r"`(\w+)", cell), labels)
    return found


def test_each_alert_fires_when_it_should_and_a_healthy_node_has_none(promtool: Path) -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in said(promtool, "check", "rules", "alerts.yaml")
    assert "SUCCESS" in said(promtool, "test", "rules", "alerts-test.yaml")

    cases = yaml.safe_load((FOLDER / "alerts-test.yaml").read_text())["tests"]
    fired = {one["alertname"] for case in cases for one in case["alert_rule_test"] if one.get("exp_alerts")}
    silent = {one["alertname"] for one in cases[0]["alert_rule_test"] if not one.get("exp_alerts")}
    assert fired == silent == {rule["alert"] for rule in RULES}


def test_prometheus_reads_every_query_of_the_dashboard(promtool: Path, tmp_path: Path) -> None:
    rules = [{"record": f"dashboard:{number}", "expr": query} for number, query in enumerate(queries())]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    assert f"SUCCESS: {len(rules)} rules found" in said(promtool, "check", "rules", tmp_path / "rules.yaml")


@pytest.mark.parametrize("query", [rule["expr"] for rule in RULES] + queries())
def test_a_query_asks_for_metrics_and_labels_that_the_agent_has(query: str) -> None:
    known = metrics()
    asked = SERIES.findall(query)

    assert asked
    assert set(asked) <= set(known)
    given = {"node", "instance", "le"}.union(*(known[name] for name in asked))
    labels = re.findall(r"(\w+)=~?\"", query) + re.findall(
        r"\w+", " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", query))
    )
    assert set(labels) <= given


def test_the_rules_are_tried_on_the_buckets_that_the_agent_has_and_their_threshold_is_one() -> None:
    """Between two buckets Prometheus guesses: a plugin that takes 3 s would pass for one that takes 15."""
    histogram = Histogram()
    had = re.findall(r'le="([^"]+)"', "".join(histogram.lines("x", {})))
    tried = re.findall(r'_bucket\{.*?\ble="([^"]+)"', (FOLDER / "alerts-test.yaml").read_text())
    thresholds = re.findall(
        r"histogram_quantile.*> (\S+)$", " ".join(rule["expr"] + "\n" for rule in RULES), re.MULTILINE
    )

    assert set(tried) == set(had)
    assert thresholds
    assert set(thresholds) <= set(had)


def test_the_page_of_the_agent_lists_the_metrics_that_the_program_writes() -> None:
    written = (CHECKOUT / "cni_chain/daemon/metrics.py").read_text()

    assert {name for name in metrics() if name.startswith("cni_")} == set(re.findall(r'"(cni_chain_\w+)"', written))


def test_the_page_lists_every_alert() -> None:
    assert re.findall(r"^\| `(CniChain\w+)`", PAGE, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_the_panels_do_not_cover_each_other() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at: Json = panel["gridPos"]
        covered = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= covered
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
