"""The agent's pure parts: its options, and how often it puts things right."""

import pytest

from cni_chain import __version__
from cni_chain.daemon.limit import SECONDS, TIMES, Limit
from cni_chain.daemon.report import Report, unseen
from cni_chain.daemon.wanted import address, state
from cni_chain.node.errors import UsageError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("127.0.0.1:9753", ("127.0.0.1", 9753)),
        ("9753", ("127.0.0.1", 9753)),
        (":80", ("0.0.0.0", 80)),  # noqa: S104  # as it is asked for
        ("[::1]:65535", ("::1", 65535)),
        ("node.example:1", ("node.example", 1)),
    ],
)
def test_an_address_is_read_in_each_of_its_forms(given: str, expected: tuple[str, int]) -> None:
    assert address(given) == expected


@pytest.mark.parametrize(
    "given", ["", ":", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "x:65536", "::1:80", "x:٣", "x:-1"]
)
def test_an_address_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="must be ADDRESS:PORT"):
        address(given)


def test_a_state_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean prepared"):
        state("prepard")
    assert state("off") == "off"


def test_the_first_time_is_no_repair_and_three_follow_within_ten_minutes() -> None:
    limit = Limit()
    done = []
    for second in range(10):
        if limit.allows("the facade", second):
            limit.count("the facade", second)
            done.append(second)

    assert (done, limit.total, limit.stopped) == ([0, 1, 2, 3], TIMES, True)


def test_what_is_put_right_seldom_is_always_put_right() -> None:
    limit = Limit()
    limit.expect("the facade")
    for number in range(20):
        now = number * (SECONDS / TIMES + 1)
        assert limit.allows("the facade", now)
        limit.count("the facade", now)

    assert (limit.total, limit.stopped) == (20, False)


def test_having_stopped_it_does_nothing_any_more_however_long_it_is_quiet() -> None:
    limit = Limit()
    limit.expect("the facade")
    for second in range(TIMES):
        limit.count("the facade", second)
    assert not limit.allows("the facade", TIMES)

    assert not limit.allows("the facade", 100 * SECONDS)
    assert not limit.allows("the program", 100 * SECONDS)


def test_what_was_done_for_the_first_time_counts_for_nothing_else() -> None:
    limit = Limit()
    for what in ("the facade", "the program", "owner istio"):
        limit.count(what, 0)

    assert (limit.total, limit.allows("the facade", 1)) == (0, True)


def test_a_node_that_refuses_says_so_in_its_text_and_one_that_waits_does_not() -> None:
    refusing, waiting = (unseen("on", "there is a reason", ["cilium"], refused=refused) for refused in (True, False))

    assert refusing.text() == "refuses: on is wanted, and the node is none\nthere is a reason\n"
    assert waiting.text() == "not ready: on is wanted, and the node is none\nthere is a reason\n"
    assert (refusing.document()["refused"], waiting.document()["refused"]) == (True, False)


def test_the_log_has_what_was_so_beside_the_verdict_but_is_not_written_for_its_sake() -> None:
    before = Report(
        "on", "on", (), {"cilium": "", "istio": "waits"}, 0, False, recorded=3, findings=(("a", "error", 2),)
    )
    after = before._replace(recorded=4, stranded=1)

    assert after.verdict() == before.verdict()
    assert before.line() == before.verdict() | {
        "version": __version__,
        "owners": {"cilium": None, "istio": "waits"},
        "pods": 3,
        "stranded": 0,
        "findings": {"a": 2},
    }


def test_a_node_with_a_warning_is_ready_and_says_it() -> None:
    before = Report("on", "on", (), {"cilium": ""}, 0, False)
    after = before._replace(warnings=("/etc/cni/net.d can't be watched",))

    assert after.text() == "ready: on\n"
    assert after.document()["warnings"] == after.line()["warnings"] == ["/etc/cni/net.d can't be watched"]
    assert after.verdict() != before.verdict(), "so it is logged at once, and then no more often than the rest"
