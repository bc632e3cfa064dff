"""Private daemons in a sandbox: own root, state, socket and configuration; the node's CNI directories."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from tests.support import gomodules
from tests.support.gomodules import NotBuiltError
from tests.support.runtimes import images
from tests.support.runtimes.cri import PAUSE, Client, CriError
from tests.support.sandbox.namespaces import kill, members
from tests.support.sandbox.node import BIN, NET, Node, wait_for

# What survives a reboot, and what doesn't.
DISK, RUN = "/mnt/disk", "/run/private"
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
# For so long CRI-O must say nothing before its network counts as read.
SETTLE_SECONDS = 0.2
HERE = Path(__file__).parent


def built(name: str) -> Path:
    """The directory of what tests/support/runtimes/build has built. Raises NotBuiltError."""
    return gomodules.built(HERE / "build", name)


def installed(program: str) -> str:
    """The path of a program that a package brings. Raises NotBuiltError."""
    path = shutil.which(program, path=SYSTEM)
    if not path:
        raise NotBuiltError(f"{program} is not installed: tests/support/runtimes/packages")
    return path


class Runtime(ABC):
    """A daemon and a client of it. Whoever makes one closes it, and then the sandbox."""

    name: ClassVar[str]
    executable: ClassVar[str]
    family: ClassVar[str]  # whose members say the same
    # What differs between them; docs/reference/runtimes.md has all of it.
    keeps: ClassVar[str] = ""  # after a pod, whatever the plugins do: a pattern of the inventory's lines
    asks_status: ClassVar[bool] = False  # at every Status of its own
    asks_status_at_start: ClassVar[bool] = False  # until it succeeds
    checks: ClassVar[bool] = False  # after every ADD; such a one also calls GC at its start, and DEL only once
    needs_binaries: ClassVar[bool] = False  # it takes no conflist of whose plugins one has none
    keeps_failed: ClassVar[bool] = False  # a pod whose ADD failed and then its DEL, until a kubelet ends it

    def __init__(self, node: Node) -> None:
        self.node = node
        self.sandbox = sandbox = node.sandbox
        self.socket = f"{RUN}/cri.sock"
        self.log_file = f"/var/log/{self.executable}.log"
        self.cgroup = f"/cni-chain-tests-{os.getpid()}"
        self._process: subprocess.Popen[str] | None = None
        self._client: Client | None = None
        if not sandbox.path(DISK).is_dir():
            sandbox.run("mount", "-t", "tmpfs", "-o", "mode=755", "disk", "/mnt")
        for directory in (f"{DISK}/bin", f"{DISK}/images", f"{DISK}/etc", "/var/log/pods", RUN):
            sandbox.path(directory).mkdir(parents=True, exist_ok=True)
        self._install()
        self._configure()
        # A disk that was there before has them.
        known = sandbox.path(f"{DISK}/images/busybox.tar").exists()
        made = {} if known else images.make(sandbox.path(f"{DISK}/images"))
        self.start()
        try:
            for image, file in made.items():
                self.load(image, file)
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _install(self) -> None:
        """Put the executables in place. Raises NotBuiltError."""

    @abstractmethod
    def _configure(self) -> None:
        """Write the daemon's configuration."""

    def _fill(self, template: str, file: str, **programs: str) -> None:
        text = (HERE / "conf" / template).read_text()
        words = {"disk": DISK, "run": RUN, "socket": self.socket, "net": NET, "bin": BIN, "pause": PAUSE}
        self.sandbox.path(f"{DISK}/etc/{file}").write_text(text.format(**words, **programs))

    @abstractmethod
    def _command(self) -> list[str]:
        """The daemon's command line, and its whole environment before it."""

    @abstractmethod
    def load(self, image: str, file: Path) -> None:
        """Give the daemon, which has been started, the image of this name; its archive lies in the node's images."""

    def watch(self) -> Callable[[str], None]:
        """Called before a change in net.d: what waits after it, until the runtime has this file as it is by then."""
        start = len(self.log())

        def seen(file: str) -> None:
            wait_for(lambda: self._uses(file, start), f"{self.name}: {file} read", 30)

        return seen

    @abstractmethod
    def _uses(self, file: str, start: int) -> bool:
        """Whether the network is this file's; `start` is how long the daemon's log was before the change."""

    @property
    def client(self) -> Client:
        assert self._client, "the daemon is not running"
        return self._client

    @property
    def pid(self) -> int:
        """The daemon itself, by its number out here."""
        assert self._process
        for number in members(self._process):
            with contextlib.suppress(OSError):
                if Path(os.readlink(f"/proc/{number}/exe")).name == self.executable:
                    return number
        raise AssertionError(f"{self.name} has ended:\n{self.log()[-2000:]}")

    @property
    def command_line(self) -> str:
        """The beginning of it."""
        return " ".join(itertools.dropwhile(lambda word: "=" in word, self._command())).strip()

    def log(self) -> str:
        return self.sandbox.path(self.log_file).read_text(errors="replace")

    def start(self) -> None:
        assert self._process is None
        self.sandbox.path(RUN).mkdir(exist_ok=True)
        script = f'exec env -i HOME=/root "$@" >>{self.log_file} 2>&1 </dev/null'
        self._process = self.sandbox.start("sh", "-c", script, "daemon", *self._command())
        self._client = Client(str(self.sandbox.path(self.socket)))
        wait_for(self._answers, f"{self.name} at its socket", 60)

    def _answers(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            raise AssertionError(f"{self.name} did not start:\n{self.log()[-4000:]}")
        if not self.sandbox.path(self.socket).is_socket():
            return False
        try:
            self.client.version()
        except CriError:
            # A channel that failed to connect waits before it tries again, longer each time.
            self.client.close()
            self._client = Client(str(self.sandbox.path(self.socket)))
            return False
        return True

    def ready(self) -> None:
        """Wait until the network is ready."""
        wait_for(lambda: self.client.network().true, f"{self.name}'s network", 30)

    def kill(self) -> None:
        """kill -9: only the daemon; what it has started for the pods lives on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        # CRI-O waits until each of its clients has hung up, and gRPC's for Python may not notice that it is asked to.
        self.client.close()
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        assert self._process
        os.kill(self.pid, how)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} does not end:\n{self.log()[-4000:]}") from None
        self._forget()

    def _forget(self) -> None:
        assert self._process
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream:
                stream.close()
        self.client.close()
        self._process = self._client = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def reboot(self) -> None:
        """What a reboot leaves: no process, no namespace of a pod, nothing in /run; the disk and the configuration."""
        assert self._process
        kill(self._process)
        self._forget()
        self.sandbox.run("sh", "-c", (HERE / "reboot.sh").read_text())
        self.sandbox.path(RUN).mkdir()
        self.start()

    def close(self) -> None:
        """End the daemon. Its pods' processes end with the sandbox; their cgroups are removed after it."""
        if self._process:
            kill(self._process)
            self._forget()


def remove_cgroups(name: str) -> None:
    """The kernel keeps cgroups that nothing runs in: ours are removed, in each hierarchy, once they are let go of."""
    hierarchies = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*/")]

    def gone() -> bool:
        tops = [top for hierarchy in hierarchies if (top := hierarchy / name.lstrip("/")).is_dir()]
        for top in tops:
            for parent, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(parent).rmdir()
        return not any(top.is_dir() for top in tops)

    wait_for(gone, "the end of the pods' cgroups")


class Containerd(Runtime):
    """Both generations; what differs is their configuration's shape."""

    executable = "containerd"
    family = "containerd"
    _path: ClassVar[str]

    def _configure(self) -> None:
        self._fill(f"{self.name.replace(' ', '-')}.toml", "containerd.toml", runc=installed("runc"))

    def _command(self) -> list[str]:
        return [f"PATH={self._path}", "containerd", "-c", f"{DISK}/etc/containerd.toml"]

    def load(self, image: str, file: Path) -> None:  # noqa: ARG002  # the archive has its name
        self._ctr("images", "import", f"{DISK}/images/{file.name}")

    def _ctr(self, *arguments: str) -> str:
        command = ["ctr", "-a", self.socket, "-n", "k8s.io", *arguments]
        return self.sandbox.run(*command, env={"PATH": self._path}).stdout

    def _uses(self, file: str, start: int) -> bool:  # noqa: ARG002  # it tells, whatever it logs
        wanted = json.loads(self.sandbox.path(f"{NET}/{file}").read_text())
        networks = json.loads(self.client.info()["cniconfig"])["Networks"] or []
        return wanted in [json.loads(n["Config"]["Source"]) for n in networks if n["IFName"] == "eth0"]


class Containerd16(Containerd):
    """Debian's."""

    name = "containerd 1.6"
    keeps_failed = True
    _path = SYSTEM

    def _install(self) -> None:
        installed("containerd")


class Containerd24(Containerd):
    """Built from its pinned module."""

    name = "containerd 2.4"
    asks_status = True
    asks_status_at_start = True
    _path = f"{DISK}/bin:{SYSTEM}"

    def _install(self) -> None:
        shutil.copytree(built("containerd"), self.sandbox.path(f"{DISK}/bin"), dirs_exist_ok=True)


class Crio(Runtime):
    """CRI-O, built from its pinned module, with pinns."""

    name = "CRI-O 1.34"
    executable = "crio"
    family = "CRI-O"
    keeps = f"file {RUN}/attach/[0-9a-f]+"
    checks = True
    needs_binaries = True
    asks_status_at_start = True

    def _install(self) -> None:
        shutil.copytree(built("crio"), self.sandbox.path(f"{DISK}/bin"), dirs_exist_ok=True)

    def _configure(self) -> None:
        etc = self.sandbox.path(f"{DISK}/etc")
        (etc / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (etc / "registries.conf").write_text("unqualified-search-registries = []\n")
        self._fill("storage.conf", "storage.conf")
        self._fill("runc-within.sh", "runc", runc=installed("runc"))
        self.sandbox.path(f"{DISK}/etc/runc").chmod(0o755)
        self._fill("crio.conf", "crio.conf", runc=f"{DISK}/etc/runc", conmon=installed("conmon"))

    def load(self, image: str, file: Path) -> None:
        installed("skopeo")
        store = f"containers-storage:[overlay@{DISK}/root+{RUN}/storage]{image}"
        copy = ["copy", "--quiet", f"oci-archive:{DISK}/images/{file.name}", store]
        command = ["skopeo", "--policy", f"{DISK}/etc/policy.json", "--tmpdir", DISK, *copy]
        self.sandbox.run(*command, env={"CONTAINERS_STORAGE_CONF": f"{DISK}/etc/storage.conf"})

    def _command(self) -> list[str]:
        storage = f"CONTAINERS_STORAGE_CONF={DISK}/etc/storage.conf"
        registries = f"CONTAINERS_REGISTRIES_CONF={DISK}/etc/registries.conf"
        crio = [f"{DISK}/bin/crio", "--config", f"{DISK}/etc/crio.conf", "--config-dir", ""]
        return [f"PATH={SYSTEM}", storage, registries, *crio]

    def _uses(self, file: str, start: int) -> bool:
        """Only its log tells which file it has; it reads a file again for each event, so it must come to rest."""
        conf = json.loads(self.sandbox.path(f"{NET}/{file}").read_text())
        found = f"Found CNI network {conf['name']} (type={conf['plugins'][0]['type']}) at {NET}/{file}"
        said = self.log()[start:]
        if found not in said:
            return False
        time.sleep(SETTLE_SECONDS)
        return len(self.log()[start:]) == len(said)


RUNTIMES: tuple[type[Runtime], ...] = (Containerd24, Crio, Containerd16)
