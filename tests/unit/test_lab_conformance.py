"""The conformance program's verdict, and what it says of two runs."""

import pytest

from tests.lab.conformance.__main__ import CHAINED, PLAIN, Seen, report, same

ONE = "[sig-network] DNS should provide DNS for services [Conformance]"
TWO = "[sig-network] Proxy version v1 should proxy through a service and a pod [Conformance]"


def seen(**tests: str) -> Seen:
    return Seen({{"one": ONE, "two": TWO}[key]: verdict for key, verdict in tests.items()}, 61.4, ["0 addresses left"])


BOTH = seen(one="passed", two="passed")


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (BOTH, True),
        (seen(one="passed"), False),
        (seen(one="passed", two="failed"), False),
        (seen(), False),
    ],
)
def test_the_layouts_are_the_same_only_if_every_test_ran_and_passed_in_both(other: Seen, *, verdict: bool) -> None:
    assert same({PLAIN: BOTH, CHAINED: other}) == verdict


def test_a_test_that_fails_in_both_layouts_is_no_success() -> None:
    failed = seen(one="passed", two="failed")
    assert not same({PLAIN: failed, CHAINED: failed})


def test_the_list_has_each_test_once_with_both_verdicts() -> None:
    text = report({PLAIN: BOTH, CHAINED: seen(one="failed")})
    assert text.splitlines()[2:] == [
        "* plain: 2 of 2 passed in 61 s; 0 addresses left",
        "* cni-chain: 0 of 1 passed in 61 s; 0 addresses left",
        "",
        "| test | plain | cni-chain |",
        "|---|---|---|",
        "| DNS should provide DNS for services | passed | failed |",
        "| Proxy version v1 should proxy through a service and a pod | passed | did not run |",
    ]
