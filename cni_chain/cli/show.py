"""`cni-chain show`: the effective chain of each facade, as text (`show_text`) and as JSON."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cni_chain.checks import registry
from cni_chain.checks.node import Node
from cni_chain.checks.rule import Needs
from cni_chain.cli.options import BinDirs, Conf, DistroName, NetDirectory, Output, Root
from cni_chain.cli.output import Form, print_document, progress
from cni_chain.cli.show_text import Shown, ignored, text
from cni_chain.cli.where import Where
from cni_chain.node.errors import RefusedError
from cni_chain.node.negotiation import Spoken
from cni_chain.node.survey import Survey, error_of
from cni_chain.plugin import request
from cni_chain.plugin.chain import Delegate, OwnerChain
from cni_chain.plugin.errors import CNIError


def command(
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Also list ignored files, plugins that an earlier file has, and unlisted directories."
        ),
    ] = False,
    output: Output = Form.TEXT,
    net_dir: NetDirectory = None,
    conf: Conf = None,
    bin_dir: BinDirs = None,
    distro: DistroName = None,
    root: Root = "/",
) -> None:
    """Show the effective chain: the plugins that run for a new pod, their order, their owners, and what is left out.

    What begins with '!' can't run; the line below it has the error that a new pod gets instead of a network. CNI is
    the version that a plugin is called with. For it plugins are asked (VERSION, which changes nothing) unless --root
    is given.

    \b
    Examples:
      cni-chain show --all
      cni-chain show --json | jq -r '.facades[].chain[].type'
      cni-chain show --root /mnt/node --distro k3s

    Exit status: 0 if every facade gives a new pod its chain, 1 if verify finds an error, or without a facade.
    """
    where = Where.given(root, distro, net_dir=net_dir, conf=conf, bin_dir=bin_dir)
    directory, surveys = where.surveys()
    node = Node(where.tree, directory, surveys, where.bin_dirs, progress=progress)
    errors = [finding for finding in registry.run(node, Needs.PLUGINS) if finding.is_error]
    shown = [Shown(node, one, registry.of_survey(node, one, errors, Needs.PLUGINS)) for one in surveys]
    if output.is_document:
        print_document(output, "show", where.tree, document(node, shown))
    else:
        if not shown:
            raise RefusedError(registry.nothing(node))
        print("\n\n".join("\n".join(text(one, everything=everything)) for one in shown))
    raise typer.Exit(0 if surveys and not errors else 1)


def document(node: Node, shown: list[Shown]) -> dict[str, Any]:
    """Return all that `show` knows as a JSON document."""
    return {
        "netDir": node.directory.path,
        "first": node.directory.first,
        "facades": [_facade(one) for one in shown],
    }


def _facade(shown: Shown) -> dict[str, Any]:
    survey, spoken, directory = shown.survey, shown.spoken, shown.node.directory
    file, facade = survey.file, survey.facade
    refusal = survey.refusal()
    order = {id(link): number for number, link in enumerate(survey.links, 1)}
    return {
        "file": file.path,
        "first": file.path == directory.first,
        "network": file.network,
        "cniVersion": file.version,
        "cniVersions": file.versions,
        "capabilities": file.capabilities,
        "chainDir": facade.chain_dir,
        "stateDir": facade.state_dir,
        "logFile": facade.log_file,
        "timeouts": facade.timeouts,
        "problems": file.faults,
        "newPod": None if refusal is None else {"code": refusal.code, "msg": refusal.msg},
        "errors": [finding.document() for finding in shown.errors],
        "chain": [_link(survey, spoken, link) | {"order": order[id(link)]} for link in survey.links],
        "owners": [_owner(survey, spoken, part) for part in survey.parts],
        "dropped": [
            {"owner": dropped.owner, "file": dropped.path, "type": dropped.type, "reason": dropped.reason}
            for part in survey.parts
            for dropped in part.skipped
        ],
        "ignored": [{"file": path, "reason": reason} for path, reason in ignored(survey)],
        "unlisted": survey.unlisted,
    }


def _link(survey: Survey, spoken: Spoken, link: Delegate) -> dict[str, Any]:
    binary = survey.binary(link)
    return {
        "owner": link.owner.name,
        "type": link.type,
        "file": link.path,
        "binary": None if isinstance(binary, CNIError) else binary,
        "cniVersion": spoken.version(link),
        "capabilities": request.capabilities(link.conf),
        "disableCheck": link.disable_check,
        "disableGC": link.disable_gc,
    }


def _owner(survey: Survey, spoken: Spoken, part: OwnerChain) -> dict[str, Any]:
    owner, error = part.owner, error_of(part)
    return {
        "name": owner.name,
        "directory": part.directory.path,
        "required": owner.required,
        "types": None if owner.types is None else sorted(owner.types),
        "exempt": [{"namespace": namespace, "podNamePrefix": prefix} for namespace, prefix in owner.exempt],
        "duplicates": owner.duplicates,
        "onDelError": owner.on_del_error,
        "timeoutSeconds": owner.timeout,
        "usable": part.usable,
        "error": None if error is None else {"code": error.code, "msg": error.msg},
        "faults": [{"file": fault.path, "kind": fault.kind, "message": fault.text} for fault in part.directory.faults],
        "plugins": [_link(survey, spoken, link) for link in part.delegates],
    }
