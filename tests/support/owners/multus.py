"""A node with Multus before cni-chain: its real entrypoint writes the runtime's file, its real plugin is called."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import BIN, NET, SOMAXCONN, USUAL, Json, Node, wait_for

FACADE = "01-cni-chain.conflist"  # behind Multus' own file
MULTUS = "00-multus.conflist"
KUBECONFIG = f"{NET}/multus.d/multus.kubeconfig"
AUXILIARY = "vendor-cni-chain"  # as OpenShift calls it
API = Path(__file__).with_name("kubernetes.py")
STATUSES = "/opt/cni/statuses"
PORT = "6443"
ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"


def built() -> Path | None:
    """Where Multus is, if it is built."""
    command = [str(CHECKOUT / "tests/support/agents/multus/build"), "--built"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None


class MultusNode(Node):
    """The usual chain, its facade second by name, and Multus' programs."""

    def __init__(self, sandbox: Sandbox, program: Path, tools: Path, multus: Path) -> None:
        super().__init__(sandbox, program, tools)
        for name in ("multus", "thin_entrypoint"):
            shutil.copy(multus / name, sandbox.path("/opt/cni"))
        sandbox.path(f"{BIN}/multus").hardlink_to(sandbox.path("/opt/cni/multus"))
        shutil.copy(multus / "passthru-cni", sandbox.path(f"{BIN}/passthru"))
        account = sandbox.path(ACCOUNT)
        account.mkdir(parents=True)
        for file in ("token", "ca.crt"):
            (account / file).write_text("of no use over plain HTTP\n")
        sandbox.path(STATUSES).touch()
        self.facade(FACADE)
        for _, _, file, conf in USUAL:
            self.fragment(file, conf)

    @contextlib.contextmanager
    def api(self) -> Iterator[None]:
        """The Kubernetes API, for as long as the block runs."""
        with self.sandbox.running(*self.sandbox.python(API, PORT, STATUSES)):
            yield

    @contextlib.contextmanager
    def entrypoint(self, *options: str) -> Iterator[None]:
        """Multus' own pod: it writes the runtime's file from the facade, and then waits."""
        service = {"PROTOCOL": "http", "HOST": "127.0.0.1", "PORT": PORT}
        command = [
            "/opt/cni/thin_entrypoint",
            f"--cni-bin-dir={BIN}",
            f"--cni-conf-dir={NET}",
            f"--multus-autoconfig-dir={NET}",
            "--multus-bin-file=/opt/cni/multus",
            "--multus-cni-conf-dir=/etc/cni/multus/net.d",
            f"--multus-kubeconfig-file-host={KUBECONFIG}",
            *options,
        ]
        with self.sandbox.running(*command, env={f"KUBERNETES_SERVICE_{k}": v for k, v in service.items()}):
            wait_for(self.sandbox.path(f"{NET}/{MULTUS}").exists, "Multus has written its file")
            yield

    def configured(self) -> Json:
        """The object of Multus' plugin, as its entrypoint has written it."""
        document = json.loads(self.sandbox.path(f"{NET}/{MULTUS}").read_text())
        (plugin,) = document["plugins"]
        assert isinstance(plugin, dict)
        return plugin

    def configure(self, **keys: object) -> None:
        """Write Multus' file by hand, as an operator of a cluster does."""
        plugin = {"type": "multus", "kubeconfig": KUBECONFIG, "capabilities": {"portMappings": True}, **keys}
        conf = {"cniVersion": "1.0.0", "name": "multus-cni-network", "plugins": [plugin]}
        self._write(f"{NET}/{MULTUS}", conf)
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": {"server": f"http://127.0.0.1:{PORT}"}}],
            "users": [{"name": "multus", "user": {"token": "none"}}],
            "contexts": [{"name": "multus", "context": {"cluster": "local", "user": "multus"}}],
            "current-context": "multus",
        }
        self._write(KUBECONFIG, kubeconfig)

    def primary(self, file: str, conf: Mapping[str, object]) -> None:
        """Put another network's file beside the facade."""
        self._write(f"{NET}/{file}", conf)

    def auxiliary(self, file: str, conf: Mapping[str, object]) -> None:
        """Put a file into the directory of Multus' auxiliary chain."""
        self._write(f"{NET}/{AUXILIARY}/{file}", conf)

    def networks_of(self, pod: str) -> list[Json]:
        """What Multus told the API of a pod's networks last."""
        lines = [json.loads(line) for line in self.sandbox.path(STATUSES).read_text().splitlines()]
        found: list[Json] = [line["status"] for line in lines if line["pod"] == pod][-1]
        return found

    def is_tuned(self, pod: str) -> bool:
        """Whether the second owner's plugin has done its work in a pod."""
        return self.inside(pod, "cat", "/proc/sys/net/core/somaxconn").strip() == SOMAXCONN
