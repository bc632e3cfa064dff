"""The command line: its help, and its commands, each in the module with its name."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cni_chain import __version__
from cni_chain.cli import (
    attachments,
    cat,
    completion,
    doctor,
    gc,
    install,
    migrate,
    owner,
    show,
    uninstall,
    verify,
)
from cni_chain.cli.output import printable
from cni_chain.node.errors import RefusedError, UsageError
from cni_chain.plugin import spec

# Help and usage errors are plain text: boxes and colours would cost more time than all else (build/cni-chain.spec).
app = typer.Typer(
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run() -> int:
    """Run the command in sys.argv and return the exit status."""
    status = 0
    try:
        app(prog_name="cni-chain")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except RefusedError as error:
        print(f"{error.details}cni-chain: {printable(str(error))}", file=sys.stderr)
        status = 2 if isinstance(error, UsageError) else 1
    return status if _is_printed() else 1


def _is_printed() -> bool:
    """Flush standard output; False if that fails. A pipe that its reader has closed is not reported."""
    try:
        if sys.stdout:  # None where the caller closed it
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries it again at its end
        if not isinstance(error, BrokenPipeError):
            print(f"cni-chain: standard output: {error.strerror}", file=sys.stderr)
        return False
    return True


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
      cni-chain show                          what runs for a new pod on this node, and in which order
      cni-chain verify && echo fine           every problem, before a pod fails
      cni-chain verify ./10-portmap.conf      a fragment, before you move it into place
      cni-chain doctor                        what is wrong with this node, and what to do
      cni-chain install --dry-run             what installing would change

    \b
    Exit status: 0 fine, 1 findings or a failure, 2 wrong usage.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
        # What every plugin prints without CNI_COMMAND (skel, `pkg/skel/skel.go`).
        print(f"CNI plugin cni-chain v{__version__}", file=sys.stderr)
        print(f"CNI protocol versions supported: {', '.join(spec.VERSIONS)}", file=sys.stderr)


app.command("show", short_help="Show the effective chain.")(show.command)
app.command("verify", short_help="Find every problem at once.")(verify.command)
app.command("cat", short_help="Print the chain's files, or what each plugin would get.")(cat.command)
app.command("attachments", short_help="List what was run for each pod.")(attachments.command)
app.command("doctor", short_help="Check this node: what is wrong, why, and what to do.")(doctor.command)
app.command("gc", short_help="Free what pods have left behind.")(gc.command)
app.command("migrate", short_help="Split the runtime's list into owners' fragments.")(migrate.command)
app.command("install", short_help="Put the program, the owners' directories and the facade in place.")(install.command)
app.command("uninstall", short_help="Remove cni-chain; the previous configuration is used again.")(uninstall.command)
app.add_typer(owner.app, name="owner", short_help="List and change the owners of the chain.")
app.command("completion", short_help="Print a script that completes commands in a shell.")(completion.command)
app.command(completion.ASK, hidden=True)(completion.complete)
