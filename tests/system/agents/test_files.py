"""What the writers really write, wrong settings included, and what others do to it: what pods and operators get."""

import pytest

from tests.support.agents.case import Case, Step
from tests.support.agents.node import CILIUM_FILE, ISTIO_FILE
from tests.support.sandbox.node import CHAIN, types, wait_for

# What follows doesn't depend on the version that runtime and facade speak.
pytestmark = pytest.mark.parametrize("facade", ["1.0.0"])
CILIUM_PATH, ISTIO_PATH = f"{CHAIN}/{CILIUM_FILE}", f"{CHAIN}/{ISTIO_FILE}"


def refused_before_anything_ran(step: Step, *words: str, code: int = 11) -> None:
    """The message has these words; nobody was asked anything."""
    assert step.error["code"] == code
    assert [word for word in words if word not in step.error["msg"]] == [], step.error["msg"]
    assert step.calls == []


@pytest.mark.parametrize("owner", ["cilium", "istio"])
def test_half_written_file(case: Case, owner: str) -> None:
    """No agent of these writes so. Whoever did: ADD and `verify` name the file, and the agent's next start heals it."""
    path = {"cilium": CILIUM_PATH, "istio": ISTIO_PATH}[owner]
    case.node.writer(owner).kill()
    file = case.node.sandbox.path(path)
    file.write_text(file.read_text()[:40])
    with case.pod() as pod:
        refused = case.cni("add", pod)
        seen = case.node.operator("verify")
        case.node.restore()
        case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    refused_before_anything_ran(refused, f"{owner}'s CNI configuration is not complete yet", path)
    assert seen.status == 1
    assert f"{path}:" in seen.out


def test_foreign_edits_are_undone_by_the_agents(case: Case) -> None:
    """As long as they run: Cilium for its directory, Istio for its file."""
    for path in (CILIUM_PATH, ISTIO_PATH):
        case.node.sandbox.path(path).write_text('{"type": "somebody-elses"}')
    case.node.restore()

    with case.pod() as pod:
        added = case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert len(added.enrolled) == 1


def test_deleted_files_come_back(case: Case) -> None:
    """Both agents write them again; nobody else has to do anything."""
    for path in (CILIUM_PATH, ISTIO_PATH):
        case.node.sandbox.path(path).unlink()
    case.node.restore()

    with case.pod() as pod:
        added = case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert len(added.enrolled) == 1


def test_deleted_file_of_a_stopped_agent(case: Case) -> None:
    """New pods wait; those from before are deleted by what was recorded for them."""
    with case.added() as before, case.pod() as pod:
        case.node.cilium_writer.kill()
        case.node.sandbox.path(CILIUM_PATH).unlink()
        refused = case.cni("add", pod)
        case.cni("check", before).succeeded()
        case.cni("del", before).succeeded()

    refused_before_anything_ran(refused, "waiting for cilium's CNI configuration", f"{CHAIN}/cilium.d")


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ('["cilium-cni"]', 11, f"{CILIUM_PATH}: not a JSON object"),
        ('{"name": "cilium"}', 7, f"{CILIUM_PATH}: neither a plugin (key type) nor a list of them (key plugins)"),
        ('{"plugins": [{"log-file": "/x"}]}', 7, f"{CILIUM_PATH}: key plugins[0].type"),
        ('{"name": "cilium", "plugins": []}', 11, f"{CHAIN}/cilium.d list no plugin"),
    ],
    ids=["a list", "no plugin", "no type", "no plugins"],
)
def test_unknown_shape_from_cilium(case: Case, content: str, code: int, words: str) -> None:
    """Its agent hands on any file that it is given (Helm: cni.configMap); a pod waits, and is told why."""
    with case.node.cilium_reading(content), case.pod() as pod:
        refused = case.cni("add", pod)
        seen = case.node.operator("verify")

    refused_before_anything_ran(refused, words, code=code)
    assert seen.status == 1
    assert f"{CHAIN}/cilium.d" in seen.out
    assert words.partition(": ")[2] in seen.out


@pytest.mark.parametrize(
    "mode",
    [["portmap", "cilium-cni", "portmap"], ["flannel", "flannel", "portmap", "cilium-cni"]],
    ids=["portmap", "flannel"],
)
def test_cilium_writes_others_plugins_too(case: Case, mode: list[str]) -> None:
    """Helm: cni.chainingMode. The facade lets Cilium contribute cilium-cni and nothing else."""
    chaining_mode, *written = mode
    with case.node.cilium_as(f"--cni-chaining-mode={chaining_mode}"), case.pod() as pod:
        case.node.wait_for_file(CILIUM_FILE, *written)
        shown = case.node.operator("show", "--all")
        added = case.cni("add", pod).succeeded()
        ran = types(case.node.log()[-1])
        case.cni("del", pod).succeeded()

    assert ran == ["cilium-cni", "istio-cni"]
    assert "portmap" in shown.out
    assert len(added.enrolled) == 1


def test_cilium_waits_for_another_networks_file(case: Case) -> None:
    """Helm: cni.chainingMode=aws-cni. It looks for the target in its own directory, for ever; pods wait, told why."""
    with case.node.cilium_as("--cni-chaining-mode=aws-cni"), case.pod() as pod:
        waiting = "no matching CNI configurations found"
        wait_for(lambda: waiting in case.node.cilium_writer.log, "Cilium's writer looks for its target")
        refused = case.cni("add", pod)

    refused_before_anything_ran(refused, "waiting for cilium's CNI configuration")


def test_istio_left_chained(case: Case) -> None:
    """Helm: chained=true in a directory of its own. Its agent waits for a list to append itself to; pods wait."""
    with case.node.istio_as("--chained-cni-plugin=true"), case.pod() as pod:
        wait_for(
            lambda: "cannot find existing CNI network config" in case.node.istio_writer.log, "Istio waits for a list"
        )
        refused = case.cni("add", pod)

    refused_before_anything_ran(refused, "waiting for istio's CNI configuration", f"{CHAIN}/istio.d")


def test_istio_restarted(case: Case) -> None:
    """It writes the same bytes again, and no pod notices."""
    file = case.node.sandbox.path(ISTIO_PATH)
    number, before = file.stat().st_ino, file.read_bytes()
    case.node.istio_writer.kill()
    case.node.restore()
    wait_for(lambda: file.stat().st_ino != number, "Istio writes its file again")
    with case.pod() as pod:
        added = case.cni("add", pod).succeeded()
        case.cni("del", pod).succeeded()

    assert file.read_bytes() == before
    assert len(added.enrolled) == 1
