"""Completion in a shell: the scripts that a shell reads, and the hidden command that gives them the candidates."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any

import typer

from cni_chain.node import attachments, distros, facades
from cni_chain.node.errors import RefusedError
from cni_chain.node.facades import FacadeFile
from cni_chain.node.tree import Tree
from cni_chain.plugin.facade import STATE_DIR
from cni_chain.plugin.record import Attachment

ASK = "__complete"  # the hidden command that the scripts call

_BASH = """\
# bash completion for cni-chain: source it, or save it as /usr/share/bash-completion/completions/cni-chain
_cni_chain() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("${line%%$'\\t'*}")
    done < <("${1/#\\~/$HOME}" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _cni_chain cni-chain
"""
_ZSH = """\
#compdef cni-chain
# zsh completion for cni-chain: source it after compinit, or save it as _cni-chain in a directory of $fpath
_cni_chain() {
    local line
    local -a found
    while IFS= read -r line; do
        found+=("${${line%%$'\\t'*}//:/\\\\:}${${line#${line%%$'\\t'*}}/$'\\t'/:}")
    done < <("${~words[1]}" __complete -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)
    if (( $#found )); then _describe cni-chain found; else _files; fi
}
if [ "$funcstack[1]" = _cni_chain ]; then _cni_chain "$@"; else compdef _cni_chain cni-chain; fi
"""
_FISH = """\
# fish completion for cni-chain: source it, or save it as ~/.config/fish/completions/cni-chain.fish
function __cni_chain
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($words[1] __complete -- $words[2..-1] "$current" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete -c cni-chain -f -a '(__cni_chain)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def command(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="|".join(SCRIPTS),
            show_default=False,
            autocompletion=one_of(SCRIPTS),
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
    Exit status: 0, 2 for another shell.
    """
    if shell not in SCRIPTS:
        raise typer.BadParameter(f"{shell!r}: must be one of {', '.join(SCRIPTS)}")
    print(SCRIPTS[shell], end="")


def complete(context: typer.Context, words: Annotated[list[str], typer.Argument()]) -> None:
    """Print the candidates for the last word, for the scripts of `completion`."""
    for line in lines(context, words):
        print(line)


def lines(context: typer.Context, words: list[str]) -> Iterator[str]:
    """Yield the candidates for the last of `words`, each with a tab and its help if it has one.

    If none is yielded, the shell completes file names.
    """
    *before, incomplete = words or [""]
    if incomplete == "=":  # bash splits a word at this character
        incomplete = ""
    command, name = context.find_root().command, "cni-chain"
    while before and (below := getattr(command, "commands", {}).get(before[0])):
        command, name = below, before.pop(0)
    now = command.make_context(name, list(before), resilient_parsing=True)
    option, equals, value = incomplete.partition("=")
    if option.startswith("-") and equals:
        before, incomplete = [*before, option], value
    asked = command if incomplete.startswith("-") and "--" not in before else _wanted(now, before) or command
    for item in asked.shell_complete(now, incomplete):
        if item.type == "plain":  # else a file is expected
            yield f"{item.value}\t{item.help}" if item.help else str(item.value)


def _wanted(now: Any, before: list[str]) -> Any:
    """Return the option that needs a value, or the argument that can have one more; None if neither exists."""
    taken = now.command.get_params(now)
    options = [one for one in taken if one.param_type_name == "option" and not one.is_flag]
    waiting = [one for one in options if before and before[-1] in one.opts]
    left = [
        one for one in taken if one.param_type_name == "argument" and (one.nargs == -1 or not now.params.get(one.name))
    ]
    return next(iter(waiting + left), None)


def of_distro(incomplete: str) -> list[tuple[str, str]]:
    """Return the distributions that --distro takes, each with its directory of plugins."""
    return [(name, known.bin_dir) for name, known in distros.DISTROS.items() if name.startswith(incomplete)]


def one_of(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes a value that must be one of `words`."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def of_owner(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the owners that the facades list, with the types that each may contribute."""
    return [
        (owner.name, ", ".join(sorted(owner.types or ())) or "anything")
        for file in _facades(ctx)
        for owner in file.facade.owners or []
        if owner.name.startswith(incomplete)
    ]


def of_attachment(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the containers with a record, and their network; pods' names would need each record read."""
    tree = Tree(ctx.params.get("root") or "/")
    given = ctx.params.get("state_dir") or sorted({STATE_DIR, *(file.facade.state_dir for file in _facades(ctx))})
    found: list[Attachment] = []
    for directory in given:
        with contextlib.suppress(OSError):
            names = sorted(os.listdir(tree.real(tree.path(directory))))
            found += filter(None, map(attachments.attachment_in, names))
    return [(one.container_id, one.network) for one in found if one.container_id.startswith(incomplete)]


def _facades(ctx: typer.Context) -> list[FacadeFile]:
    """Return the facades that the given options mean; none if they can't be read."""
    given: dict[str, Any] = ctx.params
    tree = Tree(given.get("root") or "/")
    known = distros.DISTROS.get(given.get("distro") or "kubeadm")
    path = given.get("net_dir") or (known.net_dir if known else facades.NET_DIR)
    try:
        return facades.look(tree, tree.path(path)).facades
    except RefusedError:
        return []
