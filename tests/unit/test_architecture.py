"""What may import what, and what a call may load: the rules that keep the plugin path small and the parts apart."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import cni_chain

PACKAGE = Path(cni_chain.__file__).parent

# Floors of the plugin path: a module imports only from floors below its own, or earlier ones of its own as listed.
FLOORS: list[list[str]] = [
    [
        "system",
        "raw",
        "attached",
        "errors",
        "jsontext",
        "spec",
        "facade",
        "results",
        "restoring",
        "answer",
        "record",
        "fragments",
        "chain",
        "request",
        "policy",
        "quirks",
    ],
    ["delegate", "locks", "stranded", "records", "verdicts", "log"],
    [
        "invoke",
        "call",
        "busy",
        "failures",
        "undoing",
        "unrecorded",
        "delete",
        "rollback",
        "service_address",
        "add",
        "check",
        "gc",
        "status",
        "sweep",
    ],
    ["protocol"],
]
# The program, from the ground up: a package imports from itself and from those before it.
PACKAGES = ["plugin", "agents", "node", "mesh", "checks", "change", "migrate", "daemon", "cluster", "cli"]

PLACES = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names)}

# Who may do what to the world. System calls are looked at one by one: to read a file has no effect, to start a program
# has.
SYSTEM_MODULES = {"system", "os", "posix"}
STARTS_PROCESSES = {"delegate"}
WRITES_STATE = {"records", "stranded", "verdicts", "log"}
PROCESS_CALLS = {"posix_spawn", "posix_spawnp", "fork", "forkpty", "execv", "execve", "system", "popen", "spawnv"}
WRITE_CALLS = {"rename", "replace", "unlink", "remove", "mkdir", "makedirs", "rmdir", "chmod", "link", "symlink"}

# What people need and a pod doesn't: never on the plugin path.
BANNED = {
    "argparse", "asyncio", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "hashlib",
    "inspect", "json", "logging", "pathlib", "pyroute2", "re", "rich", "shutil", "signal", "socket", "struct",
    "subprocess", "tempfile", "threading", "typer", "typing",
}  # fmt: skip


def modules(package: str = "") -> list[Path]:
    """Every module of the program, or of one of its packages."""
    return [path for path in sorted((PACKAGE / package).rglob("*.py")) if path.stem != "__init__"]


def imported(path: Path) -> set[str]:
    """What a file imports of the program, anywhere in it, as paths below `cni_chain` with dots."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cni_chain":
            within = (node.module or "").split(".")[1:]
            names |= {".".join([*within, alias.name]) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.removeprefix("cni_chain.") for a in node.names if a.name.startswith("cni_chain.")}
    return names - {"__version__"}


def system_calls(path: Path) -> set[str]:
    """The names that a file takes from the modules of system calls, however it has imported them."""
    tree = ast.parse(path.read_text())
    bound, names = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {alias.asname or alias.name for alias in node.names if alias.name in SYSTEM_MODULES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] in SYSTEM_MODULES:
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names if alias.name in SYSTEM_MODULES}
    return names | {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound
    }


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", modules("plugin"), ids=name_of)
def test_imports_point_down_only(path: Path) -> None:
    assert path.stem in PLACES, f"{path.stem} has no place in FLOORS yet"
    others = {parts[1] for name in imported(path) if (parts := name.split("."))[0] == "plugin"}
    upward = {other for other in others if PLACES[other] >= PLACES[path.stem]}

    assert upward == set()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_packages_import_from_those_below_them_only(path: Path) -> None:
    package = path.relative_to(PACKAGE).parts[0]
    if package == "__main__.py":
        return
    upward = {name for name in imported(path) if PACKAGES.index(name.split(".")[0]) > PACKAGES.index(package)}

    assert upward == set()


@pytest.mark.parametrize("path", modules("plugin"), ids=name_of)
def test_effects_stay_in_the_modules_that_are_named_for_them(path: Path) -> None:
    calls = system_calls(path)

    assert path.stem in STARTS_PROCESSES or not calls & PROCESS_CALLS
    assert path.stem in WRITES_STATE or not calls & WRITE_CALLS


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_fits_ones_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 320


def loaded(verb: str, tmp_path: Path, **keys: object) -> set[str]:
    """The modules that one call in a fresh interpreter has loaded at its end, beyond the interpreter's own."""
    (tmp_path / "chain.d" / "local.d").mkdir(parents=True, exist_ok=True)
    (tmp_path / "chain.d").chmod(0o755)
    script = (
        "import sys; before = set(sys.modules)\n"
        f"sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "from cni_chain.__main__ import main\n"
        "status = main()\n"
        "print(' '.join(sorted(set(sys.modules) - before)), file=sys.stderr)\n"
    )
    conf = {
        "cniVersion": "1.1.0",
        "name": "net",
        "type": "cni-chain",
        "chainDir": str(tmp_path / "chain.d"),
        "stateDir": str(tmp_path / "state"),
        "logFile": str(tmp_path / "log"),
        "allowUnsafePermissions": True,
        "owners": [{"name": "local", "required": False}],
        "prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "192.0.2.1/24"}]},
        **keys,
    }
    environ = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/none",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(tmp_path),
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script],
        input=json.dumps(conf).encode(),
        env=environ,
        capture_output=True,
        check=True,
    )
    return set(done.stderr.decode().splitlines()[-1].split())


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"])
def test_a_call_loads_nothing_that_only_people_need(verb: str, tmp_path: Path) -> None:
    names = {name.split(".")[0] for name in loaded(verb, tmp_path)}

    assert names & BANNED == set()
    ours = {name for name in loaded(verb, tmp_path) if name.startswith("cni_chain.")}
    assert {name for name in ours if not name.startswith(("cni_chain.plugin", "cni_chain.__main__"))} == set()


ASKED = {f"cni_chain.plugin.{name}" for name in ("attached", "raw", "service_address", "verdicts")}


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"])
def test_what_the_key_mesh_needs_is_loaded_by_an_add_with_that_key_alone(verb: str, tmp_path: Path) -> None:
    """Not even then is the package `mesh`, or any other beside the plugin's."""
    without = loaded(verb, tmp_path)
    having = loaded(verb, tmp_path, mesh={"serviceAddress": "enforce"})

    assert without & ASKED == set()
    more = {name for name in having - without if name.startswith("cni_chain")}
    assert more == (ASKED if verb == "ADD" else set())


def test_status_loads_what_looks_at_a_mesh_only_where_there_is_one() -> None:
    script = "import sys, cni_chain.cli.glance; print(*(name for name in sys.modules if 'cni_chain.mesh' in name))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert set(done.stdout.split()) == {"cni_chain.mesh", "cni_chain.mesh.claims"}


def test_version_loads_next_to_nothing(tmp_path: Path) -> None:
    ours = {name for name in loaded("VERSION", tmp_path) if name.startswith("cni_chain")}

    assert ours == {
        "cni_chain",
        "cni_chain.__main__",
        "cni_chain.plugin.errors",
        "cni_chain.plugin.jsontext",
        "cni_chain.plugin",
        "cni_chain.plugin.protocol",
        "cni_chain.plugin.spec",
        "cni_chain.plugin.system",
    }
