"""A node in a sandbox: cni-chain and the reference plugins installed, pods, and both drivers of libcni."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.sandbox.namespaces import CHECKOUT, Sandbox, kill

Json = dict[str, Any]

BIN = "/opt/cni/bin"
NET = "/etc/cni/net.d"
CHAIN = "/etc/cni/chain.d"
STATE = "/var/lib/cni/chain"
LOG = "/var/log/cni-chain.log"
LEASES = "/var/lib/cni/networks"
LIBCNI_CACHE = "/var/lib/cni"
FACADE = "00-cni-chain.conflist"
CNIDRV = ("/opt/cni/cnidrv", f"-cache={LIBCNI_CACHE}")
WEB = Path(__file__).with_name("web.py")
# The node's address, and that of a host outside, from the ranges for documentation.
NODE4, OUTSIDE4, NODE6, OUTSIDE6 = "192.0.2.2", "192.0.2.1", "2001:db8::2", "2001:db8::1"

# What the agents write. Reference plugins play their parts: bridge the primary's, tuning the mesh's.
IPAM = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.244.0.0/16"}]],
    "routes": [{"dst": "0.0.0.0/0"}],
}
BRIDGE = {
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "ipMasq": True,
    "hairpinMode": True,
    "ipam": IPAM,
}
# Once the pod's namespace is gone, the reference bridge leaves its masquerading rules, with or without cni-chain.
UNMASQUERADED = BRIDGE | {"ipMasq": False}
SOMAXCONN = "1024"
TUNING = {"type": "tuning", "sysctl": {"net.core.somaxconn": SOMAXCONN}}
PORTMAP = {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}
BANDWIDTH = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
OWNERS: list[Json] = [
    {"name": "cilium", "types": ["bridge"]},
    {"name": "istio", "types": ["tuning"]},
    {"name": "local", "required": False},
]


def whole_list(*plugins: Mapping[str, object], name: str = "cilium", version: str = "0.3.1") -> Json:
    """A conflist as Cilium's agent writes it."""
    return {"cniVersion": version, "name": name, "plugins": list(plugins)}


def single(plugin: Mapping[str, object], version: str = "0.3.1") -> Json:
    """One plugin, as Istio's agent writes it with chained=false."""
    return {"cniVersion": version, "name": plugin["type"], **plugin}


# A device of the node's, which a pod takes away with it and gives back.
DEVICE = "dev0"
HOST_DEVICE = {
    "type": "host-device",
    "device": DEVICE,
    "ipam": {"type": "static", "addresses": [{"address": "10.245.0.2/24"}]},
}

# Of the usual chain: owner, plugin, file, and what it holds.
USUAL = (
    ("cilium", "bridge", "cilium.d/05-cilium.conflist", whole_list(BRIDGE)),
    ("istio", "tuning", "istio.d/10-istio.conf", single(TUNING)),
    ("local", "portmap", "local.d/10-portmap.conf", single(PORTMAP, "1.0.0")),
    ("local", "bandwidth", "local.d/20-bandwidth.conf", single(BANDWIDTH, "1.0.0")),
)


def is_frozen(program: str | Path) -> bool:
    """Whether this executable is the frozen program, which has what it loads beside it."""
    return (Path(program).resolve().parent / "_internal").is_dir()


def tools() -> Path | None:
    """Where the drivers and the reference plugins are, if they are built."""
    built = [str(CHECKOUT / "tests/support/tools/build"), "--built"]
    answer = subprocess.run(built, capture_output=True, text=True, check=False)
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None


@dataclass(frozen=True)
class Pod:
    """A pod's network namespace and what the runtime says about it."""

    name: str
    namespace: str = "default"
    capabilities: Json = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"id-{self.name}"

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.name}"

    def options(self, netns: str | None = None) -> list[str]:
        """What our driver is told of the pod; `netns` if the runtime would say another one."""
        path = self.netns if netns is None else netns
        capabilities = json.dumps(self.capabilities)
        return [f"-id={self.id}", f"-netns={path}", f"-args={self.args}", f"-capabilities={capabilities}"]

    @property
    def args(self) -> str:
        return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={self.namespace};K8S_POD_NAME={self.name}"


@dataclass(frozen=True)
class Answer:
    """How a call through libcni ended."""

    status: int
    out: str
    err: str
    ms: float

    @property
    def result(self) -> Json:
        assert self.status == 0, self
        result: Json = json.loads(self.out)
        return result

    @property
    def error(self) -> Json:
        assert self.status != 0, self
        error: Json = json.loads(self.out)
        return error

    def succeeded(self) -> None:
        assert self.status == 0, self


def addresses(result: Json) -> list[str]:
    return [ip["address"].partition("/")[0] for ip in result["ips"]]


def calls(line: Json) -> list[Json]:
    """The delegates of a log line, without VERSION, which only the first call that meets a binary makes."""
    return [call for call in line["delegates"] if call["command"] != "VERSION"]


def types(line: Json) -> list[str]:
    """The plugins that a log line's verb ran, in order."""
    return [call["type"] for call in calls(line)]


def wait_for(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not in {seconds:.0f} s"
        time.sleep(0.01)


def put(place: Path, *programs: Path) -> None:
    """Copy programs into a directory, or a directory of them to a new place.

    By a process of its own: what another thread starts meanwhile holds open for writing what this process writes, and
    until it has become its program nobody can run what was written.
    """
    copy = ["cp", "--recursive", "-H", "--preserve=mode,timestamps,links"]  # -H: a link that is named is followed
    subprocess.run([*copy, *programs, place], check=True)


def install(sandbox: Sandbox, program: Path) -> None:
    """Put the program in place: a directory build goes where it goes in real life, with one relative link in BIN."""
    executable, entry = program.resolve(), sandbox.path(f"{BIN}/cni-chain")
    entry.parent.mkdir(parents=True)
    if is_frozen(executable):
        build = Path("cni-chain", executable.parent.name)
        sandbox.path("/opt/cni/cni-chain").mkdir()
        put(sandbox.path("/opt/cni") / build, executable.parent)
        entry.symlink_to(Path("..") / build / executable.name)
    else:
        put(entry, executable)


class Node:
    """cni-chain installed beside the reference plugins, with a host outside to reach it from."""

    def __init__(self, sandbox: Sandbox, program: Path, tools: Path) -> None:
        self.sandbox = sandbox
        plugins = sandbox.path(BIN)
        for directory in (sandbox.path(NET), sandbox.path(CHAIN)):
            directory.mkdir(parents=True)
        self._install(program)
        put(plugins, *(tools / "plugins").iterdir())
        put(sandbox.path("/opt/cni"), tools / "cnitool", tools / "cnidrv")
        for command in (
            "ip netns add outside",
            "ip link add eth0 type veth peer name eth0 netns outside",
            f"ip addr add {NODE4}/24 dev eth0",
            f"ip addr add {NODE6}/64 dev eth0 nodad",
            "ip link set eth0 up",
            f"ip -n outside addr add {OUTSIDE4}/24 dev eth0",
            f"ip -n outside addr add {OUTSIDE6}/64 dev eth0 nodad",
            "ip -n outside link set eth0 up",
        ):
            sandbox.run(*command.split())

    def _install(self, program: Path) -> None:
        """Make BIN, and put the program where this kind of node has it."""
        install(self.sandbox, program)

    def facade(self, file: str = FACADE, *, plugin: Mapping[str, object] | None = None, **top: object) -> None:
        """Lay a facade; `plugin` and `top` replace keys of the plugin's object and of the list."""
        capabilities = {"portMappings": True, "bandwidth": True}
        chain = {"type": "cni-chain", "capabilities": capabilities, "owners": OWNERS, "logLevel": "debug"}
        head = {"cniVersion": "1.0.0", "name": "cilium", "loadOnlyInlinedPlugins": True}
        self._write(f"{NET}/{file}", head | top | {"plugins": [chain | dict(plugin or {})]})

    def fragment(self, path: str, conf: Mapping[str, object], chain: str = CHAIN) -> None:
        """Write OWNER.d/FILE as a good agent does: never half a file."""
        self._write(f"{chain}/{path}", conf)

    def conflist(self, file: str, conf: Mapping[str, object]) -> None:
        """A configuration of the runtime's, as an agent writes it."""
        self._write(f"{NET}/{file}", conf)

    def remove(self, path: str) -> None:
        self.sandbox.path(f"{CHAIN}/{path}").unlink()

    def _write(self, path: str, conf: Mapping[str, object]) -> None:
        file = self.sandbox.path(path)
        # Root's alone, whatever the umask of who runs the tests.
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.new")
        temporary.write_text(json.dumps(conf, indent=1))
        temporary.chmod(0o644)
        temporary.replace(file)

    def warm_up(self) -> None:
        """One pod with the plain plugins: what they make once and keep, like chains, is there after it."""
        both = IPAM | {"ranges": [[{"subnet": "10.254.0.0/16"}], [{"subnet": "fd00:254::/64"}]]}
        plain = whole_list(BRIDGE | {"bridge": "cni-warm", "ipam": both}, PORTMAP, name="warm", version="1.0.0")
        self._write(f"{NET}/99-warm.conflist", plain)
        with self.pod("warm", portMappings=[{"hostPort": 1, "containerPort": 1, "protocol": "tcp"}]) as pod:
            self.cni("add", pod, file="99-warm.conflist").succeeded()
            self.cni("del", pod, file="99-warm.conflist").succeeded()
        self.sandbox.path(f"{NET}/99-warm.conflist").unlink()

    @contextlib.contextmanager
    def device(self) -> Iterator[Callable[[], None]]:
        """DEVICE, and what makes it anew if it ended with its namespace, from where hardware would come back."""

        def plug() -> None:
            if self.sandbox.run("ip", "link", "show", DEVICE, check=False).returncode:
                self._wait_for_the_peer_to_go()
                self.sandbox.run(*f"ip link add {DEVICE} type veth peer name {DEVICE}-peer".split())

        plug()
        try:
            yield plug
        finally:
            self.sandbox.run("ip", "link", "delete", DEVICE, check=False)

    def _wait_for_the_peer_to_go(self) -> None:
        """Wait for the kernel, which ends a deleted namespace's devices, and with them their peers, some time later."""
        until = time.monotonic() + 30
        while not self.sandbox.run("ip", "link", "show", f"{DEVICE}-peer", check=False).returncode:
            assert time.monotonic() < until, f"{DEVICE}-peer is still there"
            time.sleep(0.05)

    def usual_chain(self) -> None:
        """The facade, and what each of the three owners writes."""
        self.facade()
        for _, _, file, conf in USUAL:
            self.fragment(file, conf)

    @contextlib.contextmanager
    def pod(self, name: str, namespace: str = "default", **capabilities: object) -> Iterator[Pod]:
        self.sandbox.run("ip", "netns", "add", name)
        try:
            yield Pod(name, namespace, capabilities)
        finally:
            self.sandbox.run("ip", "netns", "delete", name, check=False)

    def inside(self, namespace: str, *command: str) -> str:
        """What a command prints in a network namespace."""
        return self.sandbox.run("ip", "netns", "exec", namespace, *command).stdout

    @contextlib.contextmanager
    def serving(self, pod: Pod, port: int = 8080) -> Iterator[None]:
        """The pod's web server, which answers with the pod's name."""
        serve = self.sandbox.python(WEB, "serve", str(port), pod.name)
        with self.sandbox.running("ip", "netns", "exec", pod.name, *serve):
            yield

    def http(self, url: str, namespace: str = "") -> Json:
        """GET a URL from the node itself, or from a namespace, once its server listens: a container may just begin."""
        enter = ["ip", "netns", "exec", namespace] if namespace else []
        end = time.monotonic() + 60
        while True:
            answer: Json = json.loads(self.sandbox.run(*enter, *self.sandbox.python(WEB, "get", url)).stdout)
            if "error" not in answer or time.monotonic() > end:
                return answer
            time.sleep(0.1)

    def cni(
        self,
        verb: str,
        pod: Pod | None = None,
        *,
        file: str = FACADE,
        ifname: str = "eth0",
        netns: str | None = None,
        valid: Sequence[Pod] = (),
    ) -> Answer:
        """A call through our own driver of libcni, as a runtime makes it."""
        command = [*CNIDRV, f"-conf={NET}/{file}", f"-ifname={ifname}"]
        if pod:
            command += pod.options(netns)
        if valid:
            command += [f"-valid={','.join(f'{p.id}/{ifname}' for p in valid)}"]
        return self._call([*command, verb], {"CNI_PATH": BIN})

    @contextlib.contextmanager
    def starting(self, verb: str, pod: Pod) -> Iterator[subprocess.Popen[str]]:
        """The same, not waited for."""
        command = [*CNIDRV, f"-conf={NET}/{FACADE}", *pod.options(), verb]
        with self.sandbox.start(*command, env={"CNI_PATH": BIN}) as process:
            try:
                yield process
            finally:
                kill(process)

    def cnitool(self, verb: str, pod: Pod, network: str = "cilium") -> Answer:
        """A call through cnitool, the specification's own tool."""
        environment = {"CNI_PATH": BIN, "CNI_ARGS": pod.args, "CAP_ARGS": json.dumps(pod.capabilities)}
        return self._call(["/opt/cni/cnitool", verb, network, pod.netns], environment)

    def _call(self, command: Sequence[str], environment: Mapping[str, str]) -> Answer:
        start = time.monotonic()
        done = self.sandbox.run(*command, env=environment, check=False)
        return Answer(done.returncode, done.stdout, done.stderr, (time.monotonic() - start) * 1000)

    def leases(self, network: str = "cilium") -> list[str]:
        """The addresses that host-local has given away."""
        directory = self.sandbox.path(f"{LEASES}/{network}")
        names = os.listdir(directory) if directory.is_dir() else []
        return sorted(name for name in names if name[0].isdigit())

    def log(self) -> list[Json]:
        file = self.sandbox.path(LOG)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
