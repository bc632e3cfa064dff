"""From what a node is to what it is wanted to be, by the plans, proofs and guards of `install` and `migrate`.

Each step is one that an administrator has as a command, and leaves the node whole: whoever ends the agent in between
finds a state from which the next start goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from cni_chain.change import files, install
from cni_chain.daemon import appended, owning, waiting
from cni_chain.daemon.keeping import Keeping
from cni_chain.daemon.limit import SECONDS, TIMES, Limit
from cni_chain.daemon.owning import Wish
from cni_chain.daemon.wanted import NONE, OFF, ON, PREPARED, Wanted
from cni_chain.migrate import moves, one_list, plan
from cni_chain.migrate.plan import FACADE, FINISHED, LIVE, SWITCHED, UNDONE, Paths
from cni_chain.migrate.site import Site
from cni_chain.node import usage
from cni_chain.node.conflists import Choice
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import FacadeFile
from cni_chain.node.survey import Survey
from cni_chain.node.tree import Tree

_IN_PLACE = (SWITCHED, FINISHED)
_PROGRAM, _FACADE, _BEFORE = "the program or the owners' directories", "the facade", "the previous list"
_STEPS = 3  # of an owner that is wanted: it is listed, pods wait for it, but for those that it is skipped for


class Standing(NamedTuple):
    """What the node is, and why it is not what is wanted ([]: it is).

    `refused` says that the agent won't go on by itself as things are; without it, it waits for an agent of the network.
    """

    reached: str
    reasons: list[str]
    refused: bool = False


class Converging:
    """One node on the way to one state. `did` tells, in words, what was changed and not yet asked for."""

    def __init__(self, tree: Tree, wanted: Wanted, source: str | None) -> None:
        """`source` is the directory of the program to install, None: none."""
        self.tree = tree
        self.wanted = wanted
        self.paths = Paths(wanted.net_dir, wanted.chains, FACADE)
        self.limit = Limit()
        self.did: list[str] = []
        self._source = source
        self._keeping = Keeping(tree, wanted, self.paths.facade)

    def step(self) -> Standing:
        """Look at the node, do what it needs, and return what it is then."""
        try:
            self._restore()
            self._install()
            standing = {PREPARED: self._prepared, ON: self._on, OFF: self._off}[self.wanted.state](self._site())
            self._keeping.is_sound()
        except RefusedError as error:
            return Standing(self._reached(), [str(error)], refused=True)
        return standing

    @property
    def _one_list(self) -> str:
        return f"{self.wanted.net_dir}/{one_list.NAME}"

    def _site(self) -> Site:
        return Site(self.tree, self.paths, [self.wanted.bin_dir], self.wanted.runtime)

    def _reached(self) -> str:
        """Return what the node is, after a step that was refused."""
        try:
            state = self._site().state
        except RefusedError:
            return NONE
        return ON if state in _IN_PLACE else OFF if self.wanted.state == OFF else NONE if state == LIVE else PREPARED

    @contextlib.contextmanager
    def _changing(self, what: str) -> Iterator[None]:
        """Keep other commands off the node meanwhile, and count the change. Raises RefusedError if there were too many.

        What fails has changed nothing, and doesn't count.
        """
        self._require(what)
        with files.locked(self.tree, self.wanted.net_dir):
            yield
        self.limit.count(what, time.monotonic())

    def _require(self, what: str) -> None:
        if not self.limit.allows(what, time.monotonic()):
            raise RefusedError(
                f"stopped: {what} would be the repair number {TIMES + 1} in {SECONDS / 60:.0f} minutes",
                "move the agent that writes there (cni-chain watch names it), then restart this one",
            )

    def _tell(self, text: str) -> None:
        self.did.append(text)

    # The program and the owners' directories.

    def _install(self) -> None:
        made = install.plan(self.tree, self.wanted.options(with_facade=False), self._source)
        if made.changes:
            with self._changing(_PROGRAM):
                made.run()
            self._tell(f"installed: {', '.join(change.path for change in made.changes)}")
        self.limit.expect(_PROGRAM)

    # The facade that others have taken away or edited.

    def _restore(self) -> None:
        content = self._keeping.lost() if self.wanted.state == ON else None
        if content is not None:
            self.limit.expect(_FACADE)  # also if an agent before this one had put it there
            with self._changing(_FACADE):
                self._keeping.restore(content)
            self._tell(f"restored {self.paths.facade}")
        self._keeping.refuse_unknown()

    # The states.

    def _on(self, site: Site) -> Standing:
        if site.state in _IN_PLACE:
            self.limit.expect(_FACADE)
            return self._stands()
        if (begun := self._begin(site, at_once=True)) is not None:
            return begun
        switch = self._waits(site, write=(LIVE, UNDONE)).switch(self.wanted.without)
        if switch.refusals:
            reasons = [*waiting.differences(switch.proof), *(one.message for one in switch.refusals)]
            return Standing(PREPARED, reasons, refused=True)
        self._require(_FACADE)
        self.limit.count(_FACADE, time.monotonic())  # also if an agent takes it away at once, which `do` waits for
        self._tell(f"switched: {', '.join(switch.do())}")
        return self._stands()

    def _prepared(self, site: Site) -> Standing:
        if site.state in _IN_PLACE:
            if not usage.others(site.directory):  # nothing to go back to: pods would lose their network
                return self._stands()
            choice = self._previous(site)
            if choice.live.network != self._in_place(site).network:  # a list of something else, such as podman's
                return self._stands()
            self._undo(site, choice)
            site = self._site()
        if (begun := self._begin(site, at_once=False)) is not None:
            return begun
        switch = self._waits(site, write=(LIVE,)).switch(self.wanted.without)
        reasons = [*waiting.differences(switch.proof), *(one.message for one in switch.refusals if not one.is_guess)]
        return Standing(PREPARED, reasons, refused=bool(reasons))

    def _off(self, site: Site) -> Standing:
        if site.state in _IN_PLACE:
            if not usage.others(site.directory):
                self._write_one_list(self._in_place(site))
                site = self._site()
            self._undo(site, self._previous(site))
        return Standing(OFF, [])

    # Their steps.

    def _stands(self) -> Standing:
        """Return what a node with the facade in place is, after its owners are those that are wanted.

        Raises RefusedError if it reads other directories than the wanted ones: what agents write there reaches no pod.
        """
        file = self._keeping.facade()
        if file is None:
            raise RefusedError(f"{self.paths.facade}: another process has just taken it away", "try again")
        reads = file.facade.chain_dir
        if reads != self.wanted.chains:
            raise RefusedError(
                f"{self.paths.facade}: reads the owners' directories in {reads}, and {self.wanted.chains} is wanted",
                "give the agent that directory, or go off and on again",
            )
        reasons = self._owners()
        foreign = appended.foreign(self.tree, file, [self.wanted.bin_dir])
        if foreign:
            reasons.append(
                f"{self.paths.facade}: {', '.join(foreign)} beside cni-chain stays, because no owner has it: have its "
                "owner in the facade, and send its agent to the owner's directory"
            )
        return Standing(ON, reasons, refused=bool(reasons))

    def _begin(self, site: Site, *, at_once: bool) -> Standing | None:
        """Put the facade in place where the network has no list, or say why not; return None if it has one.

        Where there is a list of another network, or not `at_once`, the agents must have been moved.
        """
        other = waiting.foreign(site, self.wanted) if site.directory.names else ""
        if site.directory.names and not other:
            return None
        if (other or not at_once) and not owning.have_moved(self.tree, self.wanted):
            reason = other or f"{self.wanted.net_dir}: is empty: no agent has written a configuration yet"
            return Standing(NONE if other else PREPARED, [reason])
        self._lay()
        return Standing(ON, [])

    def _waits(self, site: Site, write: Collection[str]) -> Site:
        """Have the facade that waits be of the list as it is now, and of the meshes that are wanted; return the node.

        In the states of `write` it is written whatever it was made of.
        """
        before = waiting.outdated(site, self.wanted)
        if before is not None:
            moves.forget(self.tree, self.paths, before, waiting.owner_of(self.wanted, before))
        if before is not None or site.state in write or waiting.lacks(site, self.wanted):
            self._write(site)
            return self._site()
        return site

    def _write(self, site: Site) -> None:
        live = site.choose().live
        made, _ = site.make(
            waiting.owner_of(self.wanted, live), waiting.to_come(self.wanted, live), self.wanted.without
        )
        if not made.proof.holds:
            raise RefusedError("; ".join(waiting.differences(made.proof)))
        changed = moves.write(self.tree, self.paths, made, self.wanted.without)
        if changed:
            self._tell(f"written: {', '.join(changed)}")

    def _lay(self) -> None:
        with self._changing(_FACADE):
            made = install.plan(self.tree, self.wanted.options(with_facade=True), self._source)
            made.run()
        self._tell(f"put in place: {', '.join(change.path for change in made.changes)}")

    def _previous(self, site: Site) -> Choice:
        """Return the list that the runtime takes without the facade. Raises RefusedError."""
        if self._one_list in usage.others(site.directory):
            choice = site.choose()
            if choice.live.path != self._one_list:
                return choice
            self._write_one_list(self._in_place(site))  # the agents have gone on since
            return self._site().choose()
        return moves.previous(self.tree, self.paths, site.directory, site.runtime, site.bin_dirs)

    def _undo(self, site: Site, choice: Choice) -> None:
        parts = Survey(self.tree, self._in_place(site), site.bin_dirs).parts
        owning.refuse_other_plugins(parts, choice.live, self.wanted)
        self._require(_BEFORE)
        changed, warnings = moves.undo(self.tree, self.paths, site.directory, choice)
        self.limit.count(_BEFORE, time.monotonic())
        self._tell("; ".join([f"{choice.live.path} is active again; renamed: {', '.join(changed)}", *warnings]))

    def _write_one_list(self, file: FacadeFile) -> None:
        made = one_list.of_chain(self.tree, file, [self.wanted.bin_dir])
        with contextlib.suppress(OSError):
            if files.read(self.tree.real(made.path)) == made.content:
                return
        with self._changing("the chain as one list"):
            copy = plan.recorded(self.tree, self.paths)
            if copy is not None:  # of a list that is gone: this one is in its place
                path = self.tree.real(self.paths.record(copy))
                files.move(path, f"{path}.old")
            files.put(self.tree.real(made.path), made.content, 0o600)  # fragments may hold credentials
        self._tell(f"written: {made.path}")

    def _in_place(self, site: Site) -> FacadeFile:
        return next(file for file in site.directory.facades if file.path == self.paths.facade)

    # The owners that are wanted.

    def _owners(self) -> list[str]:
        """Have the facade list every owner that is wanted, and none that isn't; return why one can't be changed."""
        reasons = []
        for wish in owning.wishes(self.tree, self.wanted):
            try:
                for _ in range(_STEPS):
                    self._change(wish)
            except RefusedError as error:
                reasons.append(str(error))
        return reasons

    def _change(self, wish: Wish) -> None:
        """Have the facade be as it is wished, by a step of that way. Raises RefusedError."""
        file = self._keeping.facade()
        change = None if file is None else wish(file)
        if change is not None:
            with self._changing(change.what):
                change.plan.run()
            self._tell(f"{self.paths.facade}: {change.what}")
