"""What `cni-chain doctor` finds on a running system only: namespaces, sockets, and what programs say of themselves."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.files import mounts
from tests.support.files.node import SPEAKS, Json, Node, Result, run, wait_until
from tests.support.files.outcome import PATIENCE, stop

pytestmark = pytest.mark.root
Told = TypeVar("Told")


class Listening(socket.socket):
    """An agent's socket: whoever connects is taken."""

    def serve(self, path: Path) -> None:
        self.path, self._inode = path, path.stat().st_ino
        self.listen()
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):  # it is closed
            while True:
                self.accept()[0].close()

    def is_at_its_path(self) -> bool:
        """Whether it takes whoever connects to its path: another socket may be there by now."""
        return self.fileno() >= 0 and self.path.exists() and self.path.stat().st_ino == self._inode

    def close(self) -> None:
        if self.fileno() >= 0:
            self.shutdown(socket.SHUT_RDWR)  # the thread waits in there
            self._thread.join()
        super().close()


# The same as a process of its own, which can be stopped.
AGENT = """\
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
listening = socket.socket(socket.AF_UNIX)
listening.bind(os.path.basename(sys.argv[1]))
listening.listen(2)
print("ready", flush=True)
while True:
    listening.accept()[0].close()
"""


@contextlib.contextmanager
def agent_process(path: Path) -> Iterator[int]:
    """An agent that listens there: its process."""
    path.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-I", "-c", AGENT, path], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


class Here:
    """The node, looked at as this system, with agents that listen and runtimes of a known release."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self.run_dir = folder / "run"
        self.programs = folder / "programs"
        for directory in (self.run_dir, self.programs, node.root / "var/log"):
            directory.mkdir(parents=True)
        self.listening: list[Listening] = []
        self.sockets = {name: self.listen(name) for name in ("cilium.sock", "pluginevent.sock")}
        istio = json.loads((node.chain_dir / "istio.d/10-istio.conf").read_bytes())
        node.write("istio.d/10-istio.conf", istio | {"cni_agent_run_dir": str(self.run_dir)})
        self.says("containerd", "containerd github.com/containerd/containerd/v2 v2.1.4 fb4c30d")
        self.says("crio", "crio version 1.34.0")
        self.keys: Json = {
            "chainDir": str(node.chain_dir),
            "stateDir": str(node.root / "state"),
            "logFile": str(node.root / "var/log/cni-chain.log"),
        }
        node.change_facade(**self.keys)

    def listen(self, name: str) -> "Listening":
        listening = Listening(socket.AF_UNIX)
        here = os.getcwd()
        os.chdir((self.run_dir / name).parent)  # a socket's path is short
        try:
            listening.bind(Path(name).name)
        finally:
            os.chdir(here)
        listening.serve(self.run_dir / name)
        self.listening.append(listening)
        return listening

    def was_late(self, told: str) -> bool:
        """Whether an agent that takes connections is told to take none: this process stood still for three seconds."""
        names = [one.path.relative_to(self.run_dir) for one in self.listening if one.is_at_its_path()]
        how = f"(it hangs|its process {os.getpid()} is stopped)"
        return any(re.search(rf"accepts no connection at \S*run/{name}: {how}", told) for name in names)

    def in_time(self, looked: Callable[[], Told], text: Callable[[Told], str]) -> Told:
        """What is told of the node, looked at again if an agent of this process was late."""
        told = looked()
        for _ in range(4):
            if not self.was_late(" ".join(text(told).split())):
                break
            told = looked()
        return told

    def says(self, program: str, text: str) -> None:
        file = self.programs / program
        file.write_text(f"#!/bin/sh\necho '{text}'\n")
        file.chmod(0o755)

    def doctor(self, *arguments: str, apart: bool = True) -> Result:
        """What it says; `apart`, in a mount namespace of its own, where no runtime of this machine runs."""
        where = ["--net-dir", str(self.node.net_dir), "--bin-dir", str(self.node.bin_dir)]
        state = ["--state-dir", str(self.node.root / "state")]
        environ = {"PATH": f"{self.programs}:/usr/bin:/bin", "CILIUM_SOCK": f"{self.run_dir}/cilium.sock"}
        command = [*(["/usr/bin/unshare", "--mount"] if apart else []), self.node.program, "doctor", *where, *state]
        return self.in_time(lambda: run(*command, *arguments, environ=environ), lambda told: told.stdout)

    def found_with_run_dir(self) -> list[tuple[str, str]]:
        """As `found`, where the directory of this node's sockets is /run."""
        where = ["--net-dir", str(self.node.net_dir), "--bin-dir", str(self.node.bin_dir), "--json"]
        where += ["--state-dir", str(self.node.root / "state")]
        script = 'mount --bind "$1" /run && shift && exec "$@"'
        command = ["--mount", "sh", "-c", script, "sh", str(self.run_dir), self.node.program, "doctor", *where]
        environ = {"PATH": f"{self.programs}:/usr/bin:/bin:/usr/sbin:/sbin"}
        done = self.in_time(lambda: run("/usr/bin/unshare", *command, environ=environ), lambda told: told.stdout)
        return [(one["id"], one["what"]) for one in json.loads(done.stdout)["findings"]]

    def found(self) -> list[tuple[str, str]]:
        return [(one["id"], one["what"]) for one in json.loads(self.doctor("--json").stdout)["findings"]]


@pytest.fixture
def here(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    made = Here(node, tmp_path_factory.mktemp("h"))
    yield made
    for listening in made.sockets.values():
        listening.close()


def test_a_running_node_on_which_all_is_well(here: Here) -> None:
    result = here.doctor()

    assert (result.status, result.stdout.splitlines()[-1]) == (0, "No problem was found on this node.")
    told = " ".join(result.stdout.split())
    assert (
        f"containerd 2.1.4 takes {here.node.facade}: it sorts first; it picks the highest of cniVersions, and calls "
        "STATUS all the time"
    ) in told
    assert (
        f"CRI-O 1.34.0 takes {here.node.facade}: it sorts first of those that can be used; it picks the highest of "
        "cniVersions, calls CHECK after each ADD, and STATUS and GC when it starts"
    ) in told


@pytest.mark.parametrize(
    ("name", "agent"), [("cilium.sock", "Cilium's agent"), ("pluginevent.sock", "Istio's CNI agent")]
)
def test_an_agent_that_has_ended_leaves_a_dead_socket(here: Here, name: str, agent: str) -> None:
    here.sockets[name].close()

    assert here.found() == [("agent-down", f"{agent} doesn't listen at {here.run_dir / name}: it has ended")]


@pytest.mark.parametrize(
    ("name", "agent"), [("cilium.sock", "Cilium's agent"), ("pluginevent.sock", "Istio's CNI agent")]
)
def test_an_agent_that_is_not_there_has_no_socket(here: Here, name: str, agent: str) -> None:
    (here.run_dir / name).unlink()

    told = f"{agent} has no socket {here.run_dir / name}: it doesn't run on this node"
    assert here.found() == [("agent-down", told)]
    assert here.doctor().status == 1


@pytest.mark.parametrize(
    ("name", "agent"), [("cilium.sock", "Cilium's agent"), ("pluginevent.sock", "Istio's CNI agent")]
)
def test_an_agent_that_is_stopped_takes_no_connection(here: Here, name: str, agent: str) -> None:
    path = here.run_dir / name
    with agent_process(path) as process:
        wait_until(lambda: here.found() == [], "the agent accepts a connection")
        stop(process)
        told = f"{agent} accepts no connection at {path}: its process {process} is stopped"
        assert here.found() == [("agent-frozen", told)]
        assert f"kill -CONT {process}" in here.doctor().stdout
        # By now so many wait that the kernel takes no more; whose socket it is can't be asked then.
        here.doctor()
        ((kind, what),) = here.found()
        os.kill(process, signal.SIGCONT)
        wait_until(lambda: takes(path) and here.found() == [], "the agent accepts a connection again")

    assert kind == "agent-frozen"
    assert what.startswith(f"{agent} accepts no connection at {path}")


def takes(path: Path) -> bool:
    """Whether an agent takes a connection, now or behind others that wait; False if the kernel lets no more wait."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(str(path))
        except BlockingIOError:
            return False
        asking.settimeout(PATIENCE)
        return asking.recv(1) == b""


def test_an_agent_that_hangs_takes_no_connection_either(here: Here) -> None:
    path = here.run_dir / "cilium.sock"
    here.sockets["cilium.sock"].close()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        told = f"Cilium's agent accepts no connection at {path}: it hangs, or is frozen (process {os.getpid()})"
        assert here.found() == [("agent-frozen", told)]


def test_an_agent_that_is_away_is_told_with_all_that_it_does(here: Here) -> None:
    here.sockets["pluginevent.sock"].close()

    (finding,) = json.loads(here.doctor("--json").stdout)["findings"]

    assert "no new pod starts, in the mesh or outside" in finding["why"]
    assert (
        f"the token in {here.run_dir}/istio-cni-kubeconfig is bound to the agent's pod and no longer valid"
        in finding["why"]
    )
    assert "(Unauthorized)" in finding["why"]
    assert "mostly within 48 s after it is back" in finding["do"]


def test_a_proxy_that_is_away_is_told_from_an_agent_that_is(here: Here) -> None:
    (here.run_dir / "ztunnel").mkdir()
    with here_listening(here.run_dir / "ztunnel/ztunnel.sock") as agent:
        assert [kind for kind, _ in here.found()] == ["proxy-down"]

        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as ztunnel:
            ztunnel.connect(agent.getsockname())
            accepted, _ = agent.accept()
            with accepted:
                assert here.found() == []


def test_a_ztunnel_of_ciliums_own_beside_istios_is_told_and_not_called(here: Here) -> None:
    """Cilium's agent would take whoever connects for its ztunnel."""
    (here.run_dir / "cilium").mkdir()
    path = here.run_dir / "cilium/ztunnel.sock"
    with here_listening(path) as agent:
        agent.setblocking(False)
        (finding,) = json.loads(here.doctor("--json").stdout)["findings"]

        assert (finding["id"], finding["severity"], finding["path"]) == ("two-ztunnels", "warning", str(path))
        assert "-l istio.io/dataplane-mode=ambient,io.cilium/mtls-enabled=true" in finding["do"]
        with pytest.raises(BlockingIOError):
            agent.accept()
    assert here.found() == []  # the socket is still there, and nobody listens


def test_a_ztunnel_of_ciliums_own_alone_is_none_of_our_business(here: Here) -> None:
    istio = json.loads((here.node.chain_dir / "istio.d/10-istio.conf").read_bytes())
    here.node.write("istio.d/10-istio.conf", istio | {"ambient_enabled": False})
    (here.run_dir / "cilium").mkdir()
    with here_listening(here.run_dir / "cilium/ztunnel.sock"):
        assert here.found() == []


def here_listening(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(path))
    listening.listen()
    return listening


def test_a_runtime_that_is_too_old_for_the_facade(here: Here) -> None:
    here.says("containerd", "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3")
    assert here.found() == []
    here.node.change_facade(of_list={"cniVersion": "1.1.0"})

    assert here.found() == [("runtime-too-old", "cniVersion 1.1.0 is newer than containerd 1.6.20 supports")]
    assert "doesn't know cniVersions: supports 1.0.0 at most" in " ".join(here.doctor().stdout.split())


def test_the_runtime_that_runs_is_judged_and_not_the_one_in_path(here: Here) -> None:
    """Its executable was replaced by an older one, or is not in PATH at all, as K3s's."""
    here.says("containerd", "containerd github.com/containerd/containerd 1.6.20")
    here.node.change_facade(of_list={"cniVersion": "1.1.0"})
    running = here.run_dir / "containerd"
    shutil.copy("/usr/bin/sleep", running)  # `sleep --version` has a release too
    release = subprocess.run([running, "--version"], capture_output=True, text=True, check=True).stdout.split()[3]

    with mounts.private():
        process = subprocess.Popen([running, "60"])
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text() == "containerd\n", "it runs")
        try:
            told = here.doctor(apart=False)
        finally:
            process.kill()
            process.wait()

    assert told.stdout.startswith(f"containerd {release} takes\n")
    assert "runtime-too-old" not in told.stdout


def release(here: Here, plugin: str, version: str) -> None:
    said = f'[ "$CNI_COMMAND" ] || {{ echo "CNI {plugin} plugin {version}" >&2; exit; }}\n'
    here.node.install(plugin, SPEAKS.replace("read", f"{said}read", 1))


@pytest.mark.parametrize(
    ("plugin", "version", "told"),
    [
        ("bandwidth", "v1.1.1", "bandwidth 1.1.1 fails CHECK for a pod without bandwidth"),
        ("bandwidth", "v1.9.1", ""),
        ("portmap", "v1.1.1", "portmap 1.1.1 fails CHECK for a pod without an IPv6 address"),
        ("portmap", "v1.9.1", ""),
        ("bandwidth", "version unknown", "bandwidth fails CHECK for a pod without bandwidth"),
        ("portmap", "version unknown", "portmap may fail CHECK for a pod without an IPv6 address"),
        ("sbr", "v1.9.1", "sbr fails CHECK behind bridge"),
    ],
)
def test_a_reference_plugin_whose_check_is_known_to_fail(here: Here, plugin: str, version: str, told: str) -> None:
    release(here, plugin, version)
    here.node.write("local.d/10-portmap.conf", {"type": plugin})

    assert [(kind, what.partition(" (")[0]) for kind, what in here.found()] == (
        [("plugin-check-fails", told)] if told else []
    )
    here.node.change_owner("local", disableCheck=True)
    assert here.found() == []


def test_a_plugin_that_speaks_the_newest_version_is_not_suspected_although_it_tells_no_release(here: Here) -> None:
    release(here, "bandwidth", "version unknown")
    script = (here.node.bin_dir / "bandwidth").read_text().replace('"1.0.0"]', '"1.0.0", "1.1.0"]')
    here.node.install("bandwidth", script)
    here.node.write("local.d/10-portmap.conf", {"type": "bandwidth"})

    assert here.found() == []


# Each plugin's agent by what shows that it is there, below /run or in the plugin's own settings.
AGENTS = {
    "antrea": ("antrea/cni.sock", {}, "Antrea's agent"),
    "ovn-k8s-cni-overlay": ("ovn-kubernetes/cni/ovn-cni-server.sock", {}, "OVN-Kubernetes"),
    "kube-ovn": ("openvswitch/kube-ovn-daemon.sock", {}, "Kube-OVN's daemon"),
    "terway": ("eni/eni.socket", {}, "Terway's daemon"),
    "multus-shim": ("multus/multus.sock", {}, "Multus's daemon"),
    "calico": ("node/nodename", {"nodename_file": "/run/node/nodename"}, "Calico's node agent"),
    "flannel": ("flannel/subnet.env", {}, "Flannel's daemon"),
}


@pytest.mark.parametrize("plugin", AGENTS)
def test_each_agent_by_its_own_sign(here: Here, plugin: str) -> None:
    path, keys, agent = AGENTS[plugin]
    here.node.change_owner("cilium", types=[plugin])
    here.node.write("cilium.d/05-cilium.conflist", {"plugins": [{"type": plugin, **keys}]})
    here.node.install(plugin)
    (here.run_dir / path).parent.mkdir(parents=True)

    ((kind, what),) = here.found_with_run_dir()
    assert kind == "agent-down"
    assert what.startswith(f"{agent} has ")
    assert f"run/{path}: it doesn't run on this node" in what

    if path.endswith(("sock", "socket")):
        with here.listen(path) as listening:
            assert here.found_with_run_dir() == []
            listening.close()
            ((kind, what),) = here.found_with_run_dir()
        assert what.endswith(f"run/{path}: it has ended")
        with agent_process(here.run_dir / path) as process:
            stop(process)
            ((kind, what),) = here.found_with_run_dir()
        assert kind == "agent-frozen"
        assert what.endswith(f"run/{path}: its process {process} is stopped")
    else:
        (here.run_dir / path).touch()
        assert here.found_with_run_dir() == []


def test_an_agent_with_a_port_of_the_nodes_own(here: Here) -> None:
    here.node.change_owner("cilium", types=["weave-net"])
    here.node.write("cilium.d/05-cilium.conflist", {"plugins": [{"type": "weave-net"}]})
    here.node.install("weave-net")

    with socket.create_server(("127.0.0.1", 6784)):
        assert here.found() == []
    told = "Weave's router doesn't listen at 127.0.0.1:6784: it doesn't run here"
    assert here.found() == [("agent-down", told)]


def test_multus_before_the_facade_is_asked_for_its_daemon_too(here: Here) -> None:
    conf = {"name": "multus", "type": "multus-shim", "socketDir": str(here.run_dir)}
    (here.node.net_dir / "00-a-multus.conf").write_text(json.dumps(conf))

    told = f"Multus's daemon has no socket {here.run_dir}/multus.sock: it doesn't run on this node"
    assert here.found() == [("agent-down", told)]
    with here.listen("multus.sock"):
        assert here.found() == []


@contextlib.contextmanager
def agent(here: Here, name: str, mounted: Path) -> Iterator[None]:
    """A process of that name as in a pod of its own: of the node's directories it has one, for its configuration."""
    shutil.copy("/bin/sleep", here.programs / name)
    point = here.run_dir / "mounted"
    point.mkdir(exist_ok=True)
    script = 'mount --bind "$1" "$2" && echo ready && exec "$3" 60'
    process = subprocess.Popen(
        ["/usr/bin/unshare", "--mount", "sh", "-c", script, "sh", mounted, point, here.programs / name],
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        comm = Path(f"/proc/{process.pid}/comm")
        wait_until(lambda: comm.read_text().rstrip() == name[:15], f"{name} runs")
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("name", "owner", "setting"),
    [("cilium-agent", "cilium", "cni.confPath"), ("install-cni", "istio", "cniConfDir, with chained=false")],
)
def test_an_agent_that_has_not_been_moved_leaves_a_copy_that_nobody_keeps(
    here: Here, name: str, owner: str, setting: str
) -> None:
    own = here.node.chain_dir / f"{owner}.d"
    with agent(here, name, own):
        assert here.found() == []
    with agent(here, name, here.node.root / "var"):  # not its directories at all: another thing of that name
        assert here.found() == []
    with agent(here, name, here.node.net_dir):
        (finding,) = json.loads(here.doctor("--json").stdout)["findings"]

    assert (finding["id"], finding["severity"], finding["path"]) == ("agent-not-moved", "warning", str(own))
    assert f"writes to {here.node.net_dir}, and no agent updates {own}" in finding["what"]
    assert f"{setting} {own}" in finding["do"]


def test_a_plugin_that_does_not_answer(here: Here) -> None:
    here.node.install("istio-cni", "#!/bin/sh\nexit 3\n")

    ((kind, what),) = here.found()
    assert (kind, f"{here.node.bin_dir}/istio-cni, asked for its versions: " in what) == ("plugin-silent", True)


def test_with_root_nothing_is_run_and_no_socket_is_tried(here: Here) -> None:
    asked = here.node.root / "asked"
    for name in ("cilium-cni", "istio-cni", "portmap"):
        here.node.install(name, f"#!/bin/sh\ntouch {asked}\n")
    here.node.change_facade(remove=tuple(here.keys))

    environ = {"PATH": f"{here.programs}:/usr/bin:/bin"}
    result = run(here.node.program, "doctor", "--root", str(here.node.root), environ=environ)

    assert (result.status, asked.exists()) == (0, False)
    assert result.stdout.startswith("Neither containerd nor CRI-O is installed here")


def test_attachments_whose_namespace_is_gone(pods: Node) -> None:
    pods.loses_its_namespace("c1")

    findings = pods.json("doctor", "--bin-dir", pods.cni_path)["findings"]

    (stale,) = [one for one in findings if one["id"] == "records-stale"]
    assert stale["what"] == "1 attachment whose network namespace is gone: default/web-1 eth0 (c1)"
    assert stale["do"] == "Run cni-chain gc."
    pods.run("gc", "--yes")
    findings = pods.json("doctor", "--bin-dir", pods.cni_path)["findings"]
    assert "records-stale" not in [one["id"] for one in findings]


def test_attachments_whose_namespace_is_gone_after_the_facade_was_taken_away(pods: Node) -> None:
    """The previous list may have freed them, and left their records."""
    pods.loses_its_namespace("c1")
    pods.facade.rename(f"{pods.facade}.undone")  # as `migrate undo` leaves it

    findings = pods.json("doctor", "--bin-dir", pods.cni_path, "--state-dir", str(pods.state_dir))["findings"]

    (stale,) = [one for one in findings if one["id"] == "records-stale"]
    assert stale["why"].startswith("No facade is in place. If the runtime has deleted these pods by another list,")


def test_what_is_stranded_is_named_and_gone_once_it_is_retried(pods: Node) -> None:
    pods.strands("c1")

    findings = pods.json("doctor", "--bin-dir", pods.cni_path)["findings"]

    (stranded,) = [one for one in findings if one["id"].startswith("record")]
    assert (stranded["id"], stranded["path"]) == ("record-stranded", str(pods.record("c1")))
    assert stranded["what"].startswith("default/web-1 eth0 (c1): its DEL failed once, ")
    assert stranded["what"].endswith("istio/istio-cni: the agent is away; cilium/cilium-cni, istio/istio-cni left")
    pods.plugin("istio-cni").behaves("DEL")
    pods.run("gc", "--yes")
    findings = pods.json("doctor", "--bin-dir", pods.cni_path)["findings"]
    assert [one for one in findings if one["id"].startswith("record")] == []


@pytest.mark.root
def test_a_record_that_others_may_write_is_an_error_of_its_own(pods: Node) -> None:
    pods.record("c1").chmod(0o666)

    findings = pods.json("doctor", "--bin-dir", pods.cni_path)["findings"]

    (one,) = [one for one in findings if one["path"] == str(pods.record("c1"))]
    assert (one["id"], one["severity"]) == ("record-unreadable", "error")
    assert one["why"].startswith("The DEL of its attachment fails with error 5")
    assert f"chmod 0600 {pods.record('c1')}" in one["do"]
    assert pods.delete("c1").code == 5
