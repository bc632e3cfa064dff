"""The plan stays: in every state `migrate status` says which steps are done, which come next, and their commands."""

from pathlib import Path

import pytest

from tests.support.files.node import CHAIN, FACADE, NET, TAKEN_AWAY, WAITING, Json, Node, node_before
from tests.support.files.schemas import members

pytestmark = pytest.mark.root

LIST = f"{NET}/05-cilium.conflist"
ISTIO = f"{CHAIN}/istio.d/10-istio.conf"


@pytest.fixture
def node(program: str, tmp_path: Path) -> Node:
    return node_before(tmp_path / "node", program, "cilium-istio")


def steps(node: Node, command: str = "status") -> dict[str, Json]:
    return {step["id"]: step for step in node.json("migrate", command)["steps"]}


def standing(node: Node) -> tuple[list[str], list[str]]:
    """The steps that are done, and those that come next."""
    found = steps(node)
    return [id_ for id_, one in found.items() if one["done"]], [id_ for id_, one in found.items() if one["next"]]


def test_each_step_is_ticked_when_it_is_done_and_the_next_one_is_marked(node: Node) -> None:
    assert standing(node) == ([], ["write"])
    node.migrate("write")
    assert standing(node) == (["write"], ["move-cilium"])
    node.cilium_moves()
    assert standing(node) == (["write", "move-cilium"], ["switch"])
    node.migrate("switch")
    assert standing(node) == (["write", "move-cilium", "switch"], ["move-istio"])
    node.agent_writes(ISTIO)
    rest = ["alone-cilium", "check", "clean"]  # nothing on the node shows whether these are done
    assert standing(node) == (["write", "move-cilium", "switch", "move-istio"], rest)
    assert set(steps(node)) == set(steps(node, "plan"))


def test_after_the_last_step_nothing_is_left(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()
    node.migrate("switch")
    command = steps(node)["clean"]["commands"][0]
    assert command == f"rm {LIST} {LIST}.before-cni-chain"
    for path in command.split()[1:]:
        node.path(path).unlink()

    document = node.json("migrate", "status")

    assert (document["state"], document["steps"]) == ("finished", [])
    assert node.migrate("status").stdout == (
        f"{FACADE} is in place, and no copy of a previous list is left: no step is\nleft\n"
    )


def test_the_text_has_the_marks_and_the_commands_of_what_is_left_ready_to_copy(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()

    stdout = node.migrate("switch").stdout

    assert (
        f"{FACADE} is in place, and new pods get the chain\n\nNext, on every node\n→     Move Istio, at once" in stdout
    )
    left = node.migrate("status").stdout
    version = "$(helm get metadata istio-cni --namespace istio-system -o json | jq -r .version)"
    assert "\n✓  2. Move Cilium." in left
    assert "\n→  4. Move Istio, at once" in left
    assert "--set cni.confPath" not in left  # done
    assert (
        "          helm upgrade istio-cni istio/cni --namespace istio-system \\\n"
        f'              --version "{version}" \\\n'
        "              --reuse-values \\\n"
        "              --set cniConfDir=/etc/cni/chain.d/istio.d \\\n"
        "              --set chained=false \\\n"
        "              --set cniConfFileName=10-istio.conf \\\n"
    ) in left


def test_the_facade_in_place_is_no_claim_that_new_pods_get_the_chain(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()
    said = node.migrate("switch").stdout
    assert f"{FACADE} is in place, and new pods get the chain\n" in said

    node.write(ISTIO, "{")

    stopped = f"{FACADE} is in place; no new pod gets a network: cni-chain status\n"
    assert node.migrate("status").stdout.startswith(stopped)
    assert node.run("status").status == 1
    node.path(f"{LIST}.before-cni-chain").unlink()
    assert node.migrate("status").stdout.startswith(stopped)


def test_an_istio_that_is_pinned_before_the_switch_stays_pinned_until_it_has_moved(
    program: str, tmp_path: Path
) -> None:
    node = node_before(tmp_path / "pinned", program, "cilium-istio-1.22")
    node.migrate("write")
    node.cilium_moves()
    assert standing(node) == (["write", "move-cilium"], ["pin-istio", "switch"])

    node.agent_writes(ISTIO)

    assert "pin-istio" in standing(node)[0]


def test_the_plan_of_a_facade_that_waits_has_the_steps_of_status(node: Node) -> None:
    """Also where the list has changed since, and the facade of the plan would be another."""
    node.migrate("write")
    node.cilium_moves()
    node.agent_writes(ISTIO)
    node.change_list(plugins=node.plugins()[:1])  # Istio's agent has stripped it

    lost = node.migrate("plan", "--json")
    assert (lost.status, members(lost.stdout)["steps"]) == (1, [])
    assert "move-istio" in steps(node)
    node.change_list(plugins=node.read(f"{LIST}.before-cni-chain")["plugins"])
    assert steps(node, "plan") == steps(node)
    node.migrate("switch")
    node.migrate("undo")
    assert steps(node, "plan") == steps(node)


def test_undo_prints_the_way_back_and_status_keeps_it(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()
    node.migrate("switch")

    undone = node.json("migrate", "undo")

    assert undone["state"] == node.json("migrate", "status")["state"] == "undone"
    back = {step["id"]: step for step in undone["steps"]}
    assert list(back) == ["undo", "back-istio", "back-cilium", "uninstall", "clean"]
    assert back["undo"]["done"] is True
    assert f"--set cniConfDir={NET} --set chained=true --set cniConfFileName=" in back["back-istio"]["commands"][0]
    cordon, upgrade, *_, uncordon = back["back-cilium"]["commands"]
    assert (cordon, uncordon) == ("kubectl cordon NODE", "kubectl uncordon NODE")
    assert f"--set cni.confPath={NET} --set cni.exclusive=false" in upgrade
    assert back["clean"]["commands"] == [f"rm -r {CHAIN} {TAKEN_AWAY} {LIST}.before-cni-chain"]
    assert list(steps(node)) == list(back)
    assert "What `switch` refuses now" not in node.migrate("status").stdout
    assert node.migrate("switch").status == 0


def test_the_way_back_stays_when_cni_chain_and_its_state_are_gone(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()
    node.migrate("switch")
    node.path("/var/lib/cni/chain").mkdir(parents=True)  # pods were made
    back = [step["id"] for step in node.json("migrate", "undo")["steps"]]
    node.path("/var/lib/cni/chain").rmdir()  # as `cni-chain uninstall` leaves it

    assert list(steps(node)) == back
    found = {one["id"]: one for one in node.json("doctor")["findings"]}
    assert found["facade-waiting"]["what"] == f"the migration was undone: the facade waits as {TAKEN_AWAY}"


def test_a_state_directory_of_before_is_no_sign_that_a_migration_was_undone(node: Node) -> None:
    node.path("/var/lib/cni/chain").mkdir(parents=True)  # another facade's, or left by uninstall --keep-program
    node.migrate("write")

    assert standing(node) == (["write"], ["move-cilium"])
    found = {one["id"]: one for one in node.json("doctor")["findings"]}
    assert found["facade-waiting"]["what"] == f"the migration is not finished: the facade waits as {WAITING}"


def test_a_write_after_the_undo_starts_again(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()
    node.migrate("switch")
    node.migrate("undo")

    assert f"written  {WAITING}\n" in node.migrate("write").stdout

    assert not node.path(TAKEN_AWAY).exists()
    assert standing(node) == (["write", "move-cilium"], ["switch"])


def test_undo_without_the_copy_goes_by_the_list(node: Node) -> None:
    node.migrate("write")
    node.cilium_moves()
    node.migrate("switch")
    node.path(f"{LIST}.before-cni-chain").unlink()
    assert node.json("migrate", "status")["state"] == "finished"

    undone = node.json("migrate", "undo")

    assert [step["id"] for step in undone["steps"]] == ["undo", "back-istio", "back-cilium", "uninstall", "clean"]
    assert node.migrate("switch").stderr == (
        f"cni-chain: {LIST}.before-cni-chain: is missing; run cni-chain migrate write again\n"
    )
    assert [step["id"] for step in node.json("migrate", "status")["steps"]] == [step["id"] for step in undone["steps"]]
    assert node.migrate("write").status == 0
    assert node.migrate("switch").status == 0


def test_calico_moves_before_the_switch(program: str, tmp_path: Path) -> None:
    node = node_before(tmp_path / "calico", program, "calico")

    document = node.json("migrate", "plan")

    assert [step["id"] for step in document["steps"]] == ["write", "move-calico", "switch", "check", "clean"]


def test_an_agent_that_can_not_be_moved_is_named(program: str, tmp_path: Path) -> None:
    node = node_before(tmp_path / "azure", program, "azure-plain")

    found = steps(node, "plan")

    assert list(found) == ["write", "switch", "stay-azure", "check", "clean"]
    assert "AKS restores its own settings" in found["stay-azure"]["remarks"][0]


def test_an_agent_that_edits_every_list_moves_on_a_cordoned_node(program: str, tmp_path: Path) -> None:
    node = node_before(tmp_path / "linkerd", program, "flannel-linkerd-k3s")

    found = steps(node, "plan")

    assert list(found) == ["write", "move-linkerd", "switch", "move-flannel", "check", "clean"]
    assert found["move-linkerd"]["commands"][0] == "kubectl cordon NODE"
    assert found["switch"]["commands"] == ["cni-chain migrate switch", "kubectl uncordon NODE"]
