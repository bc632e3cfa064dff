"""What a page has its reader run exists: commands of cni-chain with options, values of the chart, targets of make."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.helm import CHART
from tests.support.sandbox.namespaces import CHECKOUT
from tests.unit.test_pages import DOCS, PROSE, names, prose

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
PROGRAMS = ("cni-chain", "bin/cni-chain", "/opt/cni/bin/cni-chain")
OF_CHART = "deploy/helm/cni-chain"
# What precedes a command in a line.
BEFORE = frozenset(("&&", "||", "|", ";", "then", "do", "--", "$(", "sudo"))


def options() -> dict[str, set[str]]:
    """The commands, and the options of each, by the page that is written from their help."""
    page = (DOCS / "reference/commands.md").read_text()
    found = {}
    for section in page.split("\n## ")[1:]:
        name, _, rest = section.partition("\n")
        rows = re.findall(r"^\| `(-[^`]*)` \|", rest, re.MULTILINE)
        found[name] = {word for row in rows for word in re.findall(r"-{1,2}[\w-]+", row)} | {"--help", "-h"}
    return found


OPTIONS = options()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


def scripts(page: Path) -> Iterator[str]:
    """The lines of a page's `sh` blocks, each with those that continue it."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE):
        yield from re.sub(r"\\\n\s*", "", block).splitlines()


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line of a script, each in words."""
    spaced = re.sub(r"(&&|\|\||\||;|\$\()", r" \1 ", line.replace("…", ""))
    try:
        words = shlex.split(spaced, comments=True)
    except ValueError:  # a quotation that ends in another line
        return
    command: list[str] = []
    for word in words:
        if word in BEFORE:
            yield command
            command = []
        else:
            command.append(word)
    yield command


def faults(words: list[str]) -> list[str]:
    """What isn't so in a command."""
    if not words:
        return []
    if words[0] in PROGRAMS:
        return of_program(words[1:])
    if words[:2] == ["kubectl", "cni-chain"]:  # kubectl's plugin
        return of_program(["cluster", *words[2:]])
    if words[0] == "helm" and OF_CHART in words:
        return of_chart([words[at + 1] for at, word in enumerate(words) if word == "--set"])
    if words[0] == "make":
        return [f"make {word}" for word in words[1:] if "=" not in word and word not in TARGETS]
    return []


def of_program(words: list[str]) -> list[str]:
    name = "cni-chain"
    for word in words:
        if f"{name} {word}" not in OPTIONS:
            break
        name = f"{name} {word}"
    first = words[0] if words else ""
    if name == "cni-chain" and not first.startswith("-"):
        return [f"cni-chain {first}"]
    given = [word.partition("=")[0] for word in words if word.startswith("-")]
    return [f"{name} {option}" for option in given if name != "cni-chain" and option not in OPTIONS[name]]


def of_chart(settings: list[str]) -> list[str]:
    return [setting for setting in settings if not fits(setting.partition("=")[0], setting.partition("=")[2])]


def fits(key: str, value: str) -> bool:
    """Whether the chart's schema has a key, and a value like this one for it."""
    schema: dict[str, Any] = SCHEMA
    for part in key.split("."):
        if part not in schema.get("properties", {}):
            return False
        schema = schema["properties"][part]
    if "enum" in schema:
        return value in schema["enum"]
    return "pattern" not in schema or bool(re.search(schema["pattern"], value))


@pytest.mark.parametrize("page", PROSE, ids=names(PROSE))
def test_what_is_to_be_run_exists(page: Path) -> None:
    wrong = [fault for line in scripts(page) for words in commands(line) for fault in faults(words)]

    assert wrong == []


@pytest.mark.parametrize("page", PROSE, ids=names(PROSE))
def test_a_command_that_is_named_in_a_sentence_exists(page: Path) -> None:
    of_the_past = page.name == "CHANGELOG.md" or "decisions" in page.parts
    named = re.compile(r"`(kubectl )?(?:/opt/cni/)?(?:bin/)?cni-chain ([a-z][^`]*)`")
    wrong = [
        fault
        for _, line in prose(page)
        if not of_the_past
        for found in named.finditer(line)
        for fault in of_program([*(["cluster"] if found[1] else []), *found[2].replace("…", "").split()])
    ]

    assert wrong == []


def test_a_wrong_one_is_found() -> None:
    lines = {
        "cni-chain migrate switch --despite x": "cni-chain migrate switch --despite",
        "kubectl exec POD -- /opt/cni/bin/cni-chain statsu": "cni-chain statsu",
        "kubectl cni-chain status --al": "cni-chain cluster status --al",
        f"helm install a {OF_CHART} --set preset=cilium+nothing": "preset=cilium+nothing",
        f"helm upgrade a {OF_CHART} --reuse-values --set stat=on": "stat=on",
        "apt-get install -y make && make dmo": "make dmo",
    }

    for line, fault in lines.items():
        assert [found for words in commands(line) for found in faults(words)] == [fault]
