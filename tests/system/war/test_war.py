"""The war and its end, as the demonstration tells them: and that it would tell a promise that isn't kept."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, programs
from tests.lab.war import plot
from tests.lab.war.account import COMPLETE, Json, account, broken_promises
from tests.lab.war.observer import Change, Look, Observer
from tests.lab.war.run import Restarts, Seen, Step, run
from tests.lab.war.scenarios import SCENARIOS, WAITS, first_file
from tests.support.agents.split_node import CILIUM_D, ISTIO_D
from tests.support.agents.writers import CILIUM, ISTIO
from tests.support.sandbox.node import FACADE, NET, wait_for
from tests.system.war.conftest import LongRun

DOCS = CHECKOUT / "docs/evidence"
WAITING = WAITS + "waiting for istio's CNI configuration in /etc/cni/chain.d/istio.d"


def test_a_minute_of_agents_restarted_at_random_and_nothing_is_ever_amiss(long_run: LongRun) -> None:
    """No foreign write, no pod without the mesh, both fragments valid at every change. Ten minutes by command."""
    shown, _ = long_run.process.communicate(timeout=long_run.seconds + 120)

    assert long_run.process.returncode == 0, shown
    assert "foreign writes   0" in shown


def test_in_one_directory_each_takes_back_what_the_other_has_written(
    tools: Path, request: pytest.FixtureRequest
) -> None:
    """At their defaults. cni-chain has no part in it: whichever is tested is installed, and isn't run."""
    named = programs(request.config)[0]
    program = Path(sys.executable if named == "source" else named)

    figures = account("war", SCENARIOS["war"], run(SCENARIOS["war"], program, tools, 20, None), None)

    writes = figures["writes"]
    assert len(writes[ISTIO]) >= 2, figures
    assert len(writes[CILIUM]) >= len(writes[ISTIO]), figures
    assert figures["overwritten by Cilium after, ms"]["times"] >= len(writes[ISTIO]) - 1
    assert figures["istio ready"]["after"] == []
    assert {state for _, state in figures["looks"]} >= {"cilium-cni"}


@pytest.mark.root
def test_the_observer_sees_each_change_its_process_and_what_became_of_it(tmp_path: Path) -> None:
    """Also a file that is there for an instant only, by the name that it had."""
    net = tmp_path / "net.d"
    net.mkdir()
    script = 'import os; os.rename("new", "net.d/10-a.conf"); os.rename("net.d/10-a.conf", "net.d/10-a.conf.bak")'
    (tmp_path / "new").write_text('{"type": "a"}')
    (net / "20-b.conflist").write_text('{"plugins": [{"type": "b"}, {"type": "c"}]}')
    try:
        observer = Observer({"net": net}, lambda: first_file(net))
    except OSError as error:
        pytest.skip(f"namespace or root is missing: {error}")

    with observer:
        with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path) as process:
            pass
        (net / "20-b.conflist").unlink()
        wait_for(lambda: observer.looks[-1].state == "no network", "the last change is seen")

    # The kernel reports two changes of one file by one process as one, in no order, if nobody has read the first yet.
    seen = [(one.process == process.pid, one.name, verb) for one in observer.changes for verb in one.verbs]
    assert (sorted(seen[:2]), seen[2:]) == (
        [(True, "10-a.conf", "renamed away"), (True, "10-a.conf", "renamed to")],
        [(True, "10-a.conf.bak", "renamed to"), (False, "20-b.conflist", "deleted")],
    )
    # The observer may have been quick enough to see the file that was there for an instant.
    assert [one.state for one in observer.looks] in (["b → c", "no network"], ["b → c", "a", "b → c", "no network"])


def test_the_same_seed_restarts_the_same_agents_at_the_same_times() -> None:
    class Told:
        """Stands where a writer would and does nothing."""

        def start(self) -> None: ...
        def kill(self) -> None: ...
        def stop(self, _seconds: float) -> bool:
            return True

    def played(seed: int) -> list[tuple[float, str, str]]:
        restarts, agents = Restarts(seed, 2), {CILIUM: Told(), ISTIO: Told()}
        moments = [number / 20 for number in range(600)]
        return [(now, *done) for now in moments for done in restarts.act(now, agents)]  # type: ignore[arg-type]  # as said

    assert played(1) == played(1) != played(2)
    ends = [what for _, _, what in played(1) if what != "started"]
    assert {"stopped", "killed"} == set(ends)


def kept() -> Seen:
    """What is seen of a split that is as it should be: two agents, one restart."""
    fragments = ((0.1, CILIUM_D, 7, "05-cilium.conflist"), (1.2, ISTIO_D, 8, "10-istio.conf"))
    return Seen(
        seconds=10,
        steps=[Step(0, CILIUM, "started"), Step(1, ISTIO, "started"), Step(1.4, ISTIO, "ready")],
        looks=[Look(0, WAITING), Look(1.2, COMPLETE)],
        changes=[Change(at, where, process, name, frozenset({"renamed to"})) for at, where, process, name in fragments],
        agents={7: CILIUM, 8: ISTIO},
        verified=[(0.2, ["error: /etc/cni/net.d/x: new pods wait for istio's CNI configuration in"]), (1.3, [])],
        facade_untouched=True,
    )


def change(directory: str, process: int, name: str, verb: str = "renamed to") -> Callable[[Seen], Seen]:
    more = Change(5, directory, process, name, frozenset({verb}))
    return lambda seen: seen._replace(changes=[*seen.changes, more])


@pytest.mark.parametrize(
    ("amiss", "told"),
    [
        (change(CILIUM_D, 8, "10-x.conf"), f"a foreign change: {CILIUM_D}/10-x.conf renamed to by istio"),
        (change(ISTIO_D, 99, ".x", "created"), f"a foreign change: {ISTIO_D}/.x created by process 99"),
        (change(NET, 7, FACADE, "renamed away"), f"a foreign change: {NET}/{FACADE} renamed away by cilium"),
        (lambda seen: seen._replace(facade_untouched=False), "the facade was changed"),
        (
            lambda seen: seen._replace(looks=[*seen.looks, Look(6, "cilium-cni")]),
            "after both had written, a pod got: cilium-cni",
        ),
        (
            lambda seen: seen._replace(looks=[*seen.looks, Look(6, WAITING), Look(6.1, COMPLETE)]),
            f"after both had written, a pod got: {WAITING}",
        ),
        (
            lambda seen: seen._replace(looks=[Look(0, "cilium-cni"), *seen.looks]),
            "before both had written, a pod got: cilium-cni",
        ),
        (lambda seen: seen._replace(looks=seen.looks[:1]), f"no pod ever got {COMPLETE}"),
        (
            lambda seen: seen._replace(verified=[(0.2, ["error: x: not JSON"])]),
            "cni-chain verify after 0.2 s: error: x: not JSON",
        ),
        (
            lambda seen: seen._replace(verified=[*seen.verified, (5, seen.verified[0][1])]),
            "cni-chain verify after 5.0 s: error: /etc/cni/net.d/x: new pods wait for istio's CNI configuration in",
        ),
        (lambda seen: seen._replace(changes=seen.changes[:1]), "istio's writer has never written"),
        (
            lambda seen: seen._replace(seconds=60, steps=[step for step in seen.steps if step.what != "ready"]),
            "Istio was not ready 59 s after a start",
        ),
    ],
)
def test_a_promise_that_is_not_kept_is_told(amiss: Callable[[Seen], Seen], told: str) -> None:
    split = SCENARIOS["split"]
    assert broken_promises(account("split", split, kept(), 1)) == []

    assert told in broken_promises(account("split", split, amiss(kept()), 1))


def test_the_picture_in_docs_is_drawn_from_the_figures_beside_it() -> None:
    figures: Json = json.loads((DOCS / "agents-war.json").read_text())
    drawn = (DOCS / "agents-war.svg").read_text()

    assert drawn == plot.picture(figures)
    said = [text for one in ET.fromstring(drawn).iter() if (text := (one.text or "").strip())]  # noqa: S314  # our own
    for scenario in figures["scenarios"]:
        for agent in (CILIUM, ISTIO):
            assert f"{len(scenario['writes'][agent])}×" in said
