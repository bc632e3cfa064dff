"""What the frozen program prints without Typer: each command's help, and what completion has to know of it.

`build/freeze` has it written beside the program; from source it is made when completion asks for it.
"""

from __future__ import annotations

import os
from typing import Any

import typer

from cni_chain.cli.app import app
from cni_chain.node import distros

NAME = "cni-chain"
WIDTH = 80  # of a terminal on which the help is the same as on every wider one

Table = dict[str, Any]


def table() -> Table:
    """Return the entry of the whole program, made of what marshal can write."""
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)  # where the help looks for the terminal's width
    try:
        entry = _entry(typer.main.get_command(app), NAME, None)
        return entry | {"netDirs": {name: known.net_dir for name, known in distros.DISTROS.items()}}
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns


def _entry(command: Any, name: str, parent: typer.Context | None) -> Table:
    """Return the entry of a command: its help, its options and arguments, and the entries of those below it."""
    context = typer.Context(command, info_name=name, parent=parent, **command.context_settings)
    parameters = [one for one in command.get_params(context) if not getattr(one, "hidden", False)]
    return {
        "help": context.get_help(),
        "short": command.get_short_help_str(),
        "options": [_option(one, context) for one in parameters if one.param_type_name == "option"],
        "arguments": [(one.nargs, _values(one, context)) for one in parameters if one.param_type_name == "argument"],
        "commands": {below: _entry(one, below, context) for below, one in getattr(command, "commands", {}).items()},
    }


def _option(option: Any, context: typer.Context) -> Table:
    return {
        "names": [*option.opts, *option.secondary_opts],
        "help": option.help,
        "takes": not option.is_flag,
        "multiple": option.multiple,
        "values": [] if option.is_flag else _values(option, context),
    }


def _values(parameter: Any, context: typer.Context) -> list[tuple[str, str]]:
    """Return the values that can be offered, each with its help; none for a file or a free text."""
    found = parameter.shell_complete(context, "")
    return [(str(one.value), one.help or "") for one in found if one.type == "plain"]
