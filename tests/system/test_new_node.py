"""The recipes for a new node, as conf/new-node has them: from nothing to a pod that gets the whole chain."""

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import available
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import (
    BIN,
    BRIDGE,
    CHAIN,
    FACADE,
    TUNING,
    Node,
    is_frozen,
    single,
    whole_list,
)

RECIPES = CHECKOUT / "conf/new-node"
PAGE = CHECKOUT / "docs/guides/new-node.md"
UNIT = RECIPES / "cni-chain-install.service"
# The plugins that the recipes' owners have, and the reference plugins that play their parts.
PARTS = {"cilium-cni": "bridge", "istio-cni": "tuning"}
ARCHIVE = "/tmp/cni-chain.tar.gz"  # noqa: S108
ANSIBLE = "tests/support/ansible/build"
PYTHON = f"{sys.base_prefix}/bin/python3"  # a sandbox has it, wherever this virtual environment is


class NewNode(Node):
    """A node without cni-chain, without a configuration, and without owners' directories: plugins and the archive."""

    def __init__(self, sandbox: Sandbox, program: Path, tools: Path, archive: Path) -> None:
        super().__init__(sandbox, program, tools)
        for name, part in PARTS.items():
            shutil.copy(tools / "plugins" / part, sandbox.path(f"{BIN}/{name}"))
        sandbox.path(CHAIN).rmdir()
        shutil.copy(archive, sandbox.path(ARCHIVE))

    def _install(self, program: Path) -> None:
        del program
        self.sandbox.path(BIN).mkdir(parents=True)

    def agents_write(self) -> None:
        """What the agents put into their owners' directories."""
        self.fragment("cilium.d/05-cilium.conflist", whole_list(BRIDGE | {"type": "cilium-cni"}))
        self.fragment("istio.d/10-istio.conf", single(TUNING | {"type": "istio-cni"}))

    def verify(self) -> tuple[int, str]:
        """The exit status and the output of verify."""
        done = self.sandbox.run(f"{BIN}/cni-chain", "verify", check=False)
        return done.returncode, done.stdout

    def ran(self) -> list[str]:
        """The plugins that were run for the one attachment, as owner/type."""
        done = self.sandbox.run(f"{BIN}/cni-chain", "attachments", "--json")
        [attachment] = json.loads(done.stdout)["attachments"]
        return [f"{delegate['owner']}/{delegate['type']}" for delegate in attachment["delegates"]]

    def files(self) -> dict[str, tuple[int, bytes]]:
        """The configuration that the node has: the inode and the content of each file."""
        root = self.sandbox.path("/etc/cni")
        found = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): (path.stat().st_ino, path.read_bytes()) for path in found}


Recipe = Callable[[NewNode], None]


def by_cloud_init(node: NewNode) -> None:
    """Run the commands as cloud-init does: those of runcmd are the lines of one script for sh."""
    digest = node.sandbox.run("sha256sum", ARCHIVE).stdout.split()[0]
    script = "\n".join(yaml.safe_load((RECIPES / "cloud-init.yaml").read_text())["runcmd"])
    for placeholder, value in (
        ("https://<server>/cni-chain-<version>-linux-<arch>.tar.gz", f"file://{ARCHIVE}"),
        ("<sha256 of the archive>", digest),
    ):
        assert script.count(placeholder) == 1
        script = script.replace(placeholder, value)
    node.sandbox.run("sh", "-c", script)


def by_unit(node: NewNode) -> None:
    """Do what systemd does with the unit, on an image that has the program."""
    node.sandbox.run("tar", "-xzf", ARCHIVE, "-C", "/opt/cni")
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys keep their case
    unit.read_string(UNIT.read_text())
    condition = unit["Unit"]["ConditionPathExists"]
    assert condition.startswith("!")
    if not node.sandbox.path(condition.removeprefix("!")).exists():
        node.sandbox.run(*shlex.split(unit["Service"]["ExecStart"]))


def by_ansible(node: NewNode) -> None:
    """Run the playbook against the node itself."""
    built = subprocess.run([CHECKOUT / ANSIBLE, "--built"], capture_output=True, text=True, check=False)
    if built.returncode:
        raise NotBuiltError(f"ansible-core is not installed: {ANSIBLE}")
    inventory = node.sandbox.path("/tmp/hosts")  # noqa: S108
    inventory.write_text("[new_nodes]\nlocalhost ansible_connection=local\n")
    given = {
        "cni_chain_archive": ARCHIVE,
        "ansible_become": False,  # it is root already, and sudo may not be here
        "ansible_python_interpreter": PYTHON,
    }
    node.sandbox.run(
        *(PYTHON, "-m", "ansible", "playbook", "-i", "/tmp/hosts", "-e", json.dumps(given)),  # noqa: S108
        str(RECIPES / "ansible/playbook.yml"),
        env={"PYTHONPATH": built.stdout.strip(), "ANSIBLE_HOME": "/tmp/ansible", "ANSIBLE_NOCOWS": "1"},  # noqa: S108
    )


@pytest.fixture(scope="session")
def archive(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that is published, of the program under test."""
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    out = tmp_path_factory.mktemp("archive")
    frozen = Path(os.path.abspath(program)).parent.parent
    subprocess.run([sys.executable, "-m", "build.release", "archive", out, frozen], cwd=CHECKOUT, check=True)
    [made] = out.glob("*.tar.gz")
    return made


@pytest.fixture
def node(program: str, tools: Path, archive: Path) -> Iterator[NewNode]:
    with available(), Sandbox() as sandbox:
        yield NewNode(sandbox, Path(program), tools, archive)


@pytest.mark.parametrize("recipe", [by_cloud_init, by_unit, by_ansible])
def test_a_recipe_makes_a_node_whose_pods_wait_until_the_agents_have_written(node: NewNode, recipe: Recipe) -> None:
    shown = re.findall(r"^# cni-chain verify\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    with available():
        recipe(node)

    waiting = shown[0]
    assert waiting.count("[owner-without-fragment]") == 2
    assert node.verify() == (1, waiting)
    with node.pod("early") as pod:
        waits = node.cni("add", pod).error
        assert (waits["code"], waits["msg"].partition(" in ")[0]) == (11, "waiting for cilium's CNI configuration")
        node.cni("del", pod).succeeded()

    node.agents_write()

    assert node.verify() == (0, shown[1])
    with node.pod("web") as pod:
        node.cni("add", pod).succeeded()
        assert node.ran() == ["cilium/cilium-cni", "istio/istio-cni"]
        node.cni("del", pod).succeeded()


@pytest.mark.parametrize("recipe", [by_cloud_init, by_unit, by_ansible])
def test_a_recipe_that_runs_again_changes_nothing(node: NewNode, recipe: Recipe) -> None:
    with available():
        recipe(node)
        node.agents_write()
        before = node.files()
        recipe(node)

    assert list(before) == ["chain.d/cilium.d/05-cilium.conflist", "chain.d/istio.d/10-istio.conf", f"net.d/{FACADE}"]
    assert node.files() == before


def test_at_the_next_boot_the_unit_keeps_the_owners_that_were_changed_since(node: NewNode) -> None:
    by_unit(node)
    node.sandbox.run(f"{BIN}/cni-chain", "owner", "remove", "istio")
    before = node.files()

    by_unit(node)

    assert node.files() == before


def test_an_archive_with_another_checksum_ends_the_commands_before_the_kubelet(node: NewNode) -> None:
    with node.sandbox.path(ARCHIVE).open("rb") as file:
        good = file.read()
    commands = yaml.safe_load((RECIPES / "cloud-init.yaml").read_text())["runcmd"]
    script = "\n".join([*commands, "touch /run/kubelet-starts"])
    script = script.replace("https://<server>/cni-chain-<version>-linux-<arch>.tar.gz", f"file://{ARCHIVE}")
    script = script.replace("<sha256 of the archive>", "0" * 64)

    done = node.sandbox.run("sh", "-c", script, check=False)

    assert done.returncode == 1
    assert "did NOT match" in done.stderr
    assert not node.sandbox.path("/run/kubelet-starts").exists()
    assert (node.sandbox.path(ARCHIVE).read_bytes(), node.files()) == (good, {})


def test_the_unit_is_one_that_systemd_reads_without_a_warning(node: NewNode) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("by design: systemd is not on this machine")
    by_unit(node)
    place = node.sandbox.path("/run/systemd/system")
    place.mkdir(parents=True)
    shutil.copy(UNIT, place)
    (place / "kubelet.service").write_text("[Service]\nExecStart=/bin/true\n")

    done = node.sandbox.run("systemd-analyze", "verify", "--man=no", f"/run/systemd/system/{UNIT.name}")

    assert (done.stdout, done.stderr) == ("", "")
