"""What is answered without Typer, which takes longer to import than a whole plugin call: version, help, completion.

`status` and `mesh check` are read from the command line here, too, because scripts ask them often; whatever is wrong
with their options is left to Typer. The frozen program has a table of its commands beside it (`cni_chain.cli.table`).
From source, only completion uses one.
"""

from __future__ import annotations

import os
import sys

from cni_chain import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni_chain.cli.completing import Words
    from cni_chain.cli.output import Form

FILE = "commands.marshal"  # beside the frozen program
ASK = "__complete"  # what the scripts of `completion` call
PLUGIN, COMPLETION = "kubectl-cni_chain", "kubectl_complete-cni_chain"  # names under which kubectl calls this program
WIDTH = 80  # the narrowest terminal on which the help is as in the table


def words(called: list[str]) -> list[str]:
    """Return the words of a command line: those of a plugin of kubectl are about a cluster."""
    name = called[0].rpartition("/")[2]
    first = {PLUGIN: ["cluster"], COMPLETION: [ASK, "--", "cluster"]}
    return [*first.get(name, []), *called[1:]]


def answer(words: list[str]) -> int | None:
    """Print the answer to a command line and return the exit status, None if it takes a command."""
    if words in (["--version"], ["version"]):
        print(f"cni-chain {__version__}")
        return 0
    if words[:1] == [ASK]:
        return _complete(words[1:])
    if words[:1] == ["status"] and not {"-h", "--help"} & set(words):
        return _status(words)
    if words[:2] == ["mesh", "check"] and not {"-h", "--help"} & set(words):
        return _mesh_check(words)
    path = _helped(words)
    if path is None or _columns() < WIDTH:
        return None
    entry = _frozen_table()
    for word in path:
        entry = entry and entry["commands"].get(word)
    if entry is None:
        return None
    print(entry["help"])
    if not words:
        say_what_it_is()
    return 0


def _complete(words: list[str]) -> int:
    """Print the candidates for the last word, for the scripts of `completion`."""
    from cni_chain.cli import completing

    table = _frozen_table()
    if table is None:
        from cni_chain.cli.table import table as made

        table = made()
    for line in completing.candidates(table, words[1:] if words[:1] == ["--"] else words):
        print(line)
    if sys.argv[0].endswith(COMPLETION):
        print(":4")  # of cobra's directives: no files
    return 0


def _read(words: list[str]) -> tuple[Words, Form] | None:
    """Return the options of a command line, and the form of its output; None if something is wrong with them."""
    from cni_chain.cli.completing import Words

    table = _frozen_table()
    given = table and Words(table, words)
    if not given or given.unknown or given.arguments or given.waiting:
        return None
    from cni_chain.cli.output import Form, widen

    form = given.last("--output") or ("json" if "--json" in given.values else "text")
    if form not in set(Form) or ("--json" in given.values and form != "json"):
        return None
    widen(Form(form))
    return given, Form(form)


def _status(words: list[str]) -> int | None:
    """Run `status`, and return the exit status; None if that is for Typer, because something is wrong."""
    read = _read(words)
    if read is None:
        return None
    given, form = read
    from cni_chain.cli import glance
    from cni_chain.cli.output import refused
    from cni_chain.cli.where import Where, age
    from cni_chain.node.errors import RefusedError

    try:
        where = Where.given(
            given.last("--root") or "/",
            given.last("--distro") or None,
            net_dir=given.last("--net-dir") or None,
            bin_dir=given.values.get("--bin-dir"),
            conf=given.last("--conf") or None,
            state_dir=given.values.get("--state-dir"),
        )
        return glance.status(where, form, age(given.last("--wait") or "0s"))
    except RefusedError as error:
        return refused(error)


def _mesh_check(words: list[str]) -> int | None:
    """Run `mesh check`, and return the exit status; None if that is for Typer."""
    read = _read(words)
    if read is None or "--probe" in read[0].values:  # which of the two it was isn't in there
        return None
    given, form = read
    from cni_chain.cli import mesh_answer
    from cni_chain.cli.output import refused
    from cni_chain.mesh.probe import Target
    from cni_chain.node.errors import RefusedError

    try:
        targets = [Target.parse(text) for text in given.values.get("--vip", ())]
    except ValueError:
        return None
    pod, cgroup, config = (
        given.last(name) if name in given.values else None for name in ("--pod", "--cgroup", "--config")
    )
    asked = mesh_answer.Question(targets, pod, cgroup, config, probing=True, datapath="--datapath" in given.values)
    try:
        return mesh_answer.answer(asked, form)
    except RefusedError as error:
        return refused(error)


def _helped(words: list[str]) -> list[str] | None:
    """Return the command whose help is asked for, as its words; None if something else is asked."""
    if words and words[-1] in ("-h", "--help"):
        return words[:-1]
    if words[:1] == ["help"]:
        return words[1:]
    return None if words else []


def say_what_it_is() -> None:
    """Print what every plugin prints without CNI_COMMAND (skel, `pkg/skel/skel.go`)."""
    from cni_chain.plugin import spec

    print(f"CNI plugin cni-chain v{__version__}", file=sys.stderr)
    print(f"CNI protocol versions supported: {', '.join(spec.VERSIONS)}", file=sys.stderr)


def _frozen_table() -> dict[str, Any] | None:
    """Return the table beside the frozen program, None if this is not one or its table can't be read."""
    if not getattr(sys, "frozen", False):
        return None
    import marshal

    try:
        with open(f"{os.path.dirname(sys.executable)}/{FILE}", "rb") as file:
            table: dict[str, Any] = marshal.load(file)  # noqa: S302  # root's own, as the modules beside it
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return table


def _columns() -> int:
    """Return the terminal's width, as `shutil.get_terminal_size` does."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or WIDTH  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return WIDTH


def open_missing_streams() -> bool:
    """Open /dev/null as each standard stream that the caller has closed (`>&-`); False if one is standard output.

    In this order each gets its own number, and no file that a command opens later gets it.
    """
    has_output = sys.stdout is not None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # until the process ends
    if not has_output:
        print("cni-chain: standard output: is closed", file=sys.stderr)
    return has_output


def is_printed() -> bool:
    """Flush standard output; False if that fails. A pipe that its reader has closed is not reported."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries it again at its end
        if not isinstance(error, BrokenPipeError):
            print(f"cni-chain: standard output: {error.strerror}", file=sys.stderr)
        return False
    return True
