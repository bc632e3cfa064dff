"""Every mistake of an operator: the runtime's error and all commands agree, in words that lead to the cause."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_chain.checks import registry
from tests.lab.owners.mistakes import MISTAKES, PART, PRIVATE, WHOLE, Answers, Mistake, answers, node_of, row
from tests.support.files import mounts
from tests.support.sandbox.node import tools

pytestmark = pytest.mark.root


@pytest.fixture(params=MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def mistake(request: pytest.FixtureRequest) -> Mistake:
    made: Mistake = request.param
    return made


@pytest.fixture
def seen(program: str, double: Path, tmp_path: Path, mistake: Mistake) -> Iterator[Answers]:
    if tools() is None:
        pytest.skip("cnitool and the reference plugins are not built: make tools")
    with mounts.private():
        node = node_of(tmp_path / "node", program, double)
        yield answers(node, mistake)
        node.close()


def test_the_runtime_and_all_commands_agree(seen: Answers, mistake: Mistake) -> None:
    # What a new pod gets.
    assert (seen.pod.status != 0, seen.pod.code) == (bool(mistake.says), mistake.code)
    assert mistake.says in seen.pod.said
    assert seen.ran == ([] if mistake.says else mistake.runs)

    # One finding is the cause's, and verify knows it unless only a running node shows it.
    of_doctor = {one["id"]: one for one in seen.doctor[1]}
    of_verify = {one["id"]: one for one in seen.verify[1]}
    assert of_doctor[mistake.id]["severity"] == mistake.severity
    assert (mistake.id in of_verify) == (mistake.by == "verify")

    # A pod that gets no network, or not all of it, is an error of doctor; a pod that gets all of it is none that stops.
    if mistake.says or seen.ran != WHOLE:
        assert any(one["severity"] == "error" for one in seen.doctor[1])
    else:
        assert [
            one["id"] for one in seen.doctor[1] if one["severity"] == "error" and registry.KINDS[one["id"]].stops
        ] == []

    # Exit statuses follow from the findings, and nothing else.
    for status, findings in (seen.verify, seen.doctor):
        assert status == any(one["severity"] == "error" for one in findings)
    assert seen.show[0] == seen.verify[0]
    assert seen.status[0] == seen.doctor[0]
    assert seen.status[1].startswith("✗" if seen.status[0] else "✓")
    if seen.show[0] == 0:
        assert re.fullmatch(r"A new pod runs \d plugins\.", seen.show[1])
    else:
        named = (mistake.id, f"error {mistake.code} ", "/etc/cni/net.d/00-cni-chain.conflist:")
        assert any(words in seen.show[1] for words in named)
    for verdict in ("gets a network", "gets this chain"):
        assert (f"new pod {verdict}" in seen.status[1]) == (
            f"new pod {verdict}" in seen.show[1] or (verdict == "gets a network" and "and no network" in seen.show[1])
        )

    # `python -m tests.lab.owners.mistakes` writes the table anew.
    assert f"\n{row(mistake, seen)}\n" in PART.read()

    # The pod's event is for the application's developer.
    if mistake.code:
        _, _, own = seen.pod.said.partition("failed (add): ")
        text = re.sub(r"key [\w.\[\]]+|did you mean \w+|'\w+'", "", own)
        assert [word for word in PRIVATE if re.search(rf"\b{word}s?\b", text)] == []
