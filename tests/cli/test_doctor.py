"""`cni-chain doctor`: every fault seeded, one at a time; a node on which all is well gives no finding."""

import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cni_chain.plugin.record import Attachment, Record, RecordedDelegate
from tests.support.files.node import CILIUM, CONF, FACADE, ISTIO, LOCAL, Json, Node, Result

pytestmark = pytest.mark.root  # whose files are root's

STATE = "/var/lib/cni/chain"
LOG = "/var/log/cni-chain.log"


@pytest.fixture(autouse=True)
def _like_a_node(node: Node) -> None:
    (node.root / "var/log").mkdir(parents=True)
    state = node.root / STATE.removeprefix("/")
    state.mkdir(parents=True)
    state.chmod(0o700)


def state(node: Node) -> Path:
    return node.root / STATE.removeprefix("/")


def beside(node: Node, name: str, content: object, *, later: float = 60) -> Path:
    """A file in net.d, written so many seconds after the facade."""
    file = node.net_dir / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    written = node.facade.stat().st_mtime + later
    os.utime(file, (written, written))
    return file


def step(**changed: Any) -> RecordedDelegate:
    """One delegate of a record."""
    istio: Json = {"owner": "istio", "type": "istio-cni", "path": ISTIO, "conf": {"type": "istio-cni"}}
    rest: Json = {"capabilities": [], "version": "1.0.0", "disable_check": False, "on_del_error": "retry"}
    return RecordedDelegate(**(istio | rest | changed))


def record(node: Node, container: str = "c1", **changed: object) -> Path:
    """An attachment's record as the plugin writes it."""
    call = {"path": "/opt/cni/bin", "netns": "/proc/self/ns/net", "cniArgs": "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"}
    held = Record(Attachment("cilium", container, "eth0"), [step()], call, time.time())
    held.state = "added"
    for field, value in changed.items():
        setattr(held, field, value)
    file = state(node) / held.attachment.file
    file.write_bytes(held.text())
    return file


def stranded(node: Node, *containers: str, tries: int = 3) -> None:
    """Attachments whose DEL failed so often, the last time five minutes ago."""
    (state(node) / ".stranded").mkdir()
    for container in containers:
        error = {"cniVersion": "1.1.0", "code": 11, "msg": f"istio/istio-cni: no agent for /run/netns/{container}"}
        marker = state(node) / ".stranded" / record(node, container, state="deleting", error=error).name
        marker.write_text("." * tries)
        os.utime(marker, (time.time() - 300,) * 2)


def log(node: Node, *lines: Json) -> Path:
    file = node.root / LOG.removeprefix("/")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def failures(count: int, age: float = 0) -> list[Json]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age))
    return [
        {
            "time": moment,
            "verb": "ADD",
            "pod": f"default/web-{number % 5}",
            "code": 100,
            "msg": f"cilium/cilium-cni: unable to attach /run/netns/cni-{number:08x}-aaaa: no agent",
        }
        for number in range(count)
    ]


def test_a_node_on_which_all_is_well_gives_no_finding(node: Node) -> None:
    record(node)
    log(node, *failures(9, age=300), *({"time": "2026-01-01T00:00:00.000Z", "verb": "ADD"} for _ in range(300)))

    assert node.run("doctor") == (
        0,
        (
            f"Neither containerd nor CRI-O is installed here; the file that sorts first is\n{FACADE}\n\n"
            "No problem was found on this node.\n"
        ),
        "",
    )


@pytest.mark.parametrize("text", ["token: {}", "token: no-jwt", "tokenFile: /nowhere", "", "token: a.b.c"])
def test_a_token_that_holds_or_says_nothing_is_no_fault(node: Node, text: str) -> None:
    kubeconfig(node, text.format(token(3600)))

    assert found(node) == []


def test_podman_beside_a_facade_with_ips_is_no_fault(node: Node) -> None:
    podman(node)
    node.change_facade(capabilities={"portMappings": True, "ips": True})

    assert found(node) == []


def test_crio_that_is_told_to_take_the_facade_takes_it_whatever_sorts_before(node: Node) -> None:
    runtime(node, "crio", "etc/crio/crio.conf", '[crio.network]\ncni_default_network = "cilium"\n')

    told = "CRI-O takes /etc/cni/net.d/00-cni-chain.conflist: its cni_default_network is cilium"
    assert node.run("doctor").stdout.startswith(told)


def test_the_files_that_are_left_from_before_are_no_fault(node: Node) -> None:
    beside(node, "05-cilium.conflist", {"name": "cilium", "plugins": [{"type": "cilium-cni"}]}, later=-60)
    beside(node, "87-podman.conflist", {"name": "podman", "plugins": [{"type": "bridge"}]})
    beside(node, "05-cilium.conflist.cilium_bak", {"plugins": [{"type": "cilium-cni"}]})

    assert node.run("doctor").status == 0
    assert found(node) == []


def found(node: Node, *arguments: str) -> list[tuple[str, str, str]]:
    document = json.loads(node.run("doctor", "--json", *arguments).stdout)
    return [(one["severity"], one["id"], one["path"]) for one in document["findings"]]


class Fault(NamedTuple):
    """What is done to the node, and what the doctor finds: severity, kind, path, and words of what is told."""

    seed: Callable[[Node], object]
    severity: str
    kind: str
    path: str
    told: str


def edited(node: Node) -> None:
    document = json.loads(node.facade.read_bytes())
    document["plugins"].append({"type": "kuma-cni"})
    node.facade.write_text(json.dumps(document))


def renamed(node: Node) -> None:
    node.facade.rename(node.facade.with_name("00-cni-chain.conflist.cilium_bak"))


def renamed_before(node: Node) -> None:
    node.facade.with_name("00-cni-chain.conflist.cilium_bak").write_bytes(node.facade.read_bytes())


def undone(node: Node) -> None:
    """As `migrate undo` leaves it: the previous list is active again."""
    not_switched(node, ".undone")


def not_switched(node: Node, ending: str = ".ready") -> None:
    """As `migrate write` leaves it."""
    beside(node, "05-cilium.conflist", {"name": "cilium", "plugins": [{"type": "cilium-cni"}]}, later=-60)
    node.facade.rename(f"{node.facade}{ending}")


def undone_without_a_list(node: Node) -> None:
    undone(node)
    (node.net_dir / "05-cilium.conflist").unlink()


def removed(node: Node, *paths: str) -> None:
    for path in paths:
        (node.root / path.removeprefix("/")).unlink()


def moved_away(node: Node) -> None:
    node.clear("istio")
    (node.chain_dir / "istio.d").rmdir()


def optional_and_absent(node: Node) -> None:
    node.change_owner("istio", required=False)
    node.clear("istio")


def optional_and_broken(node: Node) -> None:
    node.write("local.d/10-portmap.conf", '{"type": "portmap"')


def istio_in_cilium(node: Node) -> None:
    content = {"plugins": [{"type": "cilium-cni"}, {"type": "istio-cni"}]}
    node.write("cilium.d/05-cilium.conflist", content)


def two_agents_in_local(node: Node) -> None:
    node.change_facade(owners=[{"name": "local"}])
    node.clear("local")
    for name in ("cilium", "istio"):
        node.clear(name)
        (node.chain_dir / f"{name}.d").rmdir()
    node.write("local.d/05-cilium.conf", {"type": "cilium-cni"})
    node.write("local.d/10-linkerd.conf", {"type": "linkerd-cni"})
    node.install("linkerd-cni")


def ipam(node: Node) -> None:
    node.write("cilium.d/05-cilium.conflist", {"plugins": [{"type": "cilium-cni", "ipam": {"type": "azure-ipam"}}]})


def runtime(node: Node, name: str, path: str, settings: str) -> None:
    (node.root / "usr/bin").mkdir(parents=True)
    (node.root / "usr/bin" / name).touch()
    file = node.root / path
    file.parent.mkdir(parents=True)
    file.write_text(settings)


KUBECONFIG = "/etc/cni/chain.d/istio.d/ZZZ-linkerd-cni-kubeconfig"


def token(seconds: float, **claims: object) -> str:
    """A JWT that expires in so many seconds."""
    parts = ({"alg": "RS256"}, {"aud": ["api"], "exp": int(time.time() + seconds)} | claims, "signature")
    texts = (part if isinstance(part, str) else json.dumps(part) for part in parts)
    return ".".join(base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in texts)


def kubeconfig(node: Node, text: str, token: str = "") -> None:
    """Let Linkerd be in the place of Istio, with that in its kubeconfig, and its token elsewhere if that is given."""
    node.change_owner("istio", types=["linkerd-cni"])
    node.clear("istio")
    node.install("linkerd-cni")
    node.write("istio.d/10-linkerd.conf", {"type": "linkerd-cni", "kubernetes": {"kubeconfig": KUBECONFIG}})
    node.write("istio.d/ZZZ-linkerd-cni-kubeconfig", text)
    (node.root / "etc/cni/token").write_text(token)


def multus(node: Node, text: str) -> None:
    path = "/etc/cni/net.d/multus.d/multus.kubeconfig"
    beside(node, "00-a-multus.conf", {"name": "m", "type": "multus", "kubeconfig": path}, later=-60)
    (node.net_dir / "multus.d").mkdir()
    (node.root / path.removeprefix("/")).write_text(text)


def podman(node: Node) -> None:
    (node.root / "usr/bin").mkdir(parents=True)
    (node.root / "usr/bin/podman").touch()
    node.change_facade(capabilities={"portMappings": True})


FAULTS = {
    "no facade": Fault(
        lambda node: removed(node, FACADE), "error", "facade-missing", "/etc/cni/net.d", "no facade here"
    ),
    "the migration undone": Fault(
        undone,
        "warning",
        "facade-waiting",
        f"{FACADE}.undone",
        f"the migration was undone: the facade waits as {FACADE}",
    ),
    "the migration not finished": Fault(
        not_switched, "warning", "facade-waiting", f"{FACADE}.ready", "the migration is not finished: the facade waits"
    ),
    "the migration undone, and the list gone": Fault(
        undone_without_a_list, "error", "facade-waiting", f"{FACADE}.undone", "the migration was undone"
    ),
    "renamed by Cilium": Fault(
        renamed, "error", "facade-renamed", f"{FACADE}.cilium_bak", "renamed the facade 00-cni-chain.conflist"
    ),
    "once renamed by Cilium": Fault(
        renamed_before, "warning", "facade-renamed", f"{FACADE}.cilium_bak", "has renamed the facade"
    ),
    "edited": Fault(edited, "error", "facade-edited", FACADE, "kuma-cni beside cni-chain: an agent has edited"),
    "out-sorted": Fault(
        lambda node: beside(node, "00-a.conflist", {"name": "x", "plugins": [{"type": "bridge"}]}, later=-9),
        "error",
        "facade-outsorted",
        "/etc/cni/net.d/00-a.conflist",
        "sorts before 00-cni-chain.conflist (it has bridge)",
    ),
    "first file invalid": Fault(
        lambda node: beside(node, "00-a.conflist", "{"),
        "error",
        "first-file-invalid",
        "/etc/cni/net.d/00-a.conflist",
        "not JSON",
    ),
    "an agent still writes to net.d": Fault(
        lambda node: beside(node, "05-cilium.conflist", {"name": "x", "plugins": [{"type": "cilium-cni"}]}),
        "warning",
        "agent-writes-net-dir",
        "/etc/cni/net.d/05-cilium.conflist",
        "is newer than the facade, and has cilium-cni",
    ),
    "a drop-in directory": Fault(
        lambda node: (node.net_dir / "cilium").mkdir(),
        "warning",
        "drop-in-directory",
        "/etc/cni/net.d/cilium",
        "has the name of the network",
    ),
    "required and empty": Fault(
        lambda node: node.clear("istio"),
        "error",
        "owner-without-fragment",
        "/etc/cni/chain.d/istio.d",
        "new pods wait for istio's CNI configuration",
    ),
    "required and missing": Fault(
        moved_away, "error", "owner-without-fragment", "/etc/cni/chain.d/istio.d", "doesn't exist"
    ),
    "optional and nobody writes": Fault(
        optional_and_absent,
        "warning",
        "owner-without-fragment",
        "/etc/cni/chain.d/istio.d",
        "owner istio: no agent has written a fragment here",
    ),
    "half a required fragment": Fault(
        lambda node: node.write("istio.d/10-istio.conf", '{"type":'),
        "error",
        "fragment-unusable",
        ISTIO,
        "not JSON",
    ),
    "half an optional fragment": Fault(
        optional_and_broken, "warning", "fragment-unusable", f"{LOCAL}/10-portmap.conf", "not JSON"
    ),
    "a fragment that others may write": Fault(
        lambda node: (node.chain_dir / "istio.d/10-istio.conf").chmod(0o666),
        "error",
        "fragment-unusable",
        ISTIO,
        "mode 0666: writable by users other than root",
    ),
    "an owner's directory that others may write": Fault(
        lambda node: (node.chain_dir / "local.d").chmod(0o777), "error", "fragment-unusable", LOCAL, "mode 0777"
    ),
    "Istio edits Cilium's file": Fault(
        istio_in_cilium,
        "warning",
        "owner-with-two-writers",
        CILIUM,
        "has istio-cni, owner istio's plugin: a second agent writes to the directory of cilium",
    ),
    "a binary missing": Fault(
        lambda node: removed(node, "/opt/cni/bin/portmap"),
        "error",
        "plugin-missing",
        f"{LOCAL}/10-portmap.conf",
        "no plugin portmap in /opt/cni/bin",
    ),
    "a binary that is not executable": Fault(
        lambda node: (node.bin_dir / "istio-cni").chmod(0o644),
        "error",
        "plugin-not-executable",
        ISTIO,
        "is not executable",
    ),
    "the plugin for addresses missing": Fault(ipam, "error", "ipam-plugin-missing", CILIUM, "no plugin azure-ipam"),
    "net.d that others may write": Fault(
        lambda node: node.net_dir.chmod(0o777), "error", "permissions", "/etc/cni/net.d", "mode 0777"
    ),
    "a binary that is not root's": Fault(
        lambda node: os.chown(node.bin_dir / "portmap", 1234, 0),
        "error",
        "permissions",
        "/opt/cni/bin/portmap",
        "owned by uid 1234",
    ),
    "records that others may read": Fault(
        lambda node: state(node).chmod(0o755), "warning", "records-exposed", STATE, "mode 0755"
    ),
    "a record set aside": Fault(
        lambda node: (state(node) / ".damaged-cilium:c1:eth0").touch(),
        "warning",
        "records-set-aside",
        f"{STATE}/.damaged-cilium:c1:eth0",
        "1 damaged record set aside",
    ),
    "a damaged record": Fault(
        lambda node: (state(node) / "cilium:c1:eth0").touch(),
        "warning",
        "record-damaged",
        f"{STATE}/cilium:c1:eth0",
        "empty",
    ),
    "a DEL that is never done": Fault(
        lambda node: os.utime(record(node, state="deleting"), (1e9, 1e9)),
        "warning",
        "record-stuck",
        f"{STATE}/cilium:c1:eth0",
        "a/b eth0 (c1): its DEL was interrupted; istio/istio-cni left",
    ),
    "an ADD that was killed": Fault(
        lambda node: os.utime(record(node, state="adding"), (1e9, 1e9)),
        "warning",
        "record-stuck",
        f"{STATE}/cilium:c1:eth0",
        "a/b eth0 (c1): its ADD was interrupted",
    ),
    "a DEL that failed": Fault(
        lambda node: stranded(node, "c1"),
        "warning",
        "record-stranded",
        f"{STATE}/cilium:c1:eth0",
        (
            "a/b eth0 (c1): its DEL failed 3 times, the last time 5m ago: istio/istio-cni: no agent for /run/netns/c1; "
            "istio/istio-cni left"
        ),
    ),
    "many DELs that failed alike": Fault(
        lambda node: stranded(node, *(f"c{number}" for number in range(1, 11)), tries=1),
        "warning",
        "record-stranded",
        STATE,
        (
            "10 attachments whose DEL failed with the same error: a/b eth0 (c10), a/b eth0 (c1), a/b eth0 (c2) and "
            "7 more; istio/istio-cni left; the last one: its DEL failed once, 5m ago: istio/istio-cni: no agent"
        ),
    ),
    "a log full of one error": Fault(
        lambda node: log(node, *failures(60)),
        "error",
        "calls-failing",
        LOG,
        "ADD default/web-4: cilium/cilium-cni: unable to attach /run/netns/cni-0000003b-aaaa: no agent (error 100); 60",
    ),
    "no place for the log": Fault(
        lambda node: (node.root / "var/log").rmdir(), "warning", "log-unwritable", LOG, "cni-chain logs nothing"
    ),
    "a log that nobody rotates": Fault(
        lambda node: os.truncate(log(node), 300 << 20), "warning", "log-large", LOG, "has 300 MiB"
    ),
    "containerd looks elsewhere": Fault(
        lambda node: runtime(
            node,
            "containerd",
            "etc/containerd/config.toml",
            '[plugins."io.containerd.grpc.v1.cri".cni]\nconf_dir = "/var/lib/k0s/cni"\n',
        ),
        "error",
        "runtime-elsewhere",
        "/var/lib/k0s/cni",
        "containerd reads its networks from here",
    ),
    "CRI-O wants another network": Fault(
        lambda node: runtime(
            node, "crio", "etc/crio/crio.conf.d/10.conf", '[crio.network]\ncni_default_network = "podman"\n'
        ),
        "error",
        "runtime-other-network",
        "/etc/crio/crio.conf.d/10.conf",
        "CRI-O's cni_default_network is podman; the facade is cilium",
    ),
    "CRI-O's settings can't be read": Fault(
        lambda node: runtime(node, "crio", "etc/crio/crio.conf", "[crio"),
        "warning",
        "runtime-settings-unreadable",
        "/etc/crio/crio.conf",
        "can't be read, and may name the network",
    ),
    "a program that makes whoever runs it root": Fault(
        lambda node: node.install("install").chmod(0o4755),
        "error",
        "plugin-set-user-id",
        "/opt/cni/bin/install",
        "mode 4755: runs as its owner",
    ),
    "a token that has expired": Fault(
        lambda node: kubeconfig(node, f"token: {token(-7300)}"),
        "error",
        "token-expired",
        KUBECONFIG,
        "linkerd-cni reads this to ask the Kubernetes API, and its token expired 2h ago",
    ),
    "a token in JSON that has expired": Fault(
        lambda node: kubeconfig(node, json.dumps({"users": [{"user": {"token": token(-180)}}]})),
        "error",
        "token-expired",
        KUBECONFIG,
        "its token expired 3m ago",
    ),
    "a token in a file of its own that has expired": Fault(
        lambda node: kubeconfig(node, 'tokenFile: "/etc/cni/token"', token(-7300)),
        "error",
        "token-expired",
        KUBECONFIG,
        "its token expired 2h ago",
    ),
    "a token of Multus that has expired": Fault(
        lambda node: multus(node, f"  token: {token(-7300)}"),
        "error",
        "token-expired",
        "/etc/cni/net.d/multus.d/multus.kubeconfig",
        "multus reads this",
    ),
    "podman takes capabilities away": Fault(
        podman,
        "warning",
        "podman-needs-ips",
        FACADE,
        "has no ips: podman, which is installed, sends ips instead of all others",
    ),
    "a timeout that kills Cilium": Fault(
        lambda node: node.change_facade(timeouts={"DEL": 20}),
        "warning",
        "timeout-short",
        FACADE,
        "cilium-cni needs up to 45 s for DEL",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_each_fault_is_found_and_nothing_else(node: Node, fault: Fault) -> None:
    fault.seed(node)

    result = node.run("doctor", "--json")

    (one,) = json.loads(result.stdout)["findings"]
    assert (one["severity"], one["id"]) == (fault.severity, fault.kind)
    assert one["path"] == fault.path
    assert fault.told in one["what"]
    assert one["why"]
    assert one["do"]
    assert result.status == (fault.severity == "error")


def test_who_has_undone_the_migration_is_told_how_to_go_on_and_how_to_clean_up(node: Node) -> None:
    undone(node)
    record(node)

    result = node.run("doctor")

    assert result.status == 0
    told = " ".join(result.stdout.split())
    assert "pods get the plugins of the first file here, /etc/cni/net.d/05-cilium.conflist." in told
    assert "To continue: cni-chain migrate switch." in told
    assert "until pods that were made through the facade (1 with a record) are gone, then cni-chain gc" in told
    assert "who removed it" not in told


def test_two_agents_where_the_administrator_writes(node: Node) -> None:
    two_agents_in_local(node)

    kinds = found(node)

    assert ("warning", "owner-with-two-writers", f"{LOCAL}/05-cilium.conf") in kinds
    assert ("warning", "owner-with-two-writers", f"{LOCAL}/10-linkerd.conf") in kinds


def test_a_finding_says_what_and_why_and_what_to_do(node: Node) -> None:
    node.clear("istio")

    result = node.run("doctor")

    assert result.status == 1
    assert result.stdout.endswith(
        """
error [owner-without-fragment]  /etc/cni/chain.d/istio.d
  what  new pods wait for istio's CNI configuration in /etc/cni/chain.d/istio.d
  why   No new pod starts, apart from those that the owner exempts.
  do    Check that the agent of istio runs on this node, and that it writes to
        /etc/cni/chain.d/istio.d. For Istio: cniConfDir must be this directory and chained=false, or
        its agent waits forever. If istio is uninstalled: cni-chain owner remove istio.

1 error
"""
    )


def test_an_optional_owner_may_wait_for_its_agent_to_be_installed(node: Node) -> None:
    assert node.run("owner", "add", "linkerd:linkerd-cni", "--optional").status == 0

    told = " ".join(node.run("doctor").stdout.split())

    assert "If it is not installed yet: nothing to do. If you don't want it: cni-chain owner remove linkerd." in told


def test_errors_come_first(node: Node) -> None:
    log(node, *failures(60))
    (state(node) / ".damaged-cilium:c1:eth0").touch()
    removed(node, "/opt/cni/bin/portmap")

    assert [kind for _, kind, _ in found(node)] == ["plugin-missing", "calls-failing", "records-set-aside"]
    assert node.run("doctor").stdout.endswith("\n\n2 errors, 1 warning\n")


def test_what_is_stranded_has_what_helps(node: Node) -> None:
    stranded(node, "c1")

    (one,) = json.loads(node.run("doctor", "--json").stdout)["findings"]

    for words in ("Fix the cause", "then retries the DEL", "cni-chain gc retries at once", "cni-chain gc --forget ID"):
        assert words in one["do"]


def test_a_del_that_has_only_begun_is_no_fault(node: Node) -> None:
    record(node, state="deleting")

    assert found(node) == []


def succeeded(pod: str = "", verb: str = "ADD", age: float = 0) -> Json:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - age))
    return {"time": moment, "verb": verb, "pod": pod}


def test_what_has_succeeded_since_is_no_fault(node: Node) -> None:
    """A new node, whose agents came up after the kubelet had tried some pods for minutes."""
    log(node, *failures(30), *(succeeded(f"default/web-{number}") for number in range(5)))

    assert found(node) == []


def test_a_pod_that_still_fails_is_named_though_others_have_succeeded(node: Node) -> None:
    log(node, *failures(60), *(succeeded(f"default/web-{number}") for number in range(4)))

    (one,) = json.loads(node.run("doctor", "--json").stdout)["findings"]

    assert (one["id"], one["severity"]) == ("calls-failing", "warning")
    assert "ago: ADD default/web-4: " in one["what"]
    assert one["what"].partition("; ")[2].startswith("12 calls failed like this in the last ")


def test_a_fault_of_last_week_is_history(node: Node) -> None:
    log(node, *failures(60, age=7 * 86400))

    assert found(node) == []


def test_which_file_each_runtime_takes_is_told_with_the_reason(node: Node) -> None:
    runtime(node, "containerd", "etc/containerd/config.toml", "version = 2\n")
    (node.root / "usr/bin/crio").touch()
    beside(node, "00-broken.conflist", "{")

    result: Result = node.run("doctor")

    assert result.stdout.startswith(
        """\
containerd takes no file: /etc/cni/net.d/00-broken.conflist, which sorts first, can't be used, and
it takes no other
CRI-O takes /etc/cni/net.d/00-cni-chain.conflist: it sorts first of those that can be used
"""
    )
    assert json.loads(node.run("doctor", "--json").stdout)["runtimes"] == [
        {
            "name": "containerd",
            "version": None,
            "takes": None,
            "because": ("/etc/cni/net.d/00-broken.conflist, which sorts first, can't be used, and it takes no other"),
            "cni11": None,
        },
        {
            "name": "CRI-O",
            "version": None,
            "takes": FACADE,
            "because": "it sorts first of those that can be used",
            "cni11": None,
        },
    ]


def test_what_is_in_the_examples_is_no_fault(node: Node) -> None:
    for path in sorted((CONF / "examples/cilium").glob("*.conflist")):
        node.write("cilium.d/05-cilium.conflist", path.read_text())

        errors = {kind for severity, kind, _ in found(node) if severity == "error"}
        assert errors <= {"capability-undeclared", "cilium-chaining"}, path
