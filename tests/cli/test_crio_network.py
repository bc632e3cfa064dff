"""CRI-O that is told which network to take: a facade of another name would be no pod's, and the commands say so."""

from pathlib import Path

import pytest

from tests.support.files.node import BEFORE, FACADE, Node, bare_node
from tests.support.sandbox.node import is_frozen

DROP_IN = "/etc/crio/crio.conf.d/10-network.conf"
CONTAINERD, CRIO = "run/containerd/containerd.sock", "run/crio/crio.sock"
OTHER = "/etc/cni/net.d/87-podman.conflist"


def tell(node: Node, network: str, file: str = DROP_IN) -> None:
    """Name the network in CRI-O's settings."""
    path = node.root / file.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[crio.network]\ncni_default_network = "{network}"\n')


def runs(node: Node, *sockets: str) -> None:
    for socket in sockets:
        (node.root / socket).parent.mkdir(parents=True, exist_ok=True)
        (node.root / socket).touch()


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    """A node with a network called cilium, whose agents have written their fragments; cni-chain isn't there yet."""
    node = bare_node(tmp_path / "node", program, network=True)
    node.fragments(cilium="cilium-cni", istio="istio-cni")
    return node


@pytest.fixture
def frozen(node: Node) -> Node:
    if not is_frozen(node.program):
        pytest.skip("by design: only the frozen program can be installed")
    return node


@pytest.fixture
def chained(node: Node) -> Node:
    """The same node behind a facade of the name that CRI-O is told."""
    conflist = node.conflist("00-cni-chain.conflist", "cilium", "cni-chain")
    assert conflist == node.facade
    tell(node, "cilium")
    return node


class TestInstall:
    """What `install` makes of it."""

    def test_a_facade_that_crio_would_not_take_is_refused_with_the_name_that_it_needs(self, frozen: Node) -> None:
        tell(frozen, "k8s")
        before = frozen.files()

        result = frozen.run("install")

        assert (result.status, result.stdout) == (1, "")
        assert result.stderr == (
            f"cni-chain: {DROP_IN}: CRI-O's cni_default_network is k8s; the facade is cilium [runtime-other-network]; "
            "pass that name with --name, or remove the key and restart CRI-O; or pass --force if CRI-O isn't this "
            "node's runtime\n"
        )
        assert frozen.files() == before

    def test_with_that_name_it_is_installed(self, frozen: Node) -> None:
        tell(frozen, "k8s")

        assert frozen.run("install", "--name", "k8s").status == 0

        assert frozen.read(FACADE)["name"] == "k8s"

    def test_by_force_it_is_a_warning(self, frozen: Node) -> None:
        tell(frozen, "k8s")

        result = frozen.run("install", "--force")

        assert result.status == 0
        assert f"warning: {DROP_IN}: CRI-O's cni_default_network is k8s; the facade is cilium [" in result.stdout

    def test_the_name_is_that_of_the_file_that_crio_takes_not_of_the_first(self, frozen: Node) -> None:
        frozen.conflist("10-k8s.conflist", "k8s", "cilium-cni")
        tell(frozen, "k8s")

        assert frozen.run("install").status == 0

        assert frozen.read(FACADE)["name"] == "k8s"

    def test_on_a_node_of_containerd_alone_nobody_reads_crios_settings(self, frozen: Node) -> None:
        tell(frozen, "k8s")
        runs(frozen, CONTAINERD)

        result = frozen.run("install")

        assert (result.status, "cni_default_network" in result.stdout) == (0, False)
        assert frozen.read(FACADE)["name"] == "cilium"

    @pytest.mark.parametrize("sockets", [(CRIO,), (CRIO, CONTAINERD), ()])
    def test_where_crio_may_run_it_counts(self, frozen: Node, sockets: tuple[str, ...]) -> None:
        tell(frozen, "k8s")
        runs(frozen, *sockets)

        assert frozen.run("install").status == 1

    def test_the_last_file_that_has_the_key_counts(self, frozen: Node) -> None:
        tell(frozen, "first", "/etc/crio/crio.conf")
        tell(frozen, "second", "/etc/crio/crio.conf.d/20-here/a.conf")
        tell(frozen, "cilium", "/etc/crio/crio.conf.d/30.conf")
        tell(frozen, "third", "/etc/crio/crio.conf.d/10.conf")

        assert frozen.run("install").status == 0

    def test_an_empty_value_names_nothing(self, frozen: Node) -> None:
        tell(frozen, "k8s", "/etc/crio/crio.conf")
        tell(frozen, "")

        assert frozen.run("install").status == 0

    def test_a_facade_that_is_there_under_another_name_is_warned_of(self, frozen: Node) -> None:
        frozen.run("install")
        tell(frozen, "k8s")

        result = frozen.run("install")

        assert result.status == 0
        assert f"{FACADE} stays as it is.\n" in result.stdout
        assert f"warning: {DROP_IN}: CRI-O's cni_default_network is k8s; the facade is cilium [" in result.stdout

    def test_if_it_names_multus_the_facade_has_a_name_of_its_own(self, frozen: Node) -> None:
        frozen.conflist("00-multus.conflist", "multus-cni-network", "multus")
        tell(frozen, "multus-cni-network")

        assert frozen.run("install", "--facade", "01-cni-chain.conflist").status == 0

    def test_settings_that_can_not_be_read_are_told(self, frozen: Node) -> None:
        tell(frozen, 'not"toml')

        result = frozen.run("install")

        assert result.status == 1
        assert result.stderr.startswith(f"cni-chain: {DROP_IN}: can't be read, and may name the network: ")


class TestUninstall:
    """What `uninstall` makes of it."""

    def test_the_file_of_that_name_is_what_crio_then_takes(self, chained: Node) -> None:
        chained.conflist("00-first.conflist", "another", "portmap")
        runs(chained, CRIO)

        result = chained.run("uninstall")

        assert (result.status, result.stderr) == (0, "")
        assert f"CRI-O then takes {BEFORE}.\n" in result.stdout

    def test_without_a_file_of_that_name_crio_would_take_nothing(self, chained: Node) -> None:
        (chained.root / BEFORE.lstrip("/")).rename(chained.root / f"{BEFORE}.cilium_bak".lstrip("/"))
        chained.conflist("87-podman.conflist", "podman", "portmap")
        before = chained.files()

        result = chained.run("uninstall")

        assert (result.status, result.stdout) == (1, "")
        assert result.stderr == (
            f"cni-chain: /etc/cni/net.d: no configuration of network cilium, which {DROP_IN} sets, is left "
            f"for CRI-O once {FACADE} is gone; restore the previous one (--restore {BEFORE}.cilium_bak), "
            "or pass --leave-node-without-network\n"
        )
        assert chained.files() == before

    def test_the_file_that_is_restored_counts(self, chained: Node) -> None:
        (chained.root / BEFORE.lstrip("/")).rename(chained.root / f"{BEFORE}.cilium_bak".lstrip("/"))
        chained.conflist("87-podman.conflist", "podman", "portmap")

        result = chained.run("uninstall", "--restore", f"{BEFORE}.cilium_bak")

        assert result.status == 0
        assert f"containerd then takes {BEFORE}.\nCRI-O then takes {BEFORE}.\n" in result.stdout

    def test_on_a_node_of_containerd_alone_the_first_file_is_taken(self, chained: Node) -> None:
        (chained.root / BEFORE.lstrip("/")).unlink()
        chained.conflist("87-podman.conflist", "podman", "portmap")
        runs(chained, CONTAINERD)

        result = chained.run("uninstall")

        assert result.status == 0
        assert f"The runtime then takes {OTHER}.\n" in result.stdout
