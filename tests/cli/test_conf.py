"""The files of conf/ are valid, and say what the documentation says."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cni_chain.agents import registry
from cni_chain.plugin import facade, fragments
from tests.support.agents.settings import WRITERS
from tests.support.agents.writers import ADVISED
from tests.support.files.node import CONF, Node, Result, run

FACADE = json.loads((CONF / "00-cni-chain.conflist").read_bytes())
EXAMPLES = sorted(path.relative_to(CONF / "examples") for path in (CONF / "examples").rglob("*.conf*"))
VALUES = sorted((CONF / "helm").iterdir())


@pytest.mark.root
def test_facade_and_chain_are_without_a_fault_or_a_warning(node: Node) -> None:
    assert node.run("verify") == Result(0, "4 files checked: 0 errors, 0 warnings\n", "")


def test_the_chain_is_cilium_then_istio_then_portmap(node: Node) -> None:
    (shown,) = node.json("show")["facades"]

    assert shown["first"]
    assert shown["newPod"] is None
    assert [(link["owner"], link["type"]) for link in shown["chain"]] == [
        ("cilium", "cilium-cni"),
        ("istio", "istio-cni"),
        ("local", "portmap"),
    ]
    assert shown["dropped"] == shown["ignored"] == shown["unlisted"] == []


def test_the_facade_leaves_every_other_key_at_its_default() -> None:
    conf = FACADE["plugins"][0]
    shipped, problems, unknown = facade.parse(conf)
    bare, _, _ = facade.parse({"type": "cni-chain"})

    assert (problems, unknown) == ([], [])
    assert list(conf) == ["type", "capabilities", "chainDir", "owners"]
    for key in ("chain_dir", "state_dir", "timeouts", "log_file", "log_level", "allow_unsafe"):
        assert getattr(shipped, key) == getattr(bare, key)


def test_the_facade_lets_every_runtime_choose_its_version_and_add_no_plugin() -> None:
    assert FACADE["cniVersion"] == "1.0.0"
    assert FACADE["cniVersions"] == ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]
    assert FACADE["loadOnlyInlinedPlugins"] is True


def test_the_facade_declares_every_capability_of_the_conventions() -> None:
    # https://github.com/containernetworking/cni/blob/main/CONVENTIONS.md#dynamic-plugin-specific-fields-capabilities--runtime-configuration
    conventions = {"portMappings", "ipRanges", "bandwidth", "dns", "ips", "mac", "infinibandGUID", "deviceID"}
    conventions |= {"aliases", "cgroupPath", "CNIDeviceInfoFile"}

    declared = FACADE["plugins"][0]["capabilities"]

    assert set(declared) == conventions | {"io.kubernetes.cri.pod-annotations"}
    assert all(wanted is True for wanted in declared.values())


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_what_other_agents_write_is_a_fragment(program: str, example: Path) -> None:
    result = run(program, "verify", str(CONF / "examples" / example))

    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith("1 file checked: 0 errors")
    assert not fragments.ignored_because(example.name)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.name)
def test_helm_values_are_plain_yaml(values: Path) -> None:
    """No YAML parser is at hand: every line is a comment or a key, and keys below one are two blanks deeper."""
    keys = keys_of(values)

    assert keys
    for (depth, key, value), (following, _, _) in zip(keys, [*keys[1:], (0, "", "")], strict=True):
        assert (value is None) == (following == depth + 1), f"{key}: a value or keys below it"


def keys_of(values: Path) -> list[tuple[int, str, str | None]]:
    """How deep each key is, its name and its value."""
    keys = []
    for line in values.read_text().splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            match = re.fullmatch(r"((?:  )*)(\w+):(?: (\S+))?", line)
            assert match, line
            keys.append((len(match[1]) // 2, match[2], match[3]))
    return keys


def settings(values: Path) -> dict[str, str]:
    """The values as `--set` names them."""
    path: list[str] = []
    found = {}
    for depth, key, value in keys_of(values):
        path[depth:] = [key]
        if value is not None:
            found[".".join(path)] = value
    return found


CHARTS = {agent.chart.file: agent for agent in registry.AGENTS if agent.chart}


def test_every_chart_that_moves_an_agent_has_its_values_here() -> None:
    assert [values.name for values in VALUES] == sorted(CHARTS)


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.name)
def test_helm_values_are_those_of_the_agents_entry(values: Path) -> None:
    agent = CHARTS[values.name]
    assert agent.chart is not None
    moved = {
        key: value.format(directory=f"/etc/cni/chain.d/{agent.owner}.d") for key, value in agent.chart.values.items()
    }

    assert settings(values) == {**moved, **agent.chart.more}
    releases = f", {agent.chart.releases}" if agent.chart.releases else ""
    assert f"\n# Chart {agent.chart.name}{releases}; add it to your values: " in values.read_text()
    words = " ".join(values.read_text().replace("#", "").split())
    assert all(f"namespace {namespace}, name {prefix}…" in words for namespace, prefix in agent.exempt)


def test_helm_values_name_the_files_that_are_in_chain_d() -> None:
    istio = settings(CONF / "helm/istio-cni-values.yaml")

    assert (istio["chained"], istio["cniConfFileName"]) == ("false", "10-istio.conf")
    assert istio["ambient.enableAmbientDetectionRetry"] == "true"
    assert settings(CONF / "helm/cilium-values.yaml")["socketLB.hostNamespaceOnly"] == "true"
    assert (CONF / "chain.d/istio.d/10-istio.conf").is_file()
    assert (CONF / "chain.d/cilium.d/05-cilium.conflist").is_file()


def test_the_agents_own_writers_are_run_with_what_helm_values_say() -> None:
    """In tests/system/agents, by the flags that the charts hand on."""
    istio = settings(CONF / "helm/istio-cni-values.yaml")
    told = {WRITERS[key].format(value).removesuffix("=true") for key, value in istio.items()}

    assert told == {*ADVISED, "--ambient-enabled", "--mounted-cni-net-dir=/etc/cni/chain.d/istio.d"}
    assert "cni.exclusive" not in settings(CONF / "helm/cilium-values.yaml"), "its default is true"


def test_the_log_that_is_rotated_is_the_one_that_is_written() -> None:
    assert f"\n{facade.LOG_FILE} {{\n" in (CONF / "logrotate.d/cni-chain").read_text()


def test_logrotate_takes_the_file(tmp_path: Path) -> None:
    logrotate = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not logrotate:
        pytest.skip("by design: only where logrotate is installed")
    file = tmp_path / "cni-chain"
    shutil.copy(CONF / "logrotate.d/cni-chain", file)
    file.chmod(0o644)

    done = subprocess.run(
        [logrotate, "--debug", "--state", tmp_path / "state", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert "error" not in done.stderr


def test_the_readme_names_every_file_and_none_that_is_not_there() -> None:
    text = (CONF / "README.md").read_text()
    there = {path.name for path in CONF.iterdir() if path.name != "README.md"}

    assert there == {"00-cni-chain.conflist", "chain.d", "examples", "helm", "logrotate.d", "new-node"}
    for name in there:
        assert name in text
    for name in re.findall(r"`(examples/\S+)`", text):
        assert (CONF / name).is_file()
