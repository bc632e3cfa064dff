"""What the frozen program opens, whatever the environment or the node's files would have it load: nothing of theirs."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.support.compiler import compiled
from tests.support.files.node import Node, shipped_node
from tests.support.sandbox.node import is_frozen

STRACE = shutil.which("strace")
pytestmark = pytest.mark.skipif(not STRACE, reason="needs strace to see what is opened")

VERBS = ("VERSION", "STATUS", "ADD", "CHECK", "DEL", "GC")
# Each command, and each of those that change a node as far as it goes without changing one.
ROOTED = (
    "show", "verify", "cat", "cat --effective", "attachments", "doctor", "log", "migrate plan", "migrate status",
    "install --dry-run", "uninstall --dry-run", "owner list", "owner add calico --dry-run",
    "owner remove istio --dry-run",
)  # fmt: skip
COMMANDS = (*ROOTED, "--help", "--version", "version", "help show", "gc --help", "watch --help", "mesh check --help",
            "mesh pods", "completion bash")  # fmt: skip

# The dynamic loader, the interpreter and the C library would each load files of these variables' places.
HOSTILE = (
    *(
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "LD_DEBUG_OUTPUT",
        "LOCPATH",
        "GCONV_PATH",
        "NLSPATH",
        "HOSTALIASES",
    ),
    *("GETCONF_DIR", "RES_OPTIONS", "LOCALDOMAIN", "MALLOC_TRACE", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"),
    *("PYTHONUSERBASE", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONEXECUTABLE"),
)


class Opened:
    """Files that a program opened, itself and its forks; not what it executed."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.command = [str(STRACE), "-f", "-qq", "-e", "trace=open,openat,openat2,execve", "-o", str(log)]

    def files(self) -> list[str]:
        lines = [line.split(maxsplit=1) for line in self.log.read_text().splitlines()]
        first, others, found = lines[0][0], set(), []
        for process, what in lines:
            if "execve" in what and process != first:
                others.add(process)
            elif process not in others and (path := re.match(r'open\w*\(.*?"([^"]*)".* = \d+$', what)):
                found.append(path[1])
        return found


@pytest.fixture
def opened(tmp_path: Path, program: str) -> Opened:
    if not is_frozen(program):
        pytest.skip("by design: the source runs in an interpreter of the system")
    return Opened(tmp_path / "strace.log")


@pytest.fixture
def hostile(tmp_path: Path) -> dict[str, str]:
    """An environment that names, for all that can be loaded, a directory with a file of every likely name."""
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in (
        "libc.so.6",
        "libm.so.6",
        "libnss_files.so.2",
        "sitecustomize.py",
        "encodings.py",
        "posix.py",
        "json.py",
    ):
        (evil / name).write_text("raise SystemExit('loaded')")
    return dict.fromkeys(HOSTILE, str(evil)) | {"LC_ALL": "xx_XX.EVIL", "LANGUAGE": "xx", "TZ": "UTC"}


@pytest.fixture
def traced(host: Node, opened: Opened) -> Node:
    # Static, because a dynamic one would load what the hostile environment names, as anybody's plugin does.
    compiled(CHECKOUT / "tests/support/files/double.c", host.bin_dir / "portmap", "-O1", "-static")
    host.owner("local", "portmap")
    wrapper = host.root / "traced"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(opened.command)} {Path(host.program).resolve()} "$@"\n')
    wrapper.chmod(0o755)
    host.program = str(wrapper)
    return host


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_opens_no_library(traced: Node, opened: Opened, verb: str) -> None:
    if verb in ("CHECK", "DEL"):
        traced.add()

    assert traced.call(verb, "c1" if verb in ("ADD", "CHECK", "DEL") else "").ok

    assert [file for file in opened.files() if re.search(r"\.so\b|ld\.so|nsswitch|gconv|locale/", file)] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_hostile_environment_makes_a_verb_open_nothing(
    traced: Node, opened: Opened, verb: str, hostile: dict[str, str]
) -> None:
    program = Path((traced.root / "traced").read_text().split()[-2])
    (traced.root / "traced").write_text(
        "#!/bin/sh\nexec "
        + " ".join([*opened.command, *(f"-E '{key}={value}'" for key, value in hostile.items()), str(program)])
        + "\n"
    )
    if verb in ("CHECK", "DEL"):
        traced.add()

    outcome = traced.call(verb, "c1" if verb in ("ADD", "CHECK", "DEL") else "")

    assert (outcome.ok, [file for file in opened.files() if "evil/" in file]) == (True, [])


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_opens_no_library_and_nothing_of_a_hostile_environment(
    tmp_path: Path, program: str, opened: Opened, command: str, hostile: dict[str, str]
) -> None:
    node = shipped_node(tmp_path / "node", program)
    root = ["--root", str(node.root)] if command in ROOTED else []
    variables = [word for key, value in hostile.items() for word in ("-E", f"{key}={value}")]
    traced = [*opened.command, *variables, str(Path(program).resolve()), *command.split(), *root]

    done = subprocess.run(
        traced, env={"PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )

    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr
    assert [file for file in opened.files() if re.search(r"\.so\b|ld\.so|gconv|evil/", file)] == []


@pytest.mark.root
@pytest.mark.parametrize("pinned", [False, True])
def test_a_user_is_looked_up_in_the_nodes_files_where_its_settings_name_a_library(tmp_path: Path, pinned: bool) -> None:
    """`passwd: files systemd`, as Debian and Fedora have it: a static program would load that library, and crash."""
    library = next(Path("/usr/lib").glob("*/libnss_systemd.so.2"), None)
    if not library:
        pytest.skip("needs libnss-systemd")
    root = tmp_path / "root"
    needed = subprocess.run(["/usr/bin/ldd", library], capture_output=True, text=True, check=True).stdout
    (root / "usr/lib").mkdir(parents=True)
    (root / "etc").mkdir()
    for file in (library, *map(Path, re.findall(r"(/\S+) \(0x", needed))):
        shutil.copy(file, root / "usr/lib")
    (root / "etc/nsswitch.conf").write_text("passwd: files systemd\n")
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    build = CHECKOUT / "build"
    with_pin = (str(build / "name_services.c"), f"-I{build}", "-static", "-Wl,--no-warnings")
    compiled(CHECKOUT / "tests/release/asks.c", root / "asks", *with_pin)
    command = ["chroot", str(root), "/asks", *(["pin"] if pinned else [])]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    if pinned:
        assert (done.returncode, done.stdout) == (0, "not found\n")
    else:
        assert done.returncode == -signal.SIGSEGV  # what the pin is for; without it the test above proves nothing
