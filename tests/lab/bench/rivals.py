"""Who is compared: the plain conflist by libcni, cni-chain, multus; called by themselves, and through libcni."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.files.double import Json
from tests.support.files.meter import ANSWERED, IFNAME, OF_ATTACHMENTS, CallFailedError, Meter, Sample, pod
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.namespaces import CHECKOUT

PLAIN, CHAIN, MULTUS = "plain conflist", "cni-chain", "multus"
LIBCNI = " in a conflist"
# What libcni calls the verbs; validate asks each plugin of a list for its VERSION.
WORDS = {"VERSION": "validate", "STATUS": "status", "ADD": "add", "CHECK": "check", "DEL": "del"}


def multus() -> Path | None:
    """Return multus, if it is built."""
    built = subprocess.run(
        [CHECKOUT / "tests/support/agents/multus/build", "--built"], capture_output=True, text=True, check=False
    )
    return Path(built.stdout.strip(), "multus") if built.returncode == 0 else None


def cnidrv() -> Path:
    """Return our driver of libcni."""
    tools = sandbox_node.tools()
    if tools is None:
        raise CallFailedError("our driver of libcni is not built: make tools")
    return tools / "cnidrv"


@contextlib.contextmanager
def network_namespace() -> Iterator[str]:
    """Keep a network namespace that is nobody's, and give its path: multus looks into it before it calls anybody."""
    if os.geteuid() != 0:
        raise CallFailedError("a network namespace can't be made: not root")
    command = ["unshare", "--net", "sh", "-c", "echo ready; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdin
        assert keeper.stdout
        if keeper.stdout.readline() != "ready\n":
            raise CallFailedError("a network namespace can't be made")
        yield f"/proc/{keeper.pid}/ns/net"
        keeper.stdin.close()


class Rivals:
    """Those who are compared on one node."""

    def __init__(self, meter: Meter, other: Path | None) -> None:
        self.meter = meter
        self._cnidrv = cnidrv()
        plugins: list[Json] = [{"type": plugin} for plugin in meter.types]
        whole = {"cniVersion": "1.1.0", "name": meter.request["name"], "plugins": plugins}
        self.multus_request: Json = {
            "cniVersion": "1.1.0",
            "name": meter.request["name"],
            "type": MULTUS,
            "cniDir": str(meter.root / "multus"),
            "binDir": str(meter.node.bin_dir),
            "logToStderr": False,
            "delegates": [whole],
        }
        self.programs = {CHAIN: meter.program}
        requests = {CHAIN: meter.request}
        if other:
            self.programs[MULTUS] = other
            requests[MULTUS] = self.multus_request
        self.conflists = {PLAIN: meter.conflist(*plugins)}
        for name, program in self.programs.items():
            (meter.node.bin_dir / name).symlink_to(program)
            given = {key: value for key, value in requests[name].items() if key not in ("cniVersion", "name")}
            self.conflists[name] = meter.conflist(given)
        self.requests = requests

    def direct(self, name: str, verb: str, container: str) -> Sample:
        """Time a plugin by itself, as libcni starts it."""
        return self.meter.cni(verb, f"{container}-{name}", self.programs[name], self.requests[name])

    def command(self, name: str, verb: str, container: str) -> list[str]:
        """Return the command that has libcni run a conflist."""
        command = [str(self._cnidrv), f"-conf={self.conflists[name]}", f"-cache={self.meter.root}/cache"]
        if verb in OF_ATTACHMENTS:
            of = f"{container}-{name.partition(' ')[0]}-libcni"
            command += [f"-id={of}", f"-netns={self.meter.netns}", f"-ifname={IFNAME}", f"-args={pod(of)}"]
        return [*command, WORDS[verb]]

    def environ(self) -> dict[str, str]:
        """Return the environment for `command`."""
        return {"CNI_PATH": str(self.meter.node.bin_dir)}

    def by_libcni(self, name: str, verb: str, container: str) -> Sample:
        """Time libcni with a conflist, and all that it runs."""
        sample = self.meter.run(self.command(name, verb, container), environ=self.environ())
        answer = self.meter.output.read_text()
        if verb == "ADD" and not json.loads(answer).get(ANSWERED[verb]):
            raise CallFailedError(f"{name}: {verb}: an unexpected answer\n{answer}")
        return sample
