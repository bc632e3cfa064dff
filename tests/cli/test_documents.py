"""What commands print for programs: with a head, as JSON and as YAML, each kind with a schema that knows every key.

`run` (tests/support/files/node.py) holds whatever a command prints with --json, in any test, to its schema.
"""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cni_chain import __version__
from tests.support.files import schemas
from tests.support.files.node import Json, Node, node_before, run

OF_A_NODE = ["show", "verify", "doctor", "cat", "cat --effective", "owner list", "migrate status"]


@pytest.mark.parametrize("command", OF_A_NODE)
def test_every_document_says_what_it_is_and_where_it_is_from(node: Node, command: str) -> None:
    (node.root / "etc/hostname").write_text("worker-7\n")

    document = json.loads(node.run(*command.split(), "--json").stdout)

    assert {key: document[key] for key in ("schemaVersion", "toolVersion", "host", "root")} == {
        "schemaVersion": 1,
        "toolVersion": __version__,
        "host": "worker-7",
        "root": str(node.root),
    }
    assert document["kind"] in schemas.KINDS


def test_a_pipe_in_the_place_of_the_host_s_name_holds_no_document_up(node: Node) -> None:
    os.mkfifo(node.root / "etc/hostname")

    assert json.loads(node.run("verify", "--json").stdout)["host"] is None


def test_the_host_is_this_one_unless_another_tree_is_looked_at(node: Node) -> None:
    assert json.loads(node.run_here("verify", "--json").stdout)["host"] == os.uname().nodename
    assert json.loads(node.run("verify", "--json").stdout)["host"] is None


@pytest.mark.parametrize("command", [*OF_A_NODE, "owner remove local --dry-run"])
def test_json_and_yaml_say_the_same(node: Node, command: str) -> None:
    node.clear("istio")
    as_json, as_yaml = (node.run(*command.split(), "-o", form) for form in ("json", "yaml"))

    assert as_yaml.status == as_json.status
    assert yaml.safe_load(as_yaml.stdout) == json.loads(as_json.stdout)
    assert node.run(*command.split(), "--json") == as_json


def test_wide_text_has_the_words_of_text(node: Node) -> None:
    assert node.run("show", "-o", "wide").stdout.split() == node.run("show", "--output", "text").stdout.split()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-o", "xml"], "'xml' is not one of 'text', 'wide', 'json', 'yaml'"),
        (["--json", "-o", "yaml"], "--json and --output yaml exclude each other"),
        (["-o", "wide", "--json"], "--json and --output wide exclude each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_no_form_is_wrong_usage(node: Node, options: list[str], told: str) -> None:
    status, stdout, stderr = node.run("show", *options)

    assert (status, stdout) == (2, "")
    assert told in stderr


def test_both_options_may_ask_for_json(node: Node) -> None:
    assert node.run("show", "--json", "-o", "json") == node.run("show", "--json")


def objects(schema: Any, at: str = "") -> Iterator[tuple[str, Json]]:
    """Yield every part of a schema that names the members of an object, with its place."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield at, schema
        for key, value in schema.items():
            yield from objects(value, f"{at}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from objects(value, f"{at}/{index}")


@pytest.mark.parametrize("kind", ["common", *schemas.KINDS])
def test_a_schema_allows_no_key_that_it_doesnt_name(kind: str) -> None:
    schema = schemas.schema(kind)
    schemas.check(kind)

    is_open = [
        at
        for at, one in objects(schema)
        if one.get("additionalProperties", one.get("unevaluatedProperties")) is not False
        and (kind, at) != ("common", "/$defs/document")  # the head, which each kind closes
    ]
    assert is_open == []


def test_the_page_names_every_key_of_a_schema() -> None:
    for_all, *parts = (schemas.SCHEMAS.parent / "json.md").read_text().split("\n## ")
    sections = {part.partition("\n")[0]: part for part in parts}
    head = for_all + sections["In every document"]

    assert set(schemas.KINDS) <= set(sections)
    unnamed = {
        (kind, key)
        for kind in schemas.KINDS
        for _, one in objects(schemas.schema(kind))
        for key in one["properties"]
        if f"`{key}`" not in head + sections[kind]
    }
    assert unnamed == set()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every object in a document."""
    if isinstance(value, dict):
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@pytest.mark.parametrize("command", ["show", "verify", "doctor", "cat", "owner list"])
def test_a_key_too_much_or_too_few_anywhere_is_noticed(node: Node, command: str) -> None:
    node.clear("istio")
    node.write("local.d/20-again.conf", {"type": "portmap"})
    document = json.loads(node.run(*command.split(), "--json").stdout)

    for place in places(document):
        if place[-1:] == ("timeouts",):  # whose keys are the verbs
            continue
        spoilt = copy.deepcopy(document)
        at = spoilt
        for key in place:
            at = at[key]
        at["surprise"] = 1
        assert schemas.problem(spoilt), place
        del at["surprise"]
        for key in list(at):
            value = at.pop(key)
            assert schemas.problem(spoilt) or place[-1:] == ("error",), (place, key)
            at[key] = value


def test_what_migrate_prints_at_each_step_has_its_schema(program: str, tmp_path: Path) -> None:
    before = node_before(tmp_path / "node", program, "cilium-istio")

    steps = [before.json("migrate", step) for step in ("plan", "write", "switch", "plan")]
    before.cilium_moves()
    steps.append(before.json("migrate", "switch", "--override", "istio-edits-first-file"))
    steps += [before.json("migrate", step) for step in ("status", "plan", "undo")]

    assert [one["kind"] for one in steps] == ["migrate"] * len(steps)


def test_what_is_printed_of_pods_has_its_schema(pods: Node) -> None:
    pods.add("c2")
    pods.strands("c2")
    pods.state_dir.joinpath(".damaged-x:c2:eth0").touch()

    kinds = [pods.json("attachments"), pods.json("attachments", "c2"), pods.json("gc", "--dry-run")]
    kinds.append(pods.json("gc", "--forget", "c2", "--dry-run"))

    assert [one["kind"] for one in kinds] == ["attachments", "attachment", "gc", "gc-forget"]


def test_files_that_are_not_in_place_have_a_document_too(program: str, tmp_path: Path) -> None:
    file = tmp_path / "10-a.conf"
    file.write_text("{")

    (finding,) = json.loads(run(program, "verify", str(file), "--json").stdout)["findings"]
    assert finding["path"] == str(file)
