"""Where the tests' own files stand: suites, what they share, and programs that are not tests."""

import ast
import os
import re
import subprocess
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SUITES = {"unit", "plugin", "cli", "release", "system"}
MODULES = [path.relative_to(TESTS) for path in sorted(TESTS.rglob("*.py")) if len(path.relative_to(TESTS).parts) > 1]


def imported(module: Path) -> set[str]:
    """The folders of tests/ that a module imports from."""
    nodes = ast.walk(ast.parse((TESTS / module).read_text()))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[1] for name in names if name.startswith("tests.")}


def may_import(folder: str) -> set[str]:
    """The folders that modules of a folder import from, beside their own."""
    return {"support": set(), "lab": {"support", "conftest"}}.get(folder, {"support", "lab", "conftest"})


def test_a_module_imports_from_its_own_folder_and_from_what_is_shared() -> None:
    """Libraries know neither suites nor programs; a suite knows no other, so each can be run and changed alone."""
    foreign = {str(module): imported(module) - may_import(module.parts[0]) - {module.parts[0]} for module in MODULES}

    assert {module: folders for module, folders in foreign.items() if folders} == {}


def test_every_test_is_in_a_suite() -> None:
    """pytest collects the suites only, and passes over some folders by their names, such as build."""
    assert {module.parts[0] for module in MODULES if module.name.startswith("test_")} == SUITES
    assert [module for module in MODULES if "build" in module.parts[:-1]] == []


def test_make_test_runs_every_suite_and_its_plan_names_each() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "test"]
    make = subprocess.run(command, cwd=TESTS.parent, env=environ, capture_output=True, text=True, check=True).stdout
    plan = subprocess.run([TESTS / "plan"], capture_output=True, text=True, check=True).stdout

    ran = [line for line in make.splitlines() if "-m pytest" in line]
    assert set(re.findall(r"tests/(\w+)", " ".join(ran))) == SUITES
    assert set(re.findall(r"tests/(\w+)", plan)) == SUITES
