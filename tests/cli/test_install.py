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
from tests.support.files.bare import BEFORE, FACADE, HIDDEN, Bare
from tests.support.files.node import CONF, run
from tests.support.sandbox.node import is_frozen

VERSION = f"opt/cni/cni-chain/{__version__}"


@pytest.fixture
def frozen(program: str) -> str:
    if not is_frozen(program):
        pytest.skip("by design: only the frozen program can be installed")
    return program


@pytest.fixture
def bare(frozen: str, tmp_path: Path) -> Bare:
    """A node before its agents: no network yet."""
    return Bare(tmp_path / "node", frozen)


@pytest.fixture
def live(frozen: str, tmp_path: Path) -> Bare:
    """A node with a network, whose agents have written their fragments."""
    node = Bare(tmp_path / "node", frozen, network=True)
    node.fragments(cilium="cilium-cni", istio="istio-cni")
    return node


def copy_of(program: str, directory: Path) -> Path:
    """The program unpacked once more; returns its executable."""
    shutil.copytree(Path(program).resolve().parent, directory)
    return directory / "cni-chain"


def pretend(node: Bare, *versions: str) -> None:
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


def test_all_is_in_place_with_its_modes_and_pods_get_the_chain(live: Bare) -> None:
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


def test_what_was_installed_runs_as_a_plugin(live: Bare) -> None:
    live.run("install")

    answer = run(str(live.link), environ={"CNI_COMMAND": "VERSION"})

    assert json.loads(answer.stdout)["cniVersion"] == "1.1.0"


def test_the_facade_and_the_rotation_are_those_of_conf(bare: Bare) -> None:
    bare.run("install")

    assert bare.document() == json.loads((CONF / "00-cni-chain.conflist").read_bytes())
    assert (CONF / "logrotate.d/cni-chain").read_text() == install.LOGROTATE
    assert (bare.root / "etc/logrotate.d/cni-chain").read_text() == install.LOGROTATE


def test_a_second_run_changes_nothing_and_says_so(bare: Bare) -> None:
    bare.run("install")
    before = bare.files()

    result = bare.run("install")

    assert (result.status, result.stdout) == (0, f"{FACADE} stays as it is.\nNothing to change.\n")
    assert bare.files() == before
    again = bare.run("install", *(word for owner in draft.OWNERS for word in ("--owner", owner)))
    assert again.stdout.endswith("Nothing to change.\n")
    assert bare.files() == before


def test_a_dry_run_changes_nothing_and_tells_exactly_what_the_real_one_does(bare: Bare) -> None:
    before = bare.files()

    planned = json.loads(bare.run("install", "--dry-run", "--json").stdout)
    assert bare.files() == before
    made = json.loads(bare.run("install", "--json").stdout)

    assert (planned.pop("dryRun"), made.pop("dryRun")) == (True, False)
    assert planned == made
    new = {change["path"].strip("/") for change in made["changes"]}
    assert bare.names() - set(before) == new | {"opt/cni/cni-chain", "etc/cni/chain.d"}


def test_a_dry_run_shows_the_text_of_the_files(bare: Bare) -> None:
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


def test_owners_are_listed_as_given_and_meshes_own_agents_are_exempt(bare: Bare) -> None:
    bare.run("install", "--owner", "flannel:flannel,portmap", "--owner", "kuma:kuma-cni", "--owner", "local")

    assert bare.document()["plugins"][0]["owners"] == [
        {"name": "flannel", "types": ["flannel", "portmap"]},
        {
            "name": "kuma",
            "types": ["kuma-cni"],
            "exempt": [{"namespace": "kube-system", "podNamePrefix": "kuma-cni-node-"}],
        },
        {"name": "local", "required": False},
    ]
    assert (bare.chain_dir / "kuma.d").is_dir()


def test_pods_are_exempt_as_given_and_istio_s_own_by_itself(bare: Bare) -> None:
    bare.run(
        "install",
        "--exempt",
        "istio=kube-system/istio-cni-node-*",
        "--exempt",
        "istio=x/y",
        "--owner",
        "istio:istio-cni",
    )

    assert bare.document()["plugins"][0]["owners"][0]["exempt"] == [
        {"namespace": "kube-system", "podNamePrefix": "istio-cni-node-"},
        {"namespace": "x", "podNamePrefix": "y"},
    ]


def test_the_name_is_that_of_the_configuration_in_use(live: Bare) -> None:
    live.conflist("05-cilium.conflist", "k8s-pod-network", "cilium-cni")

    assert live.run("install").status == 0
    assert live.document()["name"] == "k8s-pod-network"


def test_another_name_is_warned_of(live: Bare) -> None:
    result = live.run("install", "--name", "other")

    assert live.document()["name"] == "other"
    assert f"warning: {BEFORE}: plugins keep addresses and rules under its name cilium, and the" in result.stdout


def test_a_new_node_s_network_is_called_like_its_first_owner(bare: Bare) -> None:
    bare.run("install", "--owner", "calico:calico")

    assert bare.document()["name"] == "calico"


def test_a_version_of_one_s_own_is_the_only_one(bare: Bare) -> None:
    bare.run("install", "--cni-version", "0.3.1")

    assert bare.document()["cniVersion"] == "0.3.1"
    assert "cniVersions" not in bare.document()


def test_without_the_facade_nothing_changes_for_pods(live: Bare) -> None:
    assert live.run("install", "--no-facade").status == 0

    assert not live.facade.exists()
    assert live.link.exists()
    assert (live.chain_dir / "local.d").is_dir()
    assert live.run("install").stdout.splitlines() == [f"create  {FACADE}", "1 change made."]


def test_a_chain_directory_elsewhere_is_in_the_facade(bare: Bare) -> None:
    bare.run("install", "--chain-dir", "/srv/chain")

    assert bare.document()["plugins"][0]["chainDir"] == "/srv/chain"
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


def test_a_newer_version_is_beside_the_old_one_and_the_last_two_stay(live: Bare) -> None:
    pretend(live, "0.0.1", "0.0.2", "0.0.3")
    (live.programs / "notes").mkdir()

    result = live.run("install", "--no-facade")

    assert os.readlink(live.link) == f"../cni-chain/{__version__}/cni-chain"
    assert sorted(path.name for path in live.programs.iterdir()) == ["0.0.3", __version__, "notes"]
    assert "remove   /opt/cni/cni-chain/0.0.1/   the last two versions stay\n" in result.stdout


def test_the_facade_of_before_stays_when_the_program_is_upgraded(live: Bare) -> None:
    live.facade.write_text((CONF / "00-cni-chain.conflist").read_text().replace("cilium", "cni0", 1))
    pretend(live, "0.0.1")
    inode = live.facade.stat().st_ino

    assert live.run("install").status == 0

    assert live.facade.stat().st_ino == inode
    assert os.readlink(live.link).startswith(f"../cni-chain/{__version__}/")


@pytest.mark.root
def test_the_running_version_is_never_removed(live: Bare) -> None:
    pretend(live, "0.0.2", "0.0.3")
    running = copy_of(live.program, live.programs / "0.0.1")

    result = live.here("install", "--no-facade", "--chain-dir", str(live.chain_dir), program=str(running))

    assert (result.status, result.stderr) == (0, "")
    assert sorted(path.name for path in live.programs.iterdir()) == ["0.0.1", "0.0.3", __version__]


def test_an_installed_program_installs_itself_without_a_copy(live: Bare) -> None:
    live.run("install", "--no-facade")
    before = {name for name in live.files() if "opt" in name}

    assert live.run("install", program=str(live.link)).stdout.splitlines() == [f"create  {FACADE}", "1 change made."]
    assert {name for name in live.files() if "opt" in name} == before


def test_another_build_of_a_version_never_changes_what_a_call_may_be_loading(live: Bare, tmp_path: Path) -> None:
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


@pytest.mark.root
def test_a_place_where_programs_can_t_run_is_found_out_before_any_runtime_does(live: Bare) -> None:
    live.programs.mkdir()
    before = live.files()
    mount = f'mount -t tmpfs -o noexec tmpfs {live.programs} && exec "$@"'
    command = [*HIDDEN, "sh", "-c", mount, "sh", live.program, "install"]
    where = ["--net-dir", str(live.net_dir), "--bin-dir", str(live.bin_dir), "--chain-dir", str(live.chain_dir)]

    done = subprocess.run([*command, *where], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert f"{live.programs}/{__version__}/cni-chain: can't be run: Permission denied; is its" in done.stderr
    assert done.stderr.endswith("nothing was changed\n")
    assert live.files() == before


def test_if_the_last_step_fails_all_before_it_is_taken_back(live: Bare) -> None:
    pretend(live, "0.0.1", "0.0.2")
    (live.net_dir / ".00-cni-chain.conflist.new/in-the-way").mkdir(parents=True)
    before = live.files()

    result = live.run("install")

    assert (result.status, result.stdout) == (1, "")
    assert result.stderr == f"cni-chain: {FACADE}: Is a directory; nothing was changed\n"
    assert live.files() == before


def test_killed_at_any_moment_nothing_is_half_there_and_the_next_run_finishes(live: Bare) -> None:
    command = [live.program, "install", "--root", str(live.root)]
    for seed in range(5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.Random(seed).uniform(0.05, 0.35))  # noqa: S311  # the same moments each time
        process.send_signal(signal.SIGKILL)
        process.wait()
        if live.link.is_symlink():
            assert run(str(live.link), "--version").status == 0
        if live.facade.exists():
            assert live.owners() == ["cilium", "istio", "local"]
            assert live.link.exists()

        assert live.run("install").status == 0
        assert live.run("install").stdout.endswith("Nothing to change.\n")
        assert not [name for name in live.files() if ".new" in name]
        shutil.rmtree(live.programs)
        live.link.unlink()
        live.facade.unlink()
