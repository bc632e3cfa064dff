"""Section 4 of the contract: STATUS says whether a pod could be added now, as far as the first owner goes."""

from typing import Any

import pytest

from tests.support.files.node import Node

DECLARED = {"type": "cilium-cni", "cniVersion": "1.1.0"}


@pytest.fixture
def declared(host: Node) -> Node:
    """One owner, cilium, whose file declares 1.1.0."""
    host.owner("cilium")
    host.fragment("cilium", "10.conf", DECLARED)
    return host


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        pytest.param({"cniVersion": "1.1.0"}, True, id="1.1.0"),
        pytest.param({"cniVersion": "1.2.0"}, True, id="later"),
        pytest.param({"cniVersion": "0.3.1", "cniVersions": ["0.4.0", "1.1.0"]}, True, id="among-cniVersions"),
        pytest.param({"cniVersion": "1.0.0"}, False, id="1.0.0-as-Cilium-says"),
        pytest.param({"cniVersion": "0.3.1", "cniVersions": ["0.4.0", "1.0.0"]}, False, id="none-of-cniVersions"),
        pytest.param({}, False, id="nothing"),
    ],
)
@pytest.mark.parametrize("form", ["plugin", "list"])
def test_delegates_are_asked_as_the_runtime_itself_would_have_asked(
    host: Node, form: str, keys: dict[str, Any], asked: bool
) -> None:
    """Those whose own file declares cniVersion (or has in cniVersions) 1.1.0 or later."""
    host.owner("cilium")
    plugin = {"type": "cilium-cni"}
    host.fragment("cilium", "10.conflist", {**keys, **(plugin if form == "plugin" else {"plugins": [plugin]})})

    outcome = host.status()

    assert outcome.ok
    assert outcome.ran == ["STATUS cilium-cni"] * asked


def test_a_delegate_whose_binary_is_older_is_not_asked(declared: Node) -> None:
    declared.plugin("cilium-cni").supports("0.4.0", "1.0.0")

    outcome = declared.status()

    assert (outcome.ok, outcome.ran) == (True, [])


@pytest.mark.parametrize(
    ("orders", "error", "code"),
    [
        pytest.param(["exit 1"], {"code": 50, "msg": "agent is starting"}, 50, id="50"),
        pytest.param(["exit 1"], {"code": 51, "msg": "agent is starting"}, 51, id="51"),
        pytest.param(["exit 1"], {"code": 7, "msg": "agent is starting"}, 50, id="another-code"),
        pytest.param(["exit 1"], {"code": 11, "msg": "agent is starting"}, 50, id="try-again"),
        pytest.param(["exit 2"], None, 50, id="no-error-object"),
        pytest.param(["signal 9"], None, 50, id="killed"),
    ],
)
def test_what_a_delegate_says_is_always_50_or_its_own_51(
    declared: Node, orders: list[str], error: object, code: int
) -> None:
    declared.plugin("cilium-cni").does("STATUS", *orders, prints=error)

    outcome = declared.status()

    assert outcome.code == code
    assert "cilium" in outcome.msg
    assert error is None or "agent is starting" in outcome.msg + outcome.details


@pytest.mark.parametrize(
    "fault",
    ["no-directory", "no-fragment", "empty-list", "broken", "refused", "no-binary"]
    + [pytest.param(fault, marks=pytest.mark.root) for fault in ("unsafe-file", "unsafe-directory")],
)
def test_what_is_wrong_with_the_first_owner_is_50(declared: Node, fault: str) -> None:
    folder = declared.folder("cilium")
    if fault == "no-directory":
        folder.rename(declared.root / "away")
    elif fault == "no-fragment":
        (folder / "10.conf").unlink()
    elif fault == "empty-list":
        declared.fragment("cilium", "10.conf", {"plugins": []})
    elif fault == "broken":
        declared.fragment("cilium", "10.conf", b'{"type":')
    elif fault == "refused":
        declared.fragment("cilium", "10.conf", {"type": "a/b"}, install=False)
    elif fault == "unsafe-file":
        (folder / "10.conf").chmod(0o666)
    elif fault == "unsafe-directory":
        folder.chmod(0o777)
    else:
        declared.uninstall("cilium-cni")

    outcome = declared.status()

    assert (outcome.code, outcome.ran) == (50, [])
    assert "cilium" in outcome.msg


def test_without_any_fragment_the_node_is_not_ready(host: Node) -> None:
    host.owner("cilium", required=False)

    assert host.status().code == 50


def test_a_chain_dir_that_does_not_exist_is_50(declared: Node) -> None:
    assert declared.status(chainDir=str(declared.root / "nowhere")).code == 50


@pytest.mark.parametrize("fault", ["no-fragment", "broken", "no-binary"])
def test_a_missing_later_owner_does_not_make_the_node_unready(declared: Node, fault: str) -> None:
    """Its agent may need the pod network to start; ADD gates it."""
    declared.owner("istio", "istio-cni")
    if fault == "no-fragment":
        (declared.folder("istio") / "10-istio-cni.conf").unlink()
    elif fault == "broken":
        declared.fragment("istio", "10-istio-cni.conf", b"{")
    else:
        declared.uninstall("istio-cni")

    assert declared.status().ok
    assert declared.add().code == 11


def test_the_first_owner_is_the_first_required_one(host: Node) -> None:
    host.owner("local", "bandwidth", required=False)
    host.owner("cilium")

    outcome = host.status()

    assert outcome.code == 50
    assert "cilium" in outcome.msg


def test_if_none_is_required_it_is_the_first_that_has_a_fragment(host: Node) -> None:
    host.owner("empty", required=False)
    host.owner("cilium", required=False)
    host.owner("istio", "istio-cni", required=False)
    host.fragment("cilium", "10.conf", DECLARED)
    assert host.status().ran == ["STATUS cilium-cni"]
    host.uninstall("cilium-cni")

    outcome = host.status()

    assert outcome.code == 50
    assert "cilium" in outcome.msg


@pytest.mark.parametrize(
    ("request_keys", "code"),
    [
        pytest.param({"cniVersion": "1.0.0"}, 1, id="below-1.1.0"),
        pytest.param({"cniVersion": ""}, 1, id="no-version"),
        pytest.param({"cniVersion": "9.0.0"}, 1, id="unknown-version"),
        pytest.param({"name": "../x"}, 7, id="network-name"),
        pytest.param({"timeouts": 1}, 7, id="facade-key"),
        pytest.param({"CNI_PATH": ""}, 4, id="environment"),
    ],
)
def test_a_bad_request_keeps_its_own_code(declared: Node, request_keys: dict[str, Any], code: int) -> None:
    assert declared.status(**request_keys).code == code


def test_status_waits_for_no_attachment(declared: Node) -> None:
    declared.plugin("cilium-cni").does("ADD", "sleep 60")
    adding = declared.begin("ADD")
    adding.reaches("ADD", "cilium-cni")

    assert declared.status().ok
    adding.kill()


def test_what_a_delegate_prints_on_a_successful_status_is_ignored(declared: Node) -> None:
    declared.plugin("cilium-cni").does("STATUS", prints=b"ready\n")

    assert declared.status().ok


def test_an_optional_first_owners_half_written_file_leaves_the_node_ready(host: Node) -> None:
    host.owner("cilium", required=False)
    host.fragment("cilium", "10.conf", b"{")
    host.owner("local", "portmap", required=False)

    outcome = host.add()

    assert (outcome.ran, host.status().ok) == (["ADD portmap"], True)
    assert any("10.conf: not JSON" in note for line in host.log_lines for note in line.get("notes", []))
