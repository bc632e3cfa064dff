"""The API server and etcd alone, as processes of this machine: no node, no controller, no root."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.lab.cluster.daemon import built, installed

Json = dict[str, Any]
ADMINISTRATOR = "admin"  # its token


class ApiServer:
    """A running one, asked by the real kubectl as its administrator."""

    def __init__(self, folder: Path, port: int) -> None:
        self.program = built("kube") / "kubectl"
        self.folder, self.address = folder, f"https://127.0.0.1:{port}"

    def options(self, token: str) -> list[str]:
        """Return kubectl's options for whoever has a token."""
        return ["--server", self.address, "--insecure-skip-tls-verify", "--token", token]

    def call(self, *arguments: str, stdin: str = "", token: str = ADMINISTRATOR) -> subprocess.CompletedProcess[str]:
        """Call kubectl, as whoever has the token."""
        command: list[str | Path] = [self.program, *self.options(token), *arguments]
        environment = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin"}
        return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """What it prints, if the server agrees."""
        done = self.call(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *objects: Json, options: tuple[str, ...] = ()) -> str:
        """Create or change objects; a field that the server doesn't know is an error."""
        text = "\n---\n".join(json.dumps(one) for one in objects)
        return self.kubectl("apply", "--validate=strict", *options, "-f", "-", stdin=text)

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + 120
        while self.call("get", "--raw", "/readyz").returncode:
            assert time.monotonic() < until, (self.folder / "kube-apiserver.log").read_text()[-3000:]
            time.sleep(0.3)

    def kubeconfig(self, name: str, token: str = ADMINISTRATOR) -> Path:
        """A file with which other programs ask it, as whoever has the token."""
        cluster = {"server": self.address, "insecure-skip-tls-verify": True}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": "context", "context": {"cluster": "cluster", "user": name}}],
            "current-context": "context",
        }
        file = self.folder / f"{name}.kubeconfig"
        file.write_text(json.dumps(document))  # JSON is YAML
        return file


@contextlib.contextmanager
def started(folder: Path, *options: str, tokens: tuple[str, ...] = ()) -> Iterator[ApiServer]:
    """An API server whose files are in a folder, until the end of the block. Raises NotBuiltError.

    `options` are more of its own, and each of `tokens` is the name of a user and that user's token.
    """
    kube, etcd, openssl = built("kube"), built("etcd"), installed("openssl")
    key = folder / "accounts"
    subprocess.run([openssl, "genrsa", "-out", f"{key}.key", "2048"], check=True, capture_output=True)
    subprocess.run(
        [openssl, "rsa", "-in", f"{key}.key", "-pubout", "-out", f"{key}.pub"], check=True, capture_output=True
    )
    users = "".join(f"{name},{name},{name}\n" for name in tokens)
    (folder / "tokens.csv").write_text(f'{ADMINISTRATOR},admin,admin,"system:masters"\n{users}')
    port, client, peer = free_ports(3)
    with contextlib.ExitStack() as stack:
        url = f"http://127.0.0.1:{client}"
        peers = f"http://127.0.0.1:{peer}"
        ours = ["--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", peers]
        ours += ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"]
        start(stack, folder, etcd / "etcd", "--data-dir", f"{folder}/etcd", "--unsafe-no-fsync", *ours)
        start(
            stack,
            folder,
            kube / "kube-apiserver",
            *("--etcd-servers", url),
            *("--service-account-key-file", f"{key}.pub"),
            *("--service-account-signing-key-file", f"{key}.key"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--token-auth-file", f"{folder}/tokens.csv"),
            *("--authorization-mode", "RBAC"),
            *("--cert-dir", f"{folder}/certificates"),
            *("--service-cluster-ip-range", "10.96.0.0/16"),
            *("--bind-address", "127.0.0.1"),
            *("--secure-port", str(port)),
            "--allow-privileged=true",
            *options,
        )
        server = ApiServer(folder, port)
        server.wait()
        yield server


def start(stack: contextlib.ExitStack, folder: Path, program: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start a program, with a log in the folder, until the end of the stack."""
    log = stack.enter_context((folder / f"{program.name}.log").open("wb"))
    environment = {"PATH": os.defpath, "HOME": str(folder)}
    process = subprocess.Popen([program, *options], env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    stack.callback(process.wait, 60)
    stack.callback(process.kill)
    return process


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has, below those that the kernel gives to whoever connects meanwhile."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            port = 10000 + secrets.randbelow(20000)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
    return found
