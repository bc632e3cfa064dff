"""The commands about what a mesh sees, each in the module with its name. The package `mesh` does the work."""

from __future__ import annotations

import typer

from cni_chain.cli import mesh_check, mesh_origdst, mesh_pods, mesh_shim
from cni_chain.cli.options import Command

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Find out what a mesh sees of this node's pods.",
)

# In the order of the help.
app.command("check", cls=Command, short_help="Does a service's address survive until a mesh in the pod sees it?")(
    mesh_check.command
)
app.command("pods", cls=Command, short_help="Are this node's pods captured by the mesh?")(mesh_pods.command)
app.command("origdst", cls=Command, short_help="Which service did a live connection ask for?")(mesh_origdst.command)
app.add_typer(mesh_shim.app, name="shim", short_help="An experiment: give a mesh's proxy the service's address back.")
