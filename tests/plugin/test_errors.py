"""Section 5 of the contract: one JSON object for every failure, with the right code."""

import json
import subprocess
from typing import Any

import pytest

from tests.support.files.node import ABSENT, ALL_VERSIONS, Node

POD = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH")
REQUIRED = {
    "ADD": POD,
    "CHECK": POD,
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
}


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "empty"])
@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, names in REQUIRED.items() for name in names])
def test_a_missing_variable_is_4_and_named(node: Node, verb: str, name: str, absent: bool) -> None:
    env = node.attachment(verb, "c1") | {name: ""}
    if absent:
        del env[name]

    outcome = node.send(env, json.dumps(node.request()).encode())

    assert (outcome.code, outcome.ran) == (4, [])
    assert name in outcome.msg


@pytest.mark.parametrize("verb", REQUIRED)
def test_all_missing_variables_are_named(node: Node, verb: str) -> None:
    outcome = node.send({"CNI_COMMAND": verb}, json.dumps(node.request()).encode())

    assert outcome.code == 4
    assert [name for name in POD if name in outcome.msg] == [name for name in POD if name in REQUIRED[verb]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            pytest.param("CNI_CONTAINERID", bad, id=f"id-{bad!r}")
            for bad in ("../x", "a/b", "-a", ".a", "a b", "é", "a\n")
        ),
        *(
            pytest.param("CNI_IFNAME", bad, id=f"if-{bad!r}")
            for bad in (".", "..", "a/b", "a:b", "a b", "a\t", "a" * 16)
        ),
        pytest.param("CNI_IFNAME", "é" * 8, id="if-16-bytes"),
        pytest.param("CNI_IFNAME", "a\u2003b", id="if-unicode-space"),
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL"])
def test_an_invalid_variable_is_4_and_named(node: Node, verb: str, name: str, value: str) -> None:
    outcome = node.send(node.attachment(verb, "c1") | {name: value}, json.dumps(node.request()).encode())

    assert (outcome.code, outcome.ran) == (4, [])
    assert name in outcome.msg


def test_missing_and_invalid_variables_are_all_named(node: Node) -> None:
    env = node.attachment("ADD", "c1") | {"CNI_CONTAINERID": "../x", "CNI_IFNAME": "a/b", "CNI_PATH": ""}

    outcome = node.send(env, json.dumps(node.request()).encode())

    assert outcome.code == 4
    assert all(name in outcome.msg for name in ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"))


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_variables_that_a_verb_does_not_need_are_not_judged(node: Node, verb: str) -> None:
    env = node.attachment(verb, "") | {"CNI_CONTAINERID": "../x", "CNI_IFNAME": "a/b"}

    assert node.send(env, json.dumps(node.request()).encode()).ok


@pytest.mark.parametrize("verb", ["add", "ADD ", "INIT", "DELETE", "UPDATE", "*"])
def test_an_unknown_verb_is_4(node: Node, verb: str) -> None:
    outcome = node.call(verb)

    assert (outcome.code, outcome.ran) == (4, [])
    assert verb in outcome.msg


@pytest.mark.parametrize("env", [{"CNI_PATH": "/opt/cni/bin"}, {"CNI_COMMAND": "", "CNI_PATH": "/x"}])
def test_without_a_verb_but_with_another_cni_variable_it_is_4(node: Node, env: dict[str, str]) -> None:
    outcome = node.send(env, b"")

    assert outcome.code == 4
    assert "CNI_COMMAND" in outcome.msg


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b" \n",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"5",
        b"true",
        b"{}}",
        b"\xff",
        b'{"name": "pods", "cniVersion": NaN}',
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\x00",
        "{}".encode("utf-16"),
        b"1" * 10_000,
    ],
    ids=lambda stdin: repr(stdin[:12]),
)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_stdin_that_is_no_json_object_is_6(node: Node, verb: str, stdin: bytes) -> None:
    outcome = node.send(node.attachment(verb, "c1"), stdin)

    assert (outcome.code, outcome.ran) == (6, [])


@pytest.mark.parametrize(
    ("redirection", "codes"), [("0>/dev/null", {5}), ("<&-", {5, 6})], ids=["write-only", "closed"]
)
def test_stdin_that_cannot_be_read_is_5(node: Node, redirection: str, codes: set[int]) -> None:
    """A runtime that closed it altogether may as well have sent nothing."""
    command = ["/bin/sh", "-c", f'exec "$0" {redirection}', node.program]

    done = subprocess.run(command, env=node.attachment("ADD", "c1"), capture_output=True, check=False)

    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] in codes
    assert b"Traceback" not in done.stderr


def test_a_stdout_that_nobody_reads_makes_no_traceback(node: Node) -> None:
    node.plugin("istio-cni").fails("ADD")

    for redirection in (">&-", ">/dev/full", "2>&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" {redirection}', node.program],
            env=node.attachment("ADD", "c1"),
            input=json.dumps(node.request()).encode(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 1
        assert b"Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", [ABSENT, None, "", 5, "a/b", "../x", "a b", "-x", ".x", "pods\n", "é", ["pods"]])
@pytest.mark.parametrize("verb", ["ADD", "DEL", "STATUS"])
def test_an_invalid_network_name_is_7(node: Node, verb: str, name: object) -> None:
    outcome = node.call(verb, name=name)

    assert (outcome.code, outcome.ran) == (7, [])
    assert "name" in outcome.msg


@pytest.mark.parametrize("version", ["1.1", "1.2.0", "2.0.0", "0.5.0", "v1.0.0", "1.1.0 ", "x", "1.1.0\n"])
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_an_unsupported_version_is_1(node: Node, verb: str, version: str) -> None:
    outcome = node.call(verb, cniVersion=version)

    assert (outcome.code, outcome.ran) == (1, [])
    assert version.strip() in outcome.msg + outcome.details


@pytest.mark.parametrize("version", [5, ["1.0.0"], {}, False, 1.1])
def test_a_version_that_is_no_text_is_6(node: Node, version: object) -> None:
    outcome = node.add(cniVersion=version)

    assert (outcome.code, outcome.ran) == (6, [])


@pytest.mark.parametrize("version", [ABSENT, ""])
def test_without_a_version_it_is_0_1_0(node: Node, version: object) -> None:
    """As in the whole library of CNI."""
    outcome = node.add(cniVersion=version)

    assert outcome.ok
    assert {call.conf["cniVersion"] for call in outcome.calls} == {"0.1.0"}


@pytest.mark.parametrize("version", ALL_VERSIONS)
def test_an_error_carries_the_requests_version(node: Node, version: str) -> None:
    node.plugin("istio-cni").fails("ADD")

    assert node.add(cniVersion=version).answer["cniVersion"] == version


@pytest.mark.parametrize(
    ("env", "stdin"),
    [
        pytest.param({}, b'{"cniVersion":"1.1.0"}', id="bare"),
        pytest.param(
            {"CNI_PATH": "dummy", "CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_CONTAINERID": "", "CNI_ARGS": ""},
            b'{"cniVersion":"1.0.0"}',
            id="as-libcni",
        ),
        pytest.param({}, b"", id="no-stdin"),
        pytest.param({"CNI_CONTAINERID": "../x"}, b"garbage", id="garbage"),
        pytest.param({}, b'{"cniVersion":"9.9.9","chainDir":5}', id="unknown-version"),
    ],
)
def test_version_is_static_and_reads_no_file(node: Node, env: dict[str, str], stdin: bytes) -> None:
    node.chain_dir.rename(node.root / "away")

    outcome = node.send({"CNI_COMMAND": "VERSION"} | env, stdin)

    assert outcome.ok
    assert outcome.answer == {"cniVersion": "1.1.0", "supportedVersions": ALL_VERSIONS}
    assert (outcome.every_call, node.state_dir.exists(), node.log.exists()) == ([], False, False)


# Messages.

FIRST_HINTS: list[Any] = [
    pytest.param("no-fragment", ["istio", "{chain}/istio.d", "agent"], id="no-fragment"),
    pytest.param("broken", ["istio", "{chain}/istio.d/10-istio-cni.conf"], id="broken"),
    pytest.param("refused", ["istio", "{chain}/istio.d/10-istio-cni.conf", "a/b"], id="refused"),
    pytest.param("unsafe", ["istio", "{chain}/istio.d/10-istio-cni.conf", "0666"], id="unsafe", marks=pytest.mark.root),
    pytest.param("no-binary", ["istio", "istio-cni", "{bin}"], id="no-binary"),
]


@pytest.mark.parametrize(("fault", "words"), FIRST_HINTS)
def test_a_message_names_the_file_the_owner_and_what_to_do_in_one_line(
    node: Node, fault: str, words: list[str]
) -> None:
    path = node.chain_dir / "istio.d/10-istio-cni.conf"
    if fault == "no-fragment":
        path.unlink()
    elif fault == "broken":
        path.write_text("{")
    elif fault == "refused":
        path.write_text('{"type": "a/b"}')
    elif fault == "unsafe":
        path.chmod(0o666)
    else:
        node.uninstall("istio-cni")

    outcome = node.add()

    for word in words:
        assert word.format(chain=node.chain_dir, bin=node.bin_dir) in f"{outcome.msg} {outcome.details}"
