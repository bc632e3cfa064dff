"""The options that several commands have, and their meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from cni_chain.cli import completion
from cni_chain.cli.output import Form, widen
from cni_chain.node import distros, facades, survey

Root = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="Read the file system tree below DIR instead of this system's. Every path, given or printed, is as "
        "seen from inside it, and no program in it is run.",
    ),
]
DistroName = Annotated[
    str | None,
    typer.Option(
        "--distro",
        metavar="NAME",
        show_default=False,
        help=f"Use this distribution's --bin-dir and --net-dir: {', '.join(distros.DISTROS)}.",
        autocompletion=completion.of_distro,
    ),
]
NetDirectory = Annotated[
    str | None,
    typer.Option(
        "--net-dir",
        metavar="DIR",
        show_default=facades.NET_DIR,
        help="The runtime's configuration directory.",
    ),
]
Conf = Annotated[
    str | None,
    typer.Option(
        "--conf", metavar="FILE", show_default=False, help="Use only this facade, which may be in any directory."
    ),
]
BinDirs = Annotated[
    list[str] | None,
    typer.Option(
        "--bin-dir",
        metavar="DIR",
        show_default=survey.BIN_DIR,
        help="The runtime's plugin directories (CNI_PATH); repeat the option, or separate with ':'.",
    ),
]
StateDirs = Annotated[
    list[str] | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        show_default=False,
        help="Directory of the records (repeatable). By default those that the facades name, and /var/lib/cni/chain.",
    ),
]


def _form(context: typer.Context, form: Form) -> Form:
    """Return the form that --output and --json mean together. Raises the usage error if they mean two."""
    widen(form)
    if not _is_given(context, "json"):
        return form
    if _is_given(context, "output") and form is not Form.JSON:
        raise typer.BadParameter(f"--json and --output {form} exclude each other")
    return Form.JSON


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


Output = Annotated[
    Form,
    typer.Option(
        "--output",
        "-o",
        metavar="|".join(Form),
        show_default=False,
        callback=_form,
        help="Print text (the default), wide text (lines may be longer than the terminal), or everything as one "
        "document of JSON or YAML.",
    ),
]


class Command(TyperCommand):
    """A command of this program: one that has --output has --json as well."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        names = [one.name for one in self.params]
        if "output" in names:
            short = TyperOption(
                param_decls=["--json"],
                is_flag=True,
                is_eager=True,  # `_form` asks whether it was given
                expose_value=False,
                help="The same as --output json.",
            )
            self.params.insert(names.index("output") + 1, short)


class Severity(StrEnum):
    """The least severe finding with which a command fails."""

    ERROR = "error"
    WARNING = "warning"


FailOn = Annotated[
    Severity,
    typer.Option(
        "--fail-on",
        metavar="|".join(Severity),
        help="Exit with 1 if a finding is at least this severe.",
    ),
]

# Of the commands that change a node.
ChangedRoot = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="Change the file system tree below DIR instead of this system's. Every path, given or printed, is as "
        "seen from inside it, and no program in it is run.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would change, with the text of files, and change nothing.")
]
Force = Annotated[bool, typer.Option("--force", help="Do what the command has refused; its message gives the reason.")]
BinDir = Annotated[
    str | None,
    typer.Option(
        "--bin-dir", metavar="DIR", show_default=survey.BIN_DIR, help="The runtime's directory of plugins (CNI_PATH)."
    ),
]
ProgramDir = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        show_default="cni-chain beside --bin-dir",
        help="Holds one directory for each version of the program.",
    ),
]
OneConf = Annotated[
    str | None,
    typer.Option("--conf", metavar="FILE", show_default=False, help="The facade, if several exist."),
]


def pod(text: str) -> tuple[str, str]:
    """Return the pod given as NAMESPACE/NAME. Raises the usage error otherwise."""
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} is not NAMESPACE/NAME")
    return namespace, name
