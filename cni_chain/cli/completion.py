"""`cni-chain completion`: the scripts that a shell reads. They call `cni-chain __complete`, which `quick` answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from cni_chain.cli import completing
from cni_chain.node import distros

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


def one_of(words: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes a value that must be one of `words`."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def of_distro(incomplete: str) -> list[tuple[str, str]]:
    """Return the distributions that --distro takes, each with its directory of plugins."""
    return [(name, known.bin_dir) for name, known in distros.DISTROS.items() if name.startswith(incomplete)]


# What only the node has: `completing` puts the values in their place.
of_owner = one_of([completing.OWNER])
of_attachment = one_of([completing.CONTAINER])


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

    Exit status: 0, 2 for another shell.
    """
    if shell not in SCRIPTS:
        raise typer.BadParameter(f"{shell!r}: must be one of {', '.join(SCRIPTS)}")
    print(SCRIPTS[shell], end="")
