"""`migrate` and the agents' own writers: one directory that both edit, then one for each by the settings it prints.

What an agent then writes by itself must mean what migrate had written for it, and nobody edits the runtime's directory.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conftest import available
from tests.support.agents import writers
from tests.support.agents.settings import flags
from tests.support.agents.writers import CILIUM, CLEANS_UP, ISTIO, Writer
from tests.support.sandbox.namespaces import Sandbox
from tests.support.sandbox.node import BIN, CHAIN, FACADE, NET, Node, wait_for

Json = dict[str, Any]

LIST = f"{NET}/05-cilium.conflist"
FILES = {CILIUM: f"{CHAIN}/cilium.d/05-cilium.conflist", ISTIO: f"{CHAIN}/istio.d/10-istio.conf"}
# What Cilium's versions write into their list.
CNI_VERSIONS = {"1.18": "0.3.1", "1.20": "1.0.0"}
# Of a fragment, what no delegate gets as it is written there: the facade's counts.
NOT_PASSED_ON = ("name", "cniVersion")
# migrate says of this one that it changes, on purpose.
RETRY = "enable_ambient_detection_retry"


def plugins(document: Json) -> list[Json]:
    """What a file of either form says for each of its plugins."""
    return [{k: v for k, v in one.items() if k not in NOT_PASSED_ON} for one in document.get("plugins", [document])]


class SharedNode:
    """A node whose two agents write to the runtime's directory, as they are set before cni-chain."""

    def __init__(self, sandbox: Sandbox, program: str, tools: Path) -> None:
        self.sandbox = sandbox
        Node(sandbox, Path(program), tools)
        self.agents: dict[str, Writer] = {}
        self._before: dict[str, tuple[str, ...]] = {}

    def cilium(self, version: str) -> None:
        """Put a version of Cilium's plugin and writer in place."""
        programs = writers.built(f"cilium-{version}")
        shutil.copy(programs / "cilium-cni", self.sandbox.path(BIN))
        shutil.copy(programs / "cilium-conf-writer", self.sandbox.path("/opt/cni"))

    def close(self) -> None:
        for agent in self.agents.values():
            agent.close()

    def start(self, agent: str, *settings: str) -> None:
        """An agent with its settings; what it was told before holds, unless it is told again."""
        if agent in self.agents:
            assert self.agents[agent].stop(), f"{agent}'s writer ends on SIGTERM"
        make = {CILIUM: writers.cilium, ISTIO: writers.istio}[agent]
        self._before.setdefault(agent, settings)
        self.agents[agent] = make(self.sandbox, NET, *self._before[agent], *settings)
        self.agents[agent].start()

    def restart(self, agent: str, *settings: str) -> None:
        """The same, until the agent has said that its file is in place."""
        said = len(self.agents[agent].said)
        self.start(agent, *settings)
        wait_for(lambda: self.agents[agent].is_ready(said), f"{agent} is ready", 60)

    def chain(self, *words: str) -> tuple[int, str, str]:
        done = self.sandbox.run(f"{BIN}/cni-chain", *words, check=False)
        return done.returncode, done.stdout, done.stderr

    def document(self, *words: str) -> Json:
        status, out, err = self.chain(*words, "--json")
        assert (status, err) == (0, "")
        document: Json = json.loads(out)
        return document

    def content(self, path: str) -> bytes:
        """A file's bytes; none while it isn't there."""
        with contextlib.suppress(FileNotFoundError):
            return self.sandbox.path(path).read_bytes()
        return b""

    def read(self, path: str) -> Json:
        document: Json = json.loads(self.content(path))
        return document

    def types(self, path: str) -> list[str]:
        return [plugin["type"] for plugin in plugins(self.read(path))] if self.content(path) else []

    def wait_for_list(self, *types: str) -> None:
        wait_for(lambda: self.types(LIST) == list(types), f"{LIST} has {', '.join(types)}", 60)

    def wait_for_own(self, agent: str, copy: bytes) -> None:
        """Wait until an agent has written its file in its own way."""
        wait_for(lambda: self.content(FILES[agent]) not in (copy, b""), f"{agent} writes {FILES[agent]}", 60)

    def delegates(self) -> list[Json]:
        """What each plugin of a new pod would get."""
        [facade] = self.document("cat", "--effective")["facades"]
        return [delegate["stdin"] for delegate in facade["delegates"]]

    def net_dir(self) -> dict[str, tuple[int, bytes]]:
        """The runtime's directory: each whole file, whether it is the same one, and its content."""
        found = {}
        for file in self.sandbox.path(NET).iterdir():
            with contextlib.suppress(FileNotFoundError):  # a writer has just renamed it
                if not file.name.startswith(".") and ".tmp" not in file.name:
                    found[file.name] = (file.stat().st_ino, file.read_bytes())
        return found


@pytest.fixture
def node(program: str, tools: Path) -> Iterator[SharedNode]:
    with contextlib.ExitStack() as stack:
        with available():
            node = SharedNode(stack.enter_context(Sandbox()), program, tools)
            for agent in ("cilium-1.20", "cilium-1.18", "istio"):
                writers.built(agent)
        stack.callback(node.close)
        yield node


class Case(NamedTuple):
    """How the agents are set before, and what is in the list then; what the settings change on purpose."""

    types: tuple[str, ...]
    version: str = "1.20"  # Cilium's
    cilium: tuple[str, ...] = ()
    istio: tuple[str, ...] = ()
    changes: tuple[tuple[str, bool, bool], ...] = ()
    strips: bool = False  # Istio's agent takes its plugin out of the list when it stops


CASES = {
    "ambient": Case(("cilium-cni", "istio-cni"), changes=((RETRY, False, True),)),
    "ambient-with-cilium-1.18": Case(("cilium-cni", "istio-cni"), version="1.18", changes=((RETRY, False, True),)),
    "ambient-with-portmap": Case(
        ("cilium-cni", "portmap", "istio-cni"),
        cilium=("--cni-chaining-mode=portmap",),
        istio=("--enable-ambient-detection-retry=true",),
    ),
    "sidecar": Case(("cilium-cni", "istio-cni"), istio=("--ambient-enabled=false", CLEANS_UP), strips=True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_the_agents_then_write_means_what_migrate_wrote_for_them(node: SharedNode, case: Case) -> None:
    """In the order of the steps, each agent restarted with the settings that are printed; and all the way back."""
    node.cilium(case.version)
    node.start(CILIUM, "--cni-exclusive=false", *case.cilium)
    node.start(ISTIO, *case.istio)
    node.wait_for_list(*case.types)
    shared, in_use = node.read(LIST), node.net_dir()
    plan = node.document("migrate", "write")
    told = {setting["owner"]: flags(setting["commands"]) for setting in plan["settings"]}
    copies = {agent: node.content(file) for agent, file in FILES.items()}
    status, _, refused = node.chain("migrate", "switch")
    assert (status, f"{FILES[CILIUM]}: is still the copy that migrate wrote" in refused) == (1, True)

    node.start(CILIUM, *told[CILIUM])
    node.wait_for_own(CILIUM, copies[CILIUM])
    own = plugins(node.read(FILES[CILIUM]))
    assert [plugin for plugin in own if plugin["type"] == "cilium-cni"] == plugins(json.loads(copies[CILIUM]))
    assert node.net_dir().items() >= in_use.items()

    node.document("migrate", "switch")
    assert shared["cniVersion"] == node.read(f"{NET}/{FACADE}")["cniVersion"] == CNI_VERSIONS[case.version]
    switched, by_copies = node.net_dir(), node.delegates()
    assert [delegate["type"] for delegate in by_copies] == list(case.types)

    node.start(ISTIO, *told[ISTIO])
    node.wait_for_own(ISTIO, copies[ISTIO])
    [copy] = plugins(json.loads(copies[ISTIO]))
    assert plugins(node.read(FILES[ISTIO])) == [copy | {key: after for key, _, after in case.changes}]
    assert [(key, copy[key]) for key, _, _ in case.changes] == [(key, before) for key, before, _ in case.changes]
    by_agents = [
        delegate | {key: before for key, before, _ in case.changes if key in delegate} for delegate in node.delegates()
    ]
    assert by_agents == by_copies
    assert {name for name, file in node.net_dir().items() if file != switched.get(name)} == (
        {Path(LIST).name} if case.strips else set()
    )
    assert node.document("verify")["findings"] == []

    written = {agent: node.content(file) for agent, file in FILES.items()}
    node.restart(CILIUM, *told[CILIUM], "--cni-exclusive=true")
    node.restart(ISTIO, *told[ISTIO])
    assert {agent: node.content(file) for agent, file in FILES.items()} == written
    assert node.net_dir()[FACADE] == switched[FACADE]

    undone = node.document("migrate", "undo")
    assert [warning for warning in undone["warnings"] if "has no istio-cni" not in warning] == []
    assert len(undone["warnings"]) == case.strips
    node.start(CILIUM)
    node.start(ISTIO)
    node.wait_for_list(*case.types)
    assert node.read(LIST) == shared


def test_an_exclusive_cilium_that_has_not_moved_takes_the_facade_away_and_migrate_tells_how_to_go_on(
    node: SharedNode,
) -> None:
    """The refusal was right: overruled, the facade is gone within its first moment, and the list counts as before."""
    node.cilium("1.20")
    node.start(CILIUM, "--cni-exclusive=true")
    node.wait_for_list("cilium-cni")
    plan = node.document("migrate", "write")
    in_use = node.content(LIST)

    status, out, err = node.chain("migrate", "switch", "--override", "cilium-not-moved")
    assert (status, out) == (1, "")
    assert f"{NET}/{FACADE}: was removed again at once (by Cilium, if {NET}/{FACADE}.cilium_bak exists)" in err
    assert sorted(node.net_dir()) == sorted(
        [Path(LIST).name, f"{Path(LIST).name}.before-cni-chain", f"{FACADE}.cilium_bak"]
    )
    assert node.content(LIST) == in_use

    node.document("migrate", "write")
    status, _, err = node.chain("migrate", "switch")
    assert (status, f"{FACADE}.cilium_bak: Cilium has renamed the facade to this: set cni.confPath to" in err) == (
        1,
        True,
    )

    copy = node.content(FILES[CILIUM])
    node.start(CILIUM, *flags(plan["settings"][0]["commands"]))
    node.wait_for_own(CILIUM, copy)
    node.sandbox.path(f"{NET}/{FACADE}.cilium_bak").unlink()
    node.document("migrate", "switch")
    assert [delegate["type"] for delegate in node.delegates()] == ["cilium-cni"]
    assert FACADE in node.net_dir()


def test_an_istio_that_leaves_the_list_before_the_switch_is_waited_for_and_never_left_out(node: SharedNode) -> None:
    """In sidecar mode its agent takes its plugin out of the list when it stops, and adds it again when it starts."""
    node.cilium("1.20")
    node.start(CILIUM, "--cni-exclusive=false")
    node.start(ISTIO, "--ambient-enabled=false", CLEANS_UP)
    node.wait_for_list("cilium-cni", "istio-cni")
    plan = node.document("migrate", "write")
    copy = node.content(FILES[CILIUM])
    node.start(CILIUM, *flags(plan["settings"][0]["commands"]))
    node.wait_for_own(CILIUM, copy)
    assert node.agents.pop(ISTIO).stop()
    node.wait_for_list("cilium-cni")

    for command in ("switch", "write"):
        status, _, err = node.chain("migrate", command)
        assert (status, "wait until the list has it again, or move Istio" in err) == (1, True), err

    node.start(ISTIO)
    node.wait_for_list("cilium-cni", "istio-cni")
    node.document("migrate", "switch")
    assert [delegate["type"] for delegate in node.delegates()] == ["cilium-cni", "istio-cni"]


def test_a_mesh_that_comes_later_writes_where_the_facade_waits_for_it(node: SharedNode) -> None:
    node.cilium("1.20")
    node.start(CILIUM, "--cni-exclusive=true")
    node.wait_for_list("cilium-cni")
    plan = node.document("migrate", "write", "--add", "istio")
    told = {setting["owner"]: flags(setting["commands"]) for setting in plan["settings"]}
    copy = node.content(FILES[CILIUM])
    node.start(CILIUM, *told[CILIUM])
    node.wait_for_own(CILIUM, copy)
    node.document("migrate", "switch")
    assert [delegate["type"] for delegate in node.delegates()] == ["cilium-cni"]
    facade = node.net_dir()[FACADE]

    node.start(ISTIO, *told[ISTIO])
    node.wait_for_own(ISTIO, b"")

    assert [delegate["type"] for delegate in node.delegates()] == ["cilium-cni", "istio-cni"]
    assert node.net_dir()[FACADE] == facade
    node.document("owner", "require", "istio")
    assert [step["id"] for step in node.document("migrate", "status")["steps"] if step["next"]] == ["check", "clean"]
    assert node.document("verify")["findings"] == []

    node.document("owner", "remove", "istio")
    assert node.agents.pop(ISTIO).stop()
    assert [delegate["type"] for delegate in node.delegates()] == ["cilium-cni"]
    assert [one["severity"] for one in node.document("verify")["findings"]] in ([], ["warning"])  # what Istio has left
