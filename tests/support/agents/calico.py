"""The real calico and calico-ipam, on an etcd of their own, as the first owner of a chain.

They can't be built from a Go module. CNI_CHAIN_CALICO names a directory that holds `calico`, of a release of
Calico for this machine; and `etcd`, if that is not in PATH (Debian: etcd-server).
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.support.agents.case import Case
from tests.support.agents.node import ISTIO_FILE, ISTIO_RUN, AgentNode
from tests.support.sandbox.node import BIN, CHAIN, PORTMAP, Json, wait_for
from tests.support.stand_ins import kubernetes

VARIABLE = "CNI_CHAIN_CALICO"
NETWORK, DIRECTORY = "k8s-pod-network", "/etc/cni/chain-calico.d"
POOL = "10.50.0.0/16"
ETCD = "http://127.0.0.1:2379"
STORE = "/run/etcd"
PUT = Path(__file__).with_name("etcd_put.py")
# All that the plugins want to find there (kind, plural, name, spec).
STORED: list[tuple[str, str, str, Json]] = [
    ("ClusterInformation", "clusterinformations", "default", {"datastoreReady": True, "clusterType": "k8s"}),
    (
        "IPPool",
        "ippools",
        "default",
        {
            "cidr": POOL,
            "ipipMode": "Never",
            "vxlanMode": "Never",
            "blockSize": 26,
            "nodeSelector": "all()",
            "allowedUses": ["Workload"],
            "assignmentMode": "Automatic",
        },
    ),
    ("Node", "nodes", kubernetes.NODE, {"bgp": {"ipv4Address": "192.0.2.1/24"}}),
]
# As Calico's own installer writes it for this datastore.
FRAGMENT: Json = {
    "name": NETWORK,
    "cniVersion": "0.3.1",
    "plugins": [
        {
            "type": "calico",
            "datastore_type": "etcdv3",
            "etcd_endpoints": ETCD,
            "nodename": kubernetes.NODE,
            "nodename_file_optional": True,
            "log_file_path": "/var/log/calico.log",
            "ipam_lock_file": "/var/log/calico-ipam.lock",
            "mtu": 1450,
            "ipam": {"type": "calico-ipam"},
            "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": f"{ISTIO_RUN}/istio-cni-kubeconfig"},
        },
        PORTMAP,
    ],
}


def given() -> Path | None:
    """The directory with Calico's plugin, if somebody has it."""
    directory = os.environ.get(VARIABLE)
    return Path(directory) if directory else None


@contextlib.contextmanager
def network(case: Case, programs: Path) -> Iterator[str]:
    """A chain of Calico, portmap and Istio beside the usual one. Gives the facade's file."""
    node = case.node
    for name in ("calico", "calico-ipam"):
        shutil.copy(programs / "calico", node.sandbox.path(f"{BIN}/{name}"))
    etcd = shutil.which("etcd", path=f"{programs}:{os.environ['PATH']}")
    assert etcd, f"no etcd in {programs}, nor in PATH"
    shutil.copy(etcd, node.sandbox.path("/opt/cni/etcd"))
    node.fragment("calico.d/10-calico.conflist", FRAGMENT, chain=DIRECTORY)
    node.fragment(ISTIO_FILE, json.loads(node.sandbox.path(f"{CHAIN}/{ISTIO_FILE}").read_text()), chain=DIRECTORY)
    conf = node.shipped(case.version, chainDir=DIRECTORY)
    [istio] = [owner for owner in conf["plugins"][0]["owners"] if owner["name"] == "istio"]
    conf["plugins"][0]["owners"] = [{"name": "calico"}, istio]
    try:
        with _etcd(node), node.another_facade("60-calico.conflist", conf | {"name": NETWORK}) as file:
            yield file
    finally:
        for name in ("bin/calico", "bin/calico-ipam", "etcd"):
            node.sandbox.path(f"/opt/cni/{name}").unlink()


@contextlib.contextmanager
def _etcd(node: AgentNode) -> Iterator[None]:
    """etcd, with what Calico stores in it at its installation."""
    peers = "http://127.0.0.1:2380"
    options = [f"--data-dir={STORE}", f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}"]
    into = 'exec "$0" "$@" >/var/log/etcd.log 2>&1'
    command = ["sh", "-c", f"echo started; {into}", "/opt/cni/etcd", *options, f"--listen-peer-urls={peers}"]
    with contextlib.ExitStack() as ended:
        ended.callback(shutil.rmtree, node.sandbox.path(STORE), ignore_errors=True)
        ended.enter_context(node.sandbox.running(*command))
        put = node.sandbox.python(PUT, ETCD)
        wait_for(lambda: node.sandbox.run(*put, check=False).returncode == 0, "etcd answers")
        for kind, plural, name, spec in STORED:
            created = {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
            value = {"kind": kind, "apiVersion": "projectcalico.org/v3", "metadata": created, "spec": spec}
            key = f"/calico/resources/v3/projectcalico.org/{plural}/{name}"
            node.sandbox.run(*put, key, json.dumps(value))
        yield
