"""What `cni-chain agent` answers by HTTP, and what its command line refuses."""

import json
import os
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.files import schemas
from tests.support.sandbox.daemon import OWNERS, Agent, Node
from tests.support.sandbox.node import BIN, CHAIN, LOG, NET, is_frozen


def series(agent: Agent) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All series, as a scraper reads them."""
    found = {}
    for family in text_string_to_metric_families(agent.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_status_is_what_the_command_prints_with_the_agent_s_own_report(node: Node) -> None:
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")

        answer = agent.get("/status")

        document = answer.json
        assert (answer.headers["Content-Type"], schemas.problem(document)) == ("application/json", "")
        report = document.pop("agent")
        printed = json.loads(node.chain("status", "--json")[1])
        assert document | {"mesh": printed["mesh"]} == printed
        assert document["mesh"] is None, "it starts no prober in pods"
        assert (report["ready"], [one["name"] for one in report["owners"]]) == (True, ["cilium", "istio"])


def test_calls_are_counted_with_how_long_each_plugin_took(node: Node) -> None:
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        assert node.call("ADD", "c1", "/run/netns/none")[0] == 0
        node.plugin("istio-cni", ())
        node.sandbox.path("/opt/cni/bin/istio-cni").write_text("#!/bin/sh\nexit 1\n")
        assert node.call("DEL", "c1", "/run/netns/none")[0] == 1

        found = series(agent)

    def calls(verb: str, result: str) -> float:
        return found["cni_chain_calls_total", (("result", result), ("verb", verb))]

    def ran(name: str, owner: str, verb: str) -> float:
        return found.get((name, (("owner", owner), ("type", f"{owner}-cni"), ("verb", verb))), 0)

    assert (calls("ADD", "ok"), calls("ADD", "failed"), calls("DEL", "failed")) == (1, 0, 1)
    took = "cni_chain_delegate_duration_seconds_count"
    assert (ran(took, "cilium", "ADD"), ran(took, "istio", "ADD"), ran(took, "istio", "DEL")) == (1, 1, 1)
    assert ran("cni_chain_delegate_failures_total", "istio", "DEL") == 1
    assert ran("cni_chain_delegate_duration_seconds_sum", "istio", "ADD") > 0
    assert found["cni_chain_ready", ()] in (0, 1)


def test_a_pod_that_always_fails_holds_no_roll_out_but_pods_of_two_namespaces_do(node: Node) -> None:
    """Whoever may create one pod could hold every other node where it is."""

    def line(pod: str) -> bytes:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        keys = {"time": moment, "verb": "ADD", "network": "cilium", "pod": pod, "code": 7, "ms": 1}
        plugin = {"owner": "istio", "type": "istio-cni", "command": "ADD", "code": 7, "ms": 1}
        words = {"msg": "istio/istio-cni: this pod's annotation is wrong", "delegates": [plugin]}
        return json.dumps(keys | words).encode() + b"\n"

    for owner in ("cilium", "istio"):
        node.moves(owner)
    node.write(LOG, line("shop/web-1") + line("shop/web-2"))
    finding = "cni_chain_findings", (("id", "calls-failing"), ("severity", "warning"))
    with node.agent("on", *OWNERS, "--every", "1s") as agent:
        agent.wait_ready("on")
        assert series(agent)[finding] == 1
        assert agent.get("/status").json["lastFailure"]["pod"] == "shop/web-2"

        node.write(LOG, line("shop/web-1") + line("other/job-1"))

        agent.wait_refused("[calls-failing]")


def test_a_call_counts_from_when_the_node_is_said_to_be_ready(traced: Node) -> None:
    """However long the agent takes to open the log that the call is in."""
    for owner in ("cilium", "istio"):
        traced.moves(owner)
    late = ["strace", "-f", "-qq", "-o", "/tmp/trace", "-P", LOG, "-e", "inject=openat:delay_enter=2000000"]  # noqa: S108
    with traced.running([*late, f"{BIN}/cni-chain", "agent", "--state", "on", *OWNERS]) as agent:
        agent.wait_ready("on")
        assert traced.call("ADD", "c1", "/run/netns/none")[0] == 0

        agent.wait_until(
            lambda: series(agent)["cni_chain_calls_total", (("result", "ok"), ("verb", "ADD"))] == 1, "it is counted"
        )


def test_no_node_has_more_than_200_series(node: Node) -> None:
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        plugins = [{"owner": f'o"{number}\n', "type": "t\\\udcff", "ms": 1.5, "code": 1} for number in range(100)]
        lines = [
            {"verb": verb, "ms": 1, "delegates": [one | {"command": verb} for one in plugins]}
            for verb in ("ADD", "DEL", "CHECK", "GC", "STATUS", "NONE")
        ]
        node.write(LOG, b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, [], {"verb": 1}]) + b"{half")

        agent.wait_until(
            lambda: series(agent).get(("cni_chain_calls_total", (("result", "ok"), ("verb", "GC")))) == 1, "it is read"
        )
        found = series(agent)

    assert len(found) <= 200
    assert found["cni_chain_delegate_failures_total", (("owner", "other"), ("type", "other"), ("verb", "ADD"))] == 95


def test_it_takes_at_most_25_mb(node: Node) -> None:
    if not is_frozen(node.program):
        pytest.skip("by design: the source's interpreter has more")
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS, "--every", "1s") as agent:
        agent.wait_ready("on")
        for number in range(20):  # looks, which must leave nothing behind
            node.moves("istio")
            node.write(f"{NET}/87-{number}.conflist", {"cniVersion": "0.3.1", "name": "n", "plugins": [{"type": "x"}]})
            agent.get("/status")

        assert series(agent)["process_resident_memory_bytes", ()] <= 25_000_000


def test_a_list_and_a_fragment_of_80_mb_are_named_and_take_no_memory(node: Node) -> None:
    """The chart gives the agent 128 MiB: with more it would be killed, again and again."""
    huge = json.dumps({"cniVersion": "0.3.1", "name": "n", "type": "istio-cni", "x": "x" * 80_000_000}).encode()
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        node.write(f"{NET}/87-other.conf", huge)
        node.write(f"{CHAIN}/istio.d/10-istio.conf", huge)
        agent.wait_refused(f"{CHAIN}/istio.d/10-istio.conf: has 76 MiB, and a configuration has at most 4 MiB")

        most = [line.split()[1] for pid in agent.pids for line in status(pid) if line.startswith("VmHWM:")]
        assert max(map(int, most)) < 128 << 10
        node.moves("istio")
        agent.wait_ready("on")


def status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


def test_nobody_but_root_can_hold_what_keeps_a_second_agent_away(node: Node) -> None:
    with node.agent("off") as agent:
        agent.wait_ready("off")

        assert node.sandbox.path("/run/cni-chain/agent.lock").stat().st_mode & 0o777 == 0o600
        assert node.sandbox.path("/run/cni-chain").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (r"GET /healthz HTTP/1.1\r\n\r\n", "200"),
        (r"GET /healthz?verbose=1 HTTP/1.0\r\nHost: node\r\n\r\n", "200"),
        (r"GET /livez HTTP/1.1\r\n\r\n", "200"),
        (r"HEAD /readyz HTTP/1.1\r\n\r\n", "200"),
        (r"GET / HTTP/1.1\r\n\r\n", "404"),
        (r"POST /readyz HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
        (r"nonsense\r\n\r\n", "400"),
        (r"\x00\xff\r\n\r\n", "400"),
        (r"GET /" + "a" * 9000 + r" HTTP/1.1\r\n\r\n", "404"),
    ],
)
def test_every_request_gets_its_answer(node: Node, request_: str, status: str) -> None:
    with node.agent("off") as agent:
        agent.wait_ready("off")

        answer = agent.request(request_)

        assert answer.split()[1] == status
        assert answer.endswith("\n\n") == request_.startswith("HEAD")


def test_a_kubelet_gets_the_reasons_as_a_redirect_to_no_host(node: Node) -> None:
    """It takes that for alive, and writes the body into an event of the pod."""
    node.share()
    with node.agent("on") as agent:
        agent.wait_refused("set cni.confPath to /etc/cni/chain.d/cilium.d first")

        head, _, body = agent.request(r"GET /livez HTTP/1.1\r\nHost: node\r\n\r\n").partition("\n\n")

        assert head.splitlines()[0] == "HTTP/1.1 307 Temporary Redirect"
        assert "Location: http://not-ready.invalid/" in head.splitlines()
        assert body == agent.get("/readyz").text
        assert body.startswith("refuses: on is wanted, and the node is prepared\n")
        assert (agent.last["refused"], agent.last["pods"], list(agent.last["owners"])) == (True, 0, [])


def test_a_node_that_waits_for_an_agent_does_not_refuse(node: Node) -> None:
    with node.agent("prepared") as agent:
        agent.wait_refused("no agent has written a configuration yet")

        assert agent.get("/readyz").text.startswith("not ready: prepared is wanted, and the node is prepared\n")
        assert agent.last["refused"] is False


def test_a_name_that_is_no_text_is_told_in_one_line(node: Node) -> None:
    node.moves("cilium")
    directory = os.fsencode(node.sandbox.path(f"{CHAIN}/istio.d"))
    os.makedirs(directory)
    with open(directory + b"/50-\xff\n\x1b[2J.conf", "wb") as file:
        file.write(b"{")

    with node.agent("on", *OWNERS) as agent:
        agent.wait_until(lambda: agent.last["ready"] is False, "it has looked")
        agent.wait_until(lambda: r"50-\udcff\n\x1b[2J.conf:1:2: not JSON" in agent.get("/readyz").text, "it is told")

        assert agent.get("/livez").status == 307
        assert [line for line in agent.get("/readyz/istio").text.splitlines() if "50-" not in line] == []


def test_callers_that_say_nothing_hold_nobody_up(node: Node) -> None:
    with node.agent("off", listen="[::1]:9753") as agent:
        connect = "[socket.create_connection(('::1', 9753)) for _ in range(500)]"
        silent = f"import socket, time; all = {connect}; print(flush=True); time.sleep(600)"
        agent.address = "::1:9753"
        agent.wait_until(lambda: agent.request(r"GET /healthz HTTP/1.1\r\n\r\n") != "", "it answers")
        with node.sandbox.running("/usr/bin/env", "python3", "-ISc", silent):
            begun = time.monotonic()
            for path in ("/healthz", "/livez", "/readyz", "/metrics"):
                assert agent.get(path).status == 200
            # If it let each of those before have its five seconds, sixteen at a time, it would be two minutes.
            assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--state"),
        (["--state", "onn"], "--state onn: must be prepared, on or off; did you mean on?"),
        (["--state", "on", "--owner", "A"], "'A' is not an owner's name"),
        (["--state", "on", "--listen", "node"], "--listen node: must be ADDRESS:PORT, as in 127.0.0.1:9753"),
        (["--state", "on", "--listen", "::1:9753"], "--listen ::1:9753: must be ADDRESS:PORT"),
        (["--state", "on", "--runtime", "docker"], "--runtime docker: must be containerd or crio"),
        (["--state", "on", "--every", "often"], "'often' is not a time span"),
        (["--state", "on", "--owner", "cilium", "--optional", "istio"], "--optional istio: is none of the owners"),
        (["--state", "on", "--owner", "cilium", "--without", "cilium"], "--without cilium: --owner names it as well"),
        (["--state", "on", "--without", "Istio"], "'Istio' is not an owner's name"),
    ],
)
def test_a_wrong_option_is_named_at_once(node: Node, words: list[str], said: str) -> None:
    status, _, err = node.chain("agent", *words)

    assert (status, said in " ".join(err.split())) == (2, True), err
    assert node.names() == []


def test_a_port_that_is_taken_ends_it_with_the_reason(node: Node) -> None:
    taken = "import socket, time; s = socket.create_server(('127.0.0.1', 9753)); print(flush=True); time.sleep(600)"
    with node.sandbox.running("/usr/bin/env", "python3", "-ISc", taken):
        status, _, err = node.chain("agent", "--state", "off")

    assert (status, err) == (
        1,
        "cni-chain: --listen 127.0.0.1:9753: Address already in use; is another agent on this node?\n",
    )


@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_signal_ends_it_at_once_and_leaves_the_node_as_it_is(node: Node, signal: str) -> None:
    for owner in ("cilium", "istio"):
        node.moves(owner)
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
        agent.signal(signal)
        assert agent.process.wait(30) == 0

    assert node.has_facade()
    assert node.call("ADD", "c1", "/run/netns/none")[0] == 0
    with node.agent("on", *OWNERS) as agent:
        agent.wait_ready("on")
