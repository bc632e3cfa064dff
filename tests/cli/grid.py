"""For every id of the registry of rules a node that has the problem: a table, id by id.

A node is `conf/` as test_doctor.py's is, changed by one function. Those of `HERE` are looked at as this system, because
their rules ask plugins, runtimes or agents.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cni_chain.plugin import verdicts
from tests.cli import test_doctor as doctor
from tests.cli import test_doctor_tokens as tokens
from tests.cli.test_doctor_here import Here, agent, agent_process, here_listening, release
from tests.support.files import mounts
from tests.support.files.node import CONF, FACADE, SPEAKS, Json, Node
from tests.support.files.outcome import stop


def document(node: Node) -> Json:
    facade: Json = json.loads(node.facade.read_bytes())
    return facade


def owners(node: Node) -> list[Json]:
    listed: list[Json] = document(node)["plugins"][0]["owners"]
    return listed


def text(node: Node, before: str, after: str) -> None:
    node.facade.write_text(node.facade.read_text().replace(before, after, 1))


def only(node: Node, plugin: str) -> None:
    """That plugin is all that the chain has."""
    for name in ("cilium", "istio"):
        shutil.rmtree(node.chain_dir / f"{name}.d")
    node.change_facade(owners=[{"name": "local"}])
    node.write("local.d/10-portmap.conf", {"type": plugin})
    node.install(plugin)


def no_directory(node: Node) -> None:
    shutil.rmtree(node.chain_dir)
    node.chain_dir.write_text("")


def nobody(node: Node) -> None:
    shutil.rmtree(node.chain_dir)
    node.change_facade(owners=[{"name": "cilium", "required": False}])


def more(node: Node, plugin: str) -> None:
    node.write("more.d/10-more.conf", {"type": plugin})
    node.change_facade(owners=[*owners(node), {"name": "more"}])


def cni_chain_twice(node: Node) -> None:
    node.change_facade(of_list={"plugins": [*document(node)["plugins"], {"type": "cni-chain"}]})


def of_another_namespace(node: Node) -> None:
    conf = json.loads((node.chain_dir / "istio.d/10-istio.conf").read_bytes())
    node.write("istio.d/10-istio.conf", conf | {"pod_namespace": "mesh"})


def of_istio(node: Node) -> None:
    (node.chain_dir / "istio.d/10-istio.conf").rename(node.chain_dir / "istio.d/10-istio.json")


def without_kubeconfig(node: Node) -> None:
    node.change_owner("cilium", types=["calico"])
    node.install("calico")
    plugin = {"type": "calico", "kubernetes": {"kubeconfig": "/etc/cni/chain.d/cilium.d/calico-kubeconfig"}}
    node.write("cilium.d/05-cilium.conflist", {"plugins": [plugin]})


def older_kubeconfig(node: Node) -> None:
    """Only the directory of Calico has moved, not the path that it writes into its fragment."""
    without_kubeconfig(node)
    file = node.chain_dir / "cilium.d/05-cilium.conflist"
    file.write_text(file.read_text().replace("/etc/cni/chain.d/cilium.d/calico-k", "/etc/cni/net.d/calico-k"))
    for path in (node.net_dir, file.parent):
        (path / "calico-kubeconfig").write_text("")


def multus(node: Node, **keys: object) -> None:
    doctor.beside(node, "00-a-multus.conf", {"name": "m", "type": "multus", "cniVersion": "1.0.0", **keys}, later=-60)


def to_copy(node: Node) -> None:
    multus(node, delegates=[document(node) | {"cniVersion": "0.4.0"}])


def revoked(node: Node) -> None:
    tokens.istio_with(node, doctor.token(3600, **{"kubernetes.io": tokens.BOUND}))
    tokens.kubelet_has(node, tokens.ANOTHER)


def without_records(node: Node) -> None:
    doctor.state(node).rmdir()
    doctor.state(node).write_text("")


def seed(name: str) -> Callable[[Node], object]:
    return doctor.FAULTS[name].seed


def renamed_after(record: Callable[[Node], object], node: Node) -> None:
    record(node)
    node.change_facade(of_list={"name": "cluster"})


def storage(node: Node, **keys: object) -> None:
    second = document(node) | {"name": "storage"}
    second["plugins"][0] |= keys
    (node.net_dir / "10-storage.conflist").write_text(json.dumps(second))


def broken_behind(node: Node) -> None:
    seed("out-sorted")(node)
    node.facade.write_text("{")


def misspelt_behind(node: Node) -> None:
    storage(node)
    text(node, '"cni-chain"', '"cni-chian"')
    node.facade.rename(node.net_dir / "90-cni-chain.conflist")


def crio(node: Node, network: str) -> None:
    settings = f'[crio.network]\ncni_default_network = "{network}"\n'
    doctor.runtime(node, "crio", "etc/crio/crio.conf", settings)


def two_and_crio(node: Node) -> None:
    storage(node)
    crio(node, "storage")


def also(id_: str, then: Callable[[Node], object]) -> Callable[[Node], object]:
    """Return what seeds the problem of an id, and then another one."""

    def both(node: Node) -> None:
        GRID[id_](node)
        then(node)

    return both


# The id, and a node that has it.
GRID: dict[str, Callable[[Node], object]] = {
    "facade-missing": seed("no facade"),
    "facade-waiting": seed("the migration undone"),
    "facade-renamed": seed("renamed by Cilium"),
    "facade-type-misspelt": lambda node: text(node, '"cni-chain"', '"cni-chian"'),
    "facade-second": storage,
    "first-file-invalid": seed("first file invalid"),
    "other-file-invalid": lambda node: doctor.beside(node, "99-z.conf", ""),
    "facade-outsorted": lambda node: doctor.beside(
        node, "00-aaa.conflist", {"name": "aaa", "plugins": [{"type": "bridge"}]}, later=-60
    ),
    "facade-ending": lambda node: node.facade.rename(node.facade.with_suffix(".conf")),
    "drop-in-directory": seed("a drop-in directory"),
    "agent-writes-net-dir": seed("an agent still writes to net.d"),
    "podman-needs-ips": seed("podman takes capabilities away"),
    "facade-key-invalid": lambda node: node.change_facade(logLevel="loud"),
    "facade-key-misspelt": lambda node: node.change_facade(chaindir="/etc/cni/chain.d"),
    "facade-key-unknown": lambda node: node.change_facade(colour="red"),
    "key-twice": lambda node: text(node, '"cniVersion"', '"name": "before", "cniVersion"'),
    "network-name-invalid": lambda node: node.change_facade(of_list={"name": "a/b"}),
    "facade-version-unknown": lambda node: node.change_facade(of_list={"cniVersion": "2.0.0"}),
    "facade-version-missing": lambda node: node.change_facade(of_list={"cniVersion": ""}),
    "facade-version-new": lambda node: node.change_facade(of_list={"cniVersion": "1.1.0"}),
    "drop-ins-allowed": lambda node: node.change_facade(remove=("loadOnlyInlinedPlugins",)),
    "facade-edited": seed("edited"),
    "facade-chain-twice": cni_chain_twice,
    "capabilities-missing": lambda node: node.change_facade(remove=("capabilities",)),
    "capabilities-invalid": lambda node: node.change_facade(capabilities={"portMappings": 1}),
    "permissions-unchecked": lambda node: node.change_facade(allowUnsafePermissions=True),
    "fragment-unusable": seed("half an optional fragment"),
    "owner-without-fragment": seed("required and empty"),
    "owner-types-exclude-all": lambda node: node.change_owner("istio", types=["istio-cnii"]),
    "owner-with-two-writers": seed("Istio edits Cilium's file"),
    "chain-dir-unreadable": no_directory,
    "chain-empty": nobody,
    "owner-not-listed": lambda node: node.write("mesh.d/10-mesh.conf", {"type": "mesh"}),
    "file-ignored": lambda node: node.write("local.d/20-a.conf.bak", ""),
    "plugin-not-run": lambda node: node.write("local.d/20-again.conf", {"type": "portmap"}),
    "capability-undeclared": lambda node: node.change_facade(capabilities={"ips": True}),
    "plugin-never-first": lambda node: only(node, "tuning"),
    "cilium-chaining": lambda node: node.change_facade(of_list={"name": "azure"}),
    "plugin-twice": lambda node: more(node, "portmap"),
    "timeout-short": seed("a timeout that kills Cilium"),
    "owner-exempts-none": lambda node: node.change_owner("istio", exempt=[]),
    "owner-exempts-elsewhere": of_another_namespace,
    "istio-without-retry": lambda node: node.write(
        "istio.d/10-istio.conf", (CONF / "examples/istio/1.30-ambient.conf").read_text()
    ),
    "istio-file-name": of_istio,
    "kubeconfig-missing": without_kubeconfig,
    "kubeconfig-elsewhere": older_kubeconfig,
    "multus-other-network": lambda node: multus(node, clusterNetwork="/host/etc/cni/net.d/05-cilium.conflist"),
    "multus-copy-stale": to_copy,
    "multus-gc": lambda node: multus(node, cniVersion="1.1.0", clusterNetwork=FACADE),
    "plugin-missing": seed("a binary missing"),
    "ipam-plugin-missing": seed("the plugin for addresses missing"),
    "plugin-not-executable": seed("a binary that is not executable"),
    "plugin-set-user-id": seed("a program that makes whoever runs it root"),
    "permissions": seed("net.d that others may write"),
    "runtime-elsewhere": seed("containerd looks elsewhere"),
    "runtime-other-network": seed("CRI-O wants another network"),
    "runtime-settings-unreadable": seed("CRI-O's settings can't be read"),
    "token-expired": seed("a token that has expired"),
    "token-revoked": revoked,
    "record-kubeconfig": tokens.calico_moved,
    "records-unreadable": without_records,
    "records-exposed": seed("records that others may read"),
    "records-set-aside": seed("a record set aside"),
    "record-damaged": seed("a damaged record"),
    "record-stranded": seed("a DEL that failed"),
    "records-of-other-network": lambda node: renamed_after(doctor.record, node),
    "record-stuck": seed("a DEL that is never done"),
    "log-unwritable": seed("no place for the log"),
    "log-large": seed("a log that nobody rotates"),
    "log-unreadable": lambda node: (node.root / "var/log/cni-chain.log").mkdir(),
    "calls-failing": seed("a log full of one error"),
}

# More nodes on which commands once disagreed, or might.
MORE: dict[str, Callable[[Node], object]] = {
    "half a required fragment": seed("half a required fragment"),
    "a fragment that others may write": seed("a fragment that others may write"),
    "an optional owner's directory that others may write": seed("an owner's directory that others may write"),
    "optional and absent": seed("optional and nobody writes"),
    "the migration undone, and the list gone": seed("the migration undone, and the list gone"),
    "the migration not finished": seed("the migration not finished"),
    "once renamed by Cilium": seed("once renamed by Cilium"),
    "a broken facade": lambda node: node.facade.write_text("{"),
    "a plugin beside cni-chain that no owner has": lambda node: node.change_facade(
        of_list={"plugins": [*document(node)["plugins"], {"type": "tuning"}]}
    ),
    "out-sorted, and an owner without a fragment": also("facade-outsorted", lambda node: node.clear("istio")),
    "two facades with nothing in common": lambda node: storage(node, chainDir="/etc/cni/storage.d"),
    "a facade that is not JSON, behind another file": broken_behind,
    "a facade whose type is misspelt, behind another": misspelt_behind,
    "two facades, one of which CRI-O takes": two_and_crio,
    "two facades, and none of them is taken": also("facade-outsorted", storage),
    "out-sorted, and CRI-O takes the facade by its name": also("facade-outsorted", lambda node: crio(node, "cilium")),
}


def frozen(here: Here, stack: ExitStack) -> None:
    stop(stack.enter_context(agent_process(here.run_dir / "cilium.sock")))


def without_ztunnel(here: Here, stack: ExitStack) -> None:
    (here.run_dir / "ztunnel").mkdir()
    stack.enter_context(here_listening(here.run_dir / "ztunnel/ztunnel.sock"))


def addresses_lost(here: Here, stack: ExitStack) -> None:
    """As an ADD has found it: the programs on no cgroup are as they were."""
    stack.enter_context(mounts.private())
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    held = verdicts.directory()
    try:
        verdicts.keep(held, verdicts.Verdict(verdicts.BROKEN, "10.96.0.10:80/tcp becomes 10.244.0.21:8080/tcp"), "", {})
    finally:
        os.close(held)
    here.node.change_facade(mesh={"serviceAddress": "enforce"})


def addresses_unknown(here: Here, stack: ExitStack) -> None:
    """A node without cgroups of version 2."""
    stack.enter_context(mounts.private())
    mounted = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in (place for _, place, kind, *_ in reversed(mounted) if kind == "cgroup2"):
        subprocess.run(["/usr/bin/umount", "--lazy", place], check=True)
    here.node.change_facade(mesh={"serviceAddress": "enforce"})


# What leaves the pod is redirected, what arrives is not, and nobody listens.
HALF_LAID = "iptables-legacy -w -t nat -A OUTPUT -p tcp -j REDIRECT --to-ports 15001 && echo laid && exec cat"


def half_captured(here: Here, stack: ExitStack) -> None:
    pod = subprocess.Popen(
        ["/usr/bin/unshare", "--net", "sh", "-c", HALF_LAID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    stack.enter_context(pod)  # its standard input ends, and so does it
    assert pod.stdout is not None
    assert pod.stdout.readline() == b"laid\n"
    record(here, f"/proc/{pod.pid}/ns/net")


def ciliums_own_ztunnel(here: Here, stack: ExitStack) -> None:
    (here.run_dir / "cilium").mkdir()
    stack.enter_context(here_listening(here.run_dir / "cilium/ztunnel.sock"))


def too_old(here: Here, _: ExitStack) -> None:
    here.says("containerd", "containerd github.com/containerd/containerd v1.6.20 abc")
    here.node.change_facade(of_list={"cniVersion": "1.1.0"})


def failing_check(here: Here, _: ExitStack) -> None:
    release(here, "sbr", "v1.9.1")
    here.node.write("local.d/10-portmap.conf", {"type": "sbr"})


def record(here: Here, netns: str) -> Path:
    doctor.state(here.node).mkdir(parents=True)
    made = doctor.record(here.node, "c1", context={"path": "", "netns": netns, "cniArgs": ""})
    folder = here.node.root / "state"
    folder.mkdir()
    folder.chmod(0o700)
    return made.rename(folder / made.name)


def mounted(here: Here, stack: ExitStack, what: str) -> None:
    stack.enter_context(mounts.private())
    mounts.mount(here.node.root / "state", what)


HERE: dict[str, Callable[[Here, ExitStack], object]] = {
    "plugin-silent": lambda here, _: here.node.install("istio-cni", "#!/bin/sh\nexit 3\n"),
    "plugin-old": lambda here, _: here.node.install("portmap", SPEAKS.replace('"0.4.0", "1.0.0"', '"0.2.0"')),
    "plugin-check-fails": failing_check,
    "runtime-too-old": too_old,
    "agent-down": lambda here, _: here.sockets["cilium.sock"].close(),
    "agent-frozen": frozen,
    "proxy-down": without_ztunnel,
    "service-addresses-lost": addresses_lost,
    "service-addresses-unknown": addresses_unknown,
    "pods-partly-captured": half_captured,
    "two-ztunnels": ciliums_own_ztunnel,
    "agent-not-moved": lambda here, stack: stack.enter_context(agent(here, "cilium-agent", here.node.net_dir)),
    "records-stale": lambda here, _: record(here, str(here.node.root / "netns-gone")),
    "records-unwritable": lambda here, stack: mounted(here, stack, "full"),
    "records-space-low": lambda here, stack: mounted(here, stack, "few inodes"),
    "record-unreadable": lambda here, _: record(here, "/proc/self/ns/net").chmod(0o666),
}


@contextmanager
def having(here: Here, id_: str) -> Iterator[None]:
    """Let a node that is looked at as this system have a problem."""
    with ExitStack() as stack:
        HERE[id_](here, stack)
        yield
