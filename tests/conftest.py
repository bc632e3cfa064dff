"""What all suites share: which programs are tested, and that nothing is skipped where everything must run.

`--program source` (the default) tests the checkout, `--program PATH` an executable, for instance the frozen one;
given twice, every test that uses `program` runs against both, but for those in OF_OTHERS.

Markers (pyproject.toml lists them) come by folder and fixture, see `marks_of`, or by hand. `root` skips where the user
is not root.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.compiler import NoCompilerError, compiled
from tests.support.emulator import startable
from tests.support.files.node import Node, called_node
from tests.support.gomodules import NotBuiltError
from tests.support.lanes import Lanes, begins
from tests.support.sandbox import node as sandbox_node
from tests.support.sandbox.namespaces import SandboxUnavailableError
from tests.support.sandbox.node import is_frozen

TESTS = Path(__file__).resolve().parent
CHECKOUT = TESTS.parent
# What runtimes, agents, meshes' rules and the kernel do with cni-chain. They meet it as it is installed, so a frozen
# program that is tested is enough; that the source does the same is seen by the other suites, which take both.
OF_OTHERS = [
    TESTS / "system" / folder for folder in ("agents", "capture", "daemon", "mesh", "owners", "runtimes", "shim", "war")
]
# As the frozen program is started: without site-packages, which only the command line needs, for typer.
LAUNCHER = """\
#!{python} -IS
import os
import sys
sys.path.insert(0, {checkout!r})
if not os.environ.get("CNI_COMMAND"):
    import site
    site.main()
from cni_chain.__main__ import main
sys.exit(main())
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--program", action="append", metavar="source|PATH", help="what to test (repeatable)")
    every = "the agents' own time limits with every program and version of the facade (minutes)"
    parser.addoption("--slow-agents", action="store_true", help=every)


def marks_of(item: pytest.Item) -> set[str]:
    """The markers that a test gets for where it stands and what it uses."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.path.is_relative_to(TESTS / "system") and fixtures & {"program", "tools", "sandbox", "long_run"}:
        return {"root", "network", "slow"}
    return set()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark them before `-m` chooses; when pytest has put tests of one fixture together, sort them by lanes."""
    for item in items:
        for name in sorted(marks_of(item)):
            item.add_marker(name)
    yield
    items.sort(key=lambda item: begins(item.nodeid))


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root: the files and the network of a node are root's")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes:
    """Run tests of one lane in one worker."""
    return Lanes(config, log)


def programs(config: pytest.Config) -> list[str]:
    return config.getoption("--program") or ["source"]


def pytest_configure(config: pytest.Config) -> None:
    # Some shells start what runs in the background with SIGINT ignored, and a test's programs would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for program in programs(config):
        if program != "source" and not os.access(program, os.X_OK):
            raise pytest.UsageError(f"--program {program}: no such executable")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "program" in metafunc.fixturenames:
        chosen = programs(metafunc.config)
        if any(metafunc.definition.path.is_relative_to(folder) for folder in OF_OTHERS):
            chosen = [program for program in chosen if is_frozen(program)] or chosen
        names = [Path(program).name for program in chosen]
        metafunc.parametrize("program", chosen, ids=names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the executable under test."""
    return str(executable(request.param, tmp_path_factory))


def executable(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executable that `--program NAME` means."""
    return launched(name, tmp_path_factory.mktemp("program"))


def launched(name: str, folder: Path) -> Path:
    """The executable that `--program NAME` means; the source's, and another architecture's, is made in a folder."""
    if name != "source":
        return startable(Path(name).absolute(), folder)
    launcher = folder / "cni-chain"
    launcher.write_text(LAUNCHER.format(python=sys.executable, checkout=str(CHECKOUT)))
    launcher.chmod(0o755)
    return launcher


@pytest.fixture(scope="session")
def double(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording delegate, compiled."""
    try:
        return compiled_double(tmp_path_factory.mktemp("double"))
    except NoCompilerError as error:
        pytest.skip(str(error))


def compiled_double(folder: Path) -> Path:
    """The recording delegate, compiled into a folder. Raises NoCompilerError."""
    return compiled(CHECKOUT / "tests/support/files/double.c", folder / "double", "-O1")


@pytest.fixture(scope="session")
def tools() -> Path:
    """cnitool, our driver of libcni and the reference plugins."""
    built = sandbox_node.tools()
    if built is None:
        pytest.skip("cnitool and the reference plugins are not built: make tools")
    return built


@contextlib.contextmanager
def available() -> Iterator[None]:
    """Skip the test, with the reason, where a sandbox can't be made or what it needs isn't built."""
    try:
        yield
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    except NotBuiltError as error:
        pytest.skip(f"a tool is missing: {error}")


@pytest.fixture
def host(program: str, double: Path, tmp_path: Path) -> Iterator[Node]:
    """A machine with cni-chain and, so far, no owner."""
    host = called_node(tmp_path, program, double)
    yield host
    host.close()


def forbidden_skip(report: pytest.CollectReport | pytest.TestReport) -> bool:
    if not os.environ.get("CNI_CHAIN_NO_SKIPS") or not report.skipped or hasattr(report, "wasxfail"):
        return False
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return not reason.removeprefix("Skipped: ").startswith("by design:")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]  # pytest sends the result into the generator
    if forbidden_skip(report):
        report.outcome = "failed"
        report.longrepr = f"CNI_CHAIN_NO_SKIPS forbids this skip: {report.longrepr}"
    return report  # type: ignore[return-value]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report: pytest.CollectReport = yield  # type: ignore[assignment]
    if forbidden_skip(report):
        report.outcome = "failed"
        report.longrepr = f"CNI_CHAIN_NO_SKIPS forbids this skip: {report.longrepr}"
    return report  # type: ignore[return-value]
