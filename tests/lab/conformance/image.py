"""The image that the tests' pods run, made here: no registry is asked.

Kubernetes makes its own on Alpine. This one has agnhost of the same module, busybox' programs, and Debian's for those
that the tests call with options that busybox hasn't.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from build.release import oci
from tests.lab.cluster.daemon import installed
from tests.support.runtimes.images import ARCHITECTURES, tar

DEBIANS = {
    **{name: name for name in ("bash", "curl", "dig", "getent", "ss", "timeout")},
    "nc": "nc.openbsd",
    # busybox' own shell takes busybox' nc for nc, wherever it finds another one.
    "sh": "bash",
}
# The image of the DNS tests' second pod differs from the first by its C library, which here is the same.
AGNHOST = r"^\S+/e2e-test-images/(?:agnhost|glibc-dns-testing):\S+$"
PAUSE = r"^\S+/pause:\S+$"
FILES = {
    "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n",
    "etc/group": b"root:x:0:\n",
    "etc/nsswitch.conf": b"hosts: files dns\n",
    "tmp/.made": b"",
    "uploads/.made": b"",
}


def names(e2e: Path, pattern: str = AGNHOST) -> list[str]:
    """What the tests call an image, as they say themselves."""
    said = subprocess.run([e2e / "e2e.test", "--list-images"], capture_output=True, text=True, check=True).stdout
    return sorted(set(re.findall(pattern, said, re.MULTILINE)))


def make(directory: Path, name: str, e2e: Path) -> Path:
    """The archive, or the one that was packed of the same files before: that takes a while."""
    files: dict[str, bytes | str] = dict(FILES)
    busybox = installed("busybox")
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()
    files |= {f"bin/{applet}": "busybox" for applet in applets}
    files["bin/busybox"] = Path(busybox).read_bytes()
    for command, program in DEBIANS.items():
        path = Path(installed(program))
        files[f"bin/{command}"] = path.read_bytes()
        files |= libraries(path)
    for part in ("agnhost", "localhost.crt", "localhost.key"):
        files[part] = (e2e / part).read_bytes()
    config = {"Entrypoint": ["/agnhost"], "Cmd": ["pause"], "Env": ["PATH=/bin"], "WorkingDir": "/"}
    layer = tar(files)
    digest = hashlib.sha256(f"{name} {config}".encode() + layer).hexdigest()[:16]
    kept = directory / f"agnhost-{digest}.tar"
    if not kept.exists():
        new = kept.with_suffix(f".{os.getpid()}")
        new.write_bytes(oci.image({ARCHITECTURES[platform.machine()]: layer}, name, 0, config, {}).archive)
        new.rename(kept)
    return kept


def libraries(program: Path) -> dict[str, bytes]:
    """The libraries that a program loads, where it looks for them."""
    said = subprocess.run([shutil.which("ldd") or "ldd", program], capture_output=True, text=True, check=True).stdout
    paths = re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)
    return {path.lstrip("/"): Path(path).read_bytes() for path in paths}
