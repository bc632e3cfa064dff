"""Owners and fragments make the chain: order, filters, duplicates, exemptions, and what keeps an owner out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cni_chain.plugin import chain, facade, fragments
from cni_chain.plugin.errors import CNIError

Files = dict[str, list[dict[str, Any]]]


def owner(name: str, **keys: Any) -> facade.Owner:
    parsed, problems, _ = facade.parse({"owners": [{"name": name, **keys}]})
    assert parsed.owners is not None
    assert problems == []
    return parsed.owners[0]


def directory(name: str, files: Files, *faults: fragments.Fault) -> fragments.Directory:
    made = fragments.Directory(name, f"/d/{name}.d")
    for file, plugins in files.items():
        made.fragments.append(fragments.Fragment(f"/d/{name}.d/{file}", plugins))
    made.faults += faults
    return made


def owner_chain(
    of: facade.Owner, files: Files, *faults: fragments.Fault, pod: tuple[str, str] = ("", "")
) -> chain.OwnerChain:
    return chain.resolve([of], [directory(of.name, files, *faults)], pod)[0]


def types(delegates: list[chain.Delegate]) -> list[str]:
    return [delegate.type for delegate in delegates]


A, B, C = {"type": "a"}, {"type": "b"}, {"type": "c"}
BROKEN = fragments.Fault("/d/o.d/x.conf", fragments.BROKEN, "empty")
REFUSED = fragments.Fault("/d/o.d/x.conf", fragments.REFUSED, "mode 0666")
UNREADABLE = fragments.Fault("/d/o.d/x.conf", fragments.UNREADABLE, "can't be read: Input/output error")


def test_owners_run_in_the_order_of_the_facade_and_files_in_that_of_their_names() -> None:
    owners = [owner("z"), owner("a")]
    directories = [directory("z", {"1.conf": [A], "2.conflist": [B, C]}), directory("a", {"1.conf": [C]})]

    assert types(chain.required_delegates(chain.resolve(owners, directories, ("", "")))) == ["a", "b", "c", "c"]


@pytest.mark.parametrize(
    ("keys", "files", "run", "dropped"),
    [
        pytest.param({}, {"1": [A], "2": [A]}, ["a"], ["/d/o.d/1 has it first"], id="the first file wins"),
        pytest.param({"duplicates": "all"}, {"1": [A], "2": [A]}, ["a", "a"], [], id="unless all are wanted"),
        pytest.param({}, {"1": [A, A]}, ["a", "a"], [], id="within one file all run"),
        pytest.param(
            {"types": ["a"]},
            {"1": [B, A]},
            ["a"],
            ["not one of the types that o may contribute"],
            id="others' plugins are dropped",
        ),
        pytest.param(
            {}, {"1": [A], "2": [A, B]}, ["a", "b"], ["/d/o.d/1 has it first"], id="the rest of the second file runs"
        ),
    ],
)
def test_what_of_an_owners_files_runs(keys: dict[str, Any], files: Files, run: list[str], dropped: list[str]) -> None:
    made = owner_chain(owner("o", **keys), files)

    assert (types(made.delegates), [entry.reason for entry in made.skipped]) == (run, dropped)


def test_an_exempt_pods_owner_is_neither_needed_nor_run() -> None:
    of = owner("o", exempt=[{"namespace": "n", "podNamePrefix": "p-"}])

    assert chain.required_delegates([owner_chain(of, {}, REFUSED, pod=("n", "p-1"))]) == []
    assert types(chain.required_delegates([owner_chain(of, {"1": [A]}, pod=("n", "p-1"))])) == []
    assert types(chain.required_delegates([owner_chain(of, {"1": [A]}, pod=("m", "p-1"))])) == ["a"]


@pytest.mark.parametrize(
    ("required", "files", "faults", "code"),
    [
        pytest.param(True, {}, [], 11, id="no fragment"),
        pytest.param(True, {"1": []}, [], 11, id="an empty list"),
        pytest.param(True, {"1": [A]}, [BROKEN], 11, id="half of its files broken"),
        pytest.param(True, {"1": [A]}, [REFUSED], 7, id="refused"),
        pytest.param(True, {}, [UNREADABLE], 5, id="unreadable"),
        pytest.param(False, {"1": [A]}, [REFUSED], 7, id="refused though not required"),
        pytest.param(False, {}, [UNREADABLE], 5, id="unreadable though not required"),
    ],
)
def test_a_pod_does_not_come_up_without(required: bool, files: Files, faults: list[fragments.Fault], code: int) -> None:
    with pytest.raises(CNIError) as raised:
        chain.required_delegates([owner_chain(owner("o", required=required), files, *faults)])

    assert raised.value.code == code
    assert "o's CNI configuration" in raised.value.msg


@pytest.mark.parametrize(
    ("files", "faults", "run"),
    [({}, [], []), ({"1": []}, [], []), ({"1": [A]}, [BROKEN], ["a"]), ({}, [BROKEN], [])],
)
def test_an_owner_that_is_not_required_contributes_what_it_can(
    files: Files, faults: list[fragments.Fault], run: list[str]
) -> None:
    assert types(chain.required_delegates([owner_chain(owner("o", required=False), files, *faults)])) == run


def test_a_delete_without_a_record_takes_the_owners_that_are_usable() -> None:
    owner_chains = [
        owner_chain(owner("o"), {"1": [A]}, REFUSED),
        owner_chain(owner("o"), {"1": [B]}),
        owner_chain(owner("o"), {}),
    ]

    assert types(chain.usable_delegates(owner_chains)) == ["b"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".05-cilium.conflist123", "a dot file"),
        ("10-istio.conf.tmp.123", "a temporary file (*.tmp*)"),
        ("a.tmp.conf", "a temporary file (*.tmp*)"),
        ("x.install", "a temporary file (*.install)"),
        ("05-cilium.conf.cilium_bak", "set aside by Cilium (*.cilium_bak)"),
        ("ZZZ-istio-cni-kubeconfig", "credentials (*kubeconfig*)"),
        ("kubeconfig.json", "credentials (*kubeconfig*)"),
        ("README", "doesn't end in .conf, .conflist or .json"),
        ("x.CONF", "doesn't end in .conf, .conflist or .json"),
        ("05-cilium.conflist", ""),
        ("10-istio.conf", ""),
        ("x.json", ""),
    ],
)
def test_a_files_name_tells_whether_it_can_be_a_fragment(name: str, reason: str) -> None:
    assert fragments.ignored_because(name) == reason


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "neither a plugin (key type) nor a list of them (key plugins)"),
        ({"plugins": {}}, "key plugins: must be a list"),
        ({"plugins": [1]}, "key plugins[0]: must be an object"),
        ({"plugins": [A, {}]}, "key plugins[1].type: must be the name of a plugin"),
        ({"type": ""}, "key type: must be the name of a plugin"),
        ({"type": 1}, "key type: must be the name of a plugin"),
        ({"type": "../sh"}, "key type: '../sh' must be a plain file name"),
        ({"type": ".."}, "key type: '..' must be a plain file name"),
        ({"type": "a\0"}, "key type: 'a\\x00' must be a plain file name"),
        ({"type": "cni-chain"}, "key type: cni-chain can't run itself"),
        ({"type": "a", "capabilities": []}, "key capabilities: must be an object of true and false"),
        ({"type": "a", "capabilities": {"dns": "yes"}}, "key capabilities: must be an object of true and false"),
        ({"type": "a", "cniVersion": 1}, "key cniVersion: must be a string"),
        ({"plugins": [A], "cniVersions": "1.0.0"}, "key cniVersions: must be a list of strings"),
        ({"plugins": [A], "disableCheck": 1}, "key disableCheck: must be true or false"),
        ({"plugins": [A], "disableGC": "no"}, "key disableGC: must be true or false"),
    ],
)
def test_a_fragment_that_is_refused_says_which_key(document: dict[str, Any], told: str) -> None:
    faults = fragments.parse("/d/o.d/1.conf", document)

    assert isinstance(faults, list)
    assert [(fault.kind, fault.text) for fault in faults] == [(fragments.REFUSED, told)]


def test_all_that_is_wrong_with_a_fragment_is_told() -> None:
    faults = fragments.parse(
        "/x", {"cniVersion": 1, "plugins": [{}, {"type": "..", "capabilities": 1}], "disableGC": 2}
    )

    assert isinstance(faults, list)
    assert [fault.text for fault in faults] == [
        "key cniVersion: must be a string",
        "key plugins[0].type: must be the name of a plugin",
        "key plugins[1].type: '..' must be a plain file name",
        "key plugins[1].capabilities: must be an object of true and false",
        "key disableGC: must be true or false",
    ]


@pytest.mark.parametrize("value", [True, "true", "TRUE"])
def test_a_lists_own_flags_count_as_libcni_reads_them(value: object) -> None:
    fragment = fragments.parse("/x", {"plugins": [A], "disableCheck": value, "cniVersions": ["1.1.0"]})

    assert isinstance(fragment, fragments.Fragment)
    assert (fragment.disable_check, fragment.disable_gc, fragment.versions) == (True, False, ("", "1.1.0"))


def test_a_directory_that_is_not_there_is_missing_and_no_fault(tmp_path: Path) -> None:
    read = fragments.read("cilium", str(tmp_path))

    assert (read.missing, read.faults, read.fragments) == (True, [], [])
    assert fragments.owner_names(f"{tmp_path}/none") == ([], [])


def test_the_owners_are_the_directories_that_are_named_so(tmp_path: Path) -> None:
    for name in ("b.d", "a.d", "A.d", "x"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.d").touch()

    names, ignored = fragments.owner_names(str(tmp_path))

    assert names == ["a", "b"]
    assert ignored == [("A.d", "not named <owner>.d"), ("file.d", "not a directory"), ("x", "not named <owner>.d")]


@pytest.mark.parametrize(
    ("has", "may", "do"),
    [
        ("istio-cni", "istio-cnii", "correct types (there: cni-chain status)"),
        (
            "loopback",
            "consul-cni",
            "correct types, unless its agent has not written there yet (there: cni-chain status)",
        ),
    ],
)
def test_who_waits_for_a_typo_in_types_does_not_blame_the_agent(has: str, may: str, do: str) -> None:
    made = owner_chain(owner("o", types=[may]), {"1": [{"type": has}]})

    with pytest.raises(CNIError) as raised:
        chain.required_delegates([made])

    assert raised.value.msg.startswith("waiting for o's CNI configuration: ")
    assert raised.value.msg.endswith(f" (key types of cni-chain's own configuration); {do}")
