"""`cni-chain migrate`: splits the list that agents share into a directory for each, with a proof and one rename."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cni_chain.cli import completion
from cni_chain.cli.migrate_text import (
    head,
    plan_document,
    plan_text,
    proof_document,
    proof_text,
    refusal_lines,
    where,
    worded,
)
from cni_chain.cli.options import BinDirs, DistroName, Json, NetDirectory, Root, Where
from cni_chain.cli.output import paint, paragraph, print_json, printable
from cni_chain.migrate import guards, moves, split
from cni_chain.migrate.moves import Switch
from cni_chain.migrate.plan import FACADE, Paths, Plan, make, state_of
from cni_chain.node import conflists, facades
from cni_chain.node.conflists import CONTAINERD, CRIO, Choice
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import NetDir
from cni_chain.node.tree import Tree
from cni_chain.plugin import facade as facade_keys


def command(
    write: Annotated[
        bool,
        typer.Option("--write", help="Write the fragments, and the facade under a name that no runtime reads."),
    ] = False,
    switch: Annotated[bool, typer.Option("--switch", help="Put the facade in place, by a rename.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Rename the facade away; the fragments stay.")] = False,
    owner: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:TYPE,...",
            show_default=False,
            help="Give plugins of these types to this owner (repeatable). By default each known agent owns its own "
            "plugins, and 'local', the administrator, the others.",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="|".join((CONTAINERD, CRIO)),
            show_default=False,
            autocompletion=completion.one_of((CONTAINERD, CRIO)),
            help="The runtime whose rules choose the list. By default both, which mostly agree.",
        ),
    ] = None,
    despite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            autocompletion=completion.one_of(guards.NAMES),
            help="With --switch: overrule a refusal that is only a guess; its message gives the NAME (repeatable).",
        ),
    ] = None,
    facade: Annotated[
        str, typer.Option(metavar="NAME", help="The facade's file name; it must sort before the list's.")
    ] = FACADE,
    json: Json = False,
    chain_dir: Annotated[
        str, typer.Option(metavar="DIR", help="The directory of the owners' directories.")
    ] = facade_keys.CHAIN_DIR,
    net_dir: NetDirectory = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Split the list that the runtime uses now into a directory for each agent, and prove that nothing changes.

    Without --write, --switch or --undo nothing is written: it prints each plugin's owner, the proof that each plugin
    gets the same configuration in the same order as before, each agent's settings, and the steps for a node with
    running pods. --switch proves it again for the files on the disk, and refuses an order of steps that would harm
    pods. Values of the list are printed unchanged, credentials too.

    \b
    Examples:
      cni-chain migrate                                  the plan and the proof; changes nothing
      cni-chain migrate --write                          then move the agents, in the order of the steps
      cni-chain migrate --switch
      cni-chain migrate --undo                           the previous list is active again, at once
      cni-chain migrate --owner edge:portmap,bandwidth   the plan, with another owner for these two

    \b
    Exit status: 0 if it is done or could be, 1 if not (the reason is printed), 2 for wrong usage.
    """
    where = Where.given(root, distro, net_dir=net_dir, bin_dir=bin_dir)
    owner_of = _usage(write, switch, undo, owner, runtime, despite, facade)
    tree = where.tree
    command = _Command(
        tree,
        Paths(where.net_dir, tree.path(chain_dir), facade),
        where.bin_dirs,
        runtime,
        json=json,
    )
    if undo:
        command.undo()
    elif switch:
        command.switch(despite or [])
    else:
        command.plan(owner_of, write=write)


def _usage(
    write: bool,
    switch: bool,
    undo: bool,
    owner: list[str] | None,
    runtime: str | None,
    despite: list[str] | None,
    facade: str,
) -> dict[str, str]:
    """Return the owners that were given by type. Raises the usage error."""
    if write + switch + undo > 1:
        raise typer.BadParameter("pass only one of --write, --switch and --undo: agents are moved between them")
    if owner and (switch or undo):
        raise typer.BadParameter("--owner goes with --write: --switch and --undo use what was written")
    if runtime not in (None, CONTAINERD, CRIO):
        raise typer.BadParameter(f"--runtime {runtime}: must be {CONTAINERD} or {CRIO}")
    unknown = [name for name in despite or [] if name not in guards.NAMES]
    if unknown:
        raise typer.BadParameter(f"--despite {unknown[0]}: must be one of {', '.join(guards.NAMES)}")
    if "/" in facade or not facade.removesuffix(".conflist") or not facade.endswith(".conflist"):
        raise typer.BadParameter(f"--facade {facade}: must be a file name that ends in .conflist")
    return split.parse_owners(owner or [])


class _Command:
    """One run on one node."""

    def __init__(self, tree: Tree, paths: Paths, bin_dirs: list[str], runtime: str | None, *, json: bool) -> None:
        self._tree = tree
        self._paths = paths
        self._bin_dirs = bin_dirs
        self._runtime = runtime
        self._json = json

    def plan(self, owner_of: dict[str, str], *, write: bool) -> None:
        """Print the plan; with `write` carry it out."""
        directory = facades.look(self._tree, self._paths.net_dir)
        state = state_of(directory, self._paths, self._tree)
        if state == "switched":
            self._nothing(state, f"{self._paths.facade} is in place: nothing to migrate (--undo renames it away)")
            return
        choice = self._choose(directory)
        plan = make(self._tree, self._paths, choice, owner_of)
        if write:
            self._write(plan, state)
            return
        way = self._in_the_way(choice) if state == "written" else []
        if self._json:
            print_json(plan_document(self._tree, self._paths, plan, state) | {"refusals": way})
        else:
            print("\n".join(plan_text(self._paths, plan)))
            if way:
                print(f"\n{paint('bold', 'What --switch refuses now')}")
                print("\n".join(line for reason in way for line in paragraph(reason, "  ")))
        behind = guards.sorts_behind(self._paths, plan.live)
        if behind:
            raise RefusedError(behind.message)
        raise typer.Exit(0 if plan.proof.holds and plan.unusable is None else 1)

    def _write(self, plan: Plan, state: str) -> None:
        if not plan.proof.holds:
            if self._json:
                print_json(plan_document(self._tree, self._paths, plan, state) | {"changed": []})
            else:
                print("\n".join(proof_text(plan.proof)), file=sys.stderr)
        changed = moves.write(self._tree, self._paths, plan)
        if self._json:
            document = plan_document(self._tree, self._paths, plan, "written")
            print_json(document | {"changed": changed})
            return
        _print_changed(changed)
        print("\n".join(proof_text(plan.proof)))
        print(f"{self._paths.pending} waits for --switch; the steps: cni-chain migrate")

    def _in_the_way(self, choice: Choice) -> list[str]:
        try:
            return refusal_lines(Switch(self._tree, self._paths, choice, self._bin_dirs).refusals)
        except RefusedError as error:
            return [str(error)]

    def switch(self, despite: list[str]) -> None:
        """Put the facade in place."""
        directory = facades.look(self._tree, self._paths.net_dir)
        state = state_of(directory, self._paths, self._tree)
        if state == "switched":
            self._nothing(state, f"{self._paths.facade} is in place already")
            return
        one = Switch(self._tree, self._paths, self._choose(directory), self._bin_dirs)
        standing = one.standing(despite)
        refused = bool(standing) or not one.proof.holds
        changed = [] if refused else one.do()
        if self._json:
            document = {"proof": proof_document(one.proof), "refusals": refusal_lines(standing), "changed": changed}
            print_json(head(self._tree, self._paths, state if refused else "switched") | document)
        elif not refused:
            print("\n".join([*proof_text(one.proof), f"{self._paths.facade} is in place: new pods get the chain."]))
        if not one.proof.holds:
            _complain([where(d) + worded(one_of) for d in one.proof.delegates for one_of in d.differences])
            _complain([f"{self._paths.pending}: {worded(difference)}" for difference in one.proof.differences])
        _complain(refusal_lines(standing))
        if refused:
            _complain(["not switched; nothing was changed"])
            raise typer.Exit(1)

    def undo(self) -> None:
        """Rename the facade away."""
        directory = facades.look(self._tree, self._paths.net_dir)
        if not any(file.path == self._paths.facade for file in directory.facades):
            self._nothing("live", f"{self._paths.facade} is not in place: nothing to undo")
            return
        choice = self._choose(directory)
        changed, warnings = moves.undo(self._tree, self._paths, directory, choice)
        if self._json:
            document: dict[str, Any] = {"changed": changed, "warnings": warnings}
            print_json(head(self._tree, self._paths, "written") | document)
        else:
            print(f"{choice.live.path} is active again; the facade waits as {self._paths.pending}")
            print("\n".join(f"{paint('yellow', 'warning')}: {printable(warning)}" for warning in warnings), end="")
            print("\n" if warnings else "", end="")

    def _choose(self, directory: NetDir) -> Choice:
        return conflists.choose(self._tree, directory, self._runtime, self._bin_dirs)

    def _nothing(self, state: str, message: str) -> None:
        if self._json:
            print_json(head(self._tree, self._paths, state) | {"changed": []})
        else:
            print(printable(message))


def _print_changed(changed: list[str]) -> None:
    for path in changed:
        print(f"written  {printable(path)}")
    if not changed:
        print("Nothing to change: every file exists.")


def _complain(lines: list[str]) -> None:
    for line in lines:
        print(f"cni-chain: {printable(line)}", file=sys.stderr)
