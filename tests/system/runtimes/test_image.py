"""The image that is published, under each runtime: loaded from its archive, and started."""

from pathlib import Path

import pytest

from cni_chain import __version__
from tests.support.published import for_arm64, made
from tests.support.runtimes.daemons import DISK
from tests.support.runtimes.kubelet import Kubelet
from tests.support.runtimes.podman import Podman
from tests.support.sandbox.node import Node, wait_for

NAME = "test.local/cni-chain"
IMAGE = f"{NAME}:{__version__}"
SAID = f"cni-chain {__version__}"


@pytest.fixture(scope="module")
def archive(program: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two architectures, so that the runtime has to choose its own. The other one's program could not start."""
    folder, frozen = tmp_path_factory.mktemp("image"), Path(program).parent.parent
    made("image", "--name", NAME, folder / "dist", frozen, for_arm64(frozen, folder / "arm64"))
    return folder / f"dist/cni-chain-{__version__}-image.tar"


def given(node: Node, archive: Path) -> Path:
    """The archive among the node's images."""
    file = node.sandbox.path(f"{DISK}/images/{archive.name}")
    file.write_bytes(archive.read_bytes())
    return file


def test_a_pod_runs_it(kubelet: Kubelet, archive: Path) -> None:
    kubelet.runtime.load(IMAGE, given(kubelet.node, archive))
    pod = kubelet.pod("agent")
    sandbox = kubelet.client.run(pod)

    kubelet.client.container(sandbox, pod, image=IMAGE, arguments=("--version",))

    log = kubelet.node.sandbox.path("/var/log/pods/main.log")
    wait_for(lambda: log.is_file() and SAID in log.read_text(), f"{SAID} in {log}")
    kubelet.end(sandbox)


def test_podman_runs_it(podman: Podman, archive: Path) -> None:
    podman.load(given(podman.node, archive))

    assert podman("run", "--rm", "--network", "none", IMAGE, "--version") == SAID
    # By its name, as a person in the container does.
    command = ("run", "--rm", "--network", "none", "--entrypoint", '["cni-chain"]', IMAGE, "--version")
    assert podman(*command) == SAID
