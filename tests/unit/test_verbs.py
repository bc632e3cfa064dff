"""The verbs without processes: which delegates are called, with what and in which order, and what is left of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cni_chain.plugin import protocol
from cni_chain.plugin.answer import Outcome
from cni_chain.plugin.delegate import NotStartedError
from tests.unit.verbs import OWNERS, InProcess, Json, Reply, failed

KILLED = Outcome(None, b"", b"", 1.0)
NOT_STARTED = NotStartedError(11, "Resource temporarily unavailable")

ADDED = ["ADD a 1.1.0 rt", "ADD b 1.1.0 rt+a", "ADD c 1.1.0 rt+a+b"]
DELETED = ["DEL c 1.1.0 rt+a+b+c", "DEL b 1.1.0 rt+a+b+c", "DEL a 1.1.0 rt+a+b+c"]
CHECKED = ["CHECK a 1.1.0 rt+a+b+c", "CHECK b 1.1.0 rt+a+b+c", "CHECK c 1.1.0 rt+a+b+c"]
HANDED_ON = ["GC a 1.1.0 c2/eth0", "GC b 1.1.0 c2/eth0", "GC c 1.1.0 c2/eth0"]
RECORD = ["net:c1:eth0"]
OPTIONAL = ({"name": "o1"}, {"name": "o2", "required": False})


@pytest.fixture
def node(tmp_path: Path) -> InProcess:
    """A node on which o1 has the delegates a and b, and o2 has c."""
    made = InProcess(tmp_path)
    made.writes("o1", "a", "b")
    made.writes("o2", "c")
    return made


# ADD


def test_add_asks_every_delegate_for_its_versions_before_the_first_runs(node: InProcess) -> None:
    ended = node.run("ADD")

    assert node.executor.calls == ["VERSION a", "VERSION b", "VERSION c", *ADDED]
    assert (ended.code, ended.interfaces, node.records) == (0, "rt+a+b+c", RECORD)


def test_a_delegate_is_asked_for_its_versions_once(node: InProcess) -> None:
    node.run("ADD")
    node.executor.calls.clear()

    assert node.run("ADD", "c2").code == 0
    assert node.executor.calls == ADDED


@pytest.mark.parametrize(
    ("replies", "calls", "code", "left"),
    [
        pytest.param({"ADD a": failed()}, [*ADDED[:1], "DEL a 1.1.0 rt"], 7, [], id="the first fails"),
        pytest.param({"ADD b": failed()}, [*ADDED[:2], "DEL b 1.1.0 rt+a", "DEL a 1.1.0 rt+a"], 7, [], id="the second"),
        pytest.param(
            {"ADD c": failed(12)},
            [*ADDED, "DEL c 1.1.0 rt+a+b", "DEL b 1.1.0 rt+a+b", "DEL a 1.1.0 rt+a+b"],
            12,
            [],
            id="the last",
        ),
        pytest.param({"ADD a": NOT_STARTED}, ADDED[:1], 100, [], id="the first isn't started"),
        pytest.param({"ADD b": NOT_STARTED}, [*ADDED[:2], "DEL a 1.1.0 rt+a"], 100, [], id="the second isn't started"),
        pytest.param(
            {"ADD b": OSError(5, "Input/output error")},
            [*ADDED[:2], "DEL b 1.1.0 rt+a", "DEL a 1.1.0 rt+a"],
            100,
            [],
            id="the second can't be followed",
        ),
        pytest.param(
            {"ADD b": KILLED}, [*ADDED[:2], "DEL b 1.1.0 rt+a", "DEL a 1.1.0 rt+a"], 101, [], id="the second is killed"
        ),
        pytest.param(
            {"ADD b": RuntimeError("x")},
            [*ADDED[:2], "DEL b 1.1.0 rt+a", "DEL a 1.1.0 rt+a"],
            999,
            [],
            id="an exception of ours",
        ),
        pytest.param(
            {"ADD b": Outcome(0, b"", b"", 1.0)},
            [*ADDED[:2], "DEL b 1.1.0 rt+a", "DEL a 1.1.0 rt+a"],
            6,
            [],
            id="the second prints no result",
        ),
        pytest.param(
            {"ADD c": failed(12), "DEL b": failed(13)},
            [*ADDED, "DEL c 1.1.0 rt+a+b", "DEL b 1.1.0 rt+a+b"],
            12,
            RECORD,
            id="the rollback fails: the addresses stay and the record too",
        ),
        pytest.param(
            {"ADD b": failed(12), "DEL a": failed(13)},
            [*ADDED[:2], "DEL b 1.1.0 rt+a", "DEL a 1.1.0 rt+a"],
            12,
            RECORD,
            id="the rollback of the first fails",
        ),
        pytest.param({"VERSION b": failed(6)}, [], 6, [], id="the versions of the second aren't known"),
    ],
)
def test_an_add_that_fails_undoes_what_it_began(
    node: InProcess, replies: dict[str, Reply], calls: list[str], code: int, left: list[str]
) -> None:
    node.executor.replies = replies

    ended = node.run("ADD")

    assert (ended.calls, ended.code, node.records) == (calls, code, left)


def test_the_rollbacks_failure_is_in_the_details(node: InProcess) -> None:
    node.executor.replies = {"ADD b": failed(12, "first"), "DEL a": failed(13, "second")}

    assert node.run("ADD").msg == "o1/b: first | rollback: o1/a: second"


def test_a_record_that_is_left_over_is_deleted_before_the_add(node: InProcess) -> None:
    node.executor.replies = {"ADD b": failed(), "DEL a": failed()}
    node.run("ADD")
    node.executor.replies = {}

    ended = node.run("ADD")

    assert (ended.calls, ended.code) == (["DEL a 1.1.0 rt+a", *ADDED], 0)


def test_an_add_does_not_run_while_what_is_left_over_cannot_be_deleted(node: InProcess) -> None:
    node.executor.replies = {"ADD b": failed(), "DEL a": failed()}
    node.run("ADD")

    ended = node.run("ADD")

    assert (ended.calls, ended.code, node.records) == (["DEL a 1.1.0 rt+a"], 11, RECORD)


@pytest.mark.parametrize(
    ("owners", "files", "calls", "code"),
    [
        pytest.param(OWNERS, {"10.conflist": ""}, [], 11, id="required, half-written"),
        pytest.param(OWNERS, {"10.conflist": '{"plugins":[]}'}, [], 11, id="required, without a plugin"),
        pytest.param(OWNERS, {"10.conflist": '{"plugins":1}'}, [], 7, id="required, refused"),
        pytest.param(OPTIONAL, {"10.conflist": ""}, ADDED[:2], 0, id="optional, half-written"),
        pytest.param(OPTIONAL, {"20.conf": ""}, ADDED, 0, id="optional, one of two half-written"),
        pytest.param(OPTIONAL, {"10.conflist": '{"plugins":[]}'}, ADDED[:2], 0, id="optional, without a plugin"),
        pytest.param(OPTIONAL, {"10.conflist": '{"plugins":1}'}, [], 7, id="optional, refused"),
    ],
)
def test_what_add_makes_of_an_owners_files(
    node: InProcess, owners: tuple[Json, ...], files: dict[str, str], calls: list[str], code: int
) -> None:
    for name, text in files.items():
        node.write(f"o2.d/{name}", text)

    ended = node.run("ADD", owners=owners)

    assert (ended.calls, ended.code) == (calls, code)


def test_an_exempt_pod_gets_the_other_owners(node: InProcess) -> None:
    exempt = [{"namespace": "kube-system", "podNamePrefix": "agent-"}]
    owners = ({"name": "o1"}, {"name": "o2", "exempt": exempt})
    environ = node.environ("ADD", CNI_ARGS="K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=agent-1")

    assert node.dispatch(environ, json.dumps(node.request(owners)).encode()).calls == ADDED[:2]


def test_without_a_result_before_it_the_first_delegate_gets_none(node: InProcess) -> None:
    ended = node.run("ADD", prevResult=None)

    assert ended.calls == ["ADD a 1.1.0 -", "ADD b 1.1.0 a", "ADD c 1.1.0 a+b"]


def test_a_chain_of_nobody_needs_a_result_before_it(node: InProcess) -> None:
    owners = ({"name": "o9", "required": False},)

    assert (node.run("ADD", owners=owners).interfaces, node.records) == ("rt", [])
    assert node.run("ADD", owners=owners, prevResult=None).code == 11


@pytest.mark.parametrize(
    ("asked", "supported", "spoken"),
    [
        pytest.param("1.1.0", ("0.3.1", "0.4.0"), "0.4.0", id="older than the request"),
        pytest.param("0.4.0", ("0.4.0", "1.0.0", "1.1.0"), "0.4.0", id="the request's own"),
        pytest.param("0.4.0", ("1.0.0",), "1.0.0", id="newer than the request"),
    ],
)
def test_a_delegate_is_called_in_a_version_that_it_supports(
    node: InProcess, asked: str, supported: tuple[str, ...], spoken: str
) -> None:
    node.executor.versions = {"b": supported}

    ended = node.run("ADD", cniVersion=asked)

    assert ended.calls == [f"ADD a {asked} rt", f"ADD b {spoken} rt+a", f"ADD c {asked} rt+a+b"]
    assert ended.document is not None
    assert ended.document["cniVersion"] == asked


def test_nothing_runs_if_a_delegate_supports_no_version_of_ours(node: InProcess) -> None:
    node.executor.versions = {"c": ("9.0.0",)}

    assert (node.run("ADD").code, node.records) == (6, [])


@pytest.mark.parametrize(("verb", "code"), [("ADD", 11), ("CHECK", 11), ("STATUS", 50)])
def test_nothing_runs_if_a_binary_is_missing(node: InProcess, verb: str, code: int) -> None:
    (node.bin_dir / "b").unlink()

    ended = node.run(verb)

    assert (ended.calls[1:], ended.code, node.records) == ([], code, [])


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_the_runtimes_own_namespace_is_never_touched(node: InProcess, verb: str) -> None:
    stdin = json.dumps(node.request()).encode()
    own = node.environ(verb, CNI_NETNS="/proc/self/ns/net")

    assert (node.dispatch(own, stdin).code, node.executor.calls) == (8, [])
    assert node.dispatch({**own, "CNI_NETNS_OVERRIDE": "true"}, stdin).code == 0


# CHECK


@pytest.mark.parametrize(
    ("owners", "replies", "keys", "calls", "code"),
    [
        pytest.param(OWNERS, {}, {}, ["CHECK a 1.1.0 rt", "CHECK b 1.1.0 rt", "CHECK c 1.1.0 rt"], 0, id="success"),
        pytest.param(OWNERS, {}, {"prevResult": None}, CHECKED, 0, id="with the record's result"),
        pytest.param(OWNERS, {"CHECK b": failed()}, {"prevResult": None}, CHECKED[:2], 7, id="a failure ends it"),
        pytest.param(
            ({"name": "o1", "disableCheck": True}, {"name": "o2"}),
            {},
            {"prevResult": None},
            CHECKED[2:],
            0,
            id="an owner's disableCheck",
        ),
    ],
)
def test_check_asks_the_delegates_of_the_record_in_order(
    node: InProcess, owners: tuple[Json, ...], replies: dict[str, Reply], keys: Json, calls: list[str], code: int
) -> None:
    node.run("ADD")
    node.executor.replies = replies

    ended = node.run("CHECK", owners=owners, **keys)

    assert (ended.calls, ended.code) == (calls, code)


def test_check_without_a_record_takes_the_chain_as_it_is_now(node: InProcess) -> None:
    node.writes("o1", "a", "b", disableCheck=True)

    assert node.run("CHECK").calls == ["CHECK c 1.1.0 rt"]
    assert node.run("CHECK", prevResult=None).calls == []


def test_check_leaves_out_a_delegate_that_is_older_than_check(node: InProcess) -> None:
    node.executor.versions = {"b": ("0.3.1",)}

    assert node.run("CHECK").calls == ["CHECK a 1.1.0 rt", "CHECK c 1.1.0 rt"]


# DEL


@pytest.mark.parametrize(
    ("replies", "calls", "code", "again"),
    [
        pytest.param({}, DELETED, 0, None, id="success"),
        pytest.param({"DEL c": failed()}, DELETED[:2], 7, [DELETED[0], DELETED[2]], id="the last fails"),
        pytest.param({"DEL b": failed()}, DELETED[:2], 7, DELETED[1:], id="the second fails"),
        pytest.param({"DEL a": failed()}, DELETED, 7, DELETED[2:], id="the first fails"),
        pytest.param({"DEL b": NOT_STARTED}, DELETED[:2], 100, DELETED[1:], id="the second isn't started"),
        pytest.param({"DEL b": KILLED}, DELETED[:2], 101, DELETED[1:], id="the second is killed"),
        pytest.param({"DEL c": RuntimeError("x")}, DELETED[:2], 999, [DELETED[0], DELETED[2]], id="an exception"),
        pytest.param(
            {"DEL b": failed(msg="netns /run/netns/none: no such file or directory")},
            DELETED,
            0,
            None,
            id="the second finds the namespace gone",
        ),
    ],
)
def test_del_runs_the_record_backward_and_keeps_what_failed(
    node: InProcess, replies: dict[str, Reply], calls: list[str], code: int, again: list[str] | None
) -> None:
    node.run("ADD")
    node.executor.replies = replies

    ended = node.run("DEL", prevResult=None)

    assert (ended.calls, ended.code, node.records) == (calls, code, RECORD if again else [])
    if again:
        node.executor.replies = {}
        assert (node.run("DEL", prevResult=None).calls, node.records) == (again, [])


def test_dels_own_prev_result_comes_before_the_records(node: InProcess) -> None:
    node.run("ADD")

    assert node.run("DEL").calls == ["DEL c 1.1.0 rt", "DEL b 1.1.0 rt", "DEL a 1.1.0 rt"]


def test_a_failing_del_of_an_owner_may_be_ignored(node: InProcess) -> None:
    node.run("ADD")
    node.executor.replies = {"DEL b": failed()}

    ended = node.run("DEL", owners=({"name": "o1", "onDelError": "ignore"}, {"name": "o2"}), prevResult=None)

    assert (ended.calls, ended.code, node.records) == (DELETED, 0, [])


def test_del_takes_what_was_recorded_though_the_chain_is_another_now(node: InProcess) -> None:
    node.run("ADD")
    node.writes("o1", "x")
    node.writes("o2", "y")

    assert node.run("DEL", prevResult=None).calls == DELETED


def test_del_words_no_failure_as_what_containerd_takes_for_success(node: InProcess) -> None:
    node.run("ADD")
    node.executor.replies = {"DEL c": failed(msg="pool not found")}

    assert node.run("DEL").msg == "o2/c: pool absent | "


@pytest.mark.parametrize(
    ("owners", "text", "calls", "code"),
    [
        pytest.param(OWNERS, None, ["c", "b", "a"], 0, id="all are usable"),
        pytest.param(OWNERS, "", ["b"], 11, id="a required one is half-written: the addresses stay"),
        pytest.param(OWNERS, '{"plugins":1}', ["b"], 7, id="a required one is refused"),
        pytest.param(OWNERS, '{"plugins":[]}', ["b", "a"], 0, id="a required one has no plugin"),
        pytest.param(OPTIONAL, "", ["b", "a"], 0, id="an optional one is half-written"),
        pytest.param(OPTIONAL, '{"plugins":1}', ["b"], 7, id="an optional one is refused"),
    ],
)
def test_del_without_a_record_takes_the_chain_as_it_is_now(
    node: InProcess, owners: tuple[Json, ...], text: str | None, calls: list[str], code: int
) -> None:
    if text is not None:
        node.write("o2.d/10.conflist", text)

    ended = node.run("DEL", owners=owners)

    assert (ended.calls, ended.code, node.records) == ([f"DEL {name} 1.1.0 rt" for name in calls], code, [])


def test_del_without_a_record_records_nothing_of_what_failed(node: InProcess) -> None:
    node.executor.replies = {"DEL b": failed()}

    assert (node.run("DEL").code, node.records) == (7, [])


def test_a_damaged_record_is_set_aside_once_the_chain_as_it_is_now_is_deleted(node: InProcess) -> None:
    node.run("ADD")
    (node.state_dir / RECORD[0]).write_text("nonsense")
    node.executor.replies = {"DEL a": failed()}

    assert (node.run("DEL").code, node.records) == (7, RECORD)
    node.executor.replies = {}
    assert (node.run("DEL").code, node.records) == (0, [])
    assert (node.state_dir / f".damaged-{RECORD[0]}").read_text() == "nonsense"


def test_a_typo_in_the_facade_fails_the_add_and_not_the_del(node: InProcess) -> None:
    assert node.run("ADD", logLevel="loud").code == 7
    node.run("ADD")
    assert (node.run("DEL", logLevel="loud", prevResult=None).calls, node.records) == (DELETED, [])


# GC


def valid(*containers: str) -> dict[str, Any]:
    """What a GC's configuration says of the attachments that the runtime still has."""
    return {
        "cni.dev/valid-attachments": [{"containerID": name, "ifname": "eth0"} for name in containers],
        "prevResult": None,
    }


@pytest.mark.parametrize(
    ("replies", "calls", "code", "left"),
    [
        pytest.param(
            {}, [*DELETED, "GC a 1.1.0 c2/eth0", "GC b 1.1.0 c2/eth0", "GC c 1.1.0 c2/eth0"], 0, [], id="gone"
        ),
        pytest.param(
            {"DEL b": failed()},
            [*DELETED[:2], "GC a 1.1.0 c2/eth0,c1/eth0", "GC b 1.1.0 c2/eth0,c1/eth0", "GC c 1.1.0 c2/eth0,c1/eth0"],
            7,
            RECORD,
            id="what can't be deleted is handed on as valid",
        ),
        pytest.param(
            {"GC a": failed(), "GC b": KILLED},
            [*DELETED, *HANDED_ON],
            7,
            [],
            id="a failure keeps no other from its GC",
        ),
    ],
)
def test_gc_deletes_what_is_not_listed_and_hands_the_list_on(
    node: InProcess, replies: dict[str, Reply], calls: list[str], code: int, left: list[str]
) -> None:
    node.run("ADD")
    node.run("ADD", "c2")
    node.executor.replies = replies

    ended = node.run("GC", **valid("c2"))

    assert (ended.calls, ended.code, node.records) == (calls, code, [*left, "net:c2:eth0"])


def test_gc_without_a_list_deletes_nothing(node: InProcess) -> None:
    node.run("ADD")

    ended = node.run("GC", prevResult=None)

    assert (ended.calls, node.records) == (["GC a 1.1.0 -", "GC b 1.1.0 -", "GC c 1.1.0 -"], RECORD)


def test_gc_leaves_out_who_is_older_or_has_disabled_it(node: InProcess) -> None:
    node.executor.versions = {"a": ("1.0.0",)}

    assert node.run("GC", owners=({"name": "o1"}, {"name": "o2", "disableGC": True}), **valid()).calls == [
        "GC b 1.1.0 none"
    ]


def test_gc_refuses_a_list_that_it_cannot_read(node: InProcess) -> None:
    node.run("ADD")

    listed: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": 1}]}

    ended = node.run("GC", **listed)

    assert (ended.calls, ended.code, node.records) == ([], 7, RECORD)


def test_gcs_dels_get_the_attachments_environment(node: InProcess) -> None:
    node.run("ADD")
    before = len(node.executor.calls)

    node.run("GC", **valid())

    environ = node.executor.environs[before]
    assert node.executor.calls[before] == DELETED[0]
    assert [environ[f"CNI_{name}"] for name in ("COMMAND", "CONTAINERID", "IFNAME", "NETNS")] == [
        "DEL",
        "c1",
        "eth0",
        "/run/netns/none",
    ]


# STATUS


@pytest.mark.parametrize(
    ("replies", "versions", "calls", "code"),
    [
        pytest.param({}, {}, ["STATUS a 1.1.0 -", "STATUS b 1.1.0 -"], 0, id="the first owner's are asked"),
        pytest.param({"STATUS a": failed(51)}, {}, ["STATUS a 1.1.0 -"], 51, id="no more pods"),
        pytest.param({"STATUS a": failed(999)}, {}, ["STATUS a 1.1.0 -"], 50, id="whatever else it is"),
        pytest.param({}, {"a": ("1.0.0",)}, ["STATUS b 1.1.0 -"], 0, id="who is older isn't asked"),
    ],
)
def test_status_asks_the_first_owner(
    node: InProcess, replies: dict[str, Reply], versions: dict[str, tuple[str, ...]], calls: list[str], code: int
) -> None:
    node.executor.replies, node.executor.versions = replies, versions

    ended = node.run("STATUS", prevResult=None)

    assert (ended.calls, ended.code) == (calls, code)


@pytest.mark.parametrize(
    ("owners", "calls", "code"),
    [
        pytest.param(({"name": "o9"}, {"name": "o1"}), [], 50, id="the first required one has written nothing"),
        pytest.param(
            ({"name": "o9", "required": False}, {"name": "o2"}), ["STATUS c 1.1.0 -"], 0, id="an optional one may lack"
        ),
        pytest.param(({"name": "o9", "required": False},), [], 50, id="nobody has written anything"),
        pytest.param(
            ({"name": "o1", "required": False}, {"name": "o2"}),
            ["STATUS c 1.1.0 -"],
            0,
            id="a required one comes first",
        ),
    ],
)
def test_status_needs_the_first_required_owner(
    node: InProcess, owners: tuple[Json, ...], calls: list[str], code: int
) -> None:
    ended = node.run("STATUS", owners=owners, prevResult=None)

    assert (ended.calls, ended.code) == (calls, code)


def test_status_does_not_ask_whose_fragment_names_no_such_version(node: InProcess) -> None:
    node.writes("o1", "a", "b", cniVersion="1.0.0")

    assert node.run("STATUS", prevResult=None).calls == []


# The dispatcher


@pytest.mark.parametrize(
    ("verb", "stdin", "code"),
    [
        pytest.param("ADD", b"", 6, id="empty"),
        pytest.param("ADD", b"[]", 6, id="not an object"),
        pytest.param("ADD", b'{"cniVersion":"9.9.9","name":"net"}', 1, id="a version to come"),
        pytest.param("CHECK", b'{"cniVersion":"0.3.1","name":"net"}', 1, id="a verb that the version hasn't got"),
        pytest.param("ADD", b'{"cniVersion":"1.1.0"}', 7, id="no name"),
        pytest.param("NEW", b"{}", 4, id="an unknown verb"),
    ],
)
def test_what_cannot_be_read_runs_nothing(node: InProcess, verb: str, stdin: bytes, code: int) -> None:
    ended = node.dispatch(node.environ(verb), stdin)

    assert (ended.code, node.executor.calls) == (code, [])


def test_version_is_answered_without_looking_at_anything(node: InProcess) -> None:
    ended = node.dispatch({"CNI_COMMAND": "VERSION"}, b"nonsense")

    assert ended.document is not None
    assert ended.document["supportedVersions"][-1] == "1.1.0"
    assert (ended.status, node.executor.calls) == (0, [])


def test_an_answer_that_nobody_takes_is_a_failure(node: InProcess, tmp_path: Path) -> None:

    stdin = tmp_path / "stdin"
    stdin.write_text(json.dumps(node.request()))
    with stdin.open("rb") as source, stdin.open("rb") as not_writable:
        status = protocol.dispatch(node.environ("ADD"), source.fileno(), not_writable.fileno(), node.executor)

    assert (status, node.executor.calls[3:]) == (1, ADDED)


def log_lines(node: InProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (node.log).read_text().splitlines()]


def test_each_call_is_one_line_in_the_log(node: InProcess) -> None:
    node.executor.replies = {"ADD b": failed(12, "no")}

    node.run("ADD")
    node.run("STATUS", prevResult=None)

    add, status = log_lines(node)
    ran = [(entry["type"], entry["command"], entry.get("code")) for entry in add["delegates"]]
    assert (add["verb"], add["code"]) == ("ADD", 12)
    assert ran == [("a", "ADD", None), ("b", "ADD", 12), ("b", "DEL", None), ("a", "DEL", None)]
    assert (status["verb"], status["level"]) == ("STATUS", "info")
