"""The command line: its help, and its commands, each in the module with its name, which is imported when it is asked.

`cni_chain.cli.main` answers what takes no command without this module: Typer takes longer to import than a whole
plugin call.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cni_chain import __version__
from cni_chain.cli import quick
from cni_chain.cli.options import Command
from cni_chain.cli.output import refused
from cni_chain.node.errors import RefusedError

# In the order of the help.
SUMMARIES = {
    "status": "Show at a glance whether a new pod gets the whole chain.",
    "show": "Show the effective chain.",
    "verify": "Find every problem at once.",
    "cat": "Print the chain's files, or what each plugin would get.",
    "attachments": "List what was run for each pod.",
    "doctor": "Check this node: what is wrong, why, and what to do.",
    "log": "Print the runtime's calls, from the log.",
    "watch": "Watch who writes the configurations, live.",
    "gc": "Free what pods have left behind.",
    "migrate": "Split the runtime's list into owners' fragments.",
    "install": "Put the program, the owners' directories and the facade in place.",
    "uninstall": "Remove cni-chain; the previous configuration is used again.",
    "agent": "Keep a node prepared, on or off: the process of a DaemonSet.",
    "cluster": "Look at the agents of a whole cluster, with kubectl.",
    "mesh": "Find out what a mesh sees of this node's pods.",
    "owner": "List and change the owners of the chain.",
    "completion": "Print a script that completes commands in a shell.",
    "version": "Print the version.",
    "help": "Print the help of a command.",
}

# Help breaks lines at spaces alone: "--net-" is the name of no option.
textwrap.TextWrapper.wordsep_re = textwrap.TextWrapper.wordsep_simple_re


class Commands(MutableMapping[str, Any]):
    """The commands by name, each imported when it is looked up."""

    def __init__(self) -> None:
        self._added: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._added:
            if name not in SUMMARIES:
                raise KeyError(name)
            self._added[name] = _command(name)
        return self._added[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SUMMARIES)

    def __len__(self) -> int:
        return len(SUMMARIES)


def _command(name: str) -> Any:
    """Return what Typer makes of the module with a command's name: of its `app` if it has commands of its own."""
    module = import_module(f"cni_chain.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(rich_markup_mode=None, add_completion=False)
        app.command(name, cls=Command)(module.command)
    command = typer.main.get_command(app)
    command.name = name
    return command


class Program(TyperGroup):
    """The whole command line."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.commands = Commands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # as it is called
        """Return the commands' names."""
        return list(SUMMARIES)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # as it is called
        """Write the list of commands; none is imported for it."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


# Help and usage errors are plain text: boxes and colours would cost more time than all else (build/cni-chain.spec).
app = typer.Typer(
    cls=Program,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> int:
    """Run the command in sys.argv and return the exit status."""
    status = 0
    try:
        app(prog_name="cni-chain")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except RefusedError as error:
        status = refused(error)
    return status


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"cni-chain {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def cni_chain(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  # its callback does the work
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A CNI plugin that runs other CNI plugins, each from a directory that its own agent writes.

    A container runtime calls this program as a plugin, with CNI_COMMAND in its environment. Operators use the
    commands below; those that change a node say so in their help. Run them as root: agents' files may be
    readable by root only.

    \b
    Examples:
      cni-chain status                    does a new pod get the whole chain?
      cni-chain show                      what runs for a new pod, and its order
      cni-chain verify && echo fine       every problem, before a pod fails
      cni-chain verify ./10-portmap.conf  a fragment, before you move it
      cni-chain doctor                    what is wrong here, and what to do
      cni-chain install --dry-run         what installing would change

    What a message calls docs/… or conf/… is not in the archive: it is a file of cni-chain's source of this version.

    Exit status: 0 fine, 1 findings or a failure, 2 wrong usage.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
        quick.say_what_it_is()
