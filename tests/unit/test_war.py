"""When a file is fought over: by writes, their writers, their times, and what the file had after each."""

import pytest

from cni_chain.node.processes import Writer
from cni_chain.node.war import Account, History, War, Write

CILIUM, ISTIO, OTHER = Writer(1, "cilium-agent"), Writer(2, "install-cni"), Writer(3, "vi")
AGAIN = Writer(4, "cilium-agent")  # after its restart
ENDED, UNKNOWN = Writer(5), None  # without a name; without even a process

Told = tuple[float, Writer | None, str]


def fight(*writes: Told, now: float = 100) -> War | None:
    history = History("/f", 0)
    for at, writer, digest in writes:
        history.add(Write(at, writer, digest))
    return history.war(now)


def turns(*writers: Writer | None, begun: float = 90, apart: float = 1, digests: str = "ab") -> list[Told]:
    """Writes by these from a time on, so far apart, with these contents in turn."""
    return [(begun + n * apart, one, digests[n % len(digests)]) for n, one in enumerate(writers)]


@pytest.mark.parametrize(
    ("writes", "is_war"),
    [
        (turns(CILIUM, ISTIO, CILIUM, ISTIO, CILIUM), True),
        (turns(CILIUM, ISTIO, AGAIN, ISTIO, AGAIN), True),
        (turns(CILIUM, ISTIO, CILIUM, ISTIO), False),
        (turns(CILIUM, CILIUM, CILIUM, CILIUM, CILIUM, CILIUM), False),
        (turns(CILIUM, AGAIN, CILIUM, AGAIN, CILIUM, AGAIN), False),
        (turns(CILIUM, ISTIO, CILIUM, ISTIO, CILIUM, digests="a"), False),
        (turns(CILIUM, ISTIO, CILIUM, ISTIO, CILIUM, digests="a", apart=0.001), True),
        (turns(CILIUM, ISTIO, CILIUM, ISTIO, CILIUM, begun=15, apart=20), False),
        (turns(CILIUM, CILIUM, OTHER, CILIUM, CILIUM), False),
        (turns(*[UNKNOWN] * 7), True),
        (turns(*[ENDED] * 7), True),
        (turns(*[UNKNOWN] * 7, digests="abcdefg"), False),
        (turns(*[UNKNOWN] * 7, digests="a"), False),
        ([], False),
    ],
    ids=[
        "two in turn",
        "one of them is restarted",
        "three turns may be a roll-out",
        "one alone",
        "one that is restarted",
        "two that write the same",
        "one undoes the other before anybody can look",
        "not within a minute",
        "somebody edits it once",
        "unknown writers, back and forth",
        "ended writers, back and forth",
        "unknown writers, always something new",
        "unknown writers, always the same",
        "nothing",
    ],
)
def test_a_file_is_fought_over(writes: list[Told], *, is_war: bool) -> None:
    assert (fight(*writes) is not None) is is_war


def test_a_war_names_its_writers_and_its_rate() -> None:
    war = fight(*turns(*[CILIUM, ISTIO] * 5, apart=6), now=145)

    assert war is not None
    assert war.writers == [CILIUM, ISTIO]
    assert war.text() == (
        "a rewrite war: 10 writes a minute by cilium-agent and install-cni, which change it back and forth"
    )


def test_an_account_has_each_file_and_reads_it_when_it_is_written() -> None:
    content = {"/a": "1", "/b": "2"}
    account = Account(0, content.__getitem__)
    for at in range(6):
        content["/a"] = str(at % 2)
        account.take("/a", at, (CILIUM, ISTIO)[at % 2])
        account.take("/b", at, CILIUM)

    assert [war.path for war in account.wars(10)] == ["/a"]
    assert account.files["/b"].counts == {CILIUM.identity: 6}
