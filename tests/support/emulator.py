"""Programs of another architecture, started here by qemu: the frozen program for arm64 on an amd64 machine."""

import platform
import shutil
from pathlib import Path

from tests.support.compiler import compiled

# e_machine of an ELF file's header.
MACHINES = {62: "x86_64", 183: "aarch64"}


def machine(program: Path) -> str:
    """Whose instructions a program has; this machine's, if it is a script."""
    with program.open("rb") as file:
        head = file.read(20)
    return MACHINES[head[18]] if head.startswith(b"\x7fELF") else platform.machine()


def startable(program: Path, folder: Path) -> Path:
    """The program, or one in a folder that starts it, if it is for another machine. Raises NoCompilerError."""
    wanted = machine(program)
    if wanted == platform.machine():
        return program
    emulator = shutil.which(f"qemu-{wanted}-static")
    assert emulator, f"no qemu for {wanted}: build/packages qemu-user-static"
    words = (f'-DEMULATOR="{emulator}"', f'-DPROGRAM="{program}"')
    return compiled(Path(__file__).with_name("files") / "emulated.c", folder / "cni-chain", "-O1", "-static", *words)
