"""Every recorded call of real runtimes, in its order: it succeeds, delegates get it untouched, nothing is left.

The recorded plugin was the last of a list. Here cni-chain is the only one, so what was its prevResult at ADD is what
the first delegate answers, as the reference plugins did.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.files.node import ALL_VERSIONS, Json, Node, Outcome

LINES = (Path(__file__).parent.parent / "data/calls.jsonl").read_text().splitlines()
RECORDED = [json.loads(line) for line in LINES]
CAPABILITIES = {
    "portMappings": True,
    "bandwidth": True,
    "dns": True,
    "ips": True,
    "mac": True,
    "aliases": True,
    "cgroupPath": True,
    "io.kubernetes.cri.pod-annotations": True,
}
DELEGATES = ["bridge", "portmap", "bandwidth"]


class Request(NamedTuple):
    """One recorded call; `fails`: that ADD had failed, for its container gets a DEL without a result next."""

    verb: str
    env: dict[str, str]
    conf: Json
    fails: bool

    @property
    def attachment(self) -> tuple[str, str]:
        return self.env["CNI_CONTAINERID"], self.env["CNI_IFNAME"]


def requests(runtime: str) -> Iterator[Request]:
    calls = [call for call in RECORDED if call["runtime"] == runtime]
    for number, call in enumerate(calls):
        env = call["cni_env"]
        later = [c for c in calls[number + 1 :] if c["cni_env"]["CNI_CONTAINERID"] == env["CNI_CONTAINERID"]]
        fails = call["verb"] == "ADD" and later[:1] != [] and '"prevResult"' not in later[0]["stdin_raw"]
        yield Request(call["verb"], env | call["other_env"], json.loads(call["stdin_raw"]), fails)


@pytest.fixture
def replaying(host: Node) -> Node:
    """bridge, then portmap in the age of Debian 12 (up to 1.0.0), then bandwidth, which takes every capability."""
    host.owner("main")
    host.owner("local")
    host.fragment("main", "10-bridge.conf", {"type": "bridge", "cniVersion": "1.1.0"})
    plugins = [
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "bandwidth", "capabilities": CAPABILITIES},
    ]
    host.fragment("local", "20.conflist", {"cniVersion": "1.0.0", "plugins": plugins})
    host.plugin("portmap").supports(*ALL_VERSIONS[:-1])
    return host


def replay(host: Node, request: Request) -> Outcome:
    if request.verb == "VERSION":
        return host.send(request.env, json.dumps(request.conf).encode())
    conf = host.request(capabilities=CAPABILITIES) | request.conf | {"type": "cni-chain"}
    if request.verb == "ADD":
        host.plugin("bridge").does("ADD", prints=conf.pop("prevResult"))
        host.plugin("bandwidth").behaves("ADD")
        if request.fails:
            host.plugin("bandwidth").fails("ADD", "on purpose", 42)
    return host.send(request.env | {"CNI_PATH": host.cni_path}, json.dumps(conf).encode())


def text(value: object) -> str:
    """As text, because to Python 1, 1.0 and true are the same."""
    return json.dumps(value, sort_keys=True)


def check_delegates(host: Node, request: Request, outcome: Outcome) -> None:
    """What the runtime said has reached every delegate: its environment, its values, its result."""
    env = request.env | {"CNI_PATH": host.cni_path}
    given = request.conf.get("runtimeConfig", {})
    for call in outcome.calls:
        assert call.environ == sorted(f"{key}={value}" for key, value in (env | {"CNI_COMMAND": call.verb}).items())
        assert call.conf["name"] == request.conf["name"]
        if call.verb != request.verb:
            continue
        expected = {
            "bridge": {},
            "portmap": {key: value for key, value in given.items() if key == "portMappings"},
            "bandwidth": given,
        }[call.type]
        assert text(call.conf.get("runtimeConfig", {})) == text(expected)
        for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
            assert text(call.conf.get(key, "absent")) == text(request.conf.get(key, "absent"))
        if "prevResult" in request.conf and (call.verb, call.type) != ("ADD", "bridge"):
            version = call.conf["cniVersion"]
            assert text(call.conf["prevResult"]) == text(request.conf["prevResult"] | {"cniVersion": version})


@pytest.mark.parametrize("runtime", dict.fromkeys(call["runtime"] for call in RECORDED))
def test_a_runtimes_calls_are_carried_out_untouched(replaying: Node, runtime: str) -> None:
    attached: set[tuple[str, str]] = set()
    for request in requests(runtime):
        outcome = replay(replaying, request)

        check_delegates(replaying, request, outcome)
        if request.verb == "VERSION":
            assert outcome.answer["supportedVersions"] == ALL_VERSIONS
        elif request.fails:
            assert (outcome.code, outcome.msg) == (42, "local/bandwidth: on purpose")
            assert outcome.ran == [f"ADD {d}" for d in DELEGATES] + [f"DEL {d}" for d in reversed(DELEGATES)]
        elif request.verb == "ADD":
            assert text(outcome.answer) == text(request.conf["prevResult"])
            attached.add(request.attachment)
        else:
            assert outcome.ok
            attached -= {request.attachment} if request.verb == "DEL" else set()
        assert len(replaying.records) == len(attached)

    assert attached == set()
    assert {path.name for path in replaying.state_files} <= {".lock", ".versions"}


def test_the_recording_has_what_makes_runtimes_different() -> None:
    """Should somebody trim it: the shapes that a parser must take are all there."""
    raw = [call["stdin_raw"] for call in RECORDED]

    assert any('"HostPort"' in stdin for stdin in raw)
    assert any('"hostPort"' in stdin for stdin in raw)
    assert any("34359738359" in stdin for stdin in raw)
    assert any('"io.kubernetes.cri.pod-annotations":null' in stdin for stdin in raw)
    assert any('"cni.dev/valid-attachments":null' in stdin for stdin in raw)
    assert any(call["verb"] == "GC" and "attachments" not in call["stdin_raw"] for call in RECORDED)
    assert {call["verb"] for call in RECORDED} == {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"}
