"""The images of the agents: FROM scratch, each with its agent's programs and what these load."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from build.release import oci
from tests.lab.cluster import daemon
from tests.support import gomodules
from tests.support.agents import writers
from tests.support.runtimes import images
from tests.support.runtimes.daemons import installed
from tests.support.sandbox.namespaces import CHECKOUT

Files = dict[str, bytes | str]  # text is where a symbolic link points

HERE = Path(__file__).parent
ISTIO, CILIUM_STAND_IN = "test.local/install-cni:1", "test.local/cilium-stand-in:1"
CILIUM, OPERATOR = "test.local/cilium:1", "test.local/cilium-operator:1"
# The first is not below /usr, where Cilium's agent has the node's.
OURS = "opt/cilium/bin"
PATH = f"/{OURS}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# In the place of Cilium's own, whose image has it: it is run on the node.
MOUNT = b'#!/bin/sh\nmkdir -p "$1"\nmountpoint -q "$1" || mount -t cgroup2 none "$1"\n'
# What the scripts of Cilium's containers call, beside the shell.
APPLETS = ("basename", "cat", "cp", "find", "grep", "mkdir", "mount", "mv", "rm", "sh")
# Of Python's library only what isn't there for people or for its own tests.
LEFT_OUT = re.compile(
    r"(__pycache__|test|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data|(site|dist)-packages|config-.*)(/.*)?"
)


def charts(name: str) -> Path:
    """The directory of what the build script beside this file keeps of an agent. Raises NotBuiltError."""
    return gomodules.built(HERE / "build", name)


def istio() -> Path:
    """install-cni, as Istio's chart calls it: its own installer and plugin, and the stand-in for its ambient server."""
    built = writers.built("istio")
    files = python() | {
        "usr/local/bin/install-cni": _script("install_cni"),
        "usr/local/bin/istio-installer": (built / "istio-installer").read_bytes(),
        "opt/cni/bin/istio-cni": (built / "istio-cni").read_bytes(),
    }
    return _archive("istio", ISTIO, files)


def cilium_stand_in() -> Path:
    """What Cilium's chart calls: its own conflist's writer and plugin, and the stand-in for the rest of its agent."""
    built = writers.built("cilium-1.20")
    files = (
        python()
        | closure(installed("ip"))
        | scripts()
        | {
            "usr/local/bin/cilium-agent": _script("cilium_agent"),
            "usr/local/bin/cilium-conf-writer": (built / "cilium-conf-writer").read_bytes(),
            "opt/cni/bin/cilium-cni": (built / "cilium-cni").read_bytes(),
        }
    )
    return _archive("cilium-stand-in", CILIUM_STAND_IN, files)


def cilium() -> Path:
    """Cilium's agent with what it compiles. The compiler, iptables and ip it has from the node, by a mount of /usr."""
    built = daemon.built("cilium")
    files = (
        scripts()
        | closure(installed("nsenter"))
        | {
            f"{OURS}/cilium-agent": (built / "cilium-agent").read_bytes(),
            f"{OURS}/cilium-dbg": (built / "cilium-dbg").read_bytes(),
            "opt/cni/bin/cilium-cni": (built / "cilium-cni").read_bytes(),
            "usr/bin/cilium-mount": MOUNT,
        }
    )
    files |= {f"{OURS}/{program}": daemon.installed(f"{program}-19") for program in ("clang", "llc")}
    files |= {str(link)[1:]: str(link.readlink()) for link in Path("/etc/alternatives").glob("ip*tables*")}
    sources = [file for file in (built / "bpf").rglob("*") if file.is_file()]
    files |= {f"var/lib/cilium/{file.relative_to(built)}": file.read_bytes() for file in sources}
    return _archive("cilium", CILIUM, files)


def cilium_operator() -> Path:
    """Cilium's operator, which is static."""
    name = "cilium-operator-generic"
    files: Files = {f"{OURS}/{name}": (daemon.built("cilium") / name).read_bytes()}
    return _archive("cilium-operator", OPERATOR, files)


def scripts() -> Files:
    """The scripts that Cilium's image has, and a shell for them."""
    busybox = shutil.which("busybox")
    assert busybox, "no busybox: tests/support/runtimes/packages"
    files = closure(installed("bash")) | {"bin/busybox": Path(busybox).read_bytes(), "bin/bash": "/usr/bin/bash"}
    files |= {f"bin/{applet}": "busybox" for applet in APPLETS}
    files["var/run"] = "/run"  # its chart mounts below the one what its agent looks for below the other
    kept = charts("cilium")
    return files | {file.name: file.read_bytes() for file in kept.glob("*.sh")}


def python() -> Files:
    """This interpreter with its library, and the stand-ins."""
    interpreter = Path(sys.executable).resolve()
    files = closure(interpreter)
    # Loaded when a thread is ended, so that nothing is linked with it.
    files |= closure(next(Path(f"/{name}").with_name("libgcc_s.so.1") for name in files if name.endswith("/libc.so.6")))
    for top in {Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("platstdlib", vars=_bases()))}:
        for file in sorted(top.rglob("*")):
            if file.is_file() and not LEFT_OUT.match(str(file.relative_to(top))):
                files |= closure(file) if file.suffix == ".so" else {str(file)[1:]: file.read_bytes()}
    ours = [CHECKOUT / "tests/support/stand_ins", HERE / "inside"]
    kept = [file for place in ours for file in place.glob("*.py")]
    kept += [parent / "__init__.py" for place in ours for parent in place.parents if (parent / "__init__.py").exists()]
    return files | {f"lab/{file.relative_to(CHECKOUT)}": file.read_bytes() for file in kept}


def _bases() -> dict[str, str]:
    return {"platbase": sys.base_exec_prefix, "installed_platbase": sys.base_exec_prefix}


def closure(program: str | Path) -> Files:
    """A program or library, and the libraries that it is linked with, each where it is on this machine."""
    path = Path(program)
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout  # noqa: S607
    loaded = re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listed, re.MULTILINE)
    return {str(file)[1:]: Path(file).read_bytes() for file in [str(path), *loaded]}


def _script(module: str) -> bytes:
    """An executable that runs a module of `inside`."""
    interpreter = Path(sys.executable).resolve()
    place = f"{__package__}.inside.{module}"
    run = f'import runpy, sys\nsys.path.insert(0, "/lab")\nrunpy.run_module("{place}", run_name="__main__")\n'
    return f"#!{interpreter} -B\n{run}".encode()


def _archive(stem: str, name: str, files: Files) -> Path:
    """An image of these files, or the one that was packed of the same before: that takes a while."""
    architecture = images.ARCHITECTURES[platform.machine()]
    config = {"Env": [f"PATH={PATH}"], "WorkingDir": "/"}
    layer = images.tar(files)
    digest = hashlib.sha256(f"{name} {config}".encode() + layer).hexdigest()[:16]
    kept = charts("cilium").parent.parent / "images" / f"{stem}-{digest}.tar"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_bytes(oci.image({architecture: layer}, name, 0, config, {}).archive)
        new.rename(kept)
    return kept
