"""The options of the commands of `migrate`, and the node that they mean."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cni_chain.agents.registry import BY_OWNER
from cni_chain.cli import completion, migrate_text
from cni_chain.cli.output import Form, print_document
from cni_chain.cli.where import Where
from cni_chain.migrate import site, split
from cni_chain.migrate.plan import WRITTEN, Paths, Plan
from cni_chain.migrate.standing import Standing
from cni_chain.node.conflists import CONTAINERD, CRIO
from cni_chain.node.errors import RefusedError

MESHES = tuple(agent.owner for agent in BY_OWNER.values() if agent.mesh)

Owners = Annotated[
    list[str] | None,
    typer.Option(
        "--owner",
        metavar="NAME:TYPE,...",
        show_default=False,
        help="Give plugins of these types to this owner (repeatable). By default each known agent owns its own "
        "plugins, and 'local', the administrator, the others.",
    ),
]
Add = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MESH",
        show_default=False,
        autocompletion=completion.one_of(MESHES),
        help=f"Make room for a mesh that the list doesn't have: {', '.join(MESHES)} (repeatable). Its owner is "
        "optional until its agent has written, and the steps say when to require it.",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MESH",
        show_default=False,
        autocompletion=completion.one_of(MESHES),
        help="Leave out this mesh (repeatable), which the list has lost and whose directory has a fragment: new pods "
        "are outside it.",
    ),
]
Runtime = Annotated[
    str | None,
    typer.Option(
        metavar="|".join((CONTAINERD, CRIO)),
        show_default=False,
        autocompletion=completion.one_of((CONTAINERD, CRIO)),
        help="The runtime whose rules choose the list. By default both, which mostly agree.",
    ),
]
FacadeName = Annotated[
    str, typer.Option(metavar="NAME", help="The facade's file name; it must sort before the list's.")
]
ChainDir = Annotated[str, typer.Option(metavar="DIR", help="The directory of the owners' directories.")]


class Site(site.Site):
    """The node that the options mean, and how its commands print."""

    output: Form

    @classmethod
    def at(
        cls,
        runtime: str | None,
        facade: str,
        chain_dir: str,
        net_dir: str | None,
        bin_dir: list[str] | None,
        distro: str | None,
        root: str,
        *,
        output: Form,
    ) -> Site:
        """Return what the options of these names mean together. Raises RefusedError."""
        if runtime not in (None, CONTAINERD, CRIO):
            raise typer.BadParameter(f"--runtime {runtime}: must be {CONTAINERD} or {CRIO}")
        if "/" in facade or not facade.removesuffix(".conflist") or not facade.endswith(".conflist"):
            raise typer.BadParameter(f"--facade {facade}: must be a file name that ends in .conflist")
        where = Where.given(root, distro, net_dir=net_dir, bin_dir=bin_dir)
        paths = Paths(where.net_dir, where.tree.path(chain_dir), facade)
        found = cls(where.tree, paths, where.bin_dirs, runtime)
        found.output = output
        return found

    def planned(
        self, owner: list[str] | None, add: list[str] | None, without: list[str] | None
    ) -> tuple[Plan, Standing]:
        """Return the plan that the options mean, and how far the node is on its way. Raises RefusedError."""
        return self.make(split.parse_owners(owner or []), meshes("--add", add), meshes("--without", without))

    def show(self, members: dict[str, Any]) -> None:
        """Print a document for programs."""
        print_document(self.output, "migrate", self.tree, members)

    def in_the_way(self, without: list[str] | None) -> list[Any]:
        """Return what `switch` refuses now, as JSON documents; [] unless a facade waits for it."""
        if self.state != WRITTEN:
            return []
        try:
            one = self.switch(meshes("--without", without))
        except RefusedError as error:
            return [{"id": None, "message": str(error), "override": False}]
        return migrate_text.refusal_documents(one.refusals)


def meshes(option: str, given: list[str] | None) -> list[str]:
    """Return the owners that an option names, each once. Raises the usage error for one that is not a mesh's."""
    for name in given or []:
        if name not in MESHES:
            raise typer.BadParameter(f"{option} {name}: must be one of {', '.join(MESHES)}")
    return list(dict.fromkeys(given or []))
