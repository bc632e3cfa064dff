"""What a plugin waits out while its agent is away: half a minute and more, within cni-chain's own budgets.

All scenarios run at the same time, each on its own node, from the first test on; the tests judge them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import executable, programs
from tests.support.agents.agent_pod import agent_pod
from tests.support.agents.case import Case, Step
from tests.support.agents.node import PLAIN, MeshPod
from tests.support.agents.waiting import Combination, Scenario, Waiting
from tests.support.gomodules import NotBuiltError
from tests.support.sandbox.namespaces import SandboxUnavailableError
from tests.support.stand_ins.orders import NAMESPACES_FAIL, UNAUTHORIZED
from tests.system.agents.conftest import FACADES

SCENARIOS: list[Scenario] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each scenario once, with the frozen program if there is one; with --slow-agents with everything."""
    if "combination" not in metafunc.fixturenames:
        return
    slow = metafunc.config.getoption("--slow-agents")
    chosen = programs(metafunc.config) if slow else programs(metafunc.config)[-1:]
    facades = FACADES if slow else FACADES[:1]
    combinations = [Combination(s, p, f) for p in chosen for f in facades for s in SCENARIOS]
    ids = [f"{c.scenario.name}-{c.scenario.cilium}-{Path(c.program).name}-{c.facade}" for c in combinations]
    metafunc.parametrize("combination", combinations, ids=ids)


def with_cilium(*versions: str) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Make a function a scenario with each of these versions."""

    def register(run: Callable[[Case], None]) -> Callable[[Case], None]:
        SCENARIOS.extend(Scenario(run, version) for version in versions)
        return run

    return register


def side_by_side(case: Case, *calls: tuple[str, MeshPod]) -> Sequence[Step]:
    """Calls for several pods at the same time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(lambda call: case.node.cni(*call), calls))
    return [case.step(verb.upper(), pod, answer) for (verb, pod), answer in zip(calls, answers, strict=True)]


@with_cilium("1.20", "1.18")
def cilium_is_stopped(case: Case) -> None:
    """CHECK says to try again, DEL is queued within its budget, ADD fails and is rolled back; STATUS doesn't wait."""
    with case.added() as checked, case.added() as deleted, case.pod() as new:
        case.node.cilium.stop()
        if case.version == "1.1.0":
            case.cni("status").succeeded()
        check, delete, add = side_by_side(case, ("check", checked), ("del", deleted), ("add", new))
        gone = case.node.pod_interfaces(deleted), case.node.pod_interfaces(new)
        queued = len(case.node.queued())
        case.node.cilium.start()
        case.cni("add", new).succeeded()
        case.cni("del", new).succeeded()
        case.cni("del", checked).succeeded()

    unreachable(check, add)
    delete.succeeded()
    assert gone == ([], [])
    assert queued == 2  # the rollback's too
    assert case.node.queued() == []


@with_cilium("1.20", "1.18")
def cilium_is_killed(case: Case) -> None:
    """Its socket is there and refuses: CHECK and ADD wait as long, DEL 3 s, with Cilium 1.18 as long as before."""
    with case.added() as checked, case.added() as deleted, case.pod() as new:
        case.node.cilium.kill()
        check, delete, add = side_by_side(case, ("check", checked), ("del", deleted), ("add", new))
        queued = len(case.node.queued())
        case.node.cilium.start()
        case.cni("del", checked).succeeded()

    unreachable(check, add)
    delete.succeeded()
    assert queued == 2


def unreachable(check: Step, add: Step) -> None:
    """CHECK and ADD say which agent it is."""
    assert check.error["code"] == 11
    assert check.error["msg"].startswith("cilium/cilium-cni: ")
    assert add.error["msg"].startswith("cilium/cilium-cni: unable to connect to Cilium agent")


@with_cilium("1.20")
def cilium_hangs_with_the_budgets_as_shipped(case: Case) -> None:
    """It takes connections and never answers: CHECK and DEL end in their budgets, and DEL is done once it answers."""
    with case.added() as checked, case.added() as deleted:
        case.node.cilium.freeze()
        check, delete = side_by_side(case, ("check", checked), ("del", deleted))
        case.node.cilium.thaw()
        case.cni("del", deleted).succeeded()
        case.cni("del", checked).succeeded()

    for step in (check, delete):
        assert step.answer.status != 0
        assert step.error["msg"].startswith("cilium/cilium-cni: ")


@with_cilium("1.20")
def kubernetes_api_is_away_or_unwell(case: Case) -> None:
    """No pod whose namespace can't be looked up starts: nobody knows whether it is in the mesh."""
    with case.pod() as pod, case.pod(PLAIN) as plain:
        case.node.kubernetes.stop()
        away = side_by_side(case, ("add", pod), ("add", plain))
        case.node.kubernetes.start()
        case.node.kubernetes.order(NAMESPACES_FAIL)
        without_namespaces = case.cni("add", pod)
        case.node.kubernetes.order(UNAUTHORIZED)
        unauthorized = case.cni("add", pod)
        case.node.kubernetes.order()
        added = case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert all("connection refused" in step.text for step in away)
    for step in (*away, without_namespaces, unauthorized):
        assert step.error["msg"].startswith("istio/istio-cni: ")
        assert step.asked("istio-node-agent") == []
    assert len(added.enrolled) == 1


@with_cilium("1.20")
def istios_agent_pod_is_deleted(case: Case) -> None:
    """The token died with it: no pod starts, of the mesh or not, and istio-cni says why after half a minute."""
    with agent_pod(case.node) as agent, case.pod() as pod, case.pod(PLAIN) as plain:
        agent.goes()
        refused = side_by_side(case, ("add", pod), ("add", plain))
        interfaces = case.node.pod_interfaces(pod), case.node.pod_interfaces(plain)
        agent.comes_back()
        added = case.cni("add", pod).succeeded()
        case.cni("add", plain).succeeded()
        for one in (pod, plain):
            case.cni("del", one).succeeded()

    why = "istio/istio-cni: failed to get pod or namespace info: podErr=Unauthorized, nsErr=Unauthorized"
    assert [step.error["msg"] for step in refused] == [why, why]
    assert all(30 <= step.answer.ms / 1000 < 45 for step in refused)
    assert not any(step.asked("istio-node-agent") for step in refused)
    assert interfaces == ([], [])
    assert len(added.enrolled) == 1


@pytest.fixture(scope="module")
def waiting(request: pytest.FixtureRequest, tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Waiting]:
    """The scenarios of the tests that were chosen, begun."""
    specs = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    wanted: list[Combination] = [spec.params["combination"] for spec in specs if "combination" in spec.params]
    programs = {name: executable(name, tmp_path_factory) for name in {combination.program for combination in wanted}}
    waiting = Waiting(wanted, programs, tools)
    yield waiting
    waiting.close()


def test_agent_away(combination: Combination, waiting: Waiting, request: pytest.FixtureRequest) -> None:
    try:
        outcome = waiting.outcome(combination).result()
    except (SandboxUnavailableError, NotBuiltError) as e:
        pytest.skip(str(e))
    outcome.keep(request.node)
