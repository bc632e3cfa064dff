"""The candidates for the last word of a command line, by the table of commands (`cni_chain.cli.table`).

It runs at every press of Tab, so it imports only what the plugin path has: neither Typer nor the other commands.
"""

from __future__ import annotations

import os

from cni_chain.plugin import facade, jsontext
from cni_chain.plugin.facade import Facade

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# What stands in the table for values that only the node has.
OWNER = "<owner>"
CONTAINER = "<container>"


class Words:
    """What a command line has before its last word: the command, the values of its options, how many arguments."""

    def __init__(self, table: dict[str, Any], words: list[str]) -> None:
        self.net_dirs: dict[str, str] = table["netDirs"]  # of each distribution
        self.entry = table
        self.values: dict[str, list[str]] = {}  # of the options that were given, by every name of the option
        self.arguments = 0
        self.waiting: dict[str, Any] | None = None  # an option that has no value yet
        self.only_arguments = False
        self.unknown = False  # an option that the command doesn't have
        for word in words:
            self._add(word)

    def _add(self, word: str) -> None:
        if self.waiting is not None:
            self._give(self.waiting, word)
            self.waiting = None
        elif word == "--":
            self.only_arguments = True
        elif word.startswith("-") and not self.only_arguments:
            name, equals, value = word.partition("=")
            option = self.option(name)
            if option and option["takes"] and not equals:
                self.waiting = option
            elif option and option["takes"] == bool(equals):
                self._give(option, value)
            else:
                self.unknown = True
        elif not self.arguments and word in self.entry["commands"]:
            self.entry = self.entry["commands"][word]
        else:
            self.arguments += 1

    def _give(self, option: dict[str, Any], value: str) -> None:
        for name in option["names"]:
            self.values.setdefault(name, []).append(value)

    def option(self, name: str) -> dict[str, Any] | None:
        """Return the command's option of that name."""
        return next((one for one in self.entry["options"] if name in one["names"]), None)

    def last(self, name: str) -> str:
        """Return the last value that an option was given, "" if it wasn't."""
        return self.values.get(name, [""])[-1]


def candidates(table: dict[str, Any], words: list[str]) -> Iterator[str]:
    """Yield the candidates for the last of `words`, each with a tab and its help if it has one.

    If none is yielded, the shell completes file names.
    """
    *before, incomplete = words or [""]
    if incomplete == "=":  # bash splits a word at this character
        incomplete = ""
    given = Words(table, before)
    if incomplete.startswith("-") and not given.only_arguments and given.waiting is None:
        name, equals, value = incomplete.partition("=")
        if not equals:
            offered = _options(given)
        else:
            incomplete = value
            offered = _values(given, (given.option(name) or {"values": []})["values"])
    elif given.waiting is not None:
        offered = _values(given, given.waiting["values"])
    else:
        offered = _words(given)
    for value, text in offered:
        if value.startswith(incomplete):
            yield f"{value}\t{text}" if text else value


def _options(given: Words) -> Iterator[tuple[str, str]]:
    for option in given.entry["options"]:
        if option["multiple"] or option["names"][0] not in given.values:
            for name in option["names"]:
                yield name, option["help"]


def _words(given: Words) -> Iterator[tuple[str, str]]:
    """Yield the commands below, or the values of the next argument."""
    if not given.arguments:
        for name, entry in given.entry["commands"].items():
            yield name, entry["short"]
    for place, (several, values) in enumerate(given.entry["arguments"]):
        if several < 0 or place >= given.arguments:
            yield from _values(given, values)
            return


def _values(given: Words, values: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for value, text in values:
        if value == OWNER:
            yield from _owners(given)
        elif value == CONTAINER:
            yield from _containers(given)
        else:
            yield value, text


def _owners(given: Words) -> Iterator[tuple[str, str]]:
    """Yield the owners that the facades list, with the types that each may contribute."""
    for one in _facades(given):
        for owner in one.owners or []:
            yield owner.name, ", ".join(sorted(owner.types or ())) or "anything"


def _containers(given: Words) -> Iterator[tuple[str, str]]:
    """Yield the containers with a record, and their network; pods' names would need each record read."""
    directories = [path for several in given.values.get("--state-dir", []) for path in several.split(":") if path]
    for directory in directories or sorted({facade.STATE_DIR, *(one.state_dir for one in _facades(given))}):
        for name in _names(_path(given, directory)):
            network, _, rest = name.partition(":")
            container, _, interface = rest.partition(":")
            if network and container and interface:
                yield container, network


def _facades(given: Words) -> Iterator[Facade]:
    """Yield the facades that the given options mean; none if they can't be read."""
    usual = given.net_dirs.get(given.last("--distro") or "kubeadm", "")
    directory = _path(given, given.last("--net-dir") or usual)
    for name in _names(directory):
        try:
            with open(f"{directory}/{name}", "rb") as file:
                document = jsontext.decode(file.read())
        except (OSError, ValueError):
            continue
        plugins = document.get("plugins", [document]) if isinstance(document, dict) else []
        for plugin in plugins if isinstance(plugins, list) else []:
            if isinstance(plugin, dict) and plugin.get("type") == "cni-chain":
                yield facade.parse(plugin)[0]
                break


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _path(given: Words, path: str) -> str:
    root = given.last("--root").rstrip("/")
    return f"{root}/{path.lstrip('/')}" if root else path
