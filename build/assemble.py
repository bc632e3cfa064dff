"""Puts the frozen program's directory together from what PyInstaller found: the program, and an archive of modules."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterable
from importlib.machinery import FrozenImporter
from pathlib import Path

from build.program import Module, link

INTERNAL = "_internal"

# PyInstaller's table of contents: name in the bundle, source file, kind.
Entry = tuple[str, str, str]

# Where PyInstaller puts what its own boot loader needs before it can read its archive.
_BASE_LIBRARY = "base_library.zip"

# What every call of the plugin loads, and is therefore built in. Of the standard library that is what the interpreter's
# start needs in UTF-8 mode.
_STANDARD = ("encodings", "encodings.aliases", "encodings.utf_8")
_OURS = re.compile(r"cni_chain(\.__main__|\.plugin(\..*)?)?")


def assemble(
    directory: str, name: str, modules: Iterable[Entry], built_in: Iterable[str], others: Iterable[Entry]
) -> list[Path]:
    """Make `directory` with the program `name`, and return the archives of the system that were linked into it.

    PyInstaller found `modules`, the modules in C that are `built_in` the interpreter, and `others`: extensions and
    data.
    """
    target = Path(directory)
    shutil.rmtree(target, ignore_errors=True)
    internal = target / INTERNAL
    internal.mkdir(parents=True)
    sources = {
        module: source for module, source, _ in modules if os.path.isfile(source) and not _is_in_interpreter(module)
    }
    extensions = []
    for place, source, kind in others:
        if place == _BASE_LIBRARY:
            sources |= {module: _source(module) for module in _modules(source) if not _is_in_interpreter(module)}
        elif kind == "EXTENSION":
            extensions.append(os.path.basename(place).partition(".")[0])
        elif kind != "BINARY":  # those are the shared interpreter and its libraries
            put(target, place, source)
    frozen = {module: _source(module) for module in _STANDARD}
    frozen |= {module: source for module, source in sources.items() if _OURS.fullmatch(module)}
    _archive(internal / "modules.zip", {module: source for module, source in sources.items() if module not in frozen})
    # Each call would read the docstrings.
    codes = {
        module: Module(_code(module, source, docstrings=False), _is_package(source))
        for module, source in frozen.items()
    }
    with tempfile.TemporaryDirectory() as work:
        return link(target / name, Path(work), codes, built_in, extensions)


def put(target: Path, place: str, source: str) -> None:
    """Copy a file of data to its place beside the archive of modules."""
    file = target / INTERNAL / place
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, file)


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

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return ast.copy_location(ast.Pass(), node) if node.module == "__future__" else node  # of annotations only

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
    """Write modules where the interpreter's zipimport finds them; those that `status` loads are not compressed.

    Scripts ask it often, and to inflate its modules took a fifth of its time.
    """
    loaded = _loaded_by_status()
    head = importlib.util.MAGIC_NUMBER + bytes(12)
    with zipfile.ZipFile(file, "w") as archive:
        for module, source in sorted(sources.items()):
            path = module.replace(".", "/") + ("/__init__.pyc" if _is_package(source) else ".pyc")
            code = _code(module, source, docstrings=True)  # a command's docstring is its help
            how = zipfile.ZIP_STORED if module in loaded else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(path), head + code, how)


def _loaded_by_status() -> set[str]:
    script = "import sys, cni_chain.cli.glance; print(*sys.modules)"
    # Without `site`: what that loads is the builder's.
    done = subprocess.run([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())
