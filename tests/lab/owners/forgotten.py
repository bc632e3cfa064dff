"""What goes wrong if a setting is forgotten, and which command says so, as a table: each row is seeded on a node.

`python -m tests.lab.owners.forgotten [PROGRAM]` runs the commands and writes their words into
docs/evidence/agents.md.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.files.node import CHECKOUT, Json, Node, shipped_node
from tests.support.owners import chains
from tests.support.owners.chains import CONF
from tests.support.pages import Part

PART = Part("evidence/agents.md", "forgotten")


class Forgotten(NamedTuple):
    """One setting."""

    agent: str
    setting: str
    consequence: str
    seed: Callable[[Node], object]
    command: str  # verify or doctor
    of: str  # the id of what it finds


def sample(name: str) -> Json:
    document: Json = json.loads((CONF / name).read_bytes())
    return document


def in_net_dir(node: Node, name: str, content: Json) -> None:
    """What an agent writes there once the facade is in place."""
    file = node.net_dir / name
    file.write_text(json.dumps(content))
    os.utime(file, (time.time() + 60,) * 2)


def facade_is_renamed(node: Node) -> None:
    node.clear("cilium")
    node.facade.rename(node.facade.with_name("00-cni-chain.conflist.cilium_bak"))
    in_net_dir(node, "05-cilium.conflist", sample("chain.d/cilium.d/05-cilium.conflist"))


def net_dir_is_written(node: Node) -> None:
    in_net_dir(node, "05-cilium.conflist", sample("chain.d/cilium.d/05-cilium.conflist"))


def facade_is_edited(node: Node) -> None:
    node.clear("istio")
    document = json.loads(node.facade.read_bytes())
    document["plugins"].append(sample("chain.d/istio.d/10-istio.conf"))
    node.facade.write_text(json.dumps(document, indent=1))


def single_plugin_in_a_list(node: Node) -> None:
    node.clear("istio")
    node.write("istio.d/10-istio.conflist", sample("chain.d/istio.d/10-istio.conf"))


def cilium_behind_another(node: Node, file: Json) -> None:
    node.install("ptp")
    node.write("base.d/10-ptp.conf", {"type": "ptp"})
    node.write("cilium.d/05-cilium.conflist", file)
    owners = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    node.change_facade(owners=[{"name": "base"}, *owners])


def portmap_of_cilium_only(node: Node) -> None:
    node.clear("local")
    node.write("cilium.d/05-cilium.conflist", sample("examples/cilium/1.14-portmap.conflist"))


def another_mesh(node: Node, owner: str, *files: str) -> None:
    """A mesh instead of Istio; its directory has these files of conf/examples, under their names."""
    chain = next(chain for chain in chains.CHAINS if chain.name == f"cilium-{owner}")
    for name in ("istio", "local"):
        node.clear(name)
        (node.chain_dir / f"{name}.d").rmdir()
    (node.chain_dir / f"{owner}.d").mkdir()
    node.install(f"{owner}-cni")
    for file in files:
        name = file.rpartition("/")[2]
        node.write(f"{owner}.d/{name}", sample(f"examples/{file}"))
    node.change_facade(owners=chain.entries)


def calico(node: Node) -> None:
    for name in ("calico", "calico-ipam"):
        node.install(name)
    node.clear("cilium")
    (node.chain_dir / "cilium.d").rmdir()
    node.write("calico.d/10-calico.conflist", sample("examples/calico/10-calico.conflist"))
    owners = json.loads(node.facade.read_bytes())["plugins"][0]["owners"]
    node.change_facade(owners=[{"name": "calico", "types": ["calico"]}, *owners[1:]])


def migrated_calico(node: Node) -> None:
    calico(node)
    fragment = node.chain_dir / "calico.d/10-calico.conflist"
    kubeconfig = fragment.with_name("calico-kubeconfig")
    fragment.write_text(fragment.read_text().replace("/etc/cni/chain.d/calico.d/calico-k", "/etc/cni/net.d/calico-k"))
    for file in (kubeconfig, node.net_dir / kubeconfig.name):
        file.write_text("")


def multus(node: Node, version: str = "1.0.0", **keys: object) -> None:
    node.facade = node.facade.rename(node.net_dir / "01-cni-chain.conflist")
    plugin = {"type": "multus", "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig", **keys}
    file = {"cniVersion": version, "name": "multus-cni-network", "plugins": [plugin]}
    (node.net_dir / "00-multus.conflist").write_text(json.dumps(file))


def older_copy(node: Node) -> None:
    copy = json.loads(node.facade.read_bytes())
    copy["plugins"][0]["owners"].pop()
    multus(node, delegates=[copy])


WITHOUT_MODE = sample("chain.d/cilium.d/05-cilium.conflist")
NOT_THERE = "no pod starts on this node"
WAITED_FOR = "owner-without-fragment"

FORGOTTEN = (
    Forgotten(
        "Cilium",
        "`cni.confPath`",
        "the agent renames the facade within milliseconds; pods get Cilium's plugin alone",
        facade_is_renamed,
        "doctor",
        "facade-renamed",
    ),
    Forgotten(
        "Cilium",
        "`cni.confPath`, with `cni.exclusive: false`",
        f"nobody writes `cilium.d`: {NOT_THERE} (or a copy of before grows old there: `agent-not-moved`)",
        lambda node: node.clear("cilium"),
        "doctor",
        WAITED_FOR,
    ),
    Forgotten(
        "Cilium",
        "a restart of its agent on this node after `cni.confPath` was changed",
        "what the agent changes reaches no pod",
        net_dir_is_written,
        "doctor",
        "agent-writes-net-dir",
    ),
    Forgotten(
        "Cilium",
        "to take `cni.chainingTarget`, or `chainingMode: aws-cni`, away",
        f"the agent waits for ever for another network's file in its own directory: {NOT_THERE}",
        lambda node: node.clear("cilium"),
        "doctor",
        WAITED_FOR,
    ),
    Forgotten(
        "Cilium behind another",
        '`"chaining-mode"` in the ConfigMap',
        "every ADD fails in cilium-cni",
        lambda node: cilium_behind_another(node, WITHOUT_MODE),
        "verify",
        "cilium-chaining",
    ),
    Forgotten(
        "Cilium",
        "to take `cni.chainingMode: portmap` away, and to give `local` a portmap",
        "host ports don't work",
        portmap_of_cilium_only,
        "verify",
        "plugin-not-run",
    ),
    Forgotten(
        "Cilium",
        "to take `cni.chainingMode: flannel` away",
        "Cilium writes flannel's and portmap's part too, which its types leave out, and every ADD fails in cilium-cni",
        lambda node: node.write("cilium.d/05-cilium.conflist", sample("examples/cilium/1.14-flannel.conflist")),
        "verify",
        "cilium-chaining",
    ),
    Forgotten(
        "Cilium first",
        "a network's name that isn't `aws-cni`, `azure`, `flannel` or `generic-veth`",
        "cilium-cni takes itself for chained: every ADD fails",
        lambda node: node.change_facade(of_list={"name": "azure"}),
        "verify",
        "cilium-chaining",
    ),
    Forgotten(
        "Istio",
        "`cniConfDir`",
        "running, the agent leaves the facade alone; restarted, it appends itself to it. Pods wait for `istio.d`",
        facade_is_edited,
        "doctor",
        "facade-edited",
    ),
    Forgotten(
        "Istio",
        "`chained: false`",
        f"the agent waits for ever for a list in `istio.d` and is never ready: {NOT_THERE}",
        lambda node: node.clear("istio"),
        "doctor",
        WAITED_FOR,
    ),
    Forgotten(
        "Istio",
        "`cniConfFileName` that ends in `.conf`",
        "the agent writes its file and its binary of 85 MB again each second, is never ready, and ends only by "
        "SIGKILL; pods start all the same",
        single_plugin_in_a_list,
        "verify",
        "istio-file-name",
    ),
    Forgotten(
        "Istio ambient",
        "`ambient.enableAmbientDetectionRetry`",
        "a pod runs outside the mesh, in silence, if its namespace can't be looked up",
        lambda node: node.write("istio.d/10-istio.conf", sample("examples/istio/1.30-ambient.conf")),
        "verify",
        "istio-without-retry",
    ),
    Forgotten(
        "Istio",
        "`exempt` in the facade",
        "the agent's own pod waits for what it would write: a new node never gets ready",
        lambda node: node.change_owner("istio", exempt=[]),
        "verify",
        "owner-exempts-none",
    ),
    Forgotten(
        "Istio in another namespace",
        "that namespace in `exempt`",
        "as above; after a reboot at the latest",
        lambda node: node.write(
            "istio.d/10-istio.conf", sample("chain.d/istio.d/10-istio.conf") | {"pod_namespace": "mesh"}
        ),
        "verify",
        "owner-exempts-elsewhere",
    ),
    Forgotten(
        "Linkerd",
        "the seed",
        f"the agent waits for a list to edit: {NOT_THERE}",
        lambda node: another_mesh(node, "linkerd"),
        "doctor",
        WAITED_FOR,
    ),
    Forgotten(
        "Linkerd",
        'a name for the seed without "linkerd"',
        f"the agent passes such files over: {NOT_THERE}",
        lambda node: another_mesh(node, "linkerd", "linkerd/10-seed.conflist"),
        "doctor",
        WAITED_FOR,
    ),
    Forgotten(
        "Consul",
        "the seed, or a plugin in it",
        f"the agent waits for a list with a plugin: {NOT_THERE}",
        lambda node: another_mesh(node, "consul"),
        "doctor",
        WAITED_FOR,
    ),
    Forgotten(
        "Calico by manifest, on a new node",
        "one of the two: the hostPath of `cni-net-dir`, `CNI_NET_DIR`",
        "the fragment names a kubeconfig that lies elsewhere: every ADD fails in calico",
        calico,
        "verify",
        "kubeconfig-missing",
    ),
    Forgotten(
        "Calico by manifest, on a migrated node",
        "`CNI_NET_DIR`, where the hostPath of `cni-net-dir` was set",
        "the fragment names the old kubeconfig, which exists and which nobody renews: all is well until its token "
        "expires, within 24 h; then no pod starts, and none is deleted",
        migrated_calico,
        "verify",
        "kubeconfig-elsewhere",
    ),
    Forgotten(
        "Multus",
        "`--multus-master-cni-file-name` (or an older file behind its own)",
        "Multus runs another network; no pod gets the chain",
        lambda node: multus(node, delegates=[sample("chain.d/cilium.d/05-cilium.conflist")]),
        "verify",
        "multus-other-network",
    ),
    Forgotten(
        "Multus",
        "a restart of its pod after the facade was changed",
        "pods get the chain as it was",
        older_copy,
        "verify",
        "multus-copy-stale",
    ),
    Forgotten(
        "Multus",
        '`"cniVersion": "1.0.0"` in the facade, which `install` writes',
        "a runtime's GC frees the network of pods that were made before Multus was there",
        lambda node: multus(node, delegates=[json.loads(node.facade.read_bytes())], version="1.1.0"),
        "verify",
        "multus-gc",
    ),
    Forgotten(
        "any",
        "`cni-chain owner remove` before its agent is uninstalled",
        f"{NOT_THERE}; those that run are deleted all the same",
        lambda node: node.clear("istio"),
        "doctor",
        WAITED_FOR,
    ),
    Forgotten(
        "Cilium",
        "`timeouts.DEL` of 45 s or more, if it is set at all",
        "a DEL while the agent is stopped is killed before Cilium has queued it",
        lambda node: node.change_facade(timeouts={"DEL": 30}),
        "verify",
        "timeout-short",
    ),
    Forgotten(
        "any",
        "`capabilities` in a facade of one's own",
        "the runtime sends no port mappings, no bandwidth",
        lambda node: node.change_facade(capabilities={"bandwidth": True}),
        "verify",
        "capability-undeclared",
    ),
)


def says(program: str, forgotten: Forgotten, root: Path) -> str:
    """What the command says of a node on which that was forgotten; one finding has its id."""
    node = shipped_node(root, program)
    forgotten.seed(node)
    document = json.loads(node.run(forgotten.command, "--json").stdout)
    found: list[Json] = document["findings"]
    (one,) = [one for one in found if one["id"] == forgotten.of]
    kind = f"{one['severity']} [{one['id']}]"
    if forgotten.of != WAITED_FOR:
        return f"{kind}: {one['what']}"
    # Of what is said of every owner, only what is said of this one.
    return f"{kind}: {one['what'].partition(' in /')[0].partition(':')[0]}: … {one['do'].partition('.d. ')[2]}"


def block(said: list[str]) -> str:
    """The table for the document."""
    lines = ["| agent | forgotten | what happens | which command says so, and how |", "|---|---|---|---|"]
    for forgotten, words in zip(FORGOTTEN, said, strict=True):
        told = f"`{forgotten.command}`: {words.replace('|', chr(92) + '|')}"
        lines.append(f"| {forgotten.agent} | {forgotten.setting} | {forgotten.consequence} | {told} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table between the marks of docs/evidence/agents.md."""
    program = sys.argv[1] if len(sys.argv) > 1 else str(CHECKOUT / "out/frozen/bin/cni-chain")
    said = []
    for forgotten in FORGOTTEN:
        with tempfile.TemporaryDirectory() as root:
            said.append(says(program, forgotten, Path(root)))
    PART.write(block(said))
    sys.stdout.write(block(said))


if __name__ == "__main__":
    main()
