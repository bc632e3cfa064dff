"""Puts the frozen program's directory together from what PyInstaller found: launcher, archive of modules, libraries."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import re
import shutil
import subprocess
import sysconfig
import zipfile
from collections.abc import Iterable
from importlib.machinery import FrozenImporter
from pathlib import Path

HERE = Path(__file__).resolve().parent
INTERNAL = "_internal"

# PyInstaller's table of contents: name in the bundle, source file, kind.
Entry = tuple[str, str, str]

# Where PyInstaller puts what its own boot loader needs before it can read its archive.
_BASE_LIBRARY = "base_library.zip"

# What every call of the plugin loads, and is therefore built in. Of the standard library that is what the interpreter's
# start needs in UTF-8 mode, and what `from __future__` imports.
_STANDARD = ("__future__", "encodings", "encodings.aliases", "encodings.utf_8")
_OURS = re.compile(r"cni_chain(\.__main__|\.plugin(\..*)?)?")

# What root runs at every call is compiled without a warning.
_WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Wformat=2", "-Werror")

# Libraries that a launcher with the interpreter in it doesn't load.
_LINKED_IN = re.compile(r"lib(python3|expat|z)\b.*\.so")


def assemble(directory: str, name: str, modules: Iterable[Entry], others: Iterable[Entry]) -> None:
    """Make `directory` with the program `name`, of PyInstaller's `modules` and of `others`: libraries and data."""
    target = Path(directory)
    shutil.rmtree(target, ignore_errors=True)
    internal = target / INTERNAL
    internal.mkdir(parents=True)
    sources = {module: source for module, source, _ in modules if os.path.isfile(source)}
    others = list(others)
    for place, source, _ in others:
        if place == _BASE_LIBRARY:
            sources |= {module: _source(module) for module in _modules(source) if not _is_in_interpreter(module)}
    built_in = {module: _source(module) for module in _STANDARD}
    built_in |= {module: source for module, source in sources.items() if _OURS.fullmatch(module)}
    _archive(internal / "modules.zip", {module: source for module, source in sources.items() if module not in built_in})
    interpreter = _static_interpreter()
    places = {os.path.dirname(place) for place, _, kind in others if kind == "EXTENSION"}
    if len(places) > 1:
        raise SystemExit(f"extension modules are in {', '.join(sorted(places))}; the launcher looks into one directory")
    libraries = []
    for place, source, kind in others:
        if place == _BASE_LIBRARY or (interpreter and _LINKED_IN.match(place)):
            continue
        _put(internal / place, source, kind)
        if kind == "BINARY":
            libraries.append(place)
    header = target / "frozen_modules.h"
    _write_header(header, built_in, "".join(places), libraries)
    _link(target / name, header.parent, interpreter)
    header.unlink()


def _modules(archive: str) -> list[str]:
    """Return the names of the modules in an archive of byte code."""
    with zipfile.ZipFile(archive) as opened:
        return [name.removesuffix(".pyc").removesuffix("/__init__").replace("/", ".") for name in opened.namelist()]


def _is_in_interpreter(module: str) -> bool:
    """Return whether every interpreter carries this module of the standard library in itself (`os` and the like)."""
    return FrozenImporter.find_spec(module) is not None


def _source(module: str) -> str:
    # Not importlib's answer: for `collections.abc` that is another module's file.
    stem = Path(sysconfig.get_path("stdlib"), *module.split("."))
    for source in (stem.with_suffix(".py"), stem / "__init__.py"):
        if source.is_file():
            return str(source)
    raise SystemExit(f"the source of {module} is not in {sysconfig.get_path('stdlib')}")


def _put(file: Path, source: str, kind: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "SYMLINK":
        file.symlink_to(source)
        return
    shutil.copyfile(source, file)
    if kind in ("BINARY", "EXTENSION"):
        subprocess.run(["strip", "--strip-unneeded", file], check=True)  # noqa: S607


def _code(module: str, source: str, *, docstrings: bool) -> bytes:
    """Return a module's code, without asserts."""
    path = module.replace(".", "/") + ("/__init__.py" if _is_package(source) else ".py")
    optimize = 1 if docstrings else 2
    tree = ast.parse(Path(source).read_bytes())
    if not docstrings:
        tree = ast.fix_missing_locations(_WithoutTypes().visit(tree))
    return marshal.dumps(compile(tree, path, "exec", dont_inherit=True, optimize=optimize))


class _WithoutTypes(ast.NodeTransformer):
    """Takes out what only a type checker reads. No module of the plugin looks at an annotation."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        plain = ast.Assign([node.target], node.value) if node.value else ast.Pass()
        return ast.copy_location(plain, node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return node.orelse or ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


def _is_package(source: str) -> bool:
    return os.path.basename(source) == "__init__.py"


def _archive(file: Path, sources: dict[str, str]) -> None:
    """Write modules where the interpreter's zipimport finds them."""
    head = importlib.util.MAGIC_NUMBER + bytes(12)
    with zipfile.ZipFile(file, "w") as archive:
        for module, source in sorted(sources.items()):
            path = module.replace(".", "/") + ("/__init__.pyc" if _is_package(source) else ".pyc")
            code = _code(module, source, docstrings=True)  # a command's docstring is its help
            archive.writestr(zipfile.ZipInfo(path), head + code, zipfile.ZIP_DEFLATED)


def _write_header(file: Path, sources: dict[str, str], extensions: str, libraries: list[str]) -> None:
    """Write modules as a C array (PyImport_FrozenModules), and the places of the other files."""
    lines = [f'#define EXTENSIONS "{extensions}"']
    names = "".join(f'"{name}", ' for name in sorted(libraries))
    lines.append(f"static const char *const libraries[] = {{{names}0}};")
    rows = []
    for number, (module, source) in enumerate(sorted(sources.items())):
        code = _code(module, source, docstrings=False)  # each call would read the docstrings
        lines.append(f"static const unsigned char module{number}[] = {{{','.join(map(str, code))}}};")
        package = int(_is_package(source))
        rows.append(f'{{.name = "{module}", .code = module{number}, .size = {len(code)}, .is_package = {package}}},')
    file.write_text("\n".join([*lines, "static const struct _frozen frozen_modules[] = {", *rows, "{0}};", ""]))


def _static_interpreter() -> Path | None:
    """Return the interpreter as a static library, None if it has none or PYTHON_LIBRARY=shared."""
    if os.environ.get("PYTHON_LIBRARY") == "shared":
        return None
    library = Path(sysconfig.get_config_var("LIBPL") or "/", sysconfig.get_config_var("LIBRARY") or "none")
    return library if library.suffix == ".a" and library.is_file() else None


def _link(program: Path, include: Path, interpreter: Path | None) -> None:
    """Compile the launcher. The loader links a shared interpreter at every start, but not a static one."""
    variables = sysconfig.get_config_vars()
    command = ["gcc", "-O2", *_WARNINGS, "-s", f"-I{include}"]
    # As a system header: its warnings must not stop the build.
    command += ["-isystem", sysconfig.get_path("include"), "-o", str(program), str(HERE / "launcher.c")]
    if interpreter:
        wanted = " ".join(variables.get(key) or "" for key in ("MODLIBS", "LIBS", "SYSLIBS")).split()
        # Of the system's libraries only those that every system has are left to be loaded.
        static = ["-l:libexpat.a" if one == "-lexpat" else "-l:libz.a" if one == "-lz" else one for one in wanted]
        command += ["-no-pie", str(interpreter), "-Wl,--export-dynamic", *dict.fromkeys(static)]
    else:
        # RPATH and not RUNPATH: it counts for the libraries' own libraries too, and before LD_LIBRARY_PATH.
        command += [f"-L{variables['LIBDIR']}", f"-lpython{variables['LDVERSION']}"]
        command += [f"-Wl,-rpath,$ORIGIN/{INTERNAL}", "-Wl,--disable-new-dtags"]
    subprocess.run([*command, "-ldl"], check=True)  # a library of its own before glibc 2.34
