"""Where the frozen program runs: one archive, in the roots of other distributions and in one that has nothing else.

The plugins there are static as well, so that what fails is the program's own.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.support.compiler import compiled
from tests.support.gomodules import NotBuiltError, built
from tests.support.sandbox.node import is_frozen

pytestmark = [pytest.mark.root, pytest.mark.slow]

Json = dict[str, Any]
DISTRIBUTIONS = ("debian-11", "debian-12", "debian-13")
ROOTS = (*DISTRIBUTIONS, "nothing-else", "musl", "read-only", "old-kernel", "no-proc-and-old-kernel")
COMMANDS = (
    "--version", "--help", "version", "help show", "show", "show -o json", "verify", "cat", "cat --effective",
    "attachments", "doctor", "log", "owner list", "migrate plan", "install --dry-run", "uninstall --dry-run",
    "completion bash",
)  # fmt: skip
FACADE = {
    "cniVersion": "1.0.0",
    "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
    "name": "pods",
    "plugins": [{"type": "cni-chain", "owners": [{"name": "cilium"}, {"name": "local"}]}],
}


class Root:
    """A root directory with the program and two plugins, and a way into it."""

    def __init__(
        self,
        path: Path,
        program: str,
        noop: Path,
        enter: Sequence[str] = (),
        *,
        proc: bool = True,
        netns: str = "/run/netns/pod",
    ) -> None:
        self.netns = netns
        self.path = path
        frozen = Path(program).resolve().parent
        bin_dir = path / "opt/cni/bin"
        bin_dir.mkdir(parents=True)
        shutil.copytree(frozen, path / "opt/cni/cni-chain" / frozen.name)
        (bin_dir / "cni-chain").symlink_to(f"../cni-chain/{frozen.name}/cni-chain")
        for owner, plugin in (("cilium", "cilium-cni"), ("local", "portmap")):
            shutil.copy(noop, bin_dir / plugin)
            self._write(f"etc/cni/chain.d/{owner}.d/10-{plugin}.conf", {"cniVersion": "1.0.0", "type": plugin})
        self._write("etc/cni/net.d/00-cni-chain.conflist", FACADE)
        for directory in ("var/lib/cni", "var/log", "run/netns", "dev", "proc"):
            (path / directory).mkdir(parents=True, exist_ok=True)
        (path / "run/netns/pod").touch()
        mounts = ["mount --bind /dev dev", *(["mount -t proc proc proc"] if proc else []), *enter]
        self._enter = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", "; ".join([*mounts, 'exec "$@"']), "sh"]

    def _write(self, name: str, content: Json) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        file.write_text(json.dumps(content))
        file.chmod(0o644)

    def run(self, *arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        command = [*self._enter, *self.inside, "/opt/cni/bin/cni-chain", *arguments]
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environ}
        return subprocess.run(
            command, cwd=self.path, env=environ, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    inside: Sequence[str] = ("chroot", ".")

    def call(self, verb: str, **request: Any) -> tuple[int, Any]:
        """The exit status and the answer."""
        conf = {"cniVersion": "1.1.0", "name": "pods", **FACADE["plugins"][0], **request}  # type: ignore[dict-item]
        environ = {"CNI_COMMAND": verb, "CNI_PATH": "/opt/cni/bin"}
        if verb in ("ADD", "CHECK", "DEL"):
            environ |= {"CNI_CONTAINERID": "pod", "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0"}
        done = self.run(stdin=json.dumps(conf), **environ)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.fixture(scope="module")
def noop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(CHECKOUT / "tests/support/files/noop.c", tmp_path_factory.mktemp("noop") / "noop", "-O2", "-static")


@pytest.fixture(scope="module")
def made(program: str, noop: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Root]:
    """Makes the root of a name, once."""
    if not is_frozen(program):
        pytest.skip("by design: the source needs an interpreter")
    roots: dict[str, Root] = {}

    def make(name: str) -> Root:
        if name not in roots:
            roots[name] = _root(name, tmp_path_factory.mktemp(name) / "root", program, noop)
        return roots[name]

    return make


def _root(name: str, path: Path, program: str, noop: Path) -> Root:
    if name in DISTRIBUTIONS:
        try:
            there = built(CHECKOUT / "tests/support/roots/build", name)
        except NotBuiltError as error:
            pytest.skip(str(error))
        shutil.copytree(there, path, symlinks=True)
        (path / "etc/nsswitch.conf").write_text("passwd: files systemd sss\nhosts: files mdns4_minimal resolve\n")
        return Root(path, program, noop)
    if name == "read-only":
        writable = ("var/lib/cni", "var/log", "run")
        tmpfs = [f"mount -t tmpfs none {place}" for place in writable]
        itself = [
            'mount --rbind "$PWD" "$PWD"',
            'cd "$PWD"',
            *tmpfs,
            'mount -o remount,ro,bind "$PWD"',
            "touch run/pod",
        ]
        return Root(path, program, noop, itself, netns="/run/pod")
    if name == "musl":
        return _musl(path, program)
    old = name.endswith("old-kernel")
    root = Root(path, program, noop, proc=not name.startswith("no-proc") and name != "nothing-else")
    if old:
        compiled(CHECKOUT / "tests/release/old_kernel.c", path / "old_kernel", "-O2", "-static")
        root.inside = ("chroot", ".", "/old_kernel")
    return root


def _musl(path: Path, program: str) -> Root:
    """A root whose only C library is musl, with plugins that need it."""
    compiler = shutil.which("musl-gcc")
    if not compiler:
        pytest.skip("needs musl-gcc")
    plugin = path.parent / "noop"
    subprocess.run([compiler, "-O2", "-o", plugin, CHECKOUT / "tests/support/files/noop.c"], check=True)
    root = Root(path, program, plugin)
    (loader,) = Path("/lib").glob("ld-musl-*.so.1")
    (path / "lib").mkdir()
    shutil.copy(loader, path / "lib")
    return root


@pytest.mark.parametrize("name", ROOTS)
def test_every_verb_answers_as_anywhere_else(made: Callable[[str], Root], name: str) -> None:
    root = made(name)

    answers = {verb: root.call(verb) for verb in ("VERSION", "STATUS")}
    answers["ADD"] = root.call("ADD")
    result = answers["ADD"][1]
    answers |= {verb: root.call(verb, prevResult=result) for verb in ("CHECK", "DEL")}
    answers["GC"] = root.call("GC", **{"cni.dev/valid-attachments": []})

    assert {verb: status for verb, (status, _) in answers.items()} == dict.fromkeys(answers, 0), answers
    assert "1.1.0" in answers["VERSION"][1]["supportedVersions"]
    assert result["ips"][0]["address"] == "192.0.2.7/24"
    assert list((root.path / "var/lib/cni/chain").rglob("*pod*")) == []


@pytest.mark.parametrize("name", ROOTS)
def test_every_command_works(made: Callable[[str], Root], name: str) -> None:
    """What it finds may differ from root to root, so status 1 is as good; it must not fail of itself."""
    root = made(name)

    for command in COMMANDS:
        done = root.run(*command.split())

        assert done.returncode in (0, 1), (command, done)
        assert "Traceback" not in done.stderr, (command, done.stderr)
        assert done.stdout or done.stderr, (command, done)
    assert root.run("verify").returncode == 0, root.run("verify")
    assert [line for line in root.run("show").stdout.splitlines() if "cilium-cni" in line]
