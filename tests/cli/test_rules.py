"""Every rule finds its problem, and no two commands disagree about a node.

The commands run in this process: there are six for each of some eighty nodes.
"""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_chain.checks import registry
from cni_chain.checks.rule import ERROR, WARNING, Needs
from cni_chain.cli import app
from tests.cli import grid
from tests.cli.test_doctor_here import Here, here
from tests.support.files import mounts, schemas
from tests.support.files.node import Json, Node, Result, shipped_node

__all__ = ["here"]

pytestmark = pytest.mark.root  # whose files are root's

_OF_OWNERS = {"owner-without-fragment", "owner-types-exclude-all", "fragment-unusable"}


@pytest.fixture
def well(tmp_path: Path) -> Node:
    """A node on which all is well, as test_doctor.py has it; no program is called."""
    node = shipped_node(tmp_path / "node", "")
    (node.root / "var/log").mkdir(parents=True)
    state = node.root / "var/lib/cni/chain"
    state.mkdir(parents=True)
    state.chmod(0o700)
    return node


class Commands:
    """What each command says of one node."""

    def __init__(self, *where: str) -> None:
        self._where = where
        self.verify = self._document("verify")
        self.doctor = self._document("doctor")
        self.show = self._run("show")
        self.shown: Json = json.loads(self._run("show", "--json").stdout)
        self.owners = self._run("owner", "list", "--json")
        self.cat = self._run("cat")
        self.status = self._run("status")
        self.glance: Json = json.loads(self._run("status", "--json").stdout)

    def _document(self, command: str) -> tuple[int, list[Json]]:
        result = self._run(command, "--json")
        return result.status, json.loads(result.stdout)["findings"]

    def _run(self, *arguments: str) -> Result:
        where = [*self._where]
        if arguments[0] not in ("doctor", "status") and "--state-dir" in where:
            at = where.index("--state-dir")
            del where[at : at + 2]
        argv, sys.argv = sys.argv, ["cni-chain", *arguments, *where]
        stdout, stderr = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                status = app.run()
        finally:
            sys.argv = argv
        if "--json" in arguments and stdout.getvalue():
            assert schemas.problem(json.loads(stdout.getvalue())) == ""
        return Result(status, stdout.getvalue(), stderr.getvalue())

    def told(self) -> str:
        """All that is told of the node."""
        return f"{self.doctor} {self.show} {self.shown} {self.cat} {self.status.stdout} {self.glance}"

    def ids(self) -> set[str]:
        """The ids of what `doctor` finds, which runs every rule."""
        return {one["id"] for one in self.doctor[1]}

    def disagreements(self) -> Iterator[str]:
        """Yield whatever two commands say otherwise of the node."""
        (verify, verified), (doctor, diagnosed) = self.verify, self.doctor
        errors = _errors(verified)
        if verify != bool(errors):
            yield f"verify exits {verify} with errors {errors}"
        if doctor != bool(_errors(diagnosed)):
            yield f"doctor exits {doctor} with errors {_errors(diagnosed)}"
        needs = {kind.id: rule.needs for rule in registry.rules() for kind in rule.kinds}
        replaced = {id_ for kind in registry.KINDS.values() for id_ in kind.replaces}
        of_verify = {_key(one) for one in verified}
        of_doctor = {_key(one) for one in diagnosed if needs[one["id"]] <= Needs.PLUGINS}
        if any(severity == ERROR or id_ not in replaced for id_, severity, *_ in of_verify - of_doctor):
            yield f"verify alone finds {of_verify - of_doctor}"
        if of_doctor - of_verify:
            yield f"doctor alone finds {of_doctor - of_verify}"
        yield from self._of_show(verify, errors)
        if not any(needs[id_] is Needs.NODE for id_ in _errors(diagnosed)):
            yield from self._of_verdicts()
        yield from self._of_owners(verify, verified)
        yield from self._of_status(doctor, diagnosed)

    def _of_status(self, doctor: int, diagnosed: list[Json]) -> Iterator[str]:
        lines = self.status.stdout.splitlines()
        marks = {line[:1] for line in lines} & {"✓", "✗"}
        expected = doctor if self.glance["facades"] else 1
        if (self.status.status, self.glance["whole"], "✗" in marks) != (expected, expected == 0, expected == 1):
            yield f"status exits {self.status.status} and says {self.glance['whole']}, {marks}, doctor exits {doctor}"
        errors = [(one["id"], one["path"]) for one in diagnosed if one["severity"] == ERROR]
        reasons = [(one["id"], one["path"]) for one in self.glance["findings"]]
        if [one for one in reasons if one[0] != "facade-waiting" or one in errors] != errors:
            yield "status --json has other errors than doctor"
        if not self.glance["whole"] and not reasons:
            yield "status --json says no new pod gets the whole chain, and not why"
        long = {word for line in lines for word in line.split() if len(word) > 60}  # a path is never broken
        if any(len(line) > 100 and not set(line.split()) & long for line in lines):
            yield f"a line of status is too long: {lines}"
        if len(lines) > 14 * max(1, len(self.glance["facades"])):
            yield f"status is no glance: {lines}"

    def _of_show(self, verify: int, errors: set[str]) -> Iterator[str]:
        facades = self.shown["facades"]
        if self.show.status != (verify if facades else 1):
            yield f"show exits {self.show.status}, verify {verify}"
        if not facades:
            yield from self._of_absence()
            return
        if {one["id"] for facade in facades for one in facade["errors"]} != errors:
            yield "show --json has other errors than verify"
        for facade, told in zip(facades, self.show.stdout.split("\nnetwork ")[-len(facades) :], strict=True):
            last = " ".join(told.rpartition("\n\n")[2].split())
            stopping = {one["id"] for one in facade["errors"] if registry.KINDS[one["id"]].is_stopping}
            if stopping and "A new pod runs" in last:
                yield f"show says {last!r} though {stopping}"
            if not facade["errors"] and not (last.startswith("A new pod runs") and last.endswith(("plugin.", "s."))):
                yield f"show says {last!r} without an error"
            if facade["newPod"] is not None and not stopping:
                yield f"show gives a new pod {facade['newPod']}, and no error says so"

    def _of_verdicts(self) -> Iterator[str]:
        """Yield each facade of which `show` and `status` say that a new pod gets something else."""
        facades = self.glance["facades"]
        heads = [line for line in self.status.stdout.replace("\n  ", " ").splitlines() if " network " in line[:10]]
        told = self.show.stdout.split("\nnetwork ")[-len(facades) :] if facades else []
        for head, shown in zip(heads, told, strict=True):
            last = " ".join(shown.rpartition("\n\n")[2].split())
            if _gets(head) != _gets(last):
                yield f"status says {head!r}, show {last!r}"

    def _of_absence(self) -> Iterator[str]:
        """Yield whatever a command leaves out of why no facade is in place, though `status` knows it."""
        places = [one["path"] for one in self.glance["findings"]]
        for command in (self.show, self.owners, self.cat):
            if command.status != 1 or any(path not in command.stderr for path in places):
                yield f"without a facade a command exits {command.status} and says {command.stderr}, status {places}"
        if not all(one["id"] in self.status.stdout for one in self.glance["findings"][:3]):
            yield f"status says {self.status.stdout} without a facade, and not why"

    def _of_owners(self, verify: int, verified: list[Json]) -> Iterator[str]:
        if not self.shown["facades"]:
            if self.owners.status != 1:
                yield "owner list finds no facade, and exits 0"
            return
        if self.owners.status > verify:
            yield f"owner list exits {self.owners.status}, verify {verify}"
        known = {_key(one) for one in verified}
        for facade in json.loads(self.owners.stdout)["facades"]:
            found = [one for one in facade["findings"] if one["severity"] == ERROR and one["id"] in _OF_OWNERS]
            at_fault = {one["owner"] for one in found}
            if not {_key(one) for one in found} <= known:
                yield f"owner list has {found}, verify {known}"
            for owner in facade["owners"]:
                if (owner["name"] in at_fault) != (owner["error"] is not None):
                    yield f"owner list has {owner}, verify {at_fault}"


def _gets(verdict: str) -> str:
    """What a new pod gets by a verdict: nothing of this chain, no network, or so many plugins."""
    if "o new pod gets this chain" in verdict:
        return "not this chain"
    if "o new pod gets a network" in verdict or "and no network" in verdict:
        return "no network"
    return next(word for word in verdict.replace(".", "").split() if word.isdigit())


def _errors(findings: list[Json]) -> set[str]:
    return {one["id"] for one in findings if one["severity"] == ERROR}


def _key(finding: Json) -> tuple[str, ...]:
    return tuple(str(finding[key]) for key in ("id", "severity", "path", "line", "column", "what"))


def test_every_id_is_in_the_grid() -> None:
    assert sorted([*grid.GRID, *grid.HERE]) == sorted(registry.KINDS)


def test_an_id_is_of_one_rule_and_has_its_texts() -> None:
    kinds = [kind for rule in registry.rules() for kind in rule.kinds]

    assert len({kind.id for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.id == kind.id.lower()
        assert " " not in kind.id
        assert kind.severity in (ERROR, WARNING)
        assert kind.when
        assert kind.why.endswith((".", ")"))
        assert kind.do
        assert all(registry.KINDS[id_].severity == WARNING for id_ in kind.replaces)


def test_a_node_on_which_all_is_well_has_nothing(well: Node) -> None:
    commands = Commands("--root", str(well.root))

    assert (commands.verify, commands.doctor) == ((0, []), (0, []))
    assert list(commands.disagreements()) == []


@pytest.mark.parametrize("id_", grid.GRID)
def test_each_rule_finds_its_problem_and_all_commands_agree(well: Node, id_: str) -> None:
    grid.GRID[id_](well)

    commands = Commands("--root", str(well.root))

    assert id_ in commands.ids()
    kind = registry.KINDS[id_]
    severities = {one["severity"] for one in commands.doctor[1] if one["id"] == id_}
    assert severities <= ({ERROR, WARNING} if kind.milder else {kind.severity})
    assert list(commands.disagreements()) == []


@pytest.mark.parametrize("name", grid.MORE)
def test_all_commands_agree_about_other_nodes(well: Node, name: str) -> None:
    grid.MORE[name](well)

    assert list(Commands("--root", str(well.root)).disagreements()) == []


def look_at(here: Here, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv("PATH", f"{here.programs}:/usr/bin:/bin")
    monkeypatch.setenv("CILIUM_SOCK", f"{here.run_dir}/cilium.sock")
    where = ["--net-dir", str(here.node.net_dir), "--bin-dir", str(here.node.bin_dir)]
    with mounts.private():  # where no runtime of this machine runs
        return here.in_time(lambda: Commands(*where, "--state-dir", str(here.node.root / "state")), Commands.told)


def test_a_running_node_on_which_all_is_well_has_nothing(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = look_at(here, monkeypatch)

    assert (commands.verify, commands.doctor) == ((0, []), (0, []))
    assert list(commands.disagreements()) == []


@pytest.mark.parametrize("id_", grid.HERE)
def test_each_rule_about_the_running_node(here: Here, monkeypatch: pytest.MonkeyPatch, id_: str) -> None:
    with grid.having(here, id_):
        commands = look_at(here, monkeypatch)

    assert id_ in commands.ids()
    assert list(commands.disagreements()) == []


def test_the_example_of_two_commands_that_contradicted_each_other(well: Node) -> None:
    grid.GRID["facade-outsorted"](well)

    commands = Commands("--root", str(well.root))

    assert (commands.verify[0], commands.doctor[0], commands.show.status) == (1, 1, 1)
    assert _errors(commands.verify[1]) == {"facade-outsorted"}
    last = commands.show.stdout.rpartition("\n\n")[2]
    assert last.startswith("No new pod gets this chain: sorts before 00-cni-chain.conflist (it has bridge)")


@pytest.mark.parametrize(("required", "severity"), [(True, ERROR), (False, WARNING)])
def test_a_half_written_file_is_an_error_where_pods_wait_for_its_owner(
    well: Node, *, required: bool, severity: str
) -> None:
    well.change_owner("local", required=required)
    grid.GRID["fragment-unusable"](well)

    commands = Commands("--root", str(well.root))

    assert [(one["id"], one["severity"]) for one in commands.verify[1]] == [("fragment-unusable", severity)]
    assert commands.verify[0] == commands.doctor[0] == commands.show.status == (severity == ERROR)
