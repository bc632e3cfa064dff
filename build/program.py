"""Compiles and links the frozen program: one static executable, of the launcher, the interpreter and modules in C.

A compiler for another machine and that machine's files can be given: CC, and SYSROOT for the directory that has its
/usr/include and /usr/lib.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

# What root runs at every call is compiled without a warning.
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wformat=2", "-Werror")

# The interpreter's library is not position-independent, so the program isn't either. docs/develop/decisions/0009 has
# what each of these costs.
HARDENING = ("-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack")

# SANITIZE=1 build/freeze makes a program for a test, whose own C they check.
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# The program's own sources.
OURS = ("launcher.c", "core_start.c", "name_services.c", "no_libraries.c", "system_calls.c")
SYSTEM_CALLS = "_system_calls"

# What the interpreter itself imports, or lists, whatever a program imports. Modules of a null function are made by it.
_CORE = {
    *("_ast", "_imp", "_io", "_signal", "_string", "_thread", "_tokenize", "_warnings", "_weakref", "builtins"),
    *("gc", "marshal", "posix", "sys", "time", "zlib"),
}
_FUNCTIONS = {"marshal": "PyMarshal_Init", "_warnings": "_PyWarnings_Init", "builtins": "NULL", "sys": "NULL"}


class Module(NamedTuple):
    """A module that is built in: its code in marshal's format, and whether it is a package."""

    code: bytes
    is_package: bool


class Interpreter(NamedTuple):
    """The static interpreter of the machine that the program is for, and its compiler."""

    compiler: list[str]
    include: Path
    archive: Path

    @classmethod
    def found(cls) -> Interpreter:
        """Return the one of this Python's version. Raises SystemExit, naming the package, if it isn't installed."""
        compiler = shlex.split(os.environ.get("CC", "gcc"))
        root = os.environ.get("SYSROOT", "")
        here, there = sysconfig.get_config_var("MULTIARCH") or "", _output([*compiler, "-print-multiarch"])
        config = Path(root + sysconfig.get_config_var("LIBPL").replace(here, there))
        library = config / sysconfig.get_config_var("LIBRARY")
        if library.suffix != ".a" or not library.is_file():
            version = sysconfig.get_python_version()
            raise SystemExit(f"{library}: no static library of Python {version}: install libpython{version}-dev")
        return cls(compiler, Path(root + sysconfig.get_path("include")), library)

    def libraries(self) -> list[str]:
        """Return the linker's options for the libraries that its modules may need."""
        return [word for word in self._words() if not word.endswith(".a")]

    def sources_of_libraries(self) -> list[str]:
        """Return the sources of libraries that the interpreter is linked with and its package lacks, below Modules.

        From Python 3.12 on that is what _sha2 computes with: `Modules/_hacl/libHacl_Hash_SHA2.a` of CPython's build.
        """
        archives = [re.fullmatch(r"Modules/(.*/)?lib(\w+)\.a", word) for word in self._words()]
        return [f"{found[1] or ''}{found[2]}.c" for found in archives if found]

    @staticmethod
    def _words() -> list[str]:
        variables = sysconfig.get_config_vars()
        wanted = " ".join(variables.get(key) or "" for key in ("MODLIBS", "LIBS", "SYSLIBS")).split()
        return list(dict.fromkeys(wanted))

    def compile(self, source: Path, target: Path, *options: str) -> Path:
        """Compile one C file of CPython or of ours, and return `target`."""
        # As system headers: their warnings must not stop the build. Not the build's own paths in the program.
        headers = ("-isystem", str(self.include), f"-ffile-prefix-map={source.parent}=.")
        command = [*self.compiler, "-O2", "-fno-pie", *HARDENING[:2], *headers, *options]
        subprocess.run([*command, "-c", "-o", str(target), str(source)], check=True)
        return target


def link(
    program: Path, work: Path, modules: Mapping[str, Module], built_in: Iterable[str], extensions: Iterable[str]
) -> list[Path]:
    """Make `program`, and return the archives of the system that parts of it are from.

    `built_in` are modules that the interpreter's library has, `extensions` those that it has only as shared libraries:
    they are compiled from CPython's own source.
    """
    interpreter = Interpreter.found()
    extensions = sorted(extensions)
    inner = sorted(_CORE | set(built_in))
    _write_modules(work, modules, [*inner, *extensions, SYSTEM_CALLS])
    ours = [*WARNINGS, "-std=gnu11", f"-I{work}", *(["-DFULL_START"] if os.environ.get("FULL_START") else [])]
    sanitized = SANITIZERS if os.environ.get("SANITIZE") else ()
    objects = [interpreter.compile(HERE / name, work / f"{name}.o", *ours, *sanitized) for name in OURS]
    objects += _extensions(interpreter, work, extensions)
    command = [
        *interpreter.compiler,
        # AddressSanitizer's library can't be linked statically.
        *(sanitized or ("-static", "-s")),
        "-no-pie",
        *HARDENING[2:],
        "-Wl,--build-id=none",
        "-Wl,--trace,--trace",
    ]
    command += ["-o", str(program), *map(str, objects), str(interpreter.archive), *interpreter.libraries()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # The linker's remark on each function that asks for a user or a host: launcher.c pins what answers it.
    expected = re.compile(r"in function|Using '\w+' in statically linked applications requires at runtime")
    unexpected = [line for line in done.stderr.splitlines() if not expected.search(line)]
    if done.returncode or unexpected:
        raise SystemExit("\n".join(["the program can't be linked:", *unexpected]))
    # Traced twice, the linker names each member of an archive that it takes: (archive)member, or archive(member).
    archives = set(re.findall(r"^\(?([^()\n]+\.a)[()]", done.stdout, re.MULTILINE))
    return sorted(Path(archive).resolve() for archive in archives)


def _write_modules(work: Path, modules: Mapping[str, Module], built_in: list[str]) -> None:
    """Write modules.h: the modules' code (PyImport_FrozenModules), and the modules in C (_PyImport_Inittab)."""
    rows, lines = [], []
    for number, (name, module) in enumerate(sorted(modules.items())):
        # The assembler reads a file as it is; the compiler would need seconds for arrays of that size.
        file = work / f"module{number}"
        file.write_bytes(module.code)
        lines.append(
            f'__asm__(".pushsection .rodata\\n.balign 16\\nmodule{number}:\\n.incbin \\"{file}\\"\\n.popsection");'
        )
        lines.append(f"extern const unsigned char module{number}[{len(module.code)}];")
        place = f".code = module{number}, .size = {len(module.code)}, .is_package = {int(module.is_package)}"
        rows.append(f'{{.name = "{name}", {place}}},')
    lines += ["static const struct _frozen frozen_modules[] = {", *rows, "{0}};"]
    functions = {name: _FUNCTIONS.get(name, f"PyInit_{name}") for name in built_in}
    lines += [f"extern PyObject *{function}(void);" for function in functions.values() if function != "NULL"]
    table = [f'{{"{name}", {function}}},' for name, function in functions.items()]
    lines += ["extern struct _inittab _PyImport_Inittab[];", "struct _inittab _PyImport_Inittab[] = {", *table, "{0}};"]
    (work / "modules.h").write_text("\n".join([*lines, ""]))


def _extensions(interpreter: Interpreter, work: Path, names: list[str]) -> list[Path]:
    """Compile from CPython's source extension modules, and what its own libraries are made of."""
    libraries = interpreter.sources_of_libraries()
    if not names and not libraries:
        return []
    source = Path(_output([str(HERE / "python-source"), os.environ["PYTHON"]])) / "Modules"
    recipes = dict(
        line.split(maxsplit=1)
        for line in (interpreter.archive.parent / "Setup.stdlib").read_text().splitlines()
        if re.match(r"\w+ \S+\.c", line)
    )
    objects = [
        interpreter.compile(source / file, work / f"{Path(file).name}.o", "-w", f"-I{source}/_hacl/include")
        for file in libraries
    ]
    for name in names:
        words = recipes.get(name, "").split()
        if not words or not all(word.endswith(".c") for word in words):
            # It needs another library, and the licence text of that, or it isn't CPython's.
            raise SystemExit(f"{name} can't be built in ({' '.join(words) or 'unknown'}): exclude it in cni-chain.spec")
        for file in words:
            core = (
                "-DPy_BUILD_CORE_BUILTIN",
                "-DNDEBUG",
                "-fwrapv",
                "-w",
                "-isystem",
                f"{interpreter.include}/internal",
            )
            objects.append(interpreter.compile(source / file, work / f"{name}.{file}.o", *core))
    return objects


def _output(command: list[str]) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
