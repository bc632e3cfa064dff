"""The rounds of a new node: what is said of them, and what is kept between two runs."""

import json
from pathlib import Path

from tests.lab.rollout.rounds import CHAIN, CLASSIC, STARTS, Round, delays, load, report, waiting

INSIDE = Round(CHAIN, 1, ["istio 0.4", "cilium 2.0", "cni-chain 5.5"], 200, 200, 0, 9.0, 61.0, 33)
OUTSIDE = Round(CLASSIC, 1, ["cilium 2.0", "istio 5.1"], 200, 199, 31, 4.0, 58.0, 0)


def test_a_layout_has_the_sum_of_its_rounds() -> None:
    rows = [line for line in report([OUTSIDE, INSIDE, INSIDE._replace(number=2, all_ran=71.0)]).splitlines() if line]
    assert rows[3:5] == [
        "| classic | 1 | 199 of 200 | **31** | 1 | 4 (4 at most) | 58 (58 at most) | 0 |",
        "| cni-chain | 2 | 400 of 400 | **0** | 0 | 9 (9 at most) | 66 (71 at most) | 66 |",
    ]
    assert rows[-3:] == [
        "| classic | 1 | cilium 2.0, istio 5.1 | 31 | 199 |",
        "| cni-chain | 1 | istio 0.4, cilium 2.0, cni-chain 5.5 | 0 | 200 |",
        "| cni-chain | 2 | istio 0.4, cilium 2.0, cni-chain 5.5 | 0 | 200 |",
    ]


def test_a_round_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "seen.jsonl"
    assert load(file) == []
    file.write_text("".join(json.dumps(one._asdict()) + "\n" for one in (INSIDE, OUTSIDE)))
    assert load(file) == [INSIDE, OUTSIDE]


def test_each_round_has_an_order_of_its_own_and_the_same_one_at_every_run() -> None:
    orders = [[agent for agent, _ in delays(CHAIN, number)] for number in range(1, 21)]
    assert orders == [[agent for agent, _ in delays(CHAIN, number)] for number in range(1, 21)]
    assert len({tuple(order) for order in orders}) == 6
    assert all(sorted(order) == sorted(STARTS) for order in orders)


def test_the_classic_layout_has_no_cni_chain() -> None:
    assert sorted(agent for agent, _ in delays(CLASSIC, 1)) == ["cilium", "istio"]


def test_pods_wait_for_the_one_node() -> None:
    made = waiting(200, "node9")["spec"]
    assert (made["replicas"], made["template"]["spec"]["nodeSelector"]) == (200, {"kubernetes.io/hostname": "node9"})
