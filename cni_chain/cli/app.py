"""The commands and their options; what they do is in the modules named after them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cni_chain import __version__
from cni_chain.cli import completion, deploy, migrate, operate, options, show, verify
from cni_chain.cli.options import Json, Where
from cni_chain.cli.output import print_json, progress
from cni_chain.plugin import spec

# Help and usage errors are plain text: boxes and colours there would cost more than all else (build/cni-chain.spec).
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
    return status if _is_printed() else 1


def _is_printed() -> bool:
    """Write out what is still held back; False if it isn't taken. A pipe's reader who has enough needs no words."""
    try:
        if sys.stdout:  # None where the caller closed it
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter's end tries it again
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

    A container runtime calls this program as a plugin, with CNI_COMMAND in its environment. For people it has
    the commands below; those that change a node say so in their help. Run them as root: agents' files may be
    readable by root only.

    \b
    Examples:
      cni-chain show                          what runs for a new pod on this node, and in which order
      cni-chain verify && echo fine           all that is wrong, before a pod finds out
      cni-chain verify ./10-portmap.conf      a fragment, before it is moved into place
      cni-chain doctor                        is this node all right, and what to do if it isn't
      cni-chain install --dry-run             what installing would change

    \b
    Exit status: 0 fine, 1 findings or a failure, 2 wrong usage.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
        # What every plugin says when a person calls it (skel, `pkg/skel/skel.go`).
        print(f"CNI plugin cni-chain v{__version__}", file=sys.stderr)
        print(f"CNI protocol versions supported: {', '.join(spec.VERSIONS)}", file=sys.stderr)


@app.command("show", short_help="Show the effective chain.")
@options.located("net_dir", "conf", "bin_dir", "distro", "root")
def show_command(
    where: Where,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also list ignored files, plugins that a file before has, and directories that aren't listed."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show the effective chain: which plugins run for a new pod, in which order, whose they are, and what is left out.

    A line that begins with '!' can't run; below it is what a new pod gets instead of a network. CNI is the version in
    which a plugin is spoken to. For it plugins are asked (VERSION, which changes nothing) unless --root is given.

    \b
    Examples:
      cni-chain show --all
      cni-chain show --json | jq -r '.facades[].chain[].type'
      cni-chain show --root /mnt/node --distro k3s

    \b
    Exit status: 0 if every facade gives a new pod a network, 1 if not, for a misspelt key, or without a facade.
    """
    directory, surveys = where.surveys()
    if json:
        print_json(show.document(where.tree, directory, surveys))
    else:
        texts = ["\n".join(show.text(directory, one, everything=everything)) for one in surveys]
        if not texts:
            raise options.no_facade(directory)
        print("\n\n".join(texts))
    fine = all(one.refusal() is None and not one.file.faults for one in surveys)
    raise typer.Exit(0 if surveys and fine else 1)


@app.command("verify", short_help="Find every problem at once.")
@options.located("net_dir", "conf", "bin_dir", "distro", "root")
def verify_command(
    where: Where,
    file: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE]...",
            show_default=False,
            help="Facades or fragments that are not in place yet, by the path that you see: each is checked by itself.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Find every problem at once: in the facade, the owners' fragments, their plugins, and who may write them.

    Each line is 'path:line:column: message', errors first; warnings say so. The last line counts. Plugins are
    asked for the versions that they speak (VERSION, which changes nothing) unless --root is given.

    \b
    Examples:
      cni-chain verify
      cni-chain verify ./10-portmap.conf && install -m 644 ./10-portmap.conf /etc/cni/chain.d/local.d/
      cni-chain verify --root ./image --bin-dir /opt/cni/bin --bin-dir /usr/lib/cni

    \b
    Exit status: 0 if there is no error (there may be warnings), 1 if there is.
    """
    if file:
        with progress("checking", len(file)) as step:
            report = verify.files(file, step)
    else:
        directory, surveys = where.surveys()
        with progress("checking", verify.steps(surveys)) as step:
            report = verify.node(directory, surveys, step)
    if json:
        print_json(report.document())
    else:
        for finding in report.sorted():
            print(verify.line(finding))
        print(report.count())
    raise typer.Exit(1 if report.errors else 0)


operate.register(app)
migrate.register(app)
deploy.register(app)


@app.command("completion", short_help="Print a script that completes commands in a shell.")
def completion_command(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="|".join(completion.SCRIPTS),
            show_default=False,
            autocompletion=completion.one_of(completion.SCRIPTS),
            help="The shell.",
        ),
    ],
) -> None:
    """Print a script that completes commands, options, owners, containers and distributions in a shell.

    \b
    Examples:
      source <(cni-chain completion bash)
      cni-chain completion bash > /usr/share/bash-completion/completions/cni-chain
      cni-chain completion zsh > "${fpath[1]}/_cni-chain"
      cni-chain completion fish > ~/.config/fish/completions/cni-chain.fish

    \b
    Exit status: 0, 2 for a shell that there is no script for.
    """
    if shell not in completion.SCRIPTS:
        raise typer.BadParameter(f"{shell!r}: one of {', '.join(completion.SCRIPTS)}")
    print(completion.SCRIPTS[shell], end="")


@app.command(completion.ASK, hidden=True)
def complete_command(context: typer.Context, words: Annotated[list[str], typer.Argument()]) -> None:
    """Print what may stand in the place of the last word, for the scripts of `completion`."""
    for line in completion.lines(context, words):
        print(line)
