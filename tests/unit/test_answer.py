"""What a delegate's exit status and output mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cni_chain.plugin import answer, request
from cni_chain.plugin.answer import DelegateError, Outcome

BEFORE: dict[str, Any] = {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.1/24"}]}


def outcome(status: int | None, stdout: object = b"", stderr: bytes = b"") -> Outcome:
    text = stdout if isinstance(stdout, bytes) else json.dumps(stdout).encode()
    return Outcome(status, text, stderr, 1.0, "timeouts.ADD is 30 s for all plugins")


@pytest.mark.parametrize(
    ("ended", "code", "msg", "details"),
    [
        pytest.param(outcome(1, {"code": 7, "msg": "m", "details": "d"}), 7, "m", "d", id="an error object"),
        pytest.param(outcome(3, {"code": 11, "msg": "m"}), 11, "m", "", id="without details"),
        pytest.param(outcome(1, {"code": 0, "msg": "m"}), 100, "m", "", id="a code that nobody set"),
        pytest.param(outcome(1, {"code": 5, "msg": "", "details": "d"}), 5, "d", "", id="without a message"),
        pytest.param(
            outcome(2, b"", b"panic: x\n\ngoroutine 1\n  exit\n"),
            100,
            "failed without an error object: exit status 2",
            "exit",
            id="only stderr",
        ),
        pytest.param(outcome(1), 100, "failed without an error object: exit status 1", "", id="silence"),
        pytest.param(
            outcome(1, {"code": "7", "msg": "m"}),
            100,
            "failed without an error object: exit status 1",
            "",
            id="a code in text",
        ),
        pytest.param(
            outcome(1, {"code": -1, "msg": "m"}),
            100,
            "failed without an error object: exit status 1",
            "",
            id="a negative code",
        ),
        pytest.param(outcome(1, BEFORE), 100, "failed without an error object: exit status 1", "", id="a result"),
        pytest.param(outcome(1, b"garbage"), 100, "failed without an error object: exit status 1", "", id="garbage"),
        pytest.param(outcome(-9), 100, "failed without an error object: killed by signal 9", "", id="a signal"),
        pytest.param(
            outcome(None),
            101,
            "did not end in time and was killed (timeouts.ADD is 30 s for all plugins): "
            "look at what it waits for, such as its agent",
            "",
            id="the deadline",
        ),
    ],
)
def test_a_failure_keeps_the_delegates_words_where_it_has_any(
    ended: Outcome, code: int, msg: str, details: str
) -> None:
    with pytest.raises(DelegateError) as raised:
        answer.require_success(ended)

    assert (raised.value.code, raised.value.msg, raised.value.details) == (code, msg, details)


@pytest.mark.parametrize(
    ("stdout", "code", "told"),
    [
        (b"", 6, "printed no result"),
        (b" \n", 6, "printed no result"),
        (b"null", 6, "not a JSON object"),
        (b"[]", 6, "not a JSON object"),
        (b"text", 6, "Expecting value"),
        (b'{"cniVersion":"1.0.0"} done', 6, "Extra data"),
        ({"code": 4, "msg": "no"}, 4, "no"),
        ({"cniVersion": "1.0.0"}, 6, "dropped the addresses"),
        ({"cniVersion": "9.9.9"}, 6, "unsupported"),
        ({"ips": [{"address": "192.0.2.1"}]}, 6, "ips[0].address"),
        ({"ips": [{"address": "192.0.2.1/24", "interface": 0}]}, 6, "out of range"),
    ],
)
def test_an_answer_to_add_that_is_no_result_is_a_failure(stdout: Any, code: int, told: str) -> None:
    with pytest.raises(DelegateError) as raised:
        answer.added(outcome(0, stdout), "1.0.0", BEFORE)

    assert raised.value.code == code
    assert told in raised.value.msg


@pytest.mark.parametrize("spoken", ["0.4.0", "1.0.0"])
def test_a_result_without_a_version_is_in_the_one_spoken(spoken: str) -> None:
    result = answer.added(outcome(0, {"ips": [{"address": "192.0.2.1/24"}]}), spoken, None)

    assert result["ips"] == [{"address": "192.0.2.1/24"}]
    assert result["cniVersion"] == "1.1.0"


@pytest.mark.parametrize(
    "stdout",
    [
        pytest.param({"cniVersion": "0.2.0", "ips": [{"address": "192.0.2.1/24"}]}, id="ips mean nothing in 0.2.0"),
        pytest.param({"cniVersion": "1.0.0", "ip4": {"ip": "192.0.2.1/24"}}, id="ip4 means nothing in 1.0.0"),
    ],
)
def test_addresses_count_only_in_the_words_of_the_answers_version(stdout: Any) -> None:
    with pytest.raises(DelegateError, match=r"dropped the addresses"):
        answer.added(outcome(0, stdout), "1.0.0", {**BEFORE, "cniVersion": "1.1.0"})


def test_an_error_object_is_an_error_though_it_has_dns() -> None:
    with pytest.raises(DelegateError, match=r"boom"):
        answer.added(outcome(0, {"code": 100, "msg": "boom", "dns": {}}), "1.0.0", None)


@pytest.mark.parametrize(
    ("stdout", "versions"),
    [
        ({"cniVersion": "1.0.0", "supportedVersions": ["1.0.0", "0.4.0"]}, ("0.4.0", "1.0.0")),
        ({"cniVersion": "2.0.0", "supportedVersions": ["2.0.0", "1.1.0"]}, ("1.1.0",)),
        ({"cniVersion": "0.2.0"}, ("0.1.0", "0.2.0")),
    ],
)
def test_the_versions_that_both_speak_are_known(stdout: Any, versions: tuple[str, ...]) -> None:
    assert answer.versions(outcome(0, stdout)) == versions


def test_a_plugin_older_than_version_itself_speaks_the_first() -> None:
    assert answer.versions(outcome(1, {"code": 4, "msg": "unknown CNI_COMMAND: VERSION"})) == ("0.1.0",)


@pytest.mark.parametrize(
    "stdout", [b"", b"x", [], {"cniVersion": "1.0.0"}, {"supportedVersions": []}, {"supportedVersions": ["9.0.0", 1]}]
)
def test_an_answer_to_version_that_is_none_is_a_failure(stdout: Any) -> None:
    with pytest.raises(DelegateError):
        answer.versions(outcome(0, stdout))


def test_a_delegate_gets_its_own_keys_and_what_the_request_derives() -> None:
    fragment = {
        "type": "a",
        "name": "x",
        "cniVersion": "0.1.0",
        "prevResult": {},
        "runtimeConfig": {"dns": {}},
        "cni.dev/y": 1,
        "capabilities": {"dns": True, "mac": False, "ips": True},
        "args": {"own": 1},
        "big": 9007199254740993,
        "ipam": {},
    }
    asked = {
        "name": "net",
        "cniVersion": "1.1.0",
        "type": "cni-chain",
        "runtimeConfig": {"dns": None, "mac": "m", "other": 1},
        "cni.dev/x": [],
    }

    derived = request.derive(request.own_part(fragment), request.capabilities(fragment), asked, "1.0.0", BEFORE)

    assert derived == {
        "type": "a",
        "args": {"own": 1},
        "big": 9007199254740993,
        "ipam": {},
        "name": "net",
        "cniVersion": "1.0.0",
        "prevResult": BEFORE,
        "runtimeConfig": {"dns": None},
        "cni.dev/x": [],
    }


def test_the_requests_args_replace_a_fragments_own() -> None:
    derived = request.derive({"type": "a", "args": {"own": 1}}, [], {"name": "n", "args": {"cni": {}}}, "1.0.0", None)

    assert derived == {"type": "a", "args": {"cni": {}}, "name": "n", "cniVersion": "1.0.0"}
