"""A node with a mesh's plugin in the chain, on whose cgroups load balancers are attached: pods are made and deleted."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.support.bpf.node import BalancedNode
from tests.support.files import schemas
from tests.support.sandbox.node import BIN, CHAIN, FACADE, LOG, NET, STATE

Json = dict[str, Any]

RUN_DIR = "/run/cni-chain"
KEPT = f"{RUN_DIR}/service-address.json"
RAN = "/run/ran"
AGENT = {"namespace": "istio-system", "podNamePrefix": "istio-cni-node-"}

# A plugin that notes its calls.
PLUGIN = f"""\
#!/bin/sh
cat >/dev/null
[ "$CNI_COMMAND" = VERSION ] || echo "$CNI_COMMAND ${{0##*/}}" >>{RAN}
case $CNI_COMMAND in
VERSION) echo '{{"cniVersion": "1.1.0", "supportedVersions": ["1.0.0", "1.1.0"]}}' ;;
ADD) echo '{{"cniVersion": "1.1.0", "ips": [{{"address": "10.244.0.7/24"}}]}}' ;;
esac
"""


@dataclass(frozen=True)
class Outcome:
    """How a call ended: its error, if it has one, and which plugins it ran."""

    status: int
    error: Json
    ran: list[str]

    @property
    def code(self) -> int:
        return int(self.error.get("code", 0))

    @property
    def text(self) -> str:
        """What the pod's event shows."""
        return f"{self.error.get('msg', '')}; {self.error.get('details', '')}"


@dataclass
class MeshedNode:
    """The node. `mesh` is the facade's key, None without it; `types` are the plugins, each of an owner of its name."""

    node: BalancedNode
    root: Path  # where its cgroups are mounted
    mesh: Json | None
    types: tuple[str, ...] = ("net-cni", "istio-cni")
    keys: Json = field(default_factory=dict)

    @classmethod
    @contextmanager
    def on(cls, node: BalancedNode) -> Iterator[Self]:
        """The node's cgroups as the only ones there are, and the chain."""
        root = node.top.parent
        sandbox = node.sandbox
        sandbox.run("mount", "--bind", str(node.top), str(root))
        try:
            for name in ("net-cni", "istio-cni"):
                file = sandbox.path(f"{BIN}/{name}")
                file.write_text(PLUGIN)
                file.chmod(0o755)
                fragment = sandbox.path(f"{CHAIN}/{name}.d/10.conf")
                fragment.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                fragment.write_text(json.dumps({"type": name}))
            yield cls(node, root, {"serviceAddress": "enforce"})
        finally:
            sandbox.run("umount", str(root))
            sandbox.run("rm", "-rf", RUN_DIR, RAN, LOG, STATE)

    @property
    def kept(self) -> Path:
        """The file of the verdict."""
        return self.node.sandbox.path(KEPT)

    def conf(self) -> Json:
        owners = [
            {"name": name, "types": [name], "exempt": [AGENT] if name == "istio-cni" else []} for name in self.types
        ]
        mesh = {} if self.mesh is None else {"mesh": self.mesh}
        return {"cniVersion": "1.1.0", "name": "cilium", "type": "cni-chain", "owners": owners} | mesh | self.keys

    def call(self, verb: str, pod: str = "shop/web", conf: Json | None = None) -> Outcome:
        """A runtime's call for a pod."""
        with self.starting(verb, pod, conf) as process:
            return self.ended(process)

    def starting(self, verb: str, pod: str = "shop/web", conf: Json | None = None) -> subprocess.Popen[str]:
        """The same, not waited for."""
        namespace, _, name = pod.partition("/")
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": name,
            "CNI_NETNS": f"/run/netns/{name}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": BIN,
            "CNI_ARGS": f"K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}",
        }
        join = f"echo 0 > {self.root}/system/cgroup.procs && exec {BIN}/cni-chain"
        process = self.node.sandbox.start("sh", "-c", join, env=environ)
        assert process.stdin
        process.stdin.write(json.dumps(self.conf() | (conf or {})))
        process.stdin.close()
        process.stdin = None
        return process

    def ended(self, process: subprocess.Popen[str]) -> Outcome:
        out, err = process.communicate(timeout=120)
        assert not err, err
        document = json.loads(out) if out else {}
        return Outcome(process.returncode, document if process.returncode else {}, self.ran())

    def ran(self) -> list[str]:
        """Which plugins have run since this was asked last."""
        file = self.node.sandbox.path(RAN)
        if not file.exists():
            return []
        ran = file.read_text().splitlines()
        file.unlink()
        return ran

    def notes(self) -> list[str]:
        """What the last call's line in the log says beside how it ended."""
        line: Mapping[str, Any] = json.loads(self.node.sandbox.path(LOG).read_text().splitlines()[-1])
        return list(line.get("notes", []))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of the program, by a process of the node; the facade is in its place."""
        facade = self.node.sandbox.path(f"{NET}/{FACADE}")
        facade.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        plugin = {key: value for key, value in self.conf().items() if key not in ("cniVersion", "name")}
        facade.write_text(json.dumps({"cniVersion": "1.0.0", "name": "cilium", "plugins": [plugin]}))
        join = f'echo 0 > {self.root}/system/cgroup.procs && exec "$@"'
        return self.node.sandbox.run("sh", "-c", join, "sh", f"{BIN}/cni-chain", *arguments, check=False)

    def document(self, *arguments: str) -> Json:
        """What a command prints for programs."""
        done = self.run(*arguments, "--json")
        assert done.stdout, done.stderr
        document: Json = json.loads(done.stdout)
        assert not schemas.problem(document), schemas.problem(document)
        return document

    def log(self, *options: str) -> str:
        """What `cni-chain log` shows."""
        return self.node.sandbox.run(f"{BIN}/cni-chain", "log", "--file", LOG, *options).stdout

    def records(self) -> list[str]:
        """The pods that are recorded."""
        directory = self.node.sandbox.path(STATE)
        files = directory.iterdir() if directory.is_dir() else []
        return sorted(file.name.split(":")[1] for file in files if ":" in file.name)
