"""`cni-chain help`: the same as --help, for who types the command first."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]...", show_default=False, help="The command, for example 'owner add'."),
    ] = None,
) -> None:
    """Print the help of a command, or of the whole program.

    \b
    Examples:
      cni-chain help
      cni-chain help owner add

    Exit status: 0, 2 if no such command exists.
    """
    asked = context.find_root()
    for word in words or []:
        below = getattr(asked.command, "commands", {}).get(word)
        if below is None:
            raise typer.BadParameter(f"{asked.command_path} has no command {word!r}")
        asked = type(context)(below, info_name=word, parent=asked)
    print(asked.get_help())
