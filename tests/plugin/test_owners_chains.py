"""What each plugin of each chain is asked with, for a pod's life and for its agent's own pod."""

import pytest

from tests.support.files.node import ALL_VERSIONS, Node
from tests.support.owners.chains import CHAINS, SENT, Chain, Json

pytestmark = pytest.mark.root

DERIVED = ("name", "cniVersion", "prevResult", "runtimeConfig", "capabilities")
POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"


@pytest.fixture(params=CHAINS, ids=[chain.name for chain in CHAINS])
def chain(request: pytest.FixtureRequest) -> Chain:
    """Each chain of the table."""
    chain: Chain = request.param
    return chain


@pytest.fixture
def called(host: Node, chain: Chain) -> Node:
    """A node with the chain's owners, ready to be called. Each plugin leaves a mark in the result."""
    host.network = chain.network
    host.owners += chain.entries
    for file in chain.files:
        owner, _, name = file.partition(".d/")
        host.fragment(owner, name, chain.content(file))
        for conf in chain.plugins(file):
            host.plugin(conf["type"])
    for number, plugin in enumerate(chain.runs):
        versions = ALL_VERSIONS[: ALL_VERSIONS.index(plugin.newest) + 1]
        marked = host.result(plugin.newest, mtu=1400 + number)
        marked["routes"] = [{"dst": f"10.{n}.0.0/16"} for n in range(number + 1)]
        del marked["mtu"]
        host.plugin(plugin.type).supports(*versions).does("ADD", prints=marked)
    return host


@pytest.fixture
def sent() -> dict[str, object]:
    """What the runtime sends beside the facade."""
    return dict(SENT)


def own(conf: Json) -> Json:
    """What the specification leaves of a plugin's object as its agent wrote it."""
    return {key: value for key, value in conf.items() if key not in DERIVED}


def test_each_plugin_gets_its_agents_words_and_the_result_so_far(called: Node, chain: Chain, sent: Json) -> None:
    outcome = called.add(runtimeConfig=sent, CNI_ARGS=POD)

    assert outcome.ok
    assert outcome.ran == [f"ADD {plugin.type}" for plugin in chain.runs]
    for number, (plugin, call) in enumerate(zip(chain.runs, outcome.calls, strict=True)):
        conf = dict(call.conf)
        previous = conf.pop("prevResult", None)
        assert conf.pop("name") == chain.network
        assert conf.pop("cniVersion") == plugin.newest
        assert conf.pop("runtimeConfig", {}) == {name: SENT[name] for name in plugin.gets}
        assert conf == own(chain.written(plugin))
        if number == 0:
            assert previous is None, "Cilium refuses a chain's result if it is first"
        else:
            assert previous["cniVersion"] == plugin.newest
            assert [route["dst"] for route in previous["routes"]] == [f"10.{n}.0.0/16" for n in range(number)]
    assert len(outcome.answer["routes"]) == len(chain.runs)


def test_check_asks_those_whose_lists_allow_it(called: Node, chain: Chain) -> None:
    result = called.add(CNI_ARGS=POD).answer

    outcome = called.check_pod(CNI_ARGS=POD, prevResult=result)

    assert outcome.ok
    assert outcome.ran == [f"CHECK {plugin.type}" for plugin in chain.runs if plugin.check]


def test_del_goes_backward_with_the_words_of_the_add_though_the_agents_are_gone(called: Node, chain: Chain) -> None:
    called.add(CNI_ARGS=POD)
    for file in chain.files:
        owner, _, name = file.partition(".d/")
        (called.folder(owner) / name).unlink()

    outcome = called.delete(CNI_ARGS=POD)

    assert outcome.ok
    assert outcome.ran == [f"DEL {plugin.type}" for plugin in reversed(chain.runs)]
    for plugin, call in zip(reversed(chain.runs), outcome.calls, strict=True):
        assert own(call.conf) == own(chain.written(plugin))
    assert called.records == []


def test_the_meshs_own_agent_starts_before_it_has_written_and_other_pods_wait(called: Node, chain: Chain) -> None:
    for entry in [entry for entry in called.owners if "exempt" in entry]:
        name, pods = entry["name"], entry["exempt"][0]
        for file in called.folder(name).iterdir():
            file.unlink()
        agent = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pods['namespace']};K8S_POD_NAME={pods['podNamePrefix']}x7"

        refused = called.add(CNI_ARGS=POD)
        started = called.add("agent", CNI_ARGS=agent)

        assert (refused.code, refused.ran) == (11, [])
        assert refused.msg.startswith(f"waiting for {name}'s CNI configuration")
        assert started.ran == [f"ADD {plugin.type}" for plugin in chain.runs if plugin.owner != name]


def test_a_failing_plugin_names_its_owner_and_those_before_it_are_undone(called: Node, chain: Chain) -> None:
    last = chain.runs[-1]
    called.plugin(last.type).fails("ADD", "the agent is away", 11)

    outcome = called.add(CNI_ARGS=POD)

    assert (outcome.code, outcome.msg) == (11, f"{last.owner}/{last.type}: the agent is away")
    undone = [f"DEL {plugin.type}" for plugin in reversed(chain.runs)]
    assert outcome.ran == [*(f"ADD {plugin.type}" for plugin in chain.runs), *undone]
    assert called.records == []
