"""One node that is migrated, and what is asked of it: its state, the list to take, a plan, a switch. Reads only."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable

from cni_chain.migrate import plan, standing
from cni_chain.migrate.moves import Switch
from cni_chain.migrate.plan import LIVE, UNDONE, Paths, Plan
from cni_chain.migrate.standing import Standing
from cni_chain.node import conflists, facades
from cni_chain.node.conflists import Choice
from cni_chain.node.errors import RefusedError
from cni_chain.node.tree import Tree


class Site:
    """A node and its state, one of those of `plan`; `runtime` is the one whose rules choose the list, None for both."""

    def __init__(self, tree: Tree, paths: Paths, bin_dirs: list[str], runtime: str | None = None) -> None:
        """Raises RefusedError."""
        self.tree = tree
        self.paths = paths
        self.bin_dirs = bin_dirs
        self.runtime = runtime
        self.directory = facades.look(tree, paths.net_dir)
        self.state = plan.state_of(self.directory, paths, tree)

    def choose(self) -> Choice:
        """Return the list that the runtime takes without the facade. Raises RefusedError."""
        return conflists.choose(self.tree, self.directory, self.runtime, self.bin_dirs)

    def make(
        self, owner_of: dict[str, str], add: Iterable[str] = (), without: Collection[str] = ()
    ) -> tuple[Plan, Standing]:
        """Return the plan, and how far the node is on its way. Raises RefusedError.

        `owner_of` names a type's owner; `add` are meshes that come later, and one that was added stays; `without` are
        meshes to leave out.
        """
        choice = self.choose()
        waiting = plan.still_to_come(self.tree, self.paths.waiting(self.state), choice.live)
        added = list(dict.fromkeys([*(name for name in waiting if name not in without), *add]))
        moved = standing.moved(self.tree, self.paths, self.state)
        made = plan.make(self.tree, self.paths, choice, owner_of, added, without, moved)
        one = standing.of_plan(self.tree, self.paths, made, self.state, added, without)
        # Where a facade waits and no option asks for another one, the steps are that facade's.
        if self.state != LIVE and not made.left_out and not (owner_of or add or without):
            with contextlib.suppress(RefusedError):
                one = self.standing()
        return made, one

    def standing(self, state: str | None = None, without: Collection[str] = ()) -> Standing:
        """Return how far the migration is; `state` is the one that was brought about since. Raises RefusedError."""
        now = state or self.state
        live = self.choose().live if now == UNDONE else None
        return standing.of_node(self.tree, self.paths, now, self.bin_dirs, live, without)

    def switch(self, without: Collection[str] = ()) -> Switch:
        """Return the switch to the facade that waits, checked. Raises RefusedError if no usable one waits."""
        return Switch(self.tree, self.paths, self.state, self.choose(), self.bin_dirs, without)
