"""The proof against the world: libcni itself runs the old list, then the facade with cni-chain, and a plugin that
records its standard input tells whether it is the same."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.files.node import CASES, Call, Node, list_of, run
from tests.support.sandbox import node as sandbox_node

pytestmark = pytest.mark.root

Json = dict[str, Any]


@pytest.fixture(scope="session")
def cnidrv() -> Path:
    tools = sandbox_node.tools()
    if tools is None:
        pytest.skip("cnitool and the reference plugins are not built: make tools")
    return tools / "cnidrv"


def calls(host: Node, cnidrv: Path, conf: Path, capabilities: Json) -> list[tuple[str, str, Json]]:
    """What every plugin but cni-chain got for an ADD and a DEL, in order."""
    before, netns = set(host.folders), host.netns("c1")
    for verb in ("add", "del"):
        command = [
            str(cnidrv), f"-conf={conf}", f"-cache={host.root / 'cache'}", "-id=c1", f"-netns={netns}",
            f"-capabilities={json.dumps(capabilities)}", verb,
        ]  # fmt: skip
        done = subprocess.run(
            command, env=host.environ | {"CNI_PATH": str(host.bin_dir)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    made = sorted((Call.recorded(folder) for folder in host.folders if folder not in before), key=lambda c: c.folder)
    # libcni reads every number as a float64, so the integers that are told in a remark are rounded here too.
    return [(call.verb, call.type, json.loads(call.stdin, parse_int=float)) for call in made if call.verb != "VERSION"]


def without_what_is_told(sent: Json) -> Json:
    """Without `capabilities`, which cni-chain takes out, and a literal runtimeConfig in which nothing is."""
    sent = {key: value for key, value in sent.items() if key != "capabilities"}
    if sent.get("runtimeConfig") in ({}, {"dns": {}}, {"ips": []}):
        del sent["runtimeConfig"]
    if "prevResult" in sent:
        # libcni prints a result by its own types, and cni-chain hands it on as it came.
        sent["prevResult"] = [ip["address"] for ip in sent["prevResult"]["ips"]]
    return sent


@pytest.mark.parametrize("case", CASES)
def test_libcni_and_cni_chain_behind_libcni_send_the_same(host: Node, cnidrv: Path, case: str) -> None:
    source = list_of(case)
    old = host.net_dir / source.name
    old.write_bytes(source.read_bytes())
    document = json.loads(old.read_bytes())
    plugins = document["plugins"] if source.suffix == ".conflist" else [document]
    for plugin in plugins:
        host.plugin(plugin["type"])
    names = {name for plugin in plugins for name in plugin.get("capabilities") or {}}
    capabilities = {name: {"of": name} for name in names}
    where = ["--net-dir", str(host.net_dir), "--chain-dir", str(host.chain_dir), "--bin-dir", str(host.bin_dir)]
    written = run(host.program, "migrate", "write", "--runtime", "containerd", *where)
    assert written.status == 0, written.stderr
    facade = json.loads((host.net_dir / "00-cni-chain.conflist.ready").read_bytes())
    facade["plugins"][0] |= {"stateDir": str(host.state_dir), "logFile": str(host.log)}
    new = host.root / "facade.conflist"
    new.write_text(json.dumps(facade))
    (host.bin_dir / "cni-chain").symlink_to(host.program)
    if source.suffix != ".conflist":  # what a runtime makes of it (libcni, ConfListFromConf); the driver takes lists
        old = host.root / "old.conflist"
        keys = {key: document[key] for key in ("name", "cniVersion")}
        old.write_text(json.dumps(keys | {"plugins": [document]}))

    before = calls(host, cnidrv, old, capabilities)
    after = calls(host, cnidrv, new, capabilities)

    order = [plugin["type"] for plugin in plugins]
    assert [(verb, kind) for verb, kind, _ in after] == [("ADD", kind) for kind in order] + [
        ("DEL", kind) for kind in reversed(order)
    ]
    assert [(verb, kind) for verb, kind, _ in before] == [(verb, kind) for verb, kind, _ in after]
    for (_, _, sent), (_, _, received) in zip(before, after, strict=True):
        assert without_what_is_told(received) == without_what_is_told(sent)
