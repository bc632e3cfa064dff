"""`cni-chain install` by the frozen program: what is then on the node, again and again, and in which order."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from cni_chain import __version__
from cni_chain.change import draft, install
from cni_chain.node import distros
from tests.support.files.node import BEFORE, CONF, FACADE, Node, bare_node, run
from tests.support.sandbox.node import is_frozen

VERSION = f"opt/cni/cni-chain/{__version__}"


@pytest.fixture
def frozen(program: str) -> str:
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    return program


@pytest.fixture
def bare(frozen: str, tmp_path: Path) -> Node:
    """A node before its agents: no network yet."""
    return bare_node(tmp_path / "node", frozen)


@pytest.fixture
def live(frozen: str, tmp_path: Path) -> Node:
    """A node with a network, whose agents have written their fragments."""
    node = bare_node(tmp_path / "node", frozen, network=True)
    node.fragments(cilium="cilium-cni", istio="istio-cni")
    return node


def copy_of(program: str, directory: Path) -> Path:
    """The program unpacked once more; returns its executable."""
    shutil.copytree(Path(program).resolve().parent, directory)
    return directory / "cni-chain"


def pretend(node: Node, *versions: str) -> None:
    """Let older versions be installed, the last of them linked."""
    for version in versions:
        (node.programs / version / "_internal").mkdir(parents=True)
        (node.programs / version / "cni-chain").write_text("#!/bin/sh\n")
    node.link.symlink_to(f"../cni-chain/{versions[-1]}/cni-chain")


def test_source_can_t_be_installed_and_says_what_can(program: str, tmp_path: Path) -> None:
    if is_frozen(program):
        pytest.skip("by design: this is the frozen program")

    result = run(program, "install", "--root", str(tmp_path))

    assert (result.status, result.stdout) == (1, "")
    assert result.stderr == f"cni-chain: {install.FROM_SOURCE}\n"
    assert list(tmp_path.iterdir()) == []


def test_all_is_in_place_with_its_modes_and_pods_get_the_chain(live: Node) -> None:
    result = live.run("install")

    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "5 changes made."
    assert os.readlink(live.link) == f"../cni-chain/{__version__}/cni-chain"
    modes = {name: live.mode(name) for name in live.files() if not (live.root / name).is_symlink()}
    assert modes["etc/cni/net.d/00-cni-chain.conflist"] == 0o644
    assert modes["etc/cni/chain.d/local.d"] == 0o755
    assert modes[VERSION] == modes[f"{VERSION}/cni-chain"] == 0o755
    assert not any(mode & 0o022 for mode in modes.values())
    shown = json.loads(live.run("show", "--json").stdout)["facades"][0]
    assert [link["type"] for link in shown["chain"]] == ["cilium-cni", "istio-cni"]
    assert shown["first"]
    assert live.run("verify").stdout.endswith(": 0 errors, 0 warnings\n") or os.geteuid() != 0


def test_what_was_installed_runs_as_a_plugin(live: Node) -> None:
    live.run("install")

    answer = run(str(live.link), environ={"CNI_COMMAND": "VERSION"})

    assert json.loads(answer.stdout)["cniVersion"] == "1.1.0"


def test_the_facade_and_the_rotation_are_those_of_conf(bare: Node) -> None:
    bare.run("install")

    assert bare.read(FACADE) == json.loads((CONF / "00-cni-chain.conflist").read_bytes())
    assert (CONF / "logrotate.d/cni-chain").read_text() == install.LOGROTATE
    assert (bare.root / "etc/logrotate.d/cni-chain").read_text() == install.LOGROTATE


def test_no_warning_is_about_a_directory_that_it_creates(bare: Node) -> None:
    told = bare.run("install").stdout

    assert "create  /etc/cni/chain.d/istio.d/\n" in told
    assert "warning: for now new pods wait for cilium's CNI configuration in /etc/cni/chain.d/cilium.d" in told
    assert "doesn't exist" not in told


@pytest.fixture
def page(bare: Node) -> Path:
    """Where the manual page is to be."""
    file = bare.path("/usr/local/share/man/man8/cni-chain.8")
    file.parents[1].mkdir(parents=True)
    return file


def test_man_finds_the_manual_page(bare: Node, page: Path) -> None:
    man = shutil.which("man")
    if man is None:
        pytest.skip("by design: man is not installed here")
    bare.run("install")

    shown = run(man, "-M", str(page.parents[1]), "-P", "cat", "cni-chain", environ={"MANWIDTH": "80"})

    assert shown.status == 0
    assert "run CNI plugins, each from a directory" in " ".join(shown.stdout.split())


def test_an_upgrade_replaces_the_manual_page(bare: Node, page: Path) -> None:
    assert "create  /usr/local/share/man/man8/cni-chain.8\n" in bare.run("install").stdout
    text = page.read_text()
    assert text.startswith(f'.TH CNI-CHAIN 8 "" "cni-chain {__version__}"')
    assert bare.run("install").stdout.endswith("Nothing to change.\n")

    page.write_text(text.replace(__version__, "0.0.1"))

    assert "replace  /usr/local/share/man/man8/cni-chain.8" in bare.run("install").stdout
    assert page.read_text() == text


def test_somebody_elses_manual_page_stays(bare: Node, page: Path) -> None:
    page.parent.mkdir()
    page.write_text("mine\n")

    told = bare.run("install").stdout

    assert "/usr/local/share/man/man8/cni-chain.8 stays as it is, because it is not cni-chain's.\n" in told
    assert page.read_text() == "mine\n"


def test_without_a_place_for_manual_pages_there_is_none(bare: Node) -> None:
    bare.run("install")

    assert not (bare.root / "usr").exists()


def test_a_second_run_changes_nothing_and_says_so(bare: Node) -> None:
    bare.run("install")
    before = bare.files()

    result = bare.run("install")

    assert (result.status, result.stdout) == (0, f"{FACADE} stays as it is.\nNothing to change.\n")
    assert bare.files() == before
    again = bare.run("install", *(word for owner in draft.OWNERS for word in ("--owner", owner)))
    assert again.stdout.endswith("Nothing to change.\n")
    assert bare.files() == before


def test_a_dry_run_changes_nothing_and_tells_exactly_what_the_real_one_does(bare: Node) -> None:
    before = bare.files()

    planned = json.loads(bare.run("install", "--dry-run", "--json").stdout)
    assert bare.files() == before
    made = json.loads(bare.run("install", "--json").stdout)

    assert (planned.pop("dryRun"), made.pop("dryRun")) == (True, False)
    assert planned == made
    new = {change["path"].strip("/") for change in made["changes"]}
    assert bare.names() - set(before) == new | {"opt/cni/cni-chain", "etc/cni/chain.d"}


def test_a_dry_run_shows_the_text_of_the_files(bare: Node) -> None:
    shown = bare.run("install", "--dry-run").stdout

    assert f"--- /dev/null\n+++ {FACADE}\n" in shown
    assert '+          "name": "cilium",\n' in shown
    assert shown.endswith("7 changes, none made (--dry-run).\n")


def test_without_logrotate_and_directories_it_makes_those_that_it_needs(frozen: str, tmp_path: Path) -> None:
    result = run(frozen, "install", "--root", str(tmp_path))

    assert result.status == 0
    assert not (tmp_path / "etc/logrotate.d").exists()
    assert (tmp_path / "opt/cni/bin/cni-chain").resolve() == tmp_path / VERSION / "cni-chain"
    assert (tmp_path / FACADE.lstrip("/")).is_file()


def test_owners_are_listed_as_given_and_meshes_own_agents_are_exempt(bare: Node) -> None:
    bare.run("install", "--owner", "flannel:flannel,portmap", "--owner", "kuma:kuma-cni", "--owner", "local")

    assert bare.read(FACADE)["plugins"][0]["owners"] == [
        {"name": "flannel", "types": ["flannel", "portmap"]},
        {
            "name": "kuma",
            "types": ["kuma-cni"],
            "exempt": [{"namespace": "kube-system", "podNamePrefix": "kuma-cni-node-"}],
        },
        {"name": "local", "required": False},
    ]
    assert (bare.chain_dir / "kuma.d").is_dir()


def test_pods_are_exempt_as_given_and_istio_s_own_by_itself(bare: Node) -> None:
    bare.run(
        "install",
        "--exempt",
        "istio=kube-system/istio-cni-node-*",
        "--exempt",
        "istio=x/y",
        "--owner",
        "istio:istio-cni",
    )

    assert bare.read(FACADE)["plugins"][0]["owners"][0]["exempt"] == [
        {"namespace": "kube-system", "podNamePrefix": "istio-cni-node-"},
        {"namespace": "x", "podNamePrefix": "y"},
    ]


def test_the_name_is_that_of_the_configuration_in_use(live: Node) -> None:
    live.conflist("05-cilium.conflist", "k8s-pod-network", "cilium-cni")

    assert live.run("install").status == 0
    assert live.read(FACADE)["name"] == "k8s-pod-network"


def test_another_name_is_warned_of(live: Node) -> None:
    result = live.run("install", "--name", "other")

    assert live.read(FACADE)["name"] == "other"
    assert f"warning: {BEFORE}: plugins keep addresses and rules under its name cilium, and the" in result.stdout


def test_a_new_node_s_network_is_called_like_its_first_owner(bare: Node) -> None:
    bare.run("install", "--owner", "calico:calico")

    assert bare.read(FACADE)["name"] == "calico"


def test_a_version_of_one_s_own_is_the_only_one(bare: Node) -> None:
    bare.run("install", "--cni-version", "0.3.1")

    assert bare.read(FACADE)["cniVersion"] == "0.3.1"
    assert "cniVersions" not in bare.read(FACADE)


def test_without_the_facade_nothing_changes_for_pods(live: Node) -> None:
    assert live.run("install", "--no-facade").status == 0

    assert not live.facade.exists()
    assert live.link.exists()
    assert (live.chain_dir / "local.d").is_dir()
    assert live.run("install").stdout.splitlines() == [f"create  {FACADE}", "1 change made."]


def test_a_chain_directory_elsewhere_is_in_the_facade(bare: Node) -> None:
    bare.run("install", "--chain-dir", "/srv/chain")

    assert bare.read(FACADE)["plugins"][0]["chainDir"] == "/srv/chain"
    assert (bare.root / "srv/chain/cilium.d").is_dir()


@pytest.mark.parametrize("distro", distros.DISTROS)
def test_the_directories_of_distributions_are_known(frozen: str, tmp_path: Path, distro: str) -> None:
    known = distros.DISTROS[distro]

    result = run(frozen, "install", "--root", str(tmp_path), "--distro", distro)

    assert known.source in result.stdout
    assert (tmp_path / known.net_dir.lstrip("/") / "00-cni-chain.conflist").is_file()
    link = tmp_path / known.bin_dir.lstrip("/") / "cni-chain"
    assert not os.readlink(link).startswith("/")
    assert link.resolve().is_relative_to(tmp_path)
    assert run(str(link), "--version").stdout == f"cni-chain {__version__}\n"


def test_on_gke_the_program_is_where_programs_may_run(frozen: str, tmp_path: Path) -> None:
    run(frozen, "install", "--root", str(tmp_path), "--distro", "gke")

    assert os.readlink(tmp_path / "home/kubernetes/bin/cni-chain") == f"cni-chain.d/{__version__}/cni-chain"


def test_a_directory_of_plugins_that_is_a_link_gets_a_link_that_leads_there(frozen: str, tmp_path: Path) -> None:
    (tmp_path / "data/plugins").mkdir(parents=True)
    (tmp_path / "opt/cni").mkdir(parents=True)
    (tmp_path / "opt/cni/bin").symlink_to("../../data/plugins")

    assert run(frozen, "install", "--root", str(tmp_path)).status == 0

    assert (tmp_path / "opt/cni/bin/cni-chain").resolve() == tmp_path / f"data/cni-chain/{__version__}/cni-chain"


def test_a_newer_version_is_beside_the_old_one_and_the_last_two_stay(live: Node) -> None:
    pretend(live, "0.0.1", "0.0.2", "0.0.3")
    (live.programs / "notes").mkdir()

    result = live.run("install", "--no-facade")

    assert os.readlink(live.link) == f"../cni-chain/{__version__}/cni-chain"
    assert sorted(path.name for path in live.programs.iterdir()) == ["0.0.3", __version__, "notes"]
    assert "remove   /opt/cni/cni-chain/0.0.1/   the last two versions stay\n" in result.stdout


def test_the_facade_of_before_stays_when_the_program_is_upgraded(live: Node) -> None:
    live.facade.write_text((CONF / "00-cni-chain.conflist").read_text().replace("cilium", "cni0", 1))
    pretend(live, "0.0.1")
    inode = live.facade.stat().st_ino

    assert live.run("install").status == 0

    assert live.facade.stat().st_ino == inode
    assert os.readlink(live.link).startswith(f"../cni-chain/{__version__}/")


@pytest.mark.root
def test_the_running_version_is_never_removed(live: Node) -> None:
    pretend(live, "0.0.2", "0.0.3")
    running = copy_of(live.program, live.programs / "0.0.1")

    result = live.run_apart("install", "--no-facade", "--chain-dir", str(live.chain_dir), program=str(running))

    assert (result.status, result.stderr) == (0, "")
    assert sorted(path.name for path in live.programs.iterdir()) == ["0.0.1", "0.0.3", __version__]


def test_an_installed_program_installs_itself_without_a_copy(live: Node) -> None:
    live.run("install", "--no-facade")
    before = {name for name in live.files() if "opt" in name}

    assert live.run("install", program=str(live.link)).stdout.splitlines() == [f"create  {FACADE}", "1 change made."]
    assert {name for name in live.files() if "opt" in name} == before


def test_another_build_of_a_version_never_changes_what_a_call_may_be_loading(live: Node, tmp_path: Path) -> None:
    live.run("install")
    before = live.files()
    other = copy_of(live.program, tmp_path / "other")
    (tmp_path / "other/LICENSE").write_text("another build")

    refused = live.run("install", program=str(other))
    assert refused.status == 1
    assert f"/{VERSION}: differs from {tmp_path}/other" in refused.stderr
    assert live.files() == before

    assert live.run("install", "--force", program=str(other)).status == 0
    assert os.readlink(live.link) == f"../cni-chain/{__version__}-2/cni-chain"
    assert {name: held for name, held in live.files().items() if name.startswith(f"{VERSION}/")} == {
        name: held for name, held in before.items() if name.startswith(f"{VERSION}/")
    }
    assert live.run("install", program=str(other)).stdout.endswith("Nothing to change.\n")


def test_if_the_last_step_fails_all_before_it_is_taken_back(live: Node) -> None:
    pretend(live, "0.0.1", "0.0.2")
    (live.net_dir / ".00-cni-chain.conflist.new/in-the-way").mkdir(parents=True)
    before = live.files()

    result = live.run("install")

    assert (result.status, result.stdout) == (1, "")
    assert result.stderr == f"cni-chain: {FACADE}: Is a directory; nothing was changed\n"
    assert live.files() == before


def test_killed_at_any_moment_nothing_is_half_there_and_the_next_run_finishes(live: Node) -> None:
    command = [live.program, "install", "--root", str(live.root)]
    for seed in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.Random(seed).uniform(0.05, 0.35))  # noqa: S311  # the same moments each time
        process.send_signal(signal.SIGKILL)
        process.wait()
        if live.link.is_symlink():
            assert run(str(live.link), "--version").status == 0
        if live.facade.exists():
            assert live.owner_names() == ["cilium", "istio", "local"]
            assert live.link.exists()

        assert live.run("install").status == 0
        assert live.run("install").stdout.endswith("Nothing to change.\n")
        assert not [name for name in live.files() if ".new" in name]
        shutil.rmtree(live.programs)
        live.link.unlink()
        live.facade.unlink()
