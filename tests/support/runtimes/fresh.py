"""A node that cni-chain is not on yet, and pods on it that ask each other for as long as they live."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.runtimes.cri import PodConfig, Port
from tests.support.runtimes.daemons import DISK, SYSTEM, Runtime, remove_cgroups
from tests.support.runtimes.kubelet import Kubelet
from tests.support.sandbox.namespaces import CHECKOUT, Sandbox
from tests.support.sandbox.node import BIN, Node, wait_for

# Where an operator has unpacked the archive.
ARCHIVE = "/tmp/cni-chain"  # noqa: S108
PORT = 8080
SCRIPT = CHECKOUT / "tests/support/runtimes/traffic.py"
PLACE = "/var/log/traffic"
USUAL_SOCKET = {"containerd": "/run/containerd/containerd.sock", "CRI-O": "/run/crio/crio.sock"}


class FreshNode(Node):
    """The reference plugins, and the unpacked archive."""

    def _install(self, program: Path) -> None:
        self.sandbox.path(BIN).mkdir(parents=True)
        executable = program.resolve()
        build = self.sandbox.path(ARCHIVE) / "cni-chain" / executable.parent.name
        shutil.copytree(executable.parent, build, symlinks=True)
        bin_dir = self.sandbox.path(ARCHIVE) / "bin"
        bin_dir.mkdir()
        (bin_dir / "cni-chain").symlink_to(Path("..") / "cni-chain" / build.name / executable.name)

    def command(self, *words: str) -> tuple[int, str, str]:
        """A command as an operator gives it, in the unpacked archive: status, output, errors."""
        environment = {"PATH": f"{BIN}:{DISK}/bin:{SYSTEM}"}
        done = self.sandbox.run("env", f"--chdir={ARCHIVE}", *words, env=environment, check=False)
        return done.returncode, done.stdout, done.stderr

    def succeeds(self, *words: str) -> str:
        """A command that must do what it is told; its output."""
        status, out, err = self.command(*words)
        assert (status, err) == (0, ""), f"{' '.join(words)}: exit {status}\n{out}{err}"
        return out


@contextlib.contextmanager
def fresh(kind: type[Runtime], program: str | Path, tools: Path) -> Iterator[Kubelet]:
    """Such a node with a daemon, which has no network yet, and listens at its usual socket too."""
    with Sandbox() as sandbox:
        node = FreshNode(sandbox, Path(program), tools)
        node.warm_up()
        runtime = kind(node)
        usual = sandbox.path(USUAL_SOCKET[runtime.family])
        usual.parent.mkdir(exist_ok=True)
        usual.symlink_to(runtime.socket)
        try:
            yield Kubelet(runtime)
        finally:
            runtime.close()
            sandbox.close()
            remove_cgroups(runtime.cgroup)


@dataclass(frozen=True)
class Alive:
    """A pod that runs: a web server in its container, a client in its namespace."""

    config: PodConfig
    sandbox: str
    ip: str  # IPv4


class Traffic:
    """The pods of a node, each of which asks all of them, itself included, all the time."""

    def __init__(self, kubelet: Kubelet) -> None:
        self.kubelet = kubelet
        self.pods: dict[str, Alive] = {}
        self._sandbox = kubelet.node.sandbox
        self._place = self._sandbox.path(PLACE)
        self._place.mkdir()
        self._clients: dict[str, contextlib.ExitStack] = {}

    @property
    def addresses(self) -> list[str]:
        return sorted(pod.ip for pod in self.pods.values())

    def start(self, name: str, namespace: str = "default", ports: tuple[Port, ...] = ()) -> Alive:
        """A new pod: made, serving, and asked by all the others from now on."""
        config = PodConfig(name, namespace, self.kubelet.runtime.cgroup, ports)
        return self.join(config, self.kubelet.client.run(config))

    def join(self, config: PodConfig, sandbox: str) -> Alive:
        """A pod whose sandbox is there already."""
        status = self.kubelet.client.status(sandbox)
        self.kubelet.serve(sandbox, config)
        ip = next(ip for ip in (status.ip, *status.more_ips) if ":" not in ip)
        pod = Alive(config, sandbox, ip)
        self._sandbox.run(*self._sandbox.python(SCRIPT, ip, str(PORT), config.name))
        self.pods[config.name] = pod
        self._list()
        stack = contextlib.ExitStack()
        client = self._sandbox.python(SCRIPT, f"{PLACE}/servers", f"{PLACE}/{config.name}")
        stack.enter_context(self._sandbox.running("nsenter", f"--net={status.netns}", *client))
        self._clients[config.name] = stack
        return pod

    def end(self, *names: str) -> None:
        """End pods as a kubelet does, once nobody asks them any more and all that stay were unharmed so far."""
        gone = {name: self.pods.pop(name) for name in names}
        self._list()
        for name in names:
            self._clients.pop(name).close()
        self.unharmed()
        self.kubelet.end(*(pod.sandbox for pod in gone.values()))

    def end_all(self) -> None:
        self.end(*self.pods)

    def unharmed(self) -> None:
        """Every pod has asked every pod since this was called, and no request of any pod ever failed."""
        before = {name: self._rounds(name) for name in self._clients}
        for name, rounds in before.items():
            # The round that is on its way may have begun before.
            wait_for(lambda name=name, rounds=rounds: self._rounds(name) >= rounds + 2, f"{name} asks the others", 120)  # type: ignore[misc]  # mypy doesn't know a lambda's defaults
        failed = [line for file in sorted(self._place.glob("*.failed")) for line in file.read_text().splitlines()]
        assert failed == [], f"{len(failed)} requests failed: {failed[:5]}"

    def _rounds(self, name: str) -> int:
        file = self._place / f"{name}.rounds"
        return int(file.read_text()) if file.exists() else 0

    def _list(self) -> None:
        new = self._place / "servers.new"
        new.write_text("".join(f"{pod.ip} {PORT} {name}\n" for name, pod in self.pods.items()))
        new.replace(self._place / "servers")

    def close(self) -> None:
        """End the clients."""
        for stack in self._clients.values():
            stack.close()
        self._clients.clear()
        shutil.rmtree(self._place)
