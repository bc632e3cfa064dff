"""`cni-chain owner`: changes the owners of the chain on a live node. Plans only; `Plan.run` writes.

A runtime reads the facade again when it is replaced, and the DEL of running pods uses their records. So the owners may
change at any time, and only pods that start later are affected.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any

from cni_chain.agents.registry import MESHES
from cni_chain.change import draft, files, installed
from cni_chain.change.plan import Plan, diff
from cni_chain.checks import trial
from cni_chain.checks.chain import UNLISTED
from cni_chain.checks.facade import KEY_INVALID
from cni_chain.checks.owners import WITHOUT_FRAGMENT
from cni_chain.checks.rule import Finding
from cni_chain.node import facades, locate
from cni_chain.node.errors import RefusedError, UnreadableError, unreadable
from cni_chain.node.facades import FacadeFile
from cni_chain.node.survey import Survey, error_of
from cni_chain.node.tree import Tree
from cni_chain.plugin import facade

_RUNNING = "running pods keep their network, and their DEL uses their records"


def only(files: list[FacadeFile]) -> FacadeFile:
    """Return the one facade to change. Raises RefusedError if there are several."""
    if len(files) > 1:
        raise RefusedError(f"several facades: name one with --conf: {', '.join(file.path for file in files)}")
    return files[0]


class Edit:
    """One change of one facade's owners."""

    def __init__(self, tree: Tree, file: FacadeFile, bin_dirs: list[str], *, force: bool) -> None:
        self.tree = tree
        self.file = file
        self.bin_dirs = bin_dirs
        self.force = force
        self.plan = Plan(tree)
        self._real = installed.file_inside(tree, file.path)
        if os.path.islink(self._real):
            raise RefusedError(
                f"{file.path}: is a link, and no runtime would notice the change", "pass its target as --conf"
            )
        if file.problems:
            raise RefusedError(f"{file.path}: {'; '.join(map(str, file.problems))}", "`cni-chain verify` reports where")
        try:
            self._content = tree.read(file.path)
        except OSError as error:
            raise unreadable(file.path, error) from None
        self._document, locator = locate.decode(self._content)
        if self._document != file.document:
            raise RefusedError(f"{file.path}: another process has just changed this file", "try again")
        if locator.duplicates:
            raise RefusedError(f"{file.path}: key {locator.duplicates[0]} exists twice", "remove one of them first")
        plugin: Any = self._document["plugins"] if file.is_list else [self._document]
        self._owners: list[dict[str, Any]] = plugin[file.index]["owners"]
        self._names: list[str] = [entry["name"] for entry in self._owners]

    def add(self, entry: dict[str, Any], *, before: str | None = None, after: str | None = None) -> Plan:
        """Plan one more owner, last if neither `before` nor `after` is given."""
        name = entry["name"]
        if name in self._names:
            index = self._names.index(name)
            if self._owners[index] == entry and before is None and after is None:
                self.plan.notes.append(f"{name} is already an owner.")
                return self.plan
            raise RefusedError(f"{self.file.path}: {name} is already an owner", "remove it first, or edit the file")
        index = len(self._names)
        if before is not None:
            index = self._index(before)
        elif after is not None:
            index = self._index(after) + 1
        directory = f"{self.file.facade.chain_dir}/{name}.d"
        real = installed.inside(self.tree, directory)
        if not os.path.isdir(real):
            self.plan.add("create", f"{directory}/", lambda: files.directory(real))
        self._owners.insert(index, entry)
        self.plan.notes.append(_may(entry))
        return self._write(f"owner {name}", added=name)

    def remove(self, name: str, *, if_present: bool = False) -> Plan:
        """Plan the facade without an owner; its directory stays. With `if_present`, one that isn't there is no error.

        A script that goes on after a misspelt name would uninstall an agent whose owner every new pod then waits for.
        """
        if name not in self._names and if_present:
            self.plan.notes.append(f"{self._not_an_owner(name)}.")
            return self.plan
        index = self._index(name)
        if len(self._names) == 1:
            raise RefusedError(
                f"{self.file.path}: {name} is the only owner, and a facade needs one: add another first, or remove "
                "cni-chain with `cni-chain uninstall`"
            )
        survey = Survey(self.tree, self.file, self.bin_dirs)
        run = {link.type for part in survey.parts if part.owner.name == name for link in part.delegates}
        listed = self._owners[index].get("types") or []
        stops_pods = any(part.owner.name == name and error_of(part) is not None for part in survey.parts)
        del self._owners[index]
        plan = self._write(f"without owner {name}", anyway=stops_pods)
        meshes = sorted(MESHES & {*run, *listed})
        if meshes:
            plan.warnings.append(f"without {', '.join(meshes)} every new pod is outside the mesh; {_RUNNING}")
        else:
            plan.notes.append(f"New pods start without {', '.join(sorted(run)) or name}; {_RUNNING}.")
        plan.notes.append(f"{self.file.facade.chain_dir}/{name}.d stays as it is.")
        return plan

    def require(self, name: str, *, required: bool) -> Plan:
        """Plan whether new pods wait for an owner."""
        index = self._index(name)
        word = "required" if required else "optional"
        if self._owners[index].get("required", True) is required:
            self.plan.notes.append(f"{name} is already {word}.")
            return self.plan
        self._owners[index]["required"] = required
        plan = self._write(f"{name} {word}")
        if not required:
            plan.warnings.append(f"a new pod that starts while {name} has no usable fragment starts without it")
        return plan

    def exempt(self, name: str, pods: list[dict[str, str]]) -> Plan:
        """Plan for which pods an owner is skipped."""
        entry = self._owners[self._index(name)]
        entry.pop("exempt", None)
        if pods:
            entry["exempt"] = pods
        return self._write(f"{name}, and the pods that it is skipped for")

    def may_run(self, types: Mapping[str, list[str] | None]) -> Plan:
        """Plan which plugin types owners may contribute, by their names; None: any.

        Refused if new pods would lose a plugin that they have now: a mesh's, and they would start outside of it.
        """
        for name, kinds in types.items():
            entry = self._owners[self._index(name)]
            entry.pop("types", None)
            if kinds is not None:
                entry["types"] = kinds
        before = Survey(self.tree, self.file, self.bin_dirs)
        after = Survey(self.tree, self._drafted(), self.bin_dirs)
        lost = {link.type: link for link in before.delegates}
        for link in after.delegates:
            lost.pop(link.type, None)
        if lost and not self.force:
            kind, link = next(iter(lost.items()))
            raise RefusedError(
                f"{self.file.path}: owner {link.owner.name} is to run {kind} no more, and no other owner does, so new "
                f"pods would start without {kind}",
                f"first have another owner contribute it, or take it out of {link.path}",
            )
        words = (f"{name} may run {'any' if kinds is None else ', '.join(kinds)}" for name, kinds in types.items())
        return self._write("; ".join(words))

    def order(self, names: list[str]) -> Plan:
        """Plan the order of these owners; the others keep their place."""
        entries = {name: self._owners[self._index(name)] for name in names}
        following = iter(entries.values())
        self._owners[:] = [
            next(following) if name in entries else entry for name, entry in zip(self._names, self._owners, strict=True)
        ]
        return self._write(f"owners in the order {', '.join(entry['name'] for entry in self._owners)}")

    def _drafted(self) -> FacadeFile:
        return FacadeFile(self.file.path, *locate.decode(draft.text_of(self._document).encode()))

    def _index(self, name: str) -> int:
        if name not in self._names:
            raise RefusedError(f"{self.file.path}: {self._not_an_owner(name)}")
        return self._names.index(name)

    def _not_an_owner(self, name: str) -> str:
        meant = facade.near(name, self._names)
        hint = f"did you mean {meant}? T" if meant else "t"
        return f"{name} is not an owner; {hint}he owners are {', '.join(self._names)}"

    def _write(self, detail: str, *, added: str = "", anyway: bool = False) -> Plan:
        """Plan to write `self._document` to the facade, its keys in their order; the rest is as in `_check`."""
        text = draft.text_of(self._document)
        self._check(text, added=added, anyway=anyway)
        old = self._content.decode()
        mode = stat.S_IMODE(os.stat(self._real).st_mode)
        self.plan.add(
            "replace",
            self.file.path,
            lambda: files.put(self._real, text.encode(), mode, expected=self._content),
            detail=detail,
            diff=diff(self.file.path, old, text),
        )
        return self.plan

    def _check(self, text: str, *, added: str, anyway: bool) -> None:
        """Refuse a change that breaks new pods' network, unless --force is given; warn of new findings.

        `added` is the owner that is added; with `anyway` no new pod starts because of the owner that is removed.
        """
        try:
            directory = facades.look(self.tree, os.path.dirname(self.file.path))
            before, after = (
                trial.facade(self.tree, directory, self.file.path, one, self.bin_dirs)
                for one in (self._content.decode(), text)
            )
        except UnreadableError as error:
            raise RefusedError(f"{self.file.path}: {error}") from None
        invalid = [finding for finding in after.findings if finding.id == KEY_INVALID.id]
        if invalid:
            raise RefusedError(f"{self.file.path}: {'; '.join(finding.text() for finding in invalid)}")
        worse = after.worse_than(before)
        why = "; ".join(finding.text() for finding in worse)
        if worse and not self.force and not anyway:
            raise RefusedError(f"{self.file.path}: not changed, because then {why}{_way(added, worse)}")
        for finding in worse:
            self.plan.warn(finding, since="from now on")
        for finding in after.newer_than(before):
            if finding.id != UNLISTED.id:  # the owner was removed from the list on purpose
                self.plan.warn(finding)


def _may(entry: dict[str, Any]) -> str:
    """Return in words what an owner's entry lets it do."""
    name, types = entry["name"], entry.get("types")
    what = ", ".join(types) if types else f"plugins of any type ({name}:TYPE,… limits it)"
    pods = ", ".join(f"{one['namespace']}/{one['podNamePrefix']}*" for one in entry.get("exempt", ()))
    return f"{name} may contribute {what}{f', and is skipped for the pods {pods}' if pods else ''}."


def _way(added: str, worse: list[Finding]) -> str:
    """Return what to do instead of a change that is refused; a new agent needs its owner before it can write."""
    if added and all(finding.id == WITHOUT_FRAGMENT.id for finding in worse):
        return (
            f": add it with --optional, install its agent, then cni-chain owner require {added} "
            "(docs/guides/add-a-mesh-later.md)"
        )
    return " (--force changes it anyway)"
